"""The scan in memory finds what the portable query finds, and what trying every attempt by hand finds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aimwell.analysis import funnel_scan
from aimwell.analysis.funnel_scan import NEVER, Attempts, find_attempts
from aimwell.core.tables import TABLES
from aimwell.engine.funnel import Condition, Funnel, Step
from aimwell.engine.workspace import Reader
from tests.engine.funnel_world import (
    Happening,
    ScratchReader,
    build_happenings,
    funnels,
    histories,
    search_by_hand,
)


def list_instants(attempts: Attempts) -> dict[str, tuple[int, list[datetime]]]:
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return {
        customer: (int(level), [epoch + timedelta(microseconds=int(at)) for at in reached if at != NEVER])
        for customer, level, reached in zip(
            attempts.customers.to_pylist(), attempts.level, attempts.reached, strict=True
        )
    }


def open_reader(rows: list[Happening]) -> Any:
    people = [{"customer_id": who, "source": "t"} for who in "pq"]
    return ScratchReader({"events": build_happenings(rows), "customers": TABLES["customers"].build(people)})


@settings(max_examples=150, deadline=None)
@given(histories(), funnels(), st.booleans())
def test_the_scan_finds_the_best_attempt(rows: list[Happening], funnel: Funnel, apart: bool) -> None:
    if apart:
        # No two rows at one instant: nobody is left to the query.
        rows = [replace(row, minute=row.minute * 50 + row.number) for row in rows]
        funnel = replace(funnel, window=funnel.window * 50)
    reader: Reader = open_reader(rows)
    assert list_instants(find_attempts(reader, funnel)) == search_by_hand(rows, funnel)


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(funnel_scan, "_BITS", 36)
    monkeypatch.setattr(funnel_scan, "_BLOCK", 5)
    monkeypatch.setattr(funnel_scan, "_COARSEST", 40)
    monkeypatch.setattr(funnel_scan, "_MOST_DOUBTFUL", 1.0)
    yield


@pytest.mark.usefixtures("coarse")
@settings(max_examples=80, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(histories(), funnels())
def test_levels_stay_right_when_instants_are_cut(rows: list[Happening], funnel: Funnel) -> None:
    reader: Reader = open_reader(rows)
    found = list_instants(find_attempts(reader, funnel))
    expected = search_by_hand(rows, funnel)
    assert {who: level for who, (level, _) in found.items()} == {
        who: level for who, (level, _) in expected.items()
    }


def test_steps_with_several_conditions_are_scanned_too(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    rows = [
        Happening(f"c{who}", "abcx"[kind], int(minute), number)
        for number, (who, kind, minute) in enumerate(
            zip(rng.integers(0, 40, 900), rng.integers(0, 4, 900), rng.integers(0, 9_000, 900), strict=True)
        )
    ]
    steps = (
        Step("events", (Condition("name", "=", "a"), Condition("event_id", "!=", "e0001"))),
        Step("events", (Condition("name", "!=", "a"),)),
        Step("events", (Condition("name", "=", "c"),)),
    )
    funnel = Funnel(steps, timedelta(hours=3), datetime(2024, 4, 1).date())
    reader: Reader = open_reader(rows)
    by_scan, by_query = find_attempts(reader, funnel), find_attempts(reader, funnel, scan=False)
    assert list_instants(by_scan) == list_instants(by_query)
    assert set(by_scan.level.tolist()) >= {3}
