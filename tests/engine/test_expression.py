"""Expressions over tags: what has no value is empty, and everything else is what it says."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimwell.core.errors import BadInput
from aimwell.core.tables import Type
from aimwell.engine.compile_tags import compile_expressions
from aimwell.engine.expression import make_total
from aimwell.engine.specification import Expression, validate_tag
from tests.engine.scratch import Scratch

NUMBERS = st.none() | st.sampled_from([-3.0, -0.5, 0.0, 0.25, 1.0, 2.0, 900.0])
Meaning = Callable[[float, float], float | None]
FORMS: dict[str, Meaning] = {
    "a / b": lambda a, b: a / b if b else None,
    "a/b/b": lambda a, b: a / b / b if b else None,
    "a / (b / a)": lambda a, b: a / (b / a) if a and b else None,
    "a % b": lambda a, b: math.fmod(a, b) if b else None,
    "a % 2 + a / 0.5": lambda a, b: math.fmod(a, 2) + a / 0.5,
    "-a / -b": lambda a, b: a / b if b else None,
    "LN(a) / LN(b)": lambda a, b: math.log(a) / math.log(b) if a > 0 and b > 0 and b != 1 else None,
    "sqrt(a + b)": lambda a, b: math.sqrt(a + b) if a + b >= 0 else None,
    "EXP(a)": lambda a, b: math.exp(a) if a < 709 else None,
    "CASE WHEN a / b > 1 THEN 1 WHEN a / 0 > 1 THEN 2 ELSE 3 END": lambda a, b: 1 if b and a / b > 1 else 3,
    "COALESCE(a / NULLIF(b, 0), SQRT(b), 7)": lambda a, b: a / b if b else 0.0,
}


@given(NUMBERS, NUMBERS)
def test_what_has_no_value_is_empty(a: float | None, b: float | None) -> None:
    scratch = Scratch({"two": pa.table({"a": pa.array([a], pa.float64()), "b": pa.array([b], pa.float64())})})
    names = {f"form_{number}": sql for number, sql in enumerate(FORMS)}
    query = compile_expressions(
        {name: Expression(sql, Type.REAL) for name, sql in names.items()}, table="two", columns=["a", "b"]
    )
    found = scratch.query(query).to_pylist()[0]
    if a is None or b is None:
        assert all(value is None or math.isfinite(value) for value in found.values())
        return
    for name, sql in names.items():
        expected = FORMS[sql](a, b)
        assert found[name] == (None if expected is None else pytest.approx(expected)), sql


def test_what_cannot_fail_stands_as_it_was_written() -> None:
    for sql in ("recency_days  *1.0/ NULLIF(b, 0)", "order_days_total > 1", "ROUND(a * 0.37, 2)"):
        assert make_total(sql) == sql
    assert make_total("\"odd / name\" / 2 = 'x / y''%'") == "\"odd / name\" / 2 = 'x / y''%'"


def test_half_an_expression_is_refused() -> None:
    types: dict[str, Any] = {"a": Type.INTEGER}
    with pytest.raises(BadInput) as caught:
        validate_tag(Expression("a / (2", Type.REAL), types)
    assert caught.value.code == "engine.unreadable_expression"
    assert caught.value.render("zh") != caught.value.render("en")
