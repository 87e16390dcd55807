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

from aimwell.analysis import coded_scan
from aimwell.analysis.attempts import NEVER
from aimwell.analysis.coded_scan import _Rows, _Scan, scan_coded
from aimwell.analysis.funnel_scan import find_attempts
from aimwell.engine.funnel import Breakdown, Condition, Funnel, Step, match_event
from aimwell.engine.hot_events import HotBatch
from aimwell.engine.published import publish
from aimwell.engine.workspace import Workspace
from tests.analysis.test_funnel_scan import list_instants
from tests.engine.funnel_world import (
    LETTERS,
    Happening,
    build_happenings,
    funnels,
    histories,
    search_by_hand,
)

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


def split_rows(rows: list[Happening], scan: _Scan, codes: dict[str, int], length: int) -> list[_Rows]:
    """The rows of two chains, each in parts that are ``length`` minutes long; the second has every third row."""
    parts = []
    for chain in (0, 1):
        own = [row for row in rows if (row.number % 3 == 0) == bool(chain)]
        for first in range(0, 31, length):
            part = [row for row in own if first <= row.minute < first + length]
            part.sort(key=lambda row: (row.customer, row.at, row.event_id))
            customers = np.array(["pqr".index(row.customer) for row in part], np.int32)
            moments = np.array([int(row.at.timestamp()) * 1_000_000 for row in part], np.int64)
            key = np.empty(len(part), np.int64)
            scan.make_keys(customers, moments, 0, key)
            span = (int(moments.min()) - scan.origin, int(moments.max()) - scan.origin) if part else (0, 0)
            raw = np.array([codes.get(row.name, 0) for row in part], np.int32)
            parts.append(_Rows(0, chain, span, key, raw))
    return parts


@settings(max_examples=300, deadline=None)
@given(histories(), funnels(), st.integers(1, 31), st.booleans(), st.sampled_from([1, 5]))
def test_parts_are_followed_from_one_to_the_next(
    rows: list[Happening], funnel: Funnel, length: int, coded: bool, coarse: int
) -> None:
    # The coarser the instants are, the more rows stand at the same one.
    rows = [replace(row, customer="pq"[row.number % 2], minute=row.minute // coarse * coarse) for row in rows]
    names = [str(step.conditions[0].value) for step in (*funnel.steps, *funnel.exclusions)]
    coded = coded and len(set(names)) == len(names)
    codes = {letter: number for number, letter in enumerate(LETTERS)}
    if not coded:
        codes = {
            letter: sum(1 << bit for bit, name in enumerate(names) if name == letter) for letter in LETTERS
        }
    if not rows:
        return
    moments = [int(row.at.timestamp()) * 1_000_000 for row in rows]
    scan = _Scan(
        funnel, tuple(codes[name] for name in names) if coded else None, (min(moments), max(moments))
    )
    found = scan.find(split_rows(rows, scan, codes, length), 0)
    answers = {
        "pqr"[code]: (int(level), [int(at) for at in reached if at != NEVER])
        for code, level, reached in zip(found.codes, found.level, found.reached, strict=True)
    }
    expected = {
        who: (level, [int(at.timestamp()) * 1_000_000 for at in instants])
        for who, (level, instants) in search_by_hand(rows, funnel).items()
    }
    doubtful = {"pqr"[code] for code in found.doubtful}
    assert {who: one for who, one in answers.items() if who not in doubtful} == {
        who: one for who, one in expected.items() if who not in doubtful
    }
    tied = {
        one.customer
        for one in rows
        for two in rows
        if (one.customer, one.at) == (two.customer, two.at) and (one.number % 3 == 0) != (two.number % 3 == 0)
    }
    assert doubtful <= tied


def test_months_are_read_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coded_scan, "_MOST_AT_ONCE", 3)
    monkeypatch.setattr(coded_scan, "_ROWS_IN_BATCH", 7)
    # A first step a month or so: most ways lead from one month into the next.
    rare = {0: "a", 3: "b", 5: "b", 8: "c", 9: "c"}
    rows = [
        Happening(f"c{number % 11:02d}", rare.get(number % 17, "x"), number * 557 % 130_000, number)
        for number in range(900)
        if number % 17 in rare or number % 85 == 1
    ]
    workspace = build_workspace(tmp_path, rows, [], [])
    steps = tuple(match_event(name) for name in "abc")
    for days in (3, 20, 400):
        funnel = Funnel(steps, timedelta(days=days), date(2024, 7, 1), exclusions=(match_event("x"),))
        with workspace.read() as reader:
            coded = reader.coded
            assert coded is not None and len(coded.months) > 2
            found = scan_coded(reader, funnel)
            assert found is not None
            assert list_instants(found) == list_instants(find_attempts(reader, funnel, scan=False))
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
