"""Help pages and what is said of a line that cannot be read: one language at a time, exit code 2."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest
import typer

from aimwell.cli.app import app, main
from aimwell.cli.help import choose_language
from aimwell.core.text import set_language

CHINESE = re.compile(r"[\u4e00-\u9fff]")
UNREADABLE = [
    (["dat"], "没有命令“dat”。您是否指：data？"),
    (["segment", "list"], "没有命令“segment”。您是否指：analysis segment？"),
    (["data", "zzzzzz"], "没有命令“zzzzzz”。"),
    (["init"], "缺少 FOLDER（要创建的文件夹）。"),
    (["data", "add"], "缺少 FILE"),
    (["data", "tables", "x", "y"], "多余的内容，无法识别：x y"),
    (["data", "tables", "--nope"], "没有选项 --nope。"),
    (["data", "quality", "--trand"], "您是否指：--trend？"),
    (["data", "quality", "--all=3"], "选项 --all 不带取值。"),
    (["round", "--wave"], "选项 --wave 需要一个取值。"),
    (["demo", "--rounds", "9"], "--rounds 的取值不合适：9 大于 3。"),
    (["demo", "--rounds", "x"], "“x”不是整数。"),
    (["data", "identity", "find", "--least", "x"], "“x”不是数字。"),
    (["analysis", "funnel"], "缺少选项 --step"),
    (["data", "consent", "set", "c", "sms"], "缺少选项 --allow|--refuse"),
]


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "160")


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["aimwell", *arguments])
    with pytest.raises(SystemExit) as stopped:
        main()
    return int(stopped.value.code or 0)


def list_commands() -> list[tuple[list[str], Any]]:
    found: list[tuple[list[str], Any]] = []

    def walk(command: Any, path: list[str]) -> None:
        found.append((path, command))
        for name, below in getattr(command, "commands", {}).items():
            walk(below, [*path, name])

    walk(typer.main.get_command(app), [])
    return found


@pytest.mark.parametrize(("line", "expected"), UNREADABLE)
def test_a_line_that_cannot_be_read_is_explained_in_chinese(
    line: list[str], expected: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *line, "--language", "zh") == 2
    printed = capsys.readouterr()
    assert expected in printed.err
    assert "查看用法：" in printed.err
    assert not printed.out


@pytest.mark.parametrize("line", [line for line, _ in UNREADABLE])
def test_and_in_english(
    line: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, *line, "--language=en") == 2
    assert not CHINESE.search(capsys.readouterr().err)


@pytest.mark.parametrize("language", ["en", "zh"])
def test_every_help_page_is_in_one_language(
    language: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--language", language, "data", "add", "--help") == 0
    page = capsys.readouterr().out
    assert ("用法：" in page) == (language == "zh")
    set_language("zh" if language == "zh" else "en")
    for path, command in list_commands():
        texts = [command.help, *(getattr(param, "help", None) for param in command.params)]
        for text in filter(None, texts):
            shown = choose_language(text)
            if "completion" in text or "language" in text:
                continue  # the parser's own, which have our words; the option that names both languages
            has_chinese = CHINESE.search(shown.replace("准星", "")) is not None
            assert has_chinese == (language == "zh"), (path, shown)


def test_a_group_alone_shows_its_commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "--language", "zh", "data", "identity") == 2
    printed = capsys.readouterr()
    assert "解释两条记录为何是（或不是）同一人" in printed.out
    assert not printed.err
