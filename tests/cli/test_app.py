"""The line is read as people type it, and no traceback reaches them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

import pytest

from aimwell.cli import app as module
from aimwell.cli.app import main, put_first
from aimwell.core.errors import BadInput
from aimwell.core.text import say, set_language


@pytest.mark.parametrize(
    ("typed", "parsed"),
    [
        (["round", "--json"], ["--json", "round"]),
        (["--json", "round"], ["--json", "round"]),
        (
            ["-w", "shop", "data", "add", "f", "--json", "--yes"],
            ["--json", "-w", "shop", "data", "add", "f", "--yes"],
        ),
        (["customer", "--", "--json"], ["customer", "--", "--json"]),
        (["round"], ["round"]),
    ],
)
def test_json_may_stand_anywhere(typed: list[str], parsed: list[str]) -> None:
    assert put_first(typed) == parsed


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str, app: Callable[..., None] | None = None) -> int:
    monkeypatch.setattr(sys, "argv", ["aimwell", *arguments])
    if app is not None:
        monkeypatch.setattr(module, "app", app)
    with pytest.raises(SystemExit) as stopped:
        main()
    set_language("en")
    return int(stopped.value.code or 0)


def test_the_version_is_printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.strip() == "0.1.0"


def test_a_defect_becomes_a_sentence_and_a_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(args: list[str], standalone_mode: bool) -> None:
        raise ZeroDivisionError("secret")

    assert run(monkeypatch, "round", "--json", app=fail) == 1
    printed = capsys.readouterr()
    assert json.loads(printed.out)["error"]["code"] == "cli.defect"
    assert "Traceback" not in printed.out + printed.err
    assert "secret" not in printed.out + printed.err


def test_an_error_in_chinese_carries_its_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(args: list[str], standalone_mode: bool) -> None:
        set_language("zh")
        remedy = say("Use zh or en.")
        raise BadInput("x", say("The language '{language}' is not known.", language="fr"), remedy=remedy)

    assert run(monkeypatch, "round", app=refuse) == 2
    assert "不支持语言" in (shown := capsys.readouterr().err)
    assert "请使用" in shown


def test_an_interruption_says_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupt(args: list[str], standalone_mode: bool) -> None:
        raise KeyboardInterrupt

    assert run(monkeypatch, app=interrupt) == 130
    assert "again" in capsys.readouterr().err
