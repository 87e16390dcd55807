"""Live rules say, event by event, what the compiled rule says of all events: late, repeated, and as days pass."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from aimwell.analysis import live_rules
from aimwell.analysis.live_machine import Machine
from aimwell.analysis.live_rules import Change, LiveRules
from aimwell.core.errors import BadInput, Conflict
from aimwell.core.tables import EVENTS
from aimwell.engine.compaction import compact
from aimwell.engine.compile_rules import compile_rules
from aimwell.engine.hot_events import HotBatch
from aimwell.engine.hot_tables import HOT_CONSUMERS, LIVE_CHANGES
from aimwell.engine.rule import All, Any, Compare, Not, Rule, Sequence, Step, did
from aimwell.engine.specification import Condition, Window
from aimwell.engine.workspace import Workspace

DAY = date(2024, 3, 10)
VIEW, BUY, MAIL = (Step("events", (Condition("name", "=", name),), 3) for name in ("View", "Buy", "Mail"))
FIRST = Step("events", VIEW.conditions)
RULES: dict[str, Rule] = {
    "ever": did("View"),
    "often": did("View", 3, 4),
    "by_mail": did("View", 1, 5, (Condition("channel", "=", "email"),)),
    "not_by_mail": did("View", 2, None, (Condition("channel", "!=", "email"),)),
    "viewed_not_bought": All((did("View", 2, 6), Not(did("Buy", 1, 3)))),
    "either": Any((did("Buy", 2), did("Mail", 1, 2))),
    "bought_after": Sequence((FIRST, BUY)),
    "recently": Sequence((FIRST, MAIL, BUY), None, Window(5, 1)),
    "abandoned": Sequence((FIRST,), BUY, Window(8)),
    "twice": Sequence((FIRST, VIEW), Step("events", (Condition("name", "=", "Buy"),))),
}
PEOPLE = ("c0", "c1", "c2")


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    opened = Workspace.create(tmp_path / "w", zone="UTC")
    yield opened
    opened.close()


def take(workspace: Workspace, *rows: tuple[str, str, str, int, str | None]) -> None:
    """Events from id, customer, name, hours before or after DAY, channel."""
    at = datetime(DAY.year, DAY.month, DAY.day, tzinfo=UTC)
    table = EVENTS.build(
        [
            {
                "event_id": key,
                "customer_id": customer,
                "name": name,
                "occurred_at": at + timedelta(hours=hours),
                "occurred_on": (at + timedelta(hours=hours)).date(),
                "channel": channel,
                "source": "test",
                "simulated": False,
            }
            for key, customer, name, hours, channel in rows
        ]
    )
    workspace.hot.append(HotBatch([row[0] for row in rows], {"events": (table, np.arange(len(rows)))}))


def decide(workspace: Workspace, rules: dict[str, Rule], as_of: date) -> dict[str, set[str]]:
    """Who is in each group according to the compiled rules, over everybody."""
    query = compile_rules(rules, {}, as_of=as_of, table="people")
    with workspace.read() as reader:
        reader.register("people", pa.table({"customer_id": list(PEOPLE)}))
        rows = reader.query(query.sql, query.parameters).to_pylist()
    return {name: {row["customer_id"] for row in rows if row[name]} for name in rules}


def listen(live: LiveRules, rules: dict[str, Rule]) -> dict[str, set[str]]:
    return {name: {one for one in PEOPLE if live.holds(name, one)} for name in rules}


EVENT = st.tuples(
    st.integers(0, 25).map(str),
    st.sampled_from(PEOPLE),
    st.sampled_from(("View", "Buy", "Mail")),
    st.integers(-12 * 24, 47).map(lambda hours: hours // 6 * 6),
    st.sampled_from(("email", "sms", None)),
)


@settings(max_examples=8)
@given(st.lists(st.tuples(st.lists(EVENT, max_size=8), st.integers(0, 2), st.booleans()), max_size=6))
def test_the_stream_says_what_the_batch_says(
    turns: list[tuple[list[tuple[str, str, str, int, str | None]], int, bool]],
) -> None:
    with TemporaryDirectory() as folder:
        workspace = Workspace.create(Path(folder) / "w", zone="UTC")
        as_of = DAY
        live = LiveRules(workspace, RULES)
        if turns:
            take(workspace, *turns[0][0])
        live.start(as_of=as_of)
        for events, days, restarts in turns:
            take(workspace, *events)
            as_of += timedelta(days=days)
            if restarts:
                compact(workspace)
                live = LiveRules(workspace, RULES)
                live.start(as_of=as_of)
            live.step(as_of=as_of, most_rows=5)
            while live._position < workspace.hot._position:
                live.step(as_of=as_of, most_rows=5)
            assert listen(live, RULES) == decide(workspace, RULES, as_of)
        workspace.close()


def test_changes_are_said_once_and_kept(workspace: Workspace) -> None:
    live = LiveRules(workspace, {"ever": did("View", 1, 2)})
    live.start(as_of=DAY)
    take(workspace, ("a", "c0", "View", -12, None), ("b", "c1", "Buy", -12, None))
    assert live.step(as_of=DAY) == [Change("ever", "c0", True)]
    assert live.step(as_of=DAY) == []
    # Nothing happens, but a day passes.
    assert live.step(as_of=DAY + timedelta(1)) == []
    assert live.step(as_of=DAY + timedelta(2)) == [Change("ever", "c0", False)]
    with workspace.store.snapshot() as connection:
        kept = connection.execute(sa.select(LIVE_CHANGES.c.customer_id, LIVE_CHANGES.c.inside)).all()
    assert kept == [("c0", True), ("c0", False)]


def test_a_restart_goes_on_where_it_was(workspace: Workspace) -> None:
    rules = {"often": did("View", 2, 5)}
    live = LiveRules(workspace, rules)
    live.start(as_of=DAY)
    take(workspace, ("a", "c0", "View", -12, None))
    live.step(as_of=DAY)
    compact(workspace)
    take(workspace, ("b", "c0", "View", -13, None))
    # The second event was not read: it stays hot, whatever the worker does.
    compact(workspace)
    again = LiveRules(workspace, rules)
    again.start(as_of=DAY)
    assert again.step(as_of=DAY) == [Change("often", "c0", True)]


def test_two_processes_cannot_follow_under_one_name(workspace: Workspace) -> None:
    one, other = (LiveRules(workspace, {"ever": did("View")}) for _ in range(2))
    one.start(as_of=DAY)
    other.start(as_of=DAY)
    take(workspace, ("a", "c0", "View", -12, None))
    one.step(as_of=DAY)
    with pytest.raises(Conflict):
        other.step(as_of=DAY)


def test_who_stops_holds_nothing_back(workspace: Workspace) -> None:
    live = LiveRules(workspace, {"ever": did("View")})
    live.start(as_of=DAY)
    take(workspace, ("a", "c0", "View", -12, None))
    assert compact(workspace).rows == 0
    live.stop()
    assert compact(workspace).rows == 1


def test_joined_records_count_together(workspace: Workspace) -> None:
    with workspace.run("data", as_of=DAY) as run:
        columns = {"record_id": ["c1"], "customer_id": ["c0"], "run_id": [run.id]}
        run.replace("identities", pa.table(columns))
    live = LiveRules(workspace, {"often": did("View", 2)})
    live.start(as_of=DAY)
    take(workspace, ("a", "c0", "View", -12, None), ("b", "c1", "View", -12, None))
    assert live.step(as_of=DAY) == [Change("often", "c0", True)]


@pytest.mark.parametrize(
    "rule",
    [
        Compare("orders_365d", ">=", 1),
        did("View", 1, None, (Condition("properties.price", ">=", 3),)),
        Sequence((Step("order_lines"),)),
    ],
)
def test_what_needs_more_than_events_is_refused(rule: Rule) -> None:
    with pytest.raises(BadInput):
        Machine({"one": rule})


def silence(workspace: Workspace, consumer: str, since: timedelta) -> None:
    """As if ``consumer`` had last been heard of so long ago."""
    mine = HOT_CONSUMERS.c.consumer == consumer
    with workspace.store.begin() as connection:
        connection.execute(sa.update(HOT_CONSUMERS).where(mine).values(changed_at=datetime.now(UTC) - since))


def test_a_consumer_that_died_holds_nothing_back_for_ever_and_begins_anew(workspace: Workspace) -> None:
    live = LiveRules(workspace, RULES)
    take(workspace, ("a", "c0", "View", 1, None))
    live.start(as_of=DAY)
    take(workspace, ("b", "c1", "View", 2, None), ("c", "c1", "View", 3, None))
    hours = workspace.settings.events.consumer_hours
    silence(workspace, "live", timedelta(hours=hours - 1))
    assert compact(workspace).rows == 1, "what a living consumer has not read waits for it"
    silence(workspace, "live", timedelta(hours=hours + 1))
    assert compact(workspace).rows == 2
    take(workspace, ("d", "c2", "View", 4, None))
    assert live.notice is None
    as_of = DAY + timedelta(days=1)
    live.step(as_of=as_of)
    assert live.notice is not None
    assert "had not read the stream" in live.notice.render("en")
    assert listen(live, RULES) == decide(workspace, RULES, as_of)
    take(workspace, ("e", "c2", "View", 5, None))
    assert compact(workspace).rows == 1, "having come again, it is waited for again"


def test_a_consumer_with_nothing_to_read_is_heard_of_all_the_same(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = LiveRules(workspace, RULES)
    live.start()
    later = datetime.now(UTC) + timedelta(hours=workspace.settings.events.consumer_hours - 1)
    silence(workspace, "live", timedelta(hours=workspace.settings.events.consumer_hours - 1))
    monkeypatch.setattr(live_rules, "now", lambda: later)
    live.step()
    take(workspace, ("a", "c0", "View", 1, None))
    assert compact(workspace).rows == 0
