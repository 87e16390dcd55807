"""The statements of a live decision's transaction, and what the process remembers of the log beside them.

Whoever decides takes the contact gate's next turn first (``engine.permissions``): decisions of all processes, and the
reservations of deliveries, follow one another, and the turn numbers the batch. The statements are portable (SQLite,
PostgreSQL).

Reads and writes the store's ``live_limits``, ``live_decisions`` and ``live_turns``; reads ``suppressions``,
``consent_states``, ``deliveries`` and ``live_plans``.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from datetime import date, timedelta
from functools import cache
from typing import Any

import numpy as np
import sqlalchemy as sa

from aimwell.engine.digest_table import DigestTable
from aimwell.engine.ledger_tables import CONTACT_STATES, DELIVERIES, SUPPRESSIONS
from aimwell.engine.live_contacts import LiveContacts
from aimwell.engine.live_tables import LIVE_DECISIONS, LIVE_LIMITS, LIVE_PLANS, LIVE_TURNS
from aimwell.engine.permissions import ALL_CHANNELS
from aimwell.engine.seen_ids import Digests, pack_digests, unpack_digests
from aimwell.engine.store import Store
from aimwell.strategy.live.plan import NO_CAP, LivePlan
from aimwell.strategy.live.requests import Batch, Decision
from aimwell.strategy.problem import Flags, Integers

_PLACES = 20
"""Bits of a place within a batch, where a batch and a place are one number."""
_LOG, _TURNS = LIVE_DECISIONS.c, LIVE_TURNS.c
NONE: Digests = np.empty((0, 2), dtype=np.uint64)
RESERVED, CONFIRMED, CANCELLED, EXPIRED = "reserved", "confirmed", "cancelled", "expired"
"""What became of an action that was decided: it waits for the word, was shown, was not, or waited for too long."""


class Memory:
    """What this process knows of the log: requests of the day and the day before, and contacts in the cap's window."""

    def __init__(self, store: Store, plan: LivePlan) -> None:
        self._plan = plan
        self._requests: dict[date, DigestTable] = defaultdict(DigestTable)
        self._first = plan.day - timedelta(days=max(1, plan.cap_days - 1 if plan.cap != NO_CAP else 1))
        self._contacts = LiveContacts(self._first)
        with store.snapshot() as connection:
            opened = sa.select(sa.func.min(LIVE_PLANS.c.opened_turn)).where(LIVE_PLANS.c.day >= self._first)
            self._position = int(connection.execute(opened).scalar_one())
            newest = connection.execute(sa.select(sa.func.max(_TURNS.batch))).scalar()
            self.catch_up(connection, 1 + (self._position if newest is None else int(newest)))

    def catch_up(self, connection: sa.Connection, turn: int) -> None:
        """Learn what was committed before ``turn`` and is not known yet."""
        bounds = {"after": self._position, "before": turn, "first": self._first}
        for row in connection.execute(_CATCH_UP, bounds) if turn > self._position + 1 else ():
            parts = [unpack_digests(part) for part in (row.requests, row.contacts, row.released)]
            self._take_in(row.day, row.batch, *parts)
        self._position = max(self._position, turn - 1)

    def remember(self, turn: int, requests: Digests, contacts: Digests, released: Digests) -> None:
        """Take in what this process has committed itself."""
        self._take_in(self._plan.day, turn, requests, contacts, released)
        self._position = turn

    def _take_in(self, day: date, turn: int, requests: Digests, contacts: Digests, released: Digests) -> None:
        # A request that is older cannot be told from a new one: its plan's day is long over.
        if len(requests) and day >= self._plan.day - timedelta(days=1):
            self._requests[day].put(requests, (turn << _PLACES) | np.arange(len(requests), dtype=np.int64))
        if self._plan.cap != NO_CAP and abs((day - self._plan.day).days) < self._plan.cap_days:
            self._contacts.take_in(day, contacts, released)

    def find_requests(self, digests: Digests) -> Integers:
        """Where each request stands in the log (batch and place in one number); −1: nowhere yet."""
        found = np.full(len(digests), -1, dtype=np.int64)
        for table in self._requests.values():
            found = np.maximum(found, table.find(digests))
        return found

    def count_contacts(self, digests: Digests) -> Integers:
        """How often each customer was given an action in the cap's window."""
        total = np.zeros(len(digests), dtype=np.int64)
        for table in self._contacts.days.values():
            total += np.maximum(table.find(digests), 0)
        return total


