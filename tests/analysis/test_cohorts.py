"""Retention tables against counting by hand, on any rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimwell.analysis.cohorts import measure_cohorts
from aimwell.core.errors import BadInput, NotReady
from aimwell.engine.funnel import Cohort, Period, Step, match_event
from tests.engine.scratch import Scratch, build_events, build_lines

END = date(2024, 4, 10)
PEOPLE = {"p": "east", "q": "east", "r": None, "s": "west"}
days = st.dates(date(2024, 1, 1), date(2024, 4, 20))
periods = st.sampled_from(["day", "week", "month"])


@dataclass(frozen=True)
class Row:
    who: str
    name: str
    day: date


rows_of_events = st.lists(st.builds(Row, st.sampled_from("pqrs"), st.sampled_from("ab"), days), max_size=30)


def find_first_day(day: date, period: Period) -> date:
    if period == "day":
        return day
    return day - timedelta(days=day.weekday()) if period == "week" else day.replace(day=1)


def list_periods(first: date, period: Period) -> list[date]:
    """The first days of the whole periods from the one that begins on ``first``."""
    found, last = [], find_first_day(END, period)
    while first < last:
        found.append(first)
        step = {"day": 1, "week": 7, "month": 31}[period]
        first = find_first_day(first + timedelta(days=step), period)
    return found


def count_by_hand(rows: Sequence[Row], period: Period) -> dict[date, tuple[set[str], list[Any]]]:
    """First period → its customers, and for each whole period since who was active, and who in it or later."""
    rows = [row for row in rows if row.day < END]
    begun: dict[str, date] = {}
    for row in rows:
        if row.name == "a":
            start = find_first_day(row.day, period)
            begun[row.who] = min(begun.get(row.who, start), start)
    found = {}
    for start in set(begun.values()):
        members = {who for who, day in begun.items() if day == start}
        seen = [(row.who, find_first_day(row.day, period)) for row in rows if row.name == "b"]
        cells = [
            (
                {who for who, day in seen if who in members and day == one},
                {who for who, day in seen if who in members and day >= one},
            )
            for one in list_periods(start, period)
        ]
        found[start] = (members, cells)
    return found


@settings(max_examples=60, deadline=None)
@given(rows_of_events, periods)
def test_the_table_is_what_counting_by_hand_gives(rows: list[Row], period: Period) -> None:
    scratch = Scratch({"events": build_events(*((row.who, row.name, row.day) for row in rows))})
    cohort = Cohort(match_event("a"), match_event("b"), period, END)
    expected = count_by_hand(rows, period)
    if not expected:
        with pytest.raises(NotReady):
            measure_cohorts(scratch, cohort)
        return
    found = measure_cohorts(scratch, cohort)
    assert found["customers"] == sum(len(members) for members, _ in expected.values())
    assert [row["start"] for row in found["cohorts"]] == [day.isoformat() for day in sorted(expected)]
    for table in found["cohorts"]:
        members, cells = expected[date.fromisoformat(table["start"])]
        assert table["customers"] == len(members)
        assert [cell["customers"] for cell in table["cells"]] == [len(active) for active, _ in cells]
        for cell, (active, later) in zip(table["cells"], cells, strict=True):
            assert cell["of"] == len(members)
            assert cell["share"]["estimate"] == pytest.approx(len(active) / len(members))
            assert cell["rolling"]["estimate"] == pytest.approx(len(later) / len(members))
            assert cell["share"]["lower"] <= cell["share"]["estimate"] <= cell["share"]["upper"]


@settings(max_examples=60, deadline=None)
@given(rows_of_events, periods)
def test_overall_adds_the_cohorts_whose_period_is_known(rows: list[Row], period: Period) -> None:
    scratch = Scratch({"events": build_events(*((row.who, row.name, row.day) for row in rows))})
    expected = count_by_hand(rows, period)
    if not expected:
        return
    found = measure_cohorts(scratch, Cohort(match_event("a"), match_event("b"), period, END))
    for offset, cell in enumerate(found["overall"]):
        known = [(members, cells[offset]) for members, cells in expected.values() if offset < len(cells)]
        assert (cell["of"], cell["customers"], cell["cohorts"]) == (
            sum(len(members) for members, _ in known),
            sum(len(active) for _, (active, _) in known),
            len(known),
        )


@settings(max_examples=60, deadline=None)
@given(rows_of_events, periods)
def test_an_attribute_parts_the_same_customers(rows: list[Row], period: Period) -> None:
    people = pa.table({"customer_id": list(PEOPLE), "city": list(PEOPLE.values())})
    events = build_events(*((row.who, row.name, row.day) for row in rows))
    scratch = Scratch({"events": events, "customers": people})
    expected = count_by_hand(rows, period)
    if not expected:
        return
    found = measure_cohorts(
        scratch, Cohort(match_event("a"), match_event("b"), period, END, attribute="city")
    )
    sizes = {row["label"]: row["customers"] for row in found["cohorts"]}
    everybody = [who for members, _ in expected.values() for who in members]
    assert sizes == {
        city: count
        for city in {"east", "west", None}
        if (count := sum(PEOPLE[who] == city for who in everybody))
    }
    for table in found["cohorts"]:
        for cell in table["cells"]:
            known = [
                (members & _live_in(table["label"]), cells[cell["offset"]])
                for members, cells in expected.values()
                if cell["offset"] < len(cells)
            ]
            assert cell["of"] == sum(len(members) for members, _ in known)
            assert cell["customers"] == sum(len(members & active) for members, (active, _) in known)


def _live_in(city: str | None) -> set[str]:
    return {who for who, own in PEOPLE.items() if own == city}


def test_revenue_is_that_of_the_period() -> None:
    bought = (("p", "2024-01-05", "10.00"), ("p", "2024-03-05", "4.00"), ("q", "2024-01-06", "2.50"))
    lines = build_lines(
        *(
            {"customer_id": who, "ordered_on": date.fromisoformat(day), "revenue": Decimal(revenue)}
            for who, day, revenue in bought
        )
    )
    found = measure_cohorts(
        Scratch({"order_lines": lines}), Cohort(Step("orders"), Step("orders"), "month", END)
    )
    cells = found["cohorts"][0]["cells"]
    assert [cell["revenue"] for cell in cells] == [12.5, None, 4.0]
    assert [cell["revenue_per_customer"] for cell in cells] == [6.25, None, 2.0]


def test_what_cannot_be_shown_is_refused() -> None:
    scratch = Scratch({"events": build_events(("p", "a", date(2020, 1, 1)))})
    with pytest.raises(BadInput):
        measure_cohorts(scratch, Cohort(match_event("a"), match_event("a"), "day", END))
    with pytest.raises(BadInput):
        measure_cohorts(scratch, Cohort(match_event("a"), match_event("a"), "week", END, attribute="shoe"))
