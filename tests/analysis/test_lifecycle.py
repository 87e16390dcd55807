"""Lifecycle by each customer's own rhythm."""

from __future__ import annotations

from typing import Any

import duckdb
import pyarrow as pa
import pytest

from aimwell.analysis.lifecycle import STAGES, USUAL_RHYTHM, find_usual_rhythm, render_stage

KINDS = {
    "recency_days": pa.int64(),
    "tenure_days": pa.int64(),
    "days_between_orders": pa.float64(),
    "orders_trend": pa.float64(),
    "orders_90d": pa.int64(),
}


def find_stage(usual: float = 10.0, **values: Any) -> str:
    table = pa.table({name: pa.array([values.get(name)], kind) for name, kind in KINDS.items()})
    with duckdb.connect() as connection:
        connection.register("measured", table)
        found = connection.execute(f"SELECT {render_stage(usual)} FROM measured AS m").fetchall()
    return str(found[0][0])


@pytest.mark.parametrize(
    ("recency", "gap", "stage"),
    [
        (21, 7.0, "active"),
        (22, 7.0, "declining"),
        (56, 7.0, "declining"),
        (57, 7.0, "dormant"),
        (182, 7.0, "dormant"),
        (183, 7.0, "lost"),
        # A rhythm of two days counts as seven.
        (21, 2.0, "active"),
        # Who buys each quarter is not late after three months.
        (92, 91.0, "active"),
        (731, 91.0, "lost"),
        # Who bought once is measured by the usual rhythm.
        (30, None, "active"),
        (31, None, "declining"),
    ],
)
def test_a_stage_is_a_number_of_own_rhythms(recency: int, gap: float | None, stage: str) -> None:
    assert find_stage(recency_days=recency, tenure_days=900, days_between_orders=gap, orders_90d=1) == stage


def test_new_and_prospect_come_before_all() -> None:
    assert find_stage() == "prospect"
    assert find_stage(recency_days=30, tenure_days=30, orders_90d=1) == "new"
    assert find_stage(recency_days=30, tenure_days=31, orders_90d=1) == "active"


def test_a_fall_in_orders_is_decline_only_where_there_were_enough() -> None:
    regular = {"recency_days": 5, "tenure_days": 300, "days_between_orders": 7.0}
    assert find_stage(**regular, orders_trend=-0.51, orders_90d=4) == "declining"
    assert find_stage(**regular, orders_trend=-0.51, orders_90d=3) == "active"
    assert find_stage(**regular, orders_trend=-0.5, orders_90d=4) == "active"


def test_the_usual_rhythm_is_the_median_of_those_who_came_back() -> None:
    table = pa.table({"days_between_orders": pa.array([5.0, None, 9.0, 40.0])})
    assert find_usual_rhythm(table) == 9.0
    assert find_usual_rhythm(table.slice(1, 1)) == USUAL_RHYTHM


def test_every_stage_has_a_name() -> None:
    assert list(STAGES) == ["prospect", "new", "active", "declining", "dormant", "lost"]
