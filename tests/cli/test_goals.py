"""``aimwell goals`` as people type it, in both languages; errors are sentences."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from aimwell.cli.app import main
from aimwell.core.text import set_language
from aimwell.engine.workspace import Workspace
from tests.goals.market import FIRST, make_orders, open_shop

TODAY = FIRST + timedelta(days=280)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("goals") / "shop"
    workspace = Workspace.create(path)
    open_shop(workspace, make_orders(customers=200, days=280), customers=200, members=80)
    workspace.close()
    return path


def run(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str
) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["aimwell", "-w", str(folder), *words])
    with pytest.raises(SystemExit) as stopped:
        main()
    set_language("en")
    printed = capsys.readouterr()
    return int(stopped.value.code or 0), printed.out, printed.err


def test_the_whole_way_in_both_languages(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def go(*words: str) -> str:
        code, out, err = run(folder, capsys, monkeypatch, *words)
        assert code == 0, err
        return out

    start = str(TODAY - timedelta(days=14))
    company = ("goals", "company", "year", "--target", "0.08", "--days", "56", "--start", start)
    assert "is assigned to no campaign yet" in " ".join(go("--language", "en", *company).split())
    chinese = "".join(go("--language", "zh", "goals", "tree").split())
    assert "未分配到任何活动" in chinese
    assert "保留客户" in chinese
    added = ("goals", "set", "--name", "wake", "--metric", "active_rate", "--target", "0.01")
    assert "无法检出" in "".join(
        go("--language", "zh", *added, "--parent", "year", "--segment", "friends").split()
    )
    assert "the target of" in " ".join(go("--language", "en", "goals", "show", "wake").split())
    assert "year" in go("goals", "list")
    assert "目标的概率" in "".join(go("--language", "zh", "goals", "pace", "year").split())
    assert "chance of the target" in " ".join(go("--language", "en", "goals", "pace", "year").split())
    tree = json.loads(go("--json", "goals", "tree", "--split", "retained=0.5,new=0.5"))
    assert tree["campaigns"][0]["parent"] == "year"
    assert tree["assigned"] + tree["gap"] == pytest.approx(tree["wanted"])
    parts = [row["part"] for row in tree["drivers"] if row["kind"] == "leaf"]
    assert sum(parts) == pytest.approx(tree["wanted"], abs=0.001)
    pace = json.loads(go("--json", "goals", "pace", "year"))
    assert (pace["elapsed"], pace["days_left"], len(pace["path"])) == (14, 42, 56)
    assert set(pace["sentences"][0]) == {"en", "zh"}
    assert "year" in go("goals", "show", "year", "--json")
    assert go("--language", "zh", "goals", "remove", "wake").strip() == "目标“wake”已移除。"


@pytest.mark.parametrize(
    ("words", "code", "chinese"),
    [
        (("set", "--parent", "decade"), "goals.unknown_goal", "没有名为"),
        (("company", "late", "--target", "0.1", "--start", "2025-01-10"), "goals.window_over", "已经结束"),
        (("set", "--as-of", "2025-01-10"), "goals.window_over", "已经结束"),
        (("company", "both"), "goals.one_target", "二选一"),
        (("tree", "nothing"), "goals.unknown_goal", "没有名为"),
        (("tree", "--split", "half"), "cli.bad_split", "拆分方式"),
        (("remove", "nothing"), "goals.unknown_goal", "没有名为"),
    ],
)
def test_errors_are_sentences_with_a_code(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    code: str,
    chinese: str,
) -> None:
    status, out, _ = run(folder, capsys, monkeypatch, "--json", "goals", *words)
    error: dict[str, Any] = json.loads(out)["error"]
    assert (status, error["code"]) == (2, code)
    status, _, err = run(folder, capsys, monkeypatch, "--language", "zh", "goals", *words)
    assert status == 2
    assert chinese in "".join(err.split())
    assert "Traceback" not in err
