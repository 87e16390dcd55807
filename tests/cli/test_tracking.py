"""``aimwell tracking`` as people type it, in both languages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aimwell.cli.app import main
from aimwell.core.text import set_language
from aimwell.deployment.tracking.endpoints import Tracking
from aimwell.deployment.tracking.keys import Keyring
from aimwell.deployment.tracking.tokens import sign_delivery
from aimwell.engine.secret import load_secret
from aimwell.engine.workspace import Workspace
from tests.deployment.tracking.scene import AT, ask, identify, send


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    Workspace.create(tmp_path / "shop").close()

    def type_in(*words: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["aimwell", "-w", str(tmp_path / "shop"), *words])
        with pytest.raises(SystemExit) as stopped:
            main()
        set_language("en")
        return int(stopped.value.code or 0), capsys.readouterr().out

    return type_in


def test_people_and_machines_are_shown_apart(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    assert "Nothing was opened" in run("tracking", "show")[1]
    workspace = Workspace.open(tmp_path / "shop")
    send(workspace.store)
    token = sign_delivery(Keyring.of(load_secret(workspace.path)), "open", identify())
    tracking = Tracking.open(workspace)
    for later, agent in enumerate(
        ["Mozilla/5.0", "Mozilla/5.0 (iPhone) Mobile", "Mozilla/5.0 (iPhone) Mobile"]
    ):
        tracking.handle_open(token, ask(AT + later, agent=agent))
    workspace.close()
    code, out = run("--json", "tracking", "show", "p1")
    hits = [(row["kind"], row["machine"], row["reason"], row["hits"]) for row in json.loads(out)["hits"]]
    assert (code, hits) == (0, [("open", False, None, 2), ("open", True, "privacy_proxy", 1)])
    assert "p1" in run("tracking", "show")[1]
    assert "机器" in run("--language", "zh", "tracking", "show")[1]
    assert json.loads(run("--json", "tracking", "show", "p2")[1])["hits"] == []


def test_a_link_for_who_asks_works_after_the_keys_changed(  # type: ignore[no-untyped-def]
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIMWELL_PUBLIC_URL", "https://post.example")
    before = json.loads(run("--json", "tracking", "link", "c1", "--language", "zh")[1])["link"]
    assert "https://post.example/preferences/" in run("tracking", "link", "c1")[1]
    code, out = run("tracking", "rotate")
    assert code == 0 and "new key" in out and "Restart" in out
    assert json.loads(run("--json", "tracking", "rotate")[1])["generation"] == 3
    after = json.loads(run("--json", "tracking", "link", "c1", "--language", "zh")[1])["link"]
    assert before != after
    workspace = Workspace.open(tmp_path / "shop")
    for link in (before, after):
        answer = Tracking.open(workspace).show_preferences(link.rpartition("/")[2], ask())
        assert (answer.status, dict(answer.headers)["Content-Language"]) == (200, "zh-Hans")
