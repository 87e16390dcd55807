"""Entries that no single event makes: segments entered or left, schedules, dates of customers.

Everything may be looked through again at any time: an occasion (change of a segment, slot, date) lets a customer in
once, whatever the clock does.
Reads the store's ``live_changes``; writes ``journey_enrolments`` and ``journey_positions``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Protocol, TypeAlias

import sqlalchemy as sa

from aimwell.deployment.journeys.enrolments import (
    WAITING,
    Entering,
    Person,
    read_active,
    read_position,
    write_moves,
    write_position,
)
from aimwell.deployment.journeys.entering import DAY_MS, enter
from aimwell.deployment.journeys.graph import EVENT, DateEntry, Journey, ScheduleEntry, SegmentEntry, WaitDate
from aimwell.deployment.journeys.knowledge import NOBODY, Facts, Joined, Need
from aimwell.deployment.journeys.local_time import (
    find_instant,
    find_next_slot,
    find_slot,
    list_returns,
    read_clock,
)
from aimwell.deployment.journeys.merging import is_current
from aimwell.deployment.journeys.versions import SEGMENTS, Catalogue, Running, list_running
from aimwell.deployment.journeys.walk import find_date
from aimwell.engine.hot_tables import LIVE_CHANGES
from aimwell.engine.journey_tables import JOURNEY_ENROLMENTS
from aimwell.engine.rule import Rule
from aimwell.engine.store import Store

SCAN_MS = 5 * 60_000
"""Dates are looked through so often."""
_LATEST_DAYS = 7
"""So late, at most, does a yearly date let anybody in when nobody worked meanwhile."""
Join: TypeAlias = Callable[[], Joined]
"""The joined records as they are now."""
_CHUNK = 10_000
_MOST_CHANGES = 50_000


class Register(Facts, Protocol):
    """Facts that can also list customers."""

    def list_holders(self, rule: Rule, now_ms: int) -> list[str]:
        """All customers for whom ``rule`` holds."""
        ...

    def list_dated(self, of: str, first: date, last: date, *, yearly: bool) -> list[tuple[str, date, str]]:
        """Customer, date and zone of all whose date ``of`` (or its yearly return) is from ``first`` to ``last``."""
        ...

    def has_zones(self) -> bool:
        """Whether some customers have another zone than the business's."""
        ...

    def find_version(self, of: str) -> int:
        """A number that grows when the dates ``of`` may have changed."""
        ...


# ------------------------------------------------------------ segments


def follow_segments(store: Store, catalogue: Catalogue, *, now_ms: int, joined: Joined = NOBODY) -> int:
    """Let in, and let out, whom the changes of segments say; how many changes were looked through."""
    with store.begin() as connection:
        position = read_position(connection, SEGMENTS, lock=True)
        running = [one for one in list_running(connection) if one.state != "stopped"]
        if position is None or not running or not is_current(connection, joined.version):
            return 0
        columns = LIVE_CHANGES.c
        query = (
            sa.select(columns.change, columns.rule, columns.customer_id, columns.inside, columns.at)
            .where(columns.consumer == SEGMENTS, columns.change > position)
            .order_by(columns.change)
            .limit(_MOST_CHANGES)
        )
        changes = [
            (number, rule, joined.find(customer), inside, at)
            for number, rule, customer, inside, at in connection.execute(query)
        ]
        if not changes:
            return 0
        for one in running:
            journey = catalogue.find(connection, one.name, one.version)
            _leave(connection, one, journey, changes, now_ms)
            if one.state == "running":
                enter(connection, one, journey, _list_changed(one, journey, changes), now_ms)
        write_position(connection, SEGMENTS, changes[-1][0])
        return len(changes)


def has_changes(connection: sa.Connection) -> bool:
    """Whether segments changed since the last time."""
    position = read_position(connection, SEGMENTS)
    newest = sa.select(sa.func.max(LIVE_CHANGES.c.change)).where(LIVE_CHANGES.c.consumer == SEGMENTS)
    return position is not None and int(connection.execute(newest).scalar() or 0) > position


