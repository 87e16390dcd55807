"""The statements of a live decision's transaction, and what the process remembers of the log beside them.

Whoever decides takes the contact gate's next turn first (``engine.permissions``): decisions of all processes, and the
reservations of deliveries, follow one another, and the turn numbers the batch. The statements are portable (SQLite,
PostgreSQL).

Reads and writes the store's ``live_limits``, ``live_decisions`` and ``live_turns``; reads ``suppressions``,
``consent_states``, ``deliveries`` and ``live_plans``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import date, timedelta
from functools import lru_cache
from typing import NamedTuple

import msgspec
import numpy as np
import sqlalchemy as sa

from aimwell.engine.digest_table import DigestTable
from aimwell.engine.driver_statements import Rows, Statement, make_insert
from aimwell.engine.ledger_tables import CONTACT_STATES
from aimwell.engine.live_contacts import LiveContacts
from aimwell.engine.live_tables import LIVE_DECISIONS, LIVE_LIMITS, LIVE_PLANS, LIVE_TURNS
from aimwell.engine.permissions import ALL_CHANNELS
from aimwell.engine.seen_ids import Digests, pack_digests, unpack_digests
from aimwell.engine.store import Store
from aimwell.strategy.live.asking import Asked, ask, read_answer, write_question
from aimwell.strategy.live.plan import NO_CAP, LivePlan
from aimwell.strategy.live.profiles import PROFILES, Profile, decode_profiles
from aimwell.strategy.live.requests import Batch, Decision
from aimwell.strategy.problem import Flags, Integers

_PLACES = 20
"""Bits of a place within a batch, where a batch and a place are one number."""
_LOG, _TURNS = LIVE_DECISIONS.c, LIVE_TURNS.c
NONE: Digests = np.empty((0, 2), dtype=np.uint64)
RESERVED, CONFIRMED, CANCELLED, EXPIRED = "reserved", "confirmed", "cancelled", "expired"
"""What became of an action that was decided: it waits for the word, was shown, was not, or waited for too long."""
HANDED, DELIVERED = "handed", "delivered"
"""Of one that a delivery of the ledger carries, which counts the contact: on its way, and sent."""
PLAIN_STATES = {HANDED: RESERVED, DELIVERED: CONFIRMED}
"""As what these are shown."""


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
_USED = (
    sa.select(LIVE_LIMITS.c.used)
    .where(LIVE_LIMITS.c.plan_id == sa.bindparam("which"))
    .order_by(LIVE_LIMITS.c.place)
)
_WRITE_TURN = (
    "INSERT INTO live_turns (batch, plan_id, day, at_ms, requests, contacts, released)"
    " VALUES (:batch, :plan_id, :day, :at_ms, :requests, :contacts, :released)"
)
_RESERVE = "UPDATE live_limits SET used = :used WHERE plan_id = :plan AND place = :place"


def tell_used(plan_id: str, used: Integers, before: Integers) -> list[Statement]:
    """What keeps the counters that have changed."""
    rows = [
        {"plan": plan_id, "place": place, "used": int(used[place])}
        for place in np.flatnonzero(used != before).tolist()
    ]
    return [Statement(_RESERVE, rows)] if rows else []


def tell_turn(
    plan: LivePlan,
    turn: int,
    at_ms: int,
    *,
    requests: Digests = NONE,
    contacts: Digests = NONE,
    released: Digests = NONE,
) -> Statement:
    """What keeps that which other processes must know of this turn."""
    values = {
        "batch": turn,
        "plan_id": plan.plan_id,
        "day": plan.day.isoformat(),
        "at_ms": at_ms,
        "requests": pack_digests(requests),
        "contacts": pack_digests(contacts),
        "released": pack_digests(released),
    }
    return Statement(_WRITE_TURN, values)


def tell_log(
    connection: sa.Connection, plan: LivePlan, turn: int, decisions: Sequence[Decision], batch: Batch
) -> list[Statement]:
    """What keeps the decisions of a turn."""
    name = plan.plan_id
    rows = [
        (turn, place, name, request, customer, at, segment, action, probability, choices, reason, profit, cost,
         None if action is None else RESERVED)
        for place, ((request, customer, action, probability, choices, reason, profit, cost, _), at, segment)
        in enumerate(zip(decisions, batch.at.tolist(), batch.segment.tolist(), strict=True))
    ]  # fmt: skip
    return make_insert(connection, LIVE_DECISIONS, rows)


def split_number(number: int) -> tuple[int, int]:
    """Batch and place."""
    return number >> _PLACES, number & ((1 << _PLACES) - 1)


def read_decision(connection: sa.Connection, number: int) -> Decision | None:
    """The decision at a place of the log; None when it is there no more (its customer was erased)."""
    batch, place = split_number(number)
    columns = [_LOG[name] for name in Decision._fields if name != "repeated"]
    row = connection.execute(sa.select(*columns).where(_LOG.batch == batch, _LOG.place == place)).first()
    return None if row is None else Decision(*row)._replace(repeated=True)


class Standing(NamedTuple):
    """What the store says of people at this moment, by person."""

    forbidden: Flags
    """People × actions: what suppression and consent forbid. Inbound actions need no consent."""
    contacts: Integers
    """In the cap's window, by plans that are not live: the log counts those of the others."""


