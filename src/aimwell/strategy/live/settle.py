"""What becomes of an action that was decided: it was shown, it was not, or nobody said in time.

A decision reserves: money, stock, and a contact of the cap. Confirmed, it keeps that for good. Cancelled, or not
confirmed within the plan's ``hold_ms``, it gives everything back in the transaction that says so. A confirmation that
comes too late takes it again where there is still room, and is refused where there is none: so whoever shows an action
confirms it in time, or first. Whatever is said twice is answered as it was.

Reads and writes the store's ``live_decisions``, ``live_limits``, ``live_plans`` and ``live_turns``; reads
``live_profiles``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import msgspec
import numpy as np
import sqlalchemy as sa

from aimwell.core.errors import AimwellError, BadInput, Conflict
from aimwell.core.text import say
from aimwell.engine.driver_statements import run_all
from aimwell.engine.live_contacts import note_contacts
from aimwell.engine.live_tables import LIVE_DECISIONS, LIVE_PLANS, LIVE_PROFILES, LIVE_TURNS
from aimwell.engine.seen_ids import Digests, digest_ids
from aimwell.strategy.live.asking import Asked, ask
from aimwell.strategy.live.ledger import (
    CANCELLED,
    CONFIRMED,
    DELIVERED,
    EXPIRED,
    HANDED,
    RESERVED,
    Memory,
    read_standing,
    read_used,
    split_number,
    tell_turn,
    tell_used,
)
from aimwell.strategy.live.plan import LivePlan
from aimwell.strategy.live.requests import refuse_erased
from aimwell.strategy.problem import Integers

_LOG, _TURNS = LIVE_DECISIONS.c, LIVE_TURNS.c
_SOME = 1_000


class Outcome(NamedTuple):
    """Whether the action of a request was shown."""

    request_id: str
    shown: bool


class Settlement(NamedTuple):
    """What stands of a request."""

    request_id: str
    customer_id: str
    action_id: str
    state: str
    """confirmed (delivered) or cancelled; expired where it had ended before it was said that it was not shown."""
    repeated: bool = False
    """Whether it stood so before."""


Settled: TypeAlias = Settlement | AimwellError


@dataclass(frozen=True)
class _Row:
    """A decision of the log as it stands within the transaction."""

    batch: int
    place: int
    plan_id: str
    request_id: str
    customer_id: str
    action_id: str
    segment: int
    cost_cents: int
    state: str


class Settling:
    """One transaction's outcomes; ``write`` keeps them. The caller holds the gate's turn."""

    def __init__(self, connection: sa.Connection, plan: LivePlan, memory: Memory, now_ms: int) -> None:
        self._connection, self._plan, self._memory, self._now_ms = connection, plan, memory, now_ms
        self._before = read_used(connection, plan.plan_id)
        self._used = self._before.copy()
        self._states: dict[tuple[int, int], str] = {}
        self._reserved: dict[str, _Row] = {}
        self._contacted: list[_Row] = []
        self._released: list[_Row] = []

    @property
    def contacts(self) -> Digests:
        """Who counts as contacted again."""
        return self._note(self._contacted)

    @property
    def released(self) -> Digests:
        """Whose contact did not happen."""
        return self._note(self._released)

    def settle(self, outcomes: Sequence[Outcome]) -> list[Settled]:
        """Take outcomes down, one after the other."""
        found = self._read([outcome.request_id for outcome in outcomes])
        return [self._settle(outcome, found) for outcome in outcomes]

    def release_due(self, until_ms: int) -> int:
        """Give back what was decided up to ``until_ms`` and still waits; how many decisions that were."""
        ended, due = 0, find_due(self._connection, self._plan, until_ms)
        while due is not None:
            which = sa.and_(_LOG.batch > due[0], _LOG.batch <= due[1], _LOG.plan_id == self._plan.plan_id)
            for row in self._connection.execute(_select(which & (_LOG.state == RESERVED))):
                self._give_back(_Row(*row), EXPIRED)
                ended += 1
            swept = sa.update(LIVE_PLANS).where(LIVE_PLANS.c.plan_id == self._plan.plan_id)
            self._connection.execute(swept.values(swept_turn=due[1]))
            due = find_due(self._connection, self._plan, until_ms)
        return ended

    def find_reserved(self, request_ids: Sequence[str]) -> frozenset[str]:
        """Those that wait for the word, of this plan."""
        for request_id, row in self._read(request_ids).items():
            if row and row["plan_id"] == self._plan.plan_id and row["state"] == RESERVED:
                self._reserved[request_id] = _Row(**row)
        return frozenset(self._reserved)

    def hand_over(self, request_ids: Collection[str]) -> None:
        """Of what was found reserved: from now on a delivery of the ledger carries it, and counts the contact."""
        for name in request_ids:
            row = self._reserved.pop(name)
            self._states[row.batch, row.place] = HANDED
            self._released.append(row)

    def give_back(self, request_ids: Collection[str]) -> None:
        """Of what was found reserved: nothing comes of it."""
        for name in request_ids:
            self._give_back(self._reserved.pop(name), CANCELLED)

    def write(self, turn: int) -> None:
        """Keep the states, the counters, and what other processes must know."""
        if not self._states:
            return
        rows = [
            {"which": batch, "where": place, "now": state} for (batch, place), state in self._states.items()
        ]
        self._connection.execute(_SETTLE, rows)
        told = tell_used(self._plan.plan_id, self._used, self._before)
        if self._contacted or self._released:
            moved = {"contacts": self.contacts, "released": self.released}
            told.append(tell_turn(self._plan, turn, self._now_ms, **moved))
        run_all(self._connection, told)

    def _note(self, rows: Sequence[_Row]) -> Digests:
        channels = [self._plan.find_channel(self._plan.actions.index(row.action_id)) for row in rows]
        return note_contacts(digest_ids([row.customer_id for row in rows]), channels)

    def _read(self, request_ids: Sequence[str]) -> dict[str, Mapping[str, Any] | None]:
        """The rows of requests that are remembered, all in one query; None where the log has it no more."""
        numbers = self._memory.find_requests(digest_ids(list(request_ids))).tolist()
        places = {
            name: split_number(number)
            for name, number in zip(request_ids, numbers, strict=True)
            if number >= 0
        }
        if not places:
            return {}
        asked = _LOGGED[self._connection.dialect.name == "sqlite"]
        told = ask(self._connection, (), asked, places=msgspec.json.encode(list(places.values())).decode())[0]
        rows = {(row[0], row[1]): dict(zip(_NAMES, row, strict=True)) for row in msgspec.json.decode(told)}
        return {name: rows.get(place) for name, place in places.items()}

    def _settle(self, outcome: Outcome, found: Mapping[str, Mapping[str, Any] | None]) -> Settled:
        row = self._find(outcome.request_id, found)
        if isinstance(row, AimwellError):
            return row
        if outcome.shown:
            return self._confirm(row)
        return self._cancel(row)

    def _find(self, request_id: str, found: Mapping[str, Mapping[str, Any] | None]) -> _Row | AimwellError:
        if request_id not in found:
            return _refuse_unknown(request_id)
        row = found[request_id]
        if row is None:
            return refuse_erased()
        if row["plan_id"] != self._plan.plan_id:
            return _refuse_plan(row["plan_id"])
        if row["action_id"] is None:
            return _refuse_nothing(request_id)
        # What the same transaction has said of it before stands.
        state = self._states.get((row["batch"], row["place"]), row["state"])
        return _Row(**{**row, "state": state})

    def _confirm(self, row: _Row) -> Settled:
        if row.state == CANCELLED:
            return _refuse_contradiction(row.request_id)
        if row.state == EXPIRED:
            if not self._has_room(row):
                return _refuse_late(row.request_id)
            self._used += self._measure(row)
            self._contacted.append(row)
        return self._end(row, DELIVERED if row.state in (HANDED, DELIVERED) else CONFIRMED)

    def _cancel(self, row: _Row) -> Settled:
        if row.state in (CONFIRMED, DELIVERED):
            return _refuse_contradiction(row.request_id)
        if row.state in (RESERVED, HANDED):
            self._give_back(row, CANCELLED)
            return Settlement(row.request_id, row.customer_id, row.action_id, CANCELLED)
        # Given back before; nothing to do.
        return Settlement(row.request_id, row.customer_id, row.action_id, row.state, True)

    def _end(self, row: _Row, state: str) -> Settlement:
        if row.state != state:
            self._states[row.batch, row.place] = state
        return Settlement(row.request_id, row.customer_id, row.action_id, state, row.state == state)

    def _give_back(self, row: _Row, state: str) -> None:
        self._states[row.batch, row.place] = state
        self._used -= self._measure(row)
        if row.state != HANDED:
            self._released.append(row)

    def _measure(self, row: _Row) -> Integers:
        """What the decision takes of each limit."""
        action = self._plan.actions.index(row.action_id)
        return np.array(
            [
                int(limit.table[row.segment, action]) * (row.cost_cents if limit.of_cost else 1)
                for limit in self._plan.limits
            ],
            dtype=np.int64,
        )

    def _has_room(self, row: _Row) -> bool:
        """Whether limits, the cap, consent and suppression still allow it."""
        plan, people = self._plan, [row.customer_id]
        for limit, used, more in zip(plan.limits, self._used, self._measure(row), strict=True):
            if limit.sense == "at_most" and used + more > limit.bound:
                return False
        contacts = int(self._memory.count_contacts(digest_ids(people))[0])
        contacts += sum(one.customer_id == row.customer_id for one in self._contacted)
        contacts -= sum(one.customer_id == row.customer_id for one in self._released)
        forbidden, delivered = read_standing(self._connection, plan, people, self._now_ms)
        contacts += int(delivered[0])
        contacts += read_prior_contacts(self._connection, plan.plan_id, row.customer_id)
        return contacts < plan.cap and not forbidden[0, plan.actions.index(row.action_id)]


@dataclass(frozen=True)
class Handing:
    """A transaction of the caller's in which reservations become deliveries; other processes read of it afterwards."""

    turn: int
    _settling: Settling

    def find_reserved(self, request_ids: Sequence[str]) -> frozenset[str]:
        """Those that wait for the word."""
        return self._settling.find_reserved(request_ids)

    def hand_over(self, carried: Collection[str], unused: Collection[str]) -> None:
        """Deliveries carry the ones from now on; the others are given back."""
        self._settling.hand_over(carried)
        self._settling.give_back(unused)
        self._settling.write(self.turn)


