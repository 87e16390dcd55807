"""Chinese is broken where it may be, and nothing is lost or added by breaking."""

from __future__ import annotations

import io
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.table import Table

from aimwell.cli.pages import Page, Words, find_breaks

SIGNS = st.text(alphabet="ab 中文，。（）“”-1,", max_size=60)


@given(text=SIGNS, width=st.integers(4, 40))
def test_no_line_is_too_wide_and_no_sign_is_lost(text: str, width: int) -> None:
    breaks = [0, *find_breaks(text, width), len(text)]
    assert breaks == sorted(breaks)
    lines = [text[start:end] for start, end in pairwise(breaks)]
    assert "".join(lines) == text
    assert all(cell_len(line.rstrip()) <= width for line in lines)


def test_a_line_does_not_begin_with_a_closing_sign() -> None:
    text = "订单明细（日期、商品、数量、金额）以及实验的计划、分组、结果和投放记录，以保持合计不变。"
    for width in range(10, 60):
        for place in find_breaks(text, width):
            assert text[place] not in "，。、）"
            assert text[place - 1] != "（"


def test_words_stay_whole() -> None:
    text = "请运行 aimwell analysis run 之后再试"
    for place in find_breaks(text, 14):
        assert not (text[place].isascii() and text[place - 1].isascii() and text[place - 1] != " ")


@pytest.mark.parametrize("width", [40, 80, 160])
def test_a_column_of_chinese_leaves_room_for_the_others(width: int) -> None:
    page = Page(width=width, file=io.StringIO())
    table = Table("名称", "规则", "人数")
    table.add_row(
        "最佳客户", Words("生命周期阶段为衰退、沉睡、流失之一，或消费趋势不超过百分之五十" * 3), "1,234"
    )
    page.print(table)
    lines = page.file.getvalue().splitlines()
    assert all(cell_len(line) <= width for line in lines)
    assert any("1,234" in line for line in lines)
    assert any("最佳客户" in line for line in lines)


def test_numbers_stand_on_the_right() -> None:
    page = Page(width=40, file=io.StringIO())
    table = Table("名称", "人数")
    table.add_row("甲", "1")
    table.add_row("乙", "1,234")
    page.print(table)
    assert "│     1 │" in page.file.getvalue()
