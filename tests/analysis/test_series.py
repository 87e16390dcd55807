"""A figure by period against adding up by hand."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimwell.analysis.series import find_start, measure_series, parse_figure
from aimwell.analysis.step_text import parse_step
from aimwell.core.errors import BadInput
from aimwell.engine.funnel import Period, Series, Step
from tests.engine.scratch import Scratch, build_lines

START, END = date(2024, 1, 10), date(2024, 3, 20)
sales = st.lists(
    st.tuples(st.dates(date(2023, 12, 1), date(2024, 4, 20)), st.integers(-500, 5_000)), max_size=20
)


@settings(max_examples=80, deadline=None)
@given(
    sales, st.sampled_from(["day", "week", "month"]), st.sampled_from(["count", "sum:revenue", "max:revenue"])
)
def test_each_period_holds_its_own_rows(bought: list[tuple[date, int]], period: Period, figure: str) -> None:
    lines = build_lines(
        *({"customer_id": "p", "ordered_on": day, "revenue": Decimal(cents) / 100} for day, cents in bought)
    )
    series = Series(parse_figure(figure, Step("order_lines")), period, START, END)
    found = measure_series(Scratch({"order_lines": lines}), series)["periods"]
    starts = [date.fromisoformat(row["start"]) for row in found]
    # Every day that counts lies in just one of the periods.
    assert starts[0] <= START
    for row, begins, after in zip(found, starts, [*starts[1:], END], strict=True):
        own = [cents / 100 for day, cents in bought if max(begins, START) <= day < min(after, END)]
        nothing = 0.0 if figure != "max:revenue" else None
        expected = {"count": len(own), "sum:revenue": sum(own), "max:revenue": max(own, default=0.0)}[figure]
        assert row["figure"] == (pytest.approx(expected) if own else nothing)
        assert row["rows"] == len(own)
        assert row["whole"] == (begins >= START and (after < END or _is_first(END, period)))


def _is_first(day: date, period: Period) -> bool:
    return {"day": True, "week": day.weekday() == 0, "month": day.day == 1}[period]


def test_a_step_limits_the_rows() -> None:
    lines = build_lines(
        {"customer_id": "p", "ordered_on": date(2024, 2, 1), "revenue": Decimal(5)},
        {"customer_id": "p", "ordered_on": date(2024, 2, 2), "revenue": Decimal(50)},
    )
    step = parse_step("order_lines[revenue >= 10]")
    series = Series(parse_figure("average:revenue", step), "month", date(2024, 2, 1), date(2024, 3, 1))
    found = measure_series(Scratch({"order_lines": lines}), series)["periods"]
    assert found == [{"start": "2024-02-01", "figure": 50.0, "rows": 1, "whole": True}]


def test_it_begins_some_periods_ago() -> None:
    assert find_start(date(2024, 3, 1), "day") == date(2024, 1, 31)
    assert find_start(date(2024, 3, 1), "month") == date(2023, 3, 1)
    assert find_start(date(2024, 3, 4), "week") == date(2024, 3, 4) - timedelta(weeks=12)


@pytest.mark.parametrize("figure", ["sum", "sums:revenue", "sum:shoes", "deviation:revenue"])
def test_a_figure_that_cannot_be_is_refused(figure: str) -> None:
    with pytest.raises(BadInput):
        measure_series(Scratch({}), Series(parse_figure(figure, Step("order_lines")), "day", START, END))


def test_days_and_periods_have_limits() -> None:
    count = parse_figure("count", Step("order_lines"))
    with pytest.raises(BadInput):
        measure_series(Scratch({}), Series(count, "day", END, START))
    with pytest.raises(BadInput):
        measure_series(Scratch({}), Series(count, "day", date(2020, 1, 1), END))


def test_customers_of_a_period_are_counted_once() -> None:
    lines = build_lines(
        *(
            {"customer_id": who, "ordered_on": date(2024, 2, day)}
            for who, day in (("p", 1), ("q", 1), ("p", 2))
        )
    )
    figure = parse_figure("count_distinct:customer_id", Step("order_lines"))
    series = Series(figure, "month", date(2024, 2, 1), date(2024, 3, 1))
    found = measure_series(Scratch({"order_lines": lines}), series)["periods"]
    assert found == [{"start": "2024-02-01", "figure": 2.0, "rows": 3, "whole": True}]