def read_prior_contacts(connection: sa.Connection, plan_id: str, customer_id: str) -> int:
    """Contacts by other systems, as the customer's profile has them; 0 without a profile."""
    columns = LIVE_PROFILES.c
    query = sa.select(columns.prior_contacts).where(
        columns.plan_id == plan_id, columns.customer_id == customer_id
    )
    return int(connection.execute(query).scalar() or 0)


def find_due(connection: sa.Connection, plan: LivePlan, until_ms: int) -> tuple[int, int] | None:
    """(after this turn, up to this one) what was decided by ``until_ms`` may still wait; None: nothing."""
    swept = connection.execute(
        sa.select(LIVE_PLANS.c.swept_turn).where(LIVE_PLANS.c.plan_id == plan.plan_id)
    ).scalar_one()
    query = (
        sa.select(_TURNS.batch, _TURNS.at_ms)
        .where(_TURNS.batch > swept, _TURNS.plan_id == plan.plan_id)
        .order_by(_TURNS.batch)
        .limit(_SOME)
    )
    last = None
    for row in connection.execute(query):
        if row.at_ms > until_ms:
            break
        last = int(row.batch)
    return None if last is None else (int(swept), last)


_NAMES = tuple(_Row.__dataclass_fields__)
_COLUMNS: tuple[sa.Column[Any], ...] = tuple(_LOG[name] for name in _NAMES)
_LOGGED = {
    True: Asked(
        "live_decisions",
        _NAMES,
        "(batch, place) IN (SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(:places))",
        of_people=False,
    ),
    # One by one by the key: a plan that was made while the log was small would read all of it when it is large.
    False: Asked(
        "json_array_elements(CAST(:places AS JSON)) AS sought CROSS JOIN LATERAL ("
        f"SELECT {', '.join(_NAMES)} FROM live_decisions"
        " WHERE batch = CAST(value ->> 0 AS BIGINT) AND place = CAST(value ->> 1 AS INTEGER) OFFSET 0) AS logged",
        _NAMES,
        "TRUE",
        of_people=False,
    ),
}
"""What asks for decisions by their places in the log."""


