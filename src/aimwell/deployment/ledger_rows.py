"""The ledger's single statements and rows; ``ledger.Ledger`` puts them together into transactions.

Every function works inside the caller's transaction on the store. The SQL is portable (SQLite, PostgreSQL).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from aimwell.deployment.channels.channel import Promise
from aimwell.deployment.policy import Candidate, Purpose, Verdict
from aimwell.deployment.sources import may_speak
from aimwell.engine.ledger_tables import DELIVERIES, WAITING

Item = TypeVar("Item")

UNTRIED = ("queued", "skipped")
"""States of rows that a repeated enqueuing may bring up to date."""
# What a customer or an operator can still cure before the wave ends: looked at again at the next launch.
CURABLE = ("no_consent", "consent_expired", "no_address", "no_channel")
NEXT_WAY = ("no_address", "no_channel")
"""Reasons of skipping after which the next channel is tried; so it is after every failure."""
DECISION_KEY = "decision"
"""In a delivery's ``detail``: under which request id the live decision was reserved that it carries."""
_CHUNK = 500
_MANY = 2_000
SETTLED_COLUMNS = ("state", "reason", "attempts", "not_before_ms", "provider_id", "finished_at_ms")


@dataclass(frozen=True)
class Intended:
    """One delivery that a source wants: customer × action."""

    plan_id: str
    """The source: a plan's id, ``journey:<name>``, ``live:<plan>`` or ``test:<…>``."""
    customer_id: str
    action_id: str
    channel: str
    contact_on: date
    unit_cost_cents: int
    reachable: bool
    prior_contacts: int = 0
    blocked: str | None = None
    """A reason known beforehand, such as ``no_channel``."""
    priority: int = 0
    """What the contact is worth, in cents: of two that want a customer's last contact, the higher one gets it."""
    purpose: Purpose = "marketing"
    content_id: str | None = None
    not_before_ms: int = 0
    expires_ms: int | None = None
    """From then on it is too late: skipped as ``expired``."""
    fallback: tuple[str, ...] = ()
    """Channels tried next, in this order, when one fails or has no address; only such as reach the customer."""
    detail: Mapping[str, Any] = field(default_factory=dict)
    """What its message needs beside the source: coupon, variant, node of a journey. Small; no address, no name."""
    zone: str | None = None
    """The customer's time zone, for quiet hours; None: the business's."""

    @cached_property
    def delivery_id(self) -> str:
        """SHA-256 of plan, customer and action: the same delivery has the same id for ever."""
        return identify_delivery(self.plan_id, self.customer_id, self.action_id)


def identify_delivery(plan_id: str, customer_id: str, action_id: str) -> str:
    """The delivery's id, 64 hexadecimal digits."""
    return hashlib.sha256("\x1f".join((plan_id, customer_id, action_id)).encode()).hexdigest()


def split(items: Sequence[Item]) -> Iterable[Sequence[Item]]:
    """``items`` in chunks that every database takes as bound parameters."""
    return (items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK))


def build_row(item: Intended, now: int) -> dict[str, Any]:
    """``item`` as it first stands in the ledger."""
    return {
        "delivery_id": item.delivery_id,
        "plan_id": item.plan_id,
        "customer_id": item.customer_id,
        "action_id": item.action_id,
        "channel": item.channel,
        "contact_on": item.contact_on,
        "state": "skipped" if item.blocked else "queued",
        "reason": item.blocked,
        "reachable": item.reachable,
        "prior_contacts": item.prior_contacts,
        "unit_cost_cents": item.unit_cost_cents,
        "finished_at_ms": now if item.blocked else None,
        "priority": item.priority,
        "purpose": item.purpose,
        "content_id": item.content_id,
        "not_before_ms": item.not_before_ms,
        "expires_ms": item.expires_ms,
        "fallback": list(item.fallback) or None,
        "detail": dict(item.detail) or None,
        "zone": item.zone,
    }