def _list_changed(
    running: Running, journey: Journey, changes: Sequence[tuple[int, str, str, bool, datetime]]
) -> list[Entering]:
    wanted = {(e.segment, e.moment == "enters"): e.to for e in journey.entries if isinstance(e, SegmentEntry)}
    return [
        Entering(customer, f"segment:{change}", wanted[rule, inside], _to_ms(at), None)
        for change, rule, customer, inside, at in changes
        if (rule, inside) in wanted and _to_ms(at) >= running.started_ms
    ]


def _leave(
    connection: sa.Connection,
    running: Running,
    journey: Journey,
    changes: Sequence[tuple[int, str, str, bool, datetime]],
    now_ms: int,
) -> None:
    left = {one.left_segment for one in journey.exits if one.left_segment is not None}
    gone = {customer: _to_ms(at) for _, rule, customer, inside, at in changes if rule in left and not inside}
    people = read_active(connection, [running.name], sorted(gone)) if gone else []
    leaving = [one for one in people if one.entered_ms <= gone[one.customer_id]]
    for one in leaving:
        one.end("exit", now_ms)
    write_moves(connection, leaving)


# ------------------------------------------------------------ schedules and dates


def follow_calendar(
    store: Store,
    catalogue: Catalogue,
    facts: Register,
    *,
    now_ms: int,
    zone: str,
    join: Join,
) -> int:
    """Let in whom schedules and dates name by now; how many entered."""
    entered = 0
    with store.snapshot() as connection:
        known = [
            (one, catalogue.find(connection, one.name, one.version))
            for one in list_running(connection)
            if one.state == "running"
        ]
    for running, journey in known:
        for number, entry in enumerate(journey.entries, 1):
            source = f"{running.name}:{number}"
            if isinstance(entry, ScheduleEntry):
                entered += _enter_slot(store, running, journey, entry, source, facts, now_ms, zone, join)
            elif isinstance(entry, DateEntry):
                entered += _enter_dates(store, running, journey, entry, source, facts, now_ms, join)
        _follow_dates(store, running, journey, catalogue, facts, now_ms)
    return entered


def find_next_look(connection: sa.Connection, running: Running, journey: Journey, zone: str) -> int | None:
    """When schedules or dates of the journey are to be looked at next, in ms."""
    looks = []
    for number, entry in enumerate(journey.entries, 1):
        source = f"{running.name}:{number}"
        if isinstance(entry, ScheduleEntry):
            last = read_position(connection, f"slot:{source}")
            looks.append(find_next_slot(entry, running.started_ms if last is None else last, zone))
        elif isinstance(entry, DateEntry):
            looks.append((read_position(connection, f"date:{source}") or 0) + SCAN_MS)
    return min((look for look in looks if look is not None), default=None)


def _enter_slot(
    store: Store,
    running: Running,
    journey: Journey,
    entry: ScheduleEntry,
    source: str,
    facts: Register,
    now_ms: int,
    zone: str,
    join: Join,
) -> int:
    name = f"slot:{source}"
    with store.snapshot() as connection:
        last = read_position(connection, name)
    # Of several slots that passed while nobody worked, the newest counts.
    slot = find_slot(entry, running.started_ms if last is None else last, now_ms, zone)
    if slot is None:
        return 0
    holders = facts.list_holders(entry.rule, now_ms)
    people = [Entering(customer, f"slot:{slot}", entry.to, slot, None) for customer in holders]
    entered = _enter_all(store, running, journey, people, now_ms, join)
    if entered is None:
        return 0
    with store.begin() as connection:
        write_position(connection, name, slot)
    return entered