def is_closed(connection: sa.Connection, plan_id: str) -> bool:
    """Whether nothing is decided by the plan any more."""
    return connection.execute(_CLOSED, {"which": plan_id}).scalar_one() is not None


def read_used(connection: sa.Connection, plan_id: str) -> Integers:
    """What is used of each limit, in the plan's order."""
    return np.array(connection.execute(_USED, {"which": plan_id}).scalars().all(), dtype=np.int64)


# Statements are put together once: for a single decision, that would take longer than all else.
_CATCH_UP = (
    sa.select(_TURNS.batch, _TURNS.day, _TURNS.requests, _TURNS.contacts, _TURNS.released)
    .where(
        _TURNS.batch > sa.bindparam("after"),
        _TURNS.batch < sa.bindparam("before"),
        _TURNS.day >= sa.bindparam("first"),
    )
    .order_by(_TURNS.batch)
)
_CLOSED = sa.select(LIVE_PLANS.c.closed_at).where(LIVE_PLANS.c.plan_id == sa.bindparam("which"))
_USED = (
    sa.select(LIVE_LIMITS.c.used)
    .where(LIVE_LIMITS.c.plan_id == sa.bindparam("which"))
    .order_by(LIVE_LIMITS.c.place)
)
_WRITE_TURN = sa.insert(LIVE_TURNS)
_HAS_ROWS = {
    table: sa.select(sa.literal(1)).select_from(table).limit(1) for table in (SUPPRESSIONS, DELIVERIES)
}
_RESERVE = (
    sa.update(LIVE_LIMITS)
    .where(LIVE_LIMITS.c.plan_id == sa.bindparam("which"), LIVE_LIMITS.c.place == sa.bindparam("where"))
    .values(used=sa.bindparam("now_used"))
)


def write_used(connection: sa.Connection, plan_id: str, used: Integers, before: Integers) -> None:
    """Keep the counters that have changed."""
    rows = [
        {"which": plan_id, "where": int(place), "now_used": int(used[place])}
        for place in np.flatnonzero(used != before)
    ]
    if rows:
        connection.execute(_RESERVE, rows)


def write_turn(
    connection: sa.Connection,
    plan: LivePlan,
    turn: int,
    at_ms: int,
    *,
    requests: Digests = NONE,
    contacts: Digests = NONE,
    released: Digests = NONE,
) -> None:
    """Keep what other processes must know of this turn."""
    values = {
        "batch": turn,
        "plan_id": plan.plan_id,
        "day": plan.day,
        "at_ms": at_ms,
        "requests": pack_digests(requests),
        "contacts": pack_digests(contacts),
        "released": pack_digests(released),
    }
    connection.execute(_WRITE_TURN, values)


def write_log(
    connection: sa.Connection, plan: LivePlan, turn: int, decisions: Sequence[Decision], batch: Batch
) -> None:
    """Keep the decisions of a turn, as the driver takes rows: SQLAlchemy's own cost as much as all else."""
    name = plan.plan_id
    rows = [
        (turn, place, name, request, customer, at, segment, action, probability, choices, reason, profit, cost,
         None if action is None else RESERVED)
        for place, ((request, customer, action, probability, choices, reason, profit, cost, _), at, segment)
        in enumerate(zip(decisions, batch.at.tolist(), batch.segment.tolist(), strict=True))
    ]  # fmt: skip
    statement, names = _write_insert(connection.dialect)
    if names is None:
        connection.exec_driver_sql(statement, rows)
    else:
        connection.exec_driver_sql(statement, [dict(zip(names, row, strict=True)) for row in rows])