def enqueue_in(connection: sa.Connection, items: Sequence[Intended], now_ms: int) -> int:
    """Queue what is not in the ledger yet, within the caller's transaction; returns how many rows are new.

    Safe to repeat at any time: a delivery has one id for ever. What was never tried follows what is known today.
    """
    added = 0
    for chunk in split(items):
        insert = _insert_new(connection).returning(DELIVERIES.c.delivery_id)
        fresh = set(connection.execute(insert, [build_row(item, now_ms) for item in chunk]).scalars())
        added += len(fresh)
        old = [item for item in chunk if item.delivery_id not in fresh]
        if old:
            known = read_states(connection, [item.delivery_id for item in old])
            refresh(connection, [item for item in old if known.get(item.delivery_id) in UNTRIED], now_ms)
    return added


def _insert_new(connection: sa.Connection) -> Any:
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    return insert(DELIVERIES).on_conflict_do_nothing()


def refresh(connection: sa.Connection, items: Sequence[Intended], now: int) -> None:
    """Rows that were never tried follow what is known today: the day, the address, the value."""
    if not items:
        return
    # Not IN: SQLAlchemy takes no expanding parameter in an executemany.
    curable = sa.or_(*(DELIVERIES.c.reason == reason for reason in CURABLE))
    untried = (DELIVERIES.c.state == "queued") | ((DELIVERIES.c.state == "skipped") & curable)
    names = ("contact_on", "state", "reason", "reachable", "prior_contacts", "finished_at_ms", "priority",
             "expires_ms", "zone")  # fmt: skip
    statement = (
        sa.update(DELIVERIES)
        .where(
            DELIVERIES.c.delivery_id == sa.bindparam("which"),
            # One that moved on to another channel goes on there.
            DELIVERIES.c.channel == sa.bindparam("way"),
            untried,
        )
        .values({name: sa.bindparam(f"new_{name}") for name in names})
    )
    rows = [build_row(item, now) for item in items]
    connection.execute(
        statement,
        [
            {f"new_{name}": row[name] for name in names}
            | {"which": row["delivery_id"], "way": row["channel"]}
            for row in rows
        ],
    )


def read_states(connection: sa.Connection, ids: Sequence[str]) -> dict[str, str]:
    """The state of each id that is in the ledger."""
    query = sa.select(DELIVERIES.c.delivery_id, DELIVERIES.c.state).where(
        DELIVERIES.c.delivery_id.in_(list(ids))
    )
    return {row.delivery_id: row.state for row in connection.execute(query)}


def read_attempts(connection: sa.Connection, ids: Sequence[str]) -> dict[str, int]:
    """How often each id was tried."""
    query = sa.select(DELIVERIES.c.delivery_id, DELIVERIES.c.attempts).where(
        DELIVERIES.c.delivery_id.in_(list(ids))
    )
    return {row.delivery_id: row.attempts for row in connection.execute(query)}


@dataclass(frozen=True)
class Queue:
    """What a worker looks for: a channel; one source or all (None), but some and but some beginnings of names."""

    source: str | None
    channel: str
    without: Collection[str] = ()
    foreign: Collection[str] = ()

    def select(self, now: int, *, many: bool = False) -> sa.ColumnElement[bool]:
        """Rows of it that are due. ``many``: not found by when they are due, which would sort them all."""
        columns = DELIVERIES.c
        at = columns.not_before_ms + 0 if many else columns.not_before_ms
        due = sa.and_(columns.channel == self.channel, WAITING, at <= now)
        if self.source is not None:
            due &= columns.plan_id == self.source
        if self.without:
            due &= columns.plan_id.not_in(sorted(self.without))
        for beginning in self.foreign:
            due &= ~columns.plan_id.startswith(beginning, autoescape=True)
        return due


def read_queued(connection: sa.Connection, queue: Queue, now: int, limit: int) -> list[Candidate]:
    """Up to ``limit`` rows that are due, the most valuable first.

    On PostgreSQL rows that somebody else is just changing are passed over rather than waited for.
    """
    columns = DELIVERIES.c
    query = _select_candidates(queue.select(now)).order_by(
        columns.priority.desc(), columns.delivery_id.desc()
    )
    rows = connection.execute(query.limit(limit).with_for_update(skip_locked=True))
    return [Candidate(*row) for row in rows]