def _enter_dates(
    store: Store,
    running: Running,
    journey: Journey,
    entry: DateEntry,
    source: str,
    facts: Register,
    now_ms: int,
    join: Join,
) -> int:
    name = f"date:{source}"
    with store.snapshot() as connection:
        last = read_position(connection, name)
    if last is not None and last <= now_ms < last + SCAN_MS:
        return 0
    at = read_clock(entry.at)
    assert at is not None
    start = min(running.started_ms if last is None else last, now_ms - entry.grace_days * DAY_MS)
    if entry.every == "year":
        # After a long sleep nobody is congratulated months too late; a contract's end still matters.
        start = max(start, now_ms - max(entry.grace_days, _LATEST_DAYS) * DAY_MS)
    # A day more at both ends: zones.
    first = _to_day(start) - timedelta(days=entry.days + 1)
    until = _to_day(now_ms) - timedelta(days=entry.days - 1)
    people = []
    for customer, day, zone in facts.list_dated(entry.of, first, until, yearly=entry.every == "year"):
        for one in list_returns(day, first, until) if entry.every == "year" else [day]:
            if start < find_instant(one + timedelta(days=entry.days), at, zone) <= now_ms:
                context = {"date": one.isoformat()}
                people.append(Entering(customer, f"{entry.of}:{one}"[:160], entry.to, now_ms, context))
    entered = _enter_all(store, running, journey, people, now_ms, join)
    if entered is None:
        return 0
    with store.begin() as connection:
        write_position(connection, name, now_ms)
    return entered


def _enter_all(
    store: Store, running: Running, journey: Journey, people: Sequence[Entering], now_ms: int, join: Join
) -> int | None:
    """How many entered; None: records were joined meanwhile, and all are to be listed again."""
    entered, joined = 0, join()
    found = [one._replace(customer_id=joined.find(one.customer_id)) for one in people]
    for start in range(0, len(found), _CHUNK):
        with store.begin() as connection:
            if not is_current(connection, joined.version):
                return None
            entered += enter(connection, running, journey, found[start : start + _CHUNK], now_ms)
    return entered


# ------------------------------------------------------------ dates that change while people wait for them


def _follow_dates(
    store: Store, running: Running, journey: Journey, catalogue: Catalogue, facts: Register, now_ms: int
) -> None:
    nodes = {
        name: node
        for name, node in journey.nodes
        if isinstance(node, WaitDate) and not node.of.startswith(EVENT)
    }
    if not nodes:
        return
    name = f"dates:{running.name}"
    version = sum(facts.find_version(of) for of in {node.of for node in nodes.values()})
    with store.snapshot() as connection:
        if read_position(connection, name) == version:
            return
    last: int | None = 0
    while last is not None:
        last = _move_dues(store, running, nodes, facts, now_ms, last)
    with store.begin() as connection:
        write_position(connection, name, version)


def _move_dues(
    store: Store,
    running: Running,
    nodes: dict[str, WaitDate],
    facts: Register,
    now_ms: int,
    after: int,
) -> int | None:
    """The next thousands who wait for a date: until when, by what is known now; None when there are no more."""
    columns = JOURNEY_ENROLMENTS.c
    there = (
        sa.select(columns.enrolment_id, columns.customer_id)
        .where(
            columns.journey == running.name,
            columns.version == running.version,
            columns.node.in_(list(nodes)),
            columns.state == WAITING,
            columns.enrolment_id > after,
        )
        .order_by(columns.enrolment_id)
        .limit(_CHUNK)
    )
    with store.snapshot() as connection:
        found = [tuple(row) for row in connection.execute(there)]
    if not found:
        return None
    need = Need(dates=frozenset(node.of for node in nodes.values()), zones=True)
    customers = frozenset(customer for _, customer in found)
    knowledge = facts.learn(need, customers, now_ms)
    numbers = {number for number, _ in found}
    with store.begin() as connection:
        changed: list[Person] = []
        for person in read_active(connection, [running.name], sorted(customers)):
            node = nodes.get(person.node)
            if person.enrolment_id not in numbers or person.state != WAITING or node is None:
                continue
            # Without a date any more: looked at now, and sent where those without one go.
            due = find_date(node, person, knowledge) or now_ms
            if due != person.due_ms:
                person.due_ms = due
                changed.append(person)
        write_moves(connection, changed)
    return int(found[-1][0])


def _to_day(at_ms: int) -> date:
    return datetime.fromtimestamp(at_ms / 1000, UTC).date()


def _to_ms(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)
