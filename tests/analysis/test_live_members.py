"""Live membership is what a full evaluation says, whatever comes in whatever order; and it says who came and went."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from aimwell.analysis.live_members import LiveMembers, read_live_members
from aimwell.analysis.live_rules import Change
from aimwell.analysis.step import describe
from aimwell.core.errors import Conflict
from aimwell.core.tables import EVENTS
from aimwell.engine.compaction import compact
from aimwell.engine.hot_events import HotBatch
from aimwell.engine.hot_tables import LIVE_CHANGES, LIVE_MEMBERS
from aimwell.engine.workspace import Workspace
from tests.analysis.shop import AS_OF
from tests.analysis.test_schedule import evaluate_all, make_shop, read_open

PEOPLE = ("ann", "ben", "cid", "stranger")


def find_instant(day: date, hours: int = 12) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(hours=hours)


def take(workspace: Workspace, *rows: tuple[str, str, str, int]) -> None:
    """Events from id, customer, name and days before AS_OF."""
    table = EVENTS.build(
        [
            {
                "event_id": key,
                "customer_id": customer,
                "name": name,
                "occurred_at": find_instant(AS_OF - timedelta(days=days), 4),
                "occurred_on": AS_OF - timedelta(days=days),
                "source": "test",
                "simulated": False,
            }
            for key, customer, name, days in rows
        ]
    )
    workspace.hot.append(HotBatch([row[0] for row in rows], {"events": (table, np.arange(len(rows)))}))


def read_members(workspace: Workspace) -> set[tuple[str, str]]:
    with workspace.read() as reader:
        names = reader.query("SELECT segment FROM segments")["segment"].to_pylist()
        return {(name, one) for name in names for one in read_live_members(workspace, reader, name)}


EVENT = st.tuples(
    st.integers(0, 30).map(str),
    st.sampled_from(PEOPLE),
    st.sampled_from(("Coupon Redeemed", "Product Viewed")),
    st.integers(-2, 95),
)
TURN = st.tuples(st.lists(EVENT, max_size=4), st.integers(0, 20), st.booleans(), st.booleans())


@settings(max_examples=4, deadline=None)
@given(st.lists(TURN, min_size=1, max_size=4))
def test_live_members_are_those_of_a_full_evaluation(
    turns: list[tuple[list[tuple[str, str, str, int]], int, bool, bool]],
) -> None:
    with TemporaryDirectory() as folder:
        workspace = make_shop(Path(folder))
        live = LiveMembers(workspace)
        day = AS_OF
        said = read_open(workspace)
        for events, days, moves, restarts in turns:
            if events:
                take(workspace, *events)
            day += timedelta(days=days)
            if moves:
                compact(workspace)
            if restarts:
                live = LiveMembers(workspace)
            for change in live.step(find_instant(day)):
                key = (change.rule, change.customer_id)
                assert (key in said) != change.inside
                (said.add if change.inside else said.discard)(key)
            # Today counts: the members are those of tomorrow's analysis.
            assert read_members(workspace) == evaluate_all(workspace, day + timedelta(1)) == said
        workspace.close()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return make_shop(tmp_path)


def test_an_event_changes_membership_at_once_and_is_written_down(workspace: Workspace) -> None:
    live = LiveMembers(workspace)
    live.step(find_instant(AS_OF))
    before = read_members(workspace)
    take(workspace, ("new", "cid", "Coupon Redeemed", 0))
    assert ("redeemed_lately", "cid") not in before
    assert Change("redeemed_lately", "cid", True) in live.step(find_instant(AS_OF))
    assert live.step(find_instant(AS_OF)) == []
    assert ("redeemed_lately", "cid") in read_members(workspace)
    with workspace.store.snapshot() as connection:
        named = (LIVE_CHANGES.c.rule == "redeemed_lately", LIVE_CHANGES.c.customer_id == "cid")
        kept = connection.execute(sa.select(LIVE_CHANGES.c.inside).where(*named)).scalars().all()
        since = sa.select(LIVE_MEMBERS.c.since).where(LIVE_MEMBERS.c.customer_id == "cid")
        instants = connection.execute(since).scalars().all()
    assert kept == [True]
    # A new process says nothing again, and keeps the instant.
    again = LiveMembers(workspace)
    assert again.step(find_instant(AS_OF)) == []
    with workspace.store.snapshot() as connection:
        assert connection.execute(since).scalars().all() == instants
    assert Change("redeemed_lately", "cid", False) in again.step(find_instant(AS_OF + timedelta(days=91)))


def test_a_new_analysis_is_the_new_base(workspace: Workspace) -> None:
    live = LiveMembers(workspace)
    live.step(find_instant(AS_OF))
    take(workspace, ("new", "cid", "Coupon Redeemed", 1))
    live.step(find_instant(AS_OF))
    assert read_members(workspace) != read_open(workspace)
    describe(workspace, as_of=AS_OF + timedelta(days=1))
    # Until the next step the new analysis holds alone; it decides as of the same day, and so the step adds nothing.
    analysed = read_open(workspace)
    assert read_members(workspace) == analysed
    live.step(find_instant(AS_OF))
    assert read_members(workspace) == analysed


def test_two_processes_do_not_write_over_each_other(workspace: Workspace) -> None:
    one, other = LiveMembers(workspace), LiveMembers(workspace)
    one.step(find_instant(AS_OF))
    other.step(find_instant(AS_OF))
    take(workspace, ("new", "cid", "Coupon Redeemed", 0))
    with pytest.raises(Conflict):
        one.step(find_instant(AS_OF))
    assert Change("redeemed_lately", "cid", True) in one.step(find_instant(AS_OF))


def test_without_an_analysis_there_is_nothing_to_follow(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "w", zone="UTC")
    assert LiveMembers(workspace).step() == []
    workspace.close()