def read_candidates(connection: sa.Connection, which: sa.ColumnElement[bool]) -> list[Candidate]:
    """The rows that satisfy ``which``, in order of their id."""
    query = _select_candidates(which).order_by(DELIVERIES.c.delivery_id)
    return [Candidate(*row) for row in connection.execute(query)]


def _select_candidates(which: sa.ColumnElement[bool]) -> sa.Select[Any]:
    return sa.select(*(DELIVERIES.c[name] for name in Candidate.__dataclass_fields__)).where(which)


def record_verdicts(connection: sa.Connection, verdicts: Mapping[str, Verdict], now: int) -> None:
    """Close what policy forbids, with the reason; what has to wait keeps its place in the queue."""
    for reason in sorted(
        {verdict.reason for verdict in verdicts.values() if verdict.reason and not verdict.waits}
    ):
        ids = [
            delivery
            for delivery, verdict in verdicts.items()
            if verdict.reason == reason and not verdict.waits
        ]
        values = {"state": "skipped", "reason": reason, "finished_at_ms": now}
        for chunk in split(ids):
            connection.execute(
                sa.update(DELIVERIES).where(DELIVERIES.c.delivery_id.in_(list(chunk))).values(**values)
            )
    waiting = [
        {"which": delivery, "new_reason": verdict.reason, "new_until": verdict.until_ms}
        for delivery, verdict in verdicts.items()
        if verdict.waits
    ]
    if waiting:
        connection.execute(_POSTPONE, waiting)


_POSTPONE = (
    sa.update(DELIVERIES)
    .where(DELIVERIES.c.delivery_id == sa.bindparam("which"))
    .values(reason=sa.bindparam("new_reason"), not_before_ms=sa.bindparam("new_until"))
)


def move_on(connection: sa.Connection, ids: Sequence[str], costs: Mapping[str, int]) -> set[str]:
    """Queue rows that failed, or have no address, on the next channel that they name; returns which.

    ``costs``: what a message costs on a channel, in cents.

    The row stays the same: the audience is the sum of the states, and the id that the next provider sees is new to it.
    """
    columns = DELIVERIES.c
    moved: set[str] = set()
    for chunk in split(ids):
        unreached = (columns.state == "skipped") & columns.reason.in_(NEXT_WAY)
        query = sa.select(columns.delivery_id, columns.fallback, columns.unit_cost_cents).where(
            columns.delivery_id.in_(list(chunk)),
            columns.fallback.is_not(None),
            (columns.state == "failed") | unreached,
        )
        rows = [
            {
                "which": row.delivery_id,
                "new_channel": row.fallback[0],
                "new_fallback": row.fallback[1:] or None,
                "new_cost": costs.get(row.fallback[0], row.unit_cost_cents),
            }
            for row in connection.execute(query)
        ]
        if rows:
            connection.execute(_MOVE_ON, rows)
        moved |= {str(row["which"]) for row in rows}
    return moved


_MOVE_ON = (
    sa.update(DELIVERIES)
    .where(DELIVERIES.c.delivery_id == sa.bindparam("which"))
    .values(
        state="queued",
        reason=None,
        attempts=0,
        not_before_ms=0,
        provider_id=None,
        finished_at_ms=None,
        reachable=True,
        channel=sa.bindparam("new_channel"),
        fallback=sa.bindparam("new_fallback"),
        unit_cost_cents=sa.bindparam("new_cost"),
    )
)


def read_ended(connection: sa.Connection, ids: Sequence[str]) -> list[str]:
    """Those of ``ids`` that surely do not go out any more."""
    found: list[str] = []
    for chunk in split(ids):
        ended = DELIVERIES.c.delivery_id.in_(list(chunk)) & DELIVERIES.c.state.in_(("failed", "skipped"))
        found += connection.execute(sa.select(DELIVERIES.c.delivery_id).where(ended)).scalars()
    return found


def close_intent(promise: Promise, now: int) -> dict[str, Any]:
    """What becomes of an intent that a dead worker left."""
    if promise is Promise.REJECTS_REPEATS:
        return {"state": "queued"}
    return {"state": "in_doubt", "reason": "worker_lost", "finished_at_ms": now}