@cache
def _write_insert(dialect: sa.Dialect) -> tuple[str, tuple[str, ...] | None]:
    """The driver's INSERT with all columns in their order, and the names of its values where it wants names."""
    names = tuple(column.name for column in LIVE_DECISIONS.columns)
    compiled = sa.insert(LIVE_DECISIONS).compile(dialect=dialect, column_keys=list(names))
    return str(compiled), None if dialect.positional else names


def split_number(number: int) -> tuple[int, int]:
    """Batch and place."""
    return number >> _PLACES, number & ((1 << _PLACES) - 1)


def read_decision(connection: sa.Connection, number: int) -> Decision | None:
    """The decision at a place of the log; None when it is there no more (its customer was erased)."""
    batch, place = split_number(number)
    columns = [_LOG[name] for name in Decision._fields if name != "repeated"]
    row = connection.execute(sa.select(*columns).where(_LOG.batch == batch, _LOG.place == place)).first()
    return None if row is None else Decision(*row)._replace(repeated=True)


def find_forbidden(connection: sa.Connection, plan: LivePlan, people: Sequence[str], now_ms: int) -> Flags:
    """People × actions: what suppression and consent forbid. Inbound actions need no consent."""
    place = {customer: number for number, customer in enumerate(people)}
    channels = np.array(plan.channels or (None,) * len(plan.actions), dtype=object)
    outbound = np.array([channel is not None for channel in channels])
    forbidden = np.broadcast_to(outbound, (len(people), len(channels))).copy()
    if outbound.any():
        allowed: dict[str, list[int]] = defaultdict(list)
        spoken = "SELECT customer_id, channel, allowed, until_ms FROM consent_states"
        for customer, channel, said, until in _ask(connection, spoken, people):
            if said and (until is None or until > now_ms):
                allowed[channel].append(place[customer])
        for channel, who in allowed.items():
            forbidden[np.ix_(who, channels == channel)] = False
    spoken = "SELECT customer_id, channel FROM suppressions"
    for customer, channel in _ask(connection, spoken, people) if _has_rows(connection, SUPPRESSIONS) else ():
        forbidden[place[customer], (channels == channel) | (channel == ALL_CHANNELS)] = True
    return forbidden


def count_deliveries(connection: sa.Connection, plan: LivePlan, people: Sequence[str]) -> Integers:
    """Contacts in the cap's window by plans that are not live, whose own contacts the log counts."""
    counts = np.zeros(len(people), dtype=np.int64)
    if plan.cap == NO_CAP or not _has_rows(connection, DELIVERIES):
        return counts
    place = {customer: number for number, customer in enumerate(people)}
    span = timedelta(days=plan.cap_days)
    asked = "SELECT customer_id, plan_id, contact_on, state, purpose FROM deliveries"
    for row in _ask(connection, asked, people):
        day = date.fromisoformat(str(row.contact_on))
        # Service messages and tests count to no cap.
        near = abs(day - plan.day) < span and row.state in CONTACT_STATES and row.purpose == "marketing"
        if near and not _is_live(connection, row.plan_id):
            counts[place[row.customer_id]] += 1
    return counts


def _is_live(connection: sa.Connection, plan_id: str) -> bool:
    query = sa.select(LIVE_PLANS.c.plan_id).where(LIVE_PLANS.c.plan_id == plan_id)
    return connection.execute(query).first() is not None


def _has_rows(connection: sa.Connection, table: sa.Table) -> bool:
    return connection.execute(_HAS_ROWS[table]).first() is not None


def _ask(connection: sa.Connection, select: str, people: Sequence[str]) -> Sequence[Any]:
    """The rows of these people. They are one value, a JSON array: hundreds of values cost more than the answer."""
    unpack = "json_each" if connection.dialect.name == "sqlite" else "json_array_elements_text"
    value = ":people" if connection.dialect.name == "sqlite" else "CAST(:people AS JSON)"
    query = sa.text(f"{select} WHERE customer_id IN (SELECT value FROM {unpack}({value}))")
    return connection.execute(query, {"people": json.dumps(people)}).all()
