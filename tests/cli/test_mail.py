"""``aimwell mail`` as people type it, in both languages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from aimwell.cli.app import main
from aimwell.core.text import set_language
from aimwell.deployment.sink import Sink
from aimwell.engine.settings import FILE_NAME
from aimwell.engine.workspace import Workspace
from tests.deployment.reports import dsn
from tests.deployment.test_bounces import send_to
from tests.deployment.test_connecting import write_key


def run(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str
) -> tuple[int, str, str]:
    monkeypatch.setattr("sys.argv", ["aimwell", "-w", str(folder), *words])
    with pytest.raises(SystemExit) as stopped:
        main()
    set_language("en")
    printed = capsys.readouterr()
    return int(stopped.value.code or 0), printed.out, printed.err


def make_shop(folder: Path, text: str = "") -> None:
    Workspace.create(folder).close()
    (folder / FILE_NAME).write_text(text, encoding="utf-8")


def test_the_server_is_tried_as_a_send_would(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "shop"
    with Sink() as sink:
        make_shop(folder, f"[smtp]\nport = {sink.port}\n")
        code, out, _ = run(folder, capsys, monkeypatch, "--json", "mail", "check")
        assert code == 0 and json.loads(out)["tls"] is False
        _, out, _ = run(folder, capsys, monkeypatch, "--language", "zh", "mail", "check")
        assert "应答正常" in out and "未加密" in out and "DKIM" in out
        (folder / FILE_NAME).write_text(f"[smtp]\nport = {sink.port}\nstarttls = true\n")
        code, _, err = run(folder, capsys, monkeypatch, "mail", "check")
        assert code == 2 and "STARTTLS" in err and "[smtp]" in err
    assert sink.count == 0
    code, _, err = run(folder, capsys, monkeypatch, "mail", "check")
    assert code == 2 and str(sink.port) in err


def test_the_records_that_the_dns_must_have(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "shop"
    make_shop(folder)
    assert "mail.dkim" in run(folder, capsys, monkeypatch, "mail", "dns")[1]
    write_key(folder)
    text = '[smtp]\nsender = "news@shop.example"\n[[mail.dkim]]\nselector = "s1"\nkey_file = "dkim.pem"\n'
    (folder / FILE_NAME).write_text(text)
    out = run(folder, capsys, monkeypatch, "mail", "dns")[1]
    assert "s1._domainkey.shop.example TXT" in out and "v=DKIM1; k=rsa; p=" in out and "PRIVATE" not in out


def test_mails_that_came_back(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "shop"
    make_shop(folder)
    workspace = Workspace.open(folder)
    (one,) = send_to(workspace.store, ["gone"])
    workspace.close()
    box = tmp_path / "box"
    box.mkdir()
    (box / "1.eml").write_bytes(dsn(message_id=f"<{one}@shop.example>"))
    code, out, err = run(folder, capsys, monkeypatch, "--language", "zh", "mail", "bounces", str(box))
    assert code == 0, err
    assert "地址不存在" in out and "不再发送邮件" in out
    assert "No mail came back" in run(folder, capsys, monkeypatch, "mail", "bounces", str(box))[1]
    assert "bounce_box" in run(folder, capsys, monkeypatch, "mail", "bounces")[2]
