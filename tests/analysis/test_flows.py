"""Flows between stages: nobody is lost or counted twice, and two flows that touch agree about the day between."""

from __future__ import annotations

from collections import Counter
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimwell.analysis.flows import measure_flows
from aimwell.core.errors import BadInput
from aimwell.core.tables import TABLES
from aimwell.engine.workspace import Reader
from tests.engine.funnel_world import ScratchReader
from tests.engine.scratch import build_lines

LAST = date(2024, 6, 1)
DAYS = (date(2024, 3, 1), date(2024, 4, 15), LAST)
orders = st.lists(
    st.tuples(
        st.sampled_from("pqrst"), st.dates(date(2022, 9, 1), date(2024, 6, 10)), st.integers(100, 9_900)
    ),
    min_size=1,
    max_size=40,
)


def open_reader(bought: list[tuple[str, date, int]]) -> Any:
    people = [{"customer_id": who, "source": "t"} for who in "pqz"]
    lines = build_lines(
        *(
            {"customer_id": who, "ordered_on": day, "order_id": f"o{number}", "revenue": Decimal(cents) / 100}
            for number, (who, day, cents) in enumerate(bought)
        )
    )
    return ScratchReader({"customers": TABLES["customers"].build(people), "order_lines": lines})


@settings(max_examples=25, deadline=None)
@given(orders)
def test_everybody_moves_once_and_days_between_agree(bought: list[tuple[str, date, int]]) -> None:
    reader: Reader = open_reader(bought)
    earlier = measure_flows(reader, start=DAYS[0], end=DAYS[1])
    later = measure_flows(reader, start=DAYS[1], end=DAYS[2])
    for found, end in ((earlier, DAYS[1]), (later, DAYS[2])):
        people = {"p", "q", "z"} | {who for who, day, _ in bought if day < end}
        assert sum(row["customers"] for row in found["moves"]) == len(people)
        assert sum(found["from"].values()) == sum(found["to"].values()) == len(people)
        assert found["worse"]["customers"] + found["better"]["customers"] <= len(people)
    if earlier["activity"] == later["activity"] == "orders":
        # Whoever came only after the day between is a prospect on it.
        new = {who for who, day, _ in bought if day < DAYS[2]} - {
            who for who, day, _ in bought if day < DAYS[1]
        }
        between = Counter(later["from"])
        between["prospect"] -= len(new - {"p", "q", "z"})
        assert +between == +Counter(earlier["to"])


@settings(max_examples=25, deadline=None)
@given(orders)
def test_what_is_at_stake_is_the_revenue_of_the_year_before(bought: list[tuple[str, date, int]]) -> None:
    reader: Reader = open_reader(bought)
    found = measure_flows(reader, start=DAYS[1], end=DAYS[2])
    year = DAYS[1] - timedelta(days=365)
    paid = sum(cents for _, day, cents in bought if year <= day < DAYS[1]) / 100
    assert sum(row[found["stake"]] for row in found["moves"]) == pytest.approx(paid)


def test_movers_are_those_of_the_cell() -> None:
    bought = [("p", date(2024, 3, 20), 500), ("q", date(2024, 5, 20), 700), ("q", date(2023, 5, 1), 900)]
    reader: Reader = open_reader(bought)
    found = measure_flows(reader, start=DAYS[1], end=DAYS[2])
    for row in found["moves"]:
        pair = (row["stage_from"], row["stage_to"])
        movers = measure_flows(reader, start=DAYS[1], end=DAYS[2], movers=pair)["movers"]
        assert len(movers) == row["customers"]
    with pytest.raises(BadInput):
        measure_flows(reader, start=DAYS[1], end=DAYS[2], movers=("awake", "asleep"))
    with pytest.raises(BadInput):
        measure_flows(reader, start=DAYS[2], end=DAYS[1])