class Moment(NamedTuple):
    """What a turn finds."""

    closed: bool
    """Nothing is decided by the plan any more."""
    halted: bool
    """Nobody is contacted at all."""
    used: Integers
    """Of each limit, in the plan's order."""
    profiles: dict[str, Profile]
    """Of the people whom the day knows, where they were asked for."""
    permissions: tuple[str, ...]
    """Consents, suppressions and contacts of the people, as they were told."""

    def find_standing(self, plan: LivePlan, people: Sequence[str]) -> Standing:
        """Of some of those who were asked about."""
        return _read_standing(plan, people, self.permissions)


def ask_moment(
    plan: LivePlan, people: Sequence[str], now_ms: int, *, is_sqlite: bool, profiles: bool = False
) -> Statement:
    """What asks for all of it."""
    wanted = (*_TURN, *_STANDING, PROFILES) if profiles else (*_TURN, *_STANDING)
    return write_question(is_sqlite, people, *wanted, now_ms=now_ms, plan=plan.plan_id)


def read_moment(plan: LivePlan, rows: Rows) -> Moment:
    """The answer to ``ask_moment``."""
    found = read_answer(rows)
    plans, halted, limits = map(msgspec.json.decode, found[:3])
    used = np.zeros(len(plan.limits), dtype=np.int64)
    for place, amount in limits:
        used[place] = amount
    told = decode_profiles(found[6]) if len(found) > 6 else {}
    return Moment(plans[0][0] is not None, bool(halted), used, told, found[3:6])


def read_standing(connection: sa.Connection, plan: LivePlan, people: Sequence[str], now_ms: int) -> Standing:
    """The standing alone."""
    return _read_standing(plan, people, ask(connection, people, *_STANDING, now_ms=now_ms))


def _read_standing(plan: LivePlan, people: Sequence[str], asked: tuple[str, ...]) -> Standing:
    place = {customer: number for number, customer in enumerate(people)}
    allowed, suppressed = _gather_channels(asked[0]), _gather_channels(asked[1])
    channels = plan.channels or (None,) * len(plan.actions)
    rows = [
        _forbid(channels, allowed.get(one, _NO_CHANNEL), suppressed.get(one, _NO_CHANNEL)) for one in people
    ]
    forbidden = np.array(rows, dtype=np.bool_).reshape(len(people), len(channels))
    contacts = np.zeros(len(people), dtype=np.int64)
    span = timedelta(days=plan.cap_days)
    for customer, contact_on, state in _CONTACTS.decode(asked[2]) if plan.cap != NO_CAP else ():
        if customer in place and abs(contact_on - plan.day) < span and state in CONTACT_STATES:
            contacts[place[customer]] += 1
    return Standing(forbidden, contacts)


def _gather_channels(told: str) -> dict[str, frozenset[str]]:
    """The channels of each customer."""
    found: dict[str, frozenset[str]] = {}
    for customer, channel in _CHANNELS.decode(told):
        found[customer] = found.get(customer, _NO_CHANNEL) | {channel}
    return found


@lru_cache(maxsize=1_000)
def _forbid(
    channels: tuple[str | None, ...], allowed: frozenset[str], suppressed: frozenset[str]
) -> tuple[bool, ...]:
    """Which actions somebody may not get: there are few answers, and each is asked for many people."""
    none = ALL_CHANNELS in suppressed
    return tuple(
        none or channel in suppressed or (channel is not None and channel not in allowed)
        for channel in channels
    )


_NO_CHANNEL: frozenset[str] = frozenset()
_CONSENTS = Asked(
    "consent_states", ("customer_id", "channel"), "allowed AND (until_ms IS NULL OR until_ms > :now_ms)"
)
_SUPPRESSED = Asked("suppressions", ("customer_id", "channel"))
# Service messages and tests count to no cap.
_DELIVERED = Asked(
    "deliveries",
    ("customer_id", "contact_on", "state"),
    "purpose = 'marketing' AND plan_id NOT IN (SELECT plan_id FROM live_plans)",
)
_STANDING = (_CONSENTS, _SUPPRESSED, _DELIVERED)
_TURN = (
    Asked("live_plans", ("closed_at",), "plan_id = :plan", of_people=False),
    Asked("contact_gate", ("turn",), "halted_at_ms IS NOT NULL", of_people=False),
    Asked("live_limits", ("place", "used"), "plan_id = :plan", of_people=False),
)
_CHANNELS = msgspec.json.Decoder(list[tuple[str, str]])
_CONTACTS = msgspec.json.Decoder(list[tuple[str, date, str]])
