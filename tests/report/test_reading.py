"""A payload may be partial or odd: reading never fails."""

from __future__ import annotations

import math
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from aimwell.report.markup import Both
from aimwell.report.reading import (
    Figure,
    Material,
    read_figure,
    read_list,
    read_number,
    read_pairs,
    read_rows,
    read_text,
    read_texts,
)

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(anything)
def test_anything_reads_as_something(value: object) -> None:
    number = read_number(value)
    assert number is None or math.isfinite(number)
    assert all(math.isfinite(cell) for pair in read_pairs(value) for cell in pair)
    assert isinstance(read_text(value), Both)
    assert read_figure(value) is None or isinstance(read_figure(value), Figure)
    assert len(read_rows(value)) <= len(read_list(value))


def test_flags_and_what_is_not_finite_are_no_numbers() -> None:
    assert [read_number(value) for value in (True, math.nan, math.inf, "3", None)] == [None] * 5
    assert read_number(Decimal("2.50")) == 2.5


def test_a_text_of_one_language_serves_both() -> None:
    assert read_text({"en": "Best", "zh": None}) == Both("Best", "Best")
    assert read_texts([{"en": "a", "zh": "b"}, None, ""]) == [Both("a", "b")]


def test_an_estimate_keeps_its_interval_and_its_verdict() -> None:
    figure = read_figure({"estimate": 1, "lower": 0.5, "upper": None, "n": 3, "proven": False})
    assert figure == Figure(1.0, 0.5, None, 3, "", False)
    assert figure is not None and not figure.bounded


def test_a_skipped_step_left_nothing() -> None:
    material = Material({"models": {"status": "skipped", "lacks": []}, "data": {"tables": {}}}, "USD")
    assert not material.has("models") and not material.has("goal")
    assert material.has("data")
