"""Commands in sentences can be copied: they name the workspace, exist, and stand on one line."""

from __future__ import annotations

import io
import re
import sys
from pathlib import Path

import pytest
import typer
from babel.messages.pofile import read_po
from hypothesis import given
from hypothesis import strategies as st
from typer.core import TyperGroup

from aimwell.cli import app as cli
from aimwell.cli.commands import complete_commands, find_commands, use_workspace
from aimwell.cli.pages import Page, Words, find_breaks
from aimwell.core.text import set_language
from tests.house.source import PACKAGE

TOP = typer.main.get_command(cli.app)
MAP = (
    "Say which column it is: --map customer_id=会员 --as order_lines; or, where customers are not known, take the "
    "order or row as one: --map customer_id=#row. Then totals can be analysed."
)


@pytest.fixture(autouse=True)
def forget() -> None:
    """No workspace of another test."""
    use_workspace(Path(), [])


def choose(folder: str) -> None:
    assert isinstance(TOP, TyperGroup)
    use_workspace(Path(folder), TOP.commands)


def read_commands() -> list[str]:
    """What the catalogues' sentences call commands, both languages."""
    found = []
    for path in sorted((PACKAGE / "locale" / "zh_Hans").glob("*.po")):
        with path.open("rb") as stream:
            for message in read_po(stream, locale="zh_Hans"):
                for side in (str(message.id), str(message.string)):
                    found += re.findall(r"(?<!upgrade )\baimwell((?: [a-z][a-z-]*)+)", side)
    return found


def test_every_command_that_a_sentence_names_exists() -> None:
    commands = read_commands()
    assert len(commands) > 100
    for words in commands:
        group, path = TOP, []
        for word in words.split():
            if not isinstance(group, TyperGroup):
                break
            path.append(word)
            assert word in group.commands, f"there is no: aimwell {' '.join(path)}"
            group = group.commands[word]


@pytest.mark.parametrize(
    ("folder", "text", "told"),
    [
        ("shop", "See: aimwell data rejects", "See: aimwell -w shop data rejects"),
        ("a b", "aimwell round；aimwell worker", "aimwell -w 'a b' round；aimwell -w 'a b' worker"),
        ("shop", "aimwell -w other data add FILE", "aimwell -w other data add FILE"),
        ("shop", "aimwell init shop, or aimwell restore", "aimwell init shop, or aimwell restore"),
        (
            "shop",
            "pip install --upgrade aimwell. Aimwell rounds",
            "pip install --upgrade aimwell. Aimwell rounds",
        ),
        ("shop", "/bin/aimwell data, aimwell rounds", "/bin/aimwell data, aimwell rounds"),
        (r"C:\1", "aimwell data", r"aimwell -w 'C:\1' data"),
        (".", "See: aimwell data rejects", "See: aimwell data rejects"),
    ],
)
def test_a_command_is_told_with_the_workspace(folder: str, text: str, told: str) -> None:
    choose(folder)
    assert complete_commands(text) == told
    page = Page(width=120, file=io.StringIO())
    page.print(text, markup=False)
    assert page.file.getvalue() == told + "\n"


@given(width=st.integers(12, 120), before=st.integers(0, 60), language=st.sampled_from(["en", "zh"]))
def test_a_command_is_never_broken(width: int, before: int, language: str) -> None:
    commands = [
        "aimwell -w /srv/shops/north/2026 data add /data/deliveries/会员订单-2026-03.csv --as order_lines",
        "aimwell journey status welcome-new",
        '--map "name==Coupon Received"',
        "--map customer_id=会员编号",
    ]
    filler = "word " * before if language == "en" else "汉字" * before + "："
    text = filler + ("; or ; " if language == "en" else "；或者").join([*commands, "end"])
    page = Page(width=width, file=io.StringIO())
    page.print(text, markup=False, highlight=False, style="red")
    lines = page.file.getvalue().splitlines()
    for command in commands:
        assert any(command in line for line in lines)
    rest = [line for line in lines if not any(command in line for command in commands)]
    assert all(len(line) <= width for line in rest)
    assert "".join("".join(lines).split()) == "".join(text.split())


@pytest.mark.parametrize("width", [40, 60, 80])
def test_the_question_for_a_column_can_be_copied(width: int) -> None:
    assert [MAP[start:end] for start, end in find_commands(MAP)] == [
        "--map customer_id=会员",
        "--as order_lines",
        "--map customer_id=#row.",
    ]
    for place in find_breaks(MAP, width, whole=True):
        assert not any(start < place < end for start, end in find_commands(MAP))


def test_a_cell_that_is_narrower_than_a_command_is_cut_between_words() -> None:
    # A table cannot show more than its width; what does not fit would be lost.
    text = "请运行 aimwell analysis segment export 之后再试"
    for width in (14, 20):
        lines = Words(text).wrap(Page(width=width), width)
        assert all(len(line.plain.rstrip().encode("gb18030")) <= width for line in lines)
        assert [word for line in lines for word in line.plain.split() if word.isascii()] == [
            *("aimwell", "analysis", "segment", "export")
        ]


def test_what_data_add_says_can_be_copied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shop = str(tmp_path / "a shop")
    text = "order_id,customer_id,order_date,amount\nO1,C1,soon,3\nO2,C2,2024-01-01,4\n"
    (tmp_path / "orders.csv").write_text(text, "utf-8")
    for language, words in (
        ("en", ("init", shop)),
        ("zh", ("-w", shop, "data", "add", str(tmp_path / "orders.csv"), "--as", "order_lines", "--yes")),
        ("en", ("-w", shop, "customer", "C2")),
        ("en", ("-w", shop, "customer", "nobody")),
    ):
        monkeypatch.setattr(sys, "argv", ["aimwell", "--language", language, *words])
        with pytest.raises(SystemExit):
            cli.main()
    set_language("en")
    printed = capsys.readouterr()
    for command in ("data rejects", "data add FILE --as consents", "analysis run"):
        assert f"aimwell -w '{shop}' {command}" in printed.out
    assert f"aimwell -w '{shop}' customer\n" in printed.err
