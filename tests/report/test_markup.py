"""Everything that is not markup is escaped; both languages stand in the page."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from aimwell.core.text import say
from aimwell.report.markup import Both, Html, embed_json, fill, join, make, write_child


@given(st.text())
def test_a_string_never_becomes_markup(words: str) -> None:
    written = write_child(words)
    assert "<" not in written and ">" not in written and '"' not in written


@given(st.text(), st.text())
def test_a_text_in_two_languages_adds_only_its_own_spans(english: str, chinese: str) -> None:
    written = write_child(Both(english, chinese)).replace("<code>", "").replace("</code>", "")
    assert written.count("<") == (0 if english == chinese else 4)


@given(st.dictionaries(st.text(), st.text()))
def test_embedded_json_reads_back_and_never_ends_its_block(values: dict[str, str]) -> None:
    block = embed_json(values)
    inside = block.removeprefix('<script type="application/json">').removesuffix("</script>")
    assert "<" not in inside
    assert json.loads(inside) == values


def test_markup_stays_and_its_neighbours_are_escaped() -> None:
    assert join(Html("<b>x</b>"), "<i>", 3, None) == "<b>x</b>&lt;i&gt;3"


def test_attributes_are_quoted_and_flags_stand_alone() -> None:
    written = make("a", "x", class_='"><script>', hidden=True, href=None)
    assert written == '<a class="&quot;&gt;&lt;script&gt;" hidden>x</a>'


def test_an_attribute_carries_both_languages_for_the_switch() -> None:
    written = make("i", title=say("Strategy"))
    assert 'title="Strategy"' in written and 'data-zh-title="策略"' in written


def test_commands_between_backticks_become_code() -> None:
    assert write_child(Both("run `a <b>`", "run `a <b>`")) == "run <code>a &lt;b&gt;</code>"


def test_values_that_differ_by_language_fill_their_places() -> None:
    assert fill(say("budget {amount}"), amount=Both("¥120,000", "￥12.0 万")).zh == "预算 ￥12.0 万"