# The statements of every window are put together once; each is one for all of its rows, whose ids are one JSON text: an
# executemany took twice as long, and on PostgreSQL asked once a row whether its source may speak.
_AMONG = {
    "sqlite": "deliveries.delivery_id IN (SELECT value FROM json_each(:ids))",
    # An array, whose size the planner takes to be small: it looks each row up, whatever it knows of the table.
    "postgresql": "deliveries.delivery_id = ANY(ARRAY(SELECT jsonb_array_elements_text(CAST(:ids AS jsonb))))",
}
_ANSWER = {
    "sqlite": """json_extract(:answers, '$."' || deliveries.delivery_id || '"')""",
    "postgresql": "(SELECT CAST(:answers AS jsonb)) ->> deliveries.delivery_id",
}
_FENCED = DELIVERIES.c.fence == sa.bindparam("mine")
# 'in_doubt' too: a slow worker whose lease ran out still is the only one who knows how its attempt ended.
_UNSETTLED = (DELIVERIES.c.state == "intent") | (DELIVERIES.c.state == "in_doubt")


def lease_rows(connection: sa.Connection, ids: Sequence[str], owner: str, fence: int, until: int) -> None:
    """Reserve rows for ``owner`` until then (ms)."""
    values = {"owner": owner, "mine": fence, "until": until, "ids": json.dumps(ids)}
    connection.execute(_LEASE[connection.dialect.name], values)


def intend_rows(connection: sa.Connection, ids: Sequence[str], fence: int, now: int, until: int) -> set[str]:
    """Commit to handing rows over that are leased under ``fence``; which of them now are intents."""
    name = connection.dialect.name
    values = {"mine": fence, "at": now, "until": until, "ids": json.dumps(ids)}
    if connection.execute(_INTEND[name], values).rowcount == len(ids):
        return set(ids)
    return set(connection.execute(_FIND_INTENTS[name], {"mine": fence, "ids": values["ids"]}).scalars())


def settle_sent(connection: sa.Connection, answers: Mapping[str, str | None], fence: int, now: int) -> None:
    """Rows were taken, with these answers (delivery id → the provider's own id)."""
    clean = {delivery: answer and _keep_storable(answer) for delivery, answer in answers.items()}
    values = {"mine": fence, "at": now, "ids": json.dumps(list(clean)), "answers": json.dumps(clean)}
    connection.execute(_SETTLE_SENT[connection.dialect.name], values)


def _keep_storable(answer: str) -> str:
    # No database keeps these, and a provider may say anything.
    return answer.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


_LEASE = {
    name: sa.update(DELIVERIES)
    .where(sa.text(among))
    .values(
        state="leased",
        owner=sa.bindparam("owner"),
        fence=sa.bindparam("mine"),
        reason=None,
        lease_until_ms=sa.bindparam("until"),
    )
    for name, among in _AMONG.items()
}
_INTEND = {
    name: sa.update(DELIVERIES)
    # Whoever paused, stopped or halted it meanwhile is obeyed from this very transaction on.
    .where(
        sa.text(among),
        _FENCED,
        DELIVERIES.c.state == "leased",
        DELIVERIES.c.lease_until_ms > sa.bindparam("at"),
        may_speak(),
    )
    .values(state="intent", attempts=DELIVERIES.c.attempts + 1, lease_until_ms=sa.bindparam("until"))
    for name, among in _AMONG.items()
}
_FIND_INTENTS = {
    name: sa.select(DELIVERIES.c.delivery_id).where(sa.text(among), _FENCED, DELIVERIES.c.state == "intent")
    for name, among in _AMONG.items()
}
_SETTLE_SENT = {
    name: sa.update(DELIVERIES)
    .where(sa.text(among), _FENCED, _UNSETTLED)
    .values(state="sent", reason=None, provider_id=sa.text(_ANSWER[name]), finished_at_ms=sa.bindparam("at"))
    for name, among in _AMONG.items()
}
SETTLE_OTHERS = (
    sa.update(DELIVERIES)
    .where(DELIVERIES.c.delivery_id == sa.bindparam("which"), _FENCED, _UNSETTLED)
    .values({name: sa.bindparam(f"new_{name}") for name in SETTLED_COLUMNS})
)
"""It was not, or nobody knows; binds which, mine, and the new values."""
