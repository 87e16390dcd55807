"""Cohort tables and metrics by period against plain Python."""

from __future__ import annotations

from collections import defaultdict
from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimwell.core.errors import BadInput
from aimwell.engine.compile_cohort import (
    compile_cohort,
    compile_series,
    find_period_start,
    number_period,
    render_period,
)
from aimwell.engine.funnel import Cohort, Period, Series, Step, match_event
from aimwell.engine.specification import Aggregate, Window
from tests.engine.scratch import Scratch, build_events, build_lines

END = date(2024, 6, 1)
days = st.dates(date(2024, 1, 1), date(2024, 5, 31))
periods = st.sampled_from(["day", "week", "month"])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("pqr"), st.sampled_from(["a", "b"]), days), max_size=25), periods)
def test_cells_are_what_counting_by_hand_gives(rows: list[tuple[str, str, date]], period: Period) -> None:
    query = compile_cohort(Cohort(match_event("a"), match_event("b"), period, END))
    found = {
        (row["first_period"], row["period_offset"]): (row["customers"], row["last_seen"])
        for row in Scratch({"events": build_events(*rows)}).run(query).to_pylist()
    }
    assert found == count_by_hand(rows, period)


def count_by_hand(
    rows: list[tuple[str, str, date]], period: Period
) -> dict[tuple[int, int], tuple[int, int]]:
    cells: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0])
    for customer in "pqr":
        begun = [number_period(day, period) for who, name, day in rows if (who, name) == (customer, "a")]
        if begun:
            first = min(begun)
            active = {
                number_period(day, period) - first
                for who, name, day in rows
                if (who, name) == (customer, "b")
            }
            offsets = [-1, *sorted(offset for offset in active if offset >= 0)]
            for offset in offsets:
                cells[first, offset][0] += 1
            cells[first, offsets[-1]][1] += 1
    return {key: (count, last) for key, (count, last) in cells.items()}


@given(days, periods)
def test_a_period_has_one_number_in_python_and_in_sql(day: date, period: Period) -> None:
    number = Scratch({}).query(
        f"SELECT {render_period('d', period)} AS n FROM (SELECT CAST($d AS DATE) AS d)", {"d": day}
    )
    assert number["n"][0].as_py() == number_period(day, period)
    start = find_period_start(number_period(day, period), period)
    assert start <= day < find_period_start(number_period(day, period) + 1, period)


def test_revenue_belongs_to_the_period_and_returns_are_taken_off() -> None:
    lines = build_lines(
        {"customer_id": "p", "ordered_on": date(2024, 1, 5), "revenue": Decimal("10.10")},
        {"customer_id": "p", "ordered_on": date(2024, 2, 5), "revenue": Decimal("20.00")},
        {"customer_id": "p", "ordered_on": date(2024, 2, 6), "revenue": Decimal("-5.00"), "quantity": -1.0},
    )
    query = compile_cohort(Cohort(Step("orders"), Step("order_lines"), "month", END))
    found = Scratch({"order_lines": lines}).run(query).to_pylist()
    assert [(row["period_offset"], row["revenue"]) for row in found] == [
        (-1, None),
        (0, Decimal("10.10")),
        (1, Decimal("15.00")),
    ]


def test_an_attribute_names_the_cohort() -> None:
    import pyarrow as pa

    customers = pa.table({"customer_id": ["p", "q"], "region": ["华东", None]})
    events = build_events(("p", "a", date(2024, 1, 5)), ("q", "a", date(2024, 1, 6)))
    query = compile_cohort(Cohort(match_event("a"), match_event("a"), "month", END, attribute="region"))
    found = Scratch({"events": events, "customers": customers}).run(query).to_pylist()
    assert {row["cohort"] for row in found} == {"华东", None}


def test_a_figure_by_week() -> None:
    lines = build_lines(
        *(
            {
                "customer_id": "p",
                "ordered_on": date(2024, 1, 1) + timedelta(days=day),
                "revenue": Decimal("2"),
            }
            for day in range(14)
        )
    )
    for function, figures in (("count", [7, 7]), ("sum", [14, 14]), ("average", [2, 2]), ("max", [2, 2])):
        aggregate = Aggregate("order_lines", function, None if function == "count" else "revenue")
        query = compile_series(Series(aggregate, "week", date(2024, 1, 1), END))
        assert Scratch({"order_lines": lines}).run(query)["figure"].to_pylist() == figures


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(BadInput):
        compile_cohort(Cohort(Step("orders"), Step("orders"), "year", END))  # type: ignore[arg-type]
    with pytest.raises(BadInput):
        compile_series(
            Series(Aggregate("orders", "count", None, (), Window(3)), "day", date(2024, 1, 1), END)
        )