def _select(which: sa.ColumnElement[bool]) -> sa.Select[Any]:
    return sa.select(*_COLUMNS).where(which).order_by(_LOG.batch, _LOG.place)


_SETTLE = (
    sa.update(LIVE_DECISIONS)
    .where(_LOG.batch == sa.bindparam("which"), _LOG.place == sa.bindparam("where"))
    .values(state=sa.bindparam("now"))
)


def _refuse_unknown(request_id: str) -> BadInput:
    return BadInput(
        "strategy.unknown_request",
        say("Nothing was decided under this request id today or yesterday."),
        remedy=say("Give the request id of the decision."),
        where={"column": "request_id", "value": request_id},
    )


def _refuse_plan(plan_id: str) -> BadInput:
    return BadInput(
        "strategy.other_live_plan",
        say("This request was decided by the live plan '{name}'.", name=plan_id),
        remedy=say("Say so of that plan: --plan {name}", name=plan_id),
        where={"value": plan_id},
    )


def _refuse_nothing(request_id: str) -> BadInput:
    return BadInput(
        "strategy.nothing_reserved",
        say("The decision of this request was to do nothing: there is nothing to confirm or cancel."),
        remedy=say("Give the request id of a decision with an action."),
        where={"column": "request_id", "value": request_id},
    )


def _refuse_contradiction(request_id: str) -> Conflict:
    return Conflict(
        "strategy.outcome_contradicts",
        say("The opposite was said of this request before."),
        remedy=say("What was said first stands; ask for a new decision to show an action after all."),
        where={"column": "request_id", "value": request_id},
    )


def _refuse_late(request_id: str) -> Conflict:
    return Conflict(
        "strategy.reservation_expired",
        say("The confirmation came too late: what was reserved has been given to others."),
        remedy=say("Do not show the action; ask for a new decision."),
        where={"column": "request_id", "value": request_id},
    )
