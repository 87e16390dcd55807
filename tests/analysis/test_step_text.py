"""Steps and durations as people write them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from aimwell.analysis.step_text import parse_duration, parse_step
from aimwell.core.errors import BadInput
from aimwell.engine.funnel import Condition


def test_a_bare_name_is_an_event() -> None:
    step = parse_step("Product Viewed[channel = app and properties.page = 首页]")
    assert step.table == "events"
    assert step.conditions == (
        Condition("name", "=", "Product Viewed"),
        Condition("channel", "=", "app"),
        Condition("properties.page", "=", "首页"),
    )


def test_tables_take_numbers() -> None:
    step = parse_step("orders[revenue >= 99.5 and lines > 2]")
    assert (step.table, [one.value for one in step.conditions]) == ("orders", [99.5, 2])


@pytest.mark.parametrize("text", ["", "a[b", "a[b]", "a]b[", "orders[revenue >= x]", "orders[nothing = 1]"])
def test_what_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        parse_step(text)


def test_durations() -> None:
    assert parse_duration("90m") == timedelta(minutes=90)
    assert parse_duration("2w") == timedelta(days=14)
    for text in ("", "7", "0d", "-1d", "99999d", "7 years"):
        with pytest.raises(BadInput):
            parse_duration(text)
