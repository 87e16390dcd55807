"""The published file's rows give what the portable query gives, whatever is in the file and what came after it."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimwell.analysis.coded_scan import scan_coded
from aimwell.analysis.funnel_scan import find_attempts
from aimwell.engine.funnel import Breakdown, Condition, Funnel, Step, match_event
from aimwell.engine.hot_events import HotBatch
from aimwell.engine.published import publish
from aimwell.engine.workspace import Workspace
from tests.analysis.test_funnel_scan import list_instants
from tests.engine.funnel_world import Happening, build_happenings, funnels, histories

DAY = date(2024, 3, 30)


def build_workspace(
    folder: Path, filed: list[Happening], later: list[Happening], hot: list[Happening]
) -> Workspace:
    """A workspace with events that are published, in a file that came later, and in no file."""
    workspace = Workspace.create(folder / "w")
    for rows, published in ((filed, True), (later, False)):
        if rows:
            with workspace.run("data", as_of=DAY) as run:
                run.append("events", build_happenings(rows))
        if published:
            publish(workspace)
    if hot:
        batch = (build_happenings(hot), np.arange(len(hot)))
        workspace.hot.append(HotBatch([row.event_id for row in hot], {"events": batch}))
    return workspace


@settings(max_examples=6, deadline=None)
@given(histories(), funnels(), st.integers(0, 3), st.booleans())
def test_what_came_after_the_file_is_seen_too(
    rows: list[Happening], funnel: Funnel, newest: int, in_one_file: bool
) -> None:
    cut = max(len(rows) - newest, 0)
    filed, later = rows[:cut], rows[cut:]
    with tempfile.TemporaryDirectory() as folder:
        files, hot = (later, []) if in_one_file else ([], later)
        workspace = build_workspace(Path(folder), filed, files, hot)
        with workspace.read() as reader:
            by_query = find_attempts(reader, funnel, scan=False)
            assert list_instants(find_attempts(reader, funnel)) == list_instants(by_query)
        workspace.close()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    rows = [
        Happening(f"c{number % 17}", "abcx"[number % 4], number * 7 % 900, number) for number in range(300)
    ]
    return build_workspace(tmp_path, rows, [], [])


def test_the_file_is_used_where_it_can_be(workspace: Workspace) -> None:
    funnel = Funnel((match_event("a"), match_event("b")), timedelta(hours=5), date(2024, 4, 1))
    with workspace.read() as reader:
        found = scan_coded(reader, funnel)
        assert found is not None
        assert list_instants(found) == list_instants(find_attempts(reader, funnel, scan=False))
        by_property = Step("events", (Condition("properties.colour", "=", "red"),))
        assert scan_coded(reader, replace(funnel, steps=(match_event("a"), by_property))) is None


def test_rewritten_events_are_not_read_from_an_older_file(workspace: Workspace) -> None:
    with workspace.run("data", as_of=DAY) as run:
        run.replace("events", run.query("SELECT * FROM delivered_events WHERE name <> 'b'"))
    funnel = Funnel((match_event("a"), match_event("b")), timedelta(hours=5), date(2024, 4, 1))
    with workspace.read() as reader:
        assert set(find_attempts(reader, funnel).level.tolist()) == {1}


def test_joined_customers_are_one(workspace: Workspace) -> None:
    with workspace.run("data", as_of=DAY) as run:
        joined = {"record_id": ["c1", "c2"], "customer_id": ["c9", "c9"], "run_id": [run.id] * 2}
        run.replace("identities", pa.table(joined))
    funnel = Funnel((match_event("a"), match_event("b")), timedelta(hours=5), date(2024, 4, 1))
    for _ in range(2):
        with workspace.read() as reader:
            found = list_instants(find_attempts(reader, funnel))
            assert found == list_instants(find_attempts(reader, funnel, scan=False))
            assert "c1" not in found
        publish(workspace)


def test_a_breakdown_by_the_first_row_is_that_of_the_query(workspace: Workspace) -> None:
    steps = (Step("events", (Condition("name", "!=", "x"),)), match_event("b"))
    funnel = Funnel(steps, timedelta(hours=5), date(2024, 4, 1), breakdown=Breakdown("step", "name"))
    with workspace.read() as reader:
        found, expected = find_attempts(reader, funnel), find_attempts(reader, funnel, scan=False)
    assert found.customers.to_pylist() == expected.customers.to_pylist()
    assert found.parts == expected.parts
