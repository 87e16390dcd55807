"""The ledger's single statements and rows; ``ledger.Ledger`` puts them together into transactions.

Every function works inside the caller's transaction on the store. The SQL is portable (SQLite, PostgreSQL).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, TypeVar

import sqlalchemy as sa

from aimwell.deployment.channels.channel import Promise
from aimwell.deployment.policy import Candidate
from aimwell.engine.ledger_tables import CAMPAIGNS, DELIVERIES

Item = TypeVar("Item")

# What a customer or an operator can still cure before the wave ends: looked at again at the next launch.
CURABLE = ("no_consent", "consent_expired", "no_address", "no_channel")
_CHUNK = 500
SETTLED_COLUMNS = ("state", "reason", "attempts", "not_before_ms", "provider_id", "finished_at_ms")


@dataclass(frozen=True)
class Intended:
    """One delivery that a plan wants: customer × action."""

    plan_id: str
    customer_id: str
    action_id: str
    channel: str
    contact_on: date
    unit_cost_cents: int
    reachable: bool
    prior_contacts: int = 0
    blocked: str | None = None
    """A reason known beforehand, such as ``no_channel``."""

    @property
    def delivery_id(self) -> str:
        """SHA-256 of plan, customer and action: the same delivery has the same id for ever."""
        return identify_delivery(self.plan_id, self.customer_id, self.action_id)


def identify_delivery(plan_id: str, customer_id: str, action_id: str) -> str:
    """The delivery's id, 64 hexadecimal digits."""
    return hashlib.sha256("\x1f".join((plan_id, customer_id, action_id)).encode()).hexdigest()


def split(items: Sequence[Item]) -> Iterable[Sequence[Item]]:
    """``items`` in chunks that every database takes as bound parameters."""
    return (items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK))


def find_control(connection: sa.Connection, plan_id: str) -> str | None:
    """Why the campaign holds its deliveries back (paused, stopped); None when it runs or is unknown."""
    control = connection.execute(
        sa.select(CAMPAIGNS.c.control).where(CAMPAIGNS.c.plan_id == plan_id)
    ).scalar()
    return None if control in (None, "running") else str(control)


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
    }


def refresh(connection: sa.Connection, items: Sequence[Intended], now: int) -> None:
    """Rows that were never tried follow what is known today: the day, the address, prior contacts."""
    if not items:
        return
    # Not IN: SQLAlchemy takes no expanding parameter in an executemany.
    curable = sa.or_(*(DELIVERIES.c.reason == reason for reason in CURABLE))
    untried = (DELIVERIES.c.state == "queued") | ((DELIVERIES.c.state == "skipped") & curable)
    names = ("contact_on", "state", "reason", "reachable", "prior_contacts", "finished_at_ms")
    statement = (
        sa.update(DELIVERIES)
        .where(DELIVERIES.c.delivery_id == sa.bindparam("which"), untried)
        .values({name: sa.bindparam(f"new_{name}") for name in names})
    )
    rows = [build_row(item, now) for item in items]
    connection.execute(
        statement,
        [{f"new_{name}": row[name] for name in names} | {"which": row["delivery_id"]} for row in rows],
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


def read_queued(
    connection: sa.Connection, plan_id: str, channel: str, now: int, limit: int
) -> list[Candidate]:
    """Up to ``limit`` rows that are due, in order of their id."""
    due = sa.and_(
        DELIVERIES.c.plan_id == plan_id,
        DELIVERIES.c.channel == channel,
        DELIVERIES.c.state == "queued",
        DELIVERIES.c.not_before_ms <= now,
    )
    return read_candidates(connection, due, limit)


def read_candidates(
    connection: sa.Connection, which: sa.ColumnElement[bool], limit: int | None
) -> list[Candidate]:
    """The rows that satisfy ``which``, in order of their id."""
    columns = [DELIVERIES.c[name] for name in Candidate.__dataclass_fields__]
    query = sa.select(*columns).where(which).order_by(DELIVERIES.c.delivery_id).limit(limit)
    return [Candidate(*row) for row in connection.execute(query)]


def skip(connection: sa.Connection, verdicts: dict[str, str | None], now: int) -> None:
    """Close what policy forbids, with the reason."""
    for reason in sorted({verdict for verdict in verdicts.values() if verdict is not None}):
        ids = [delivery for delivery, verdict in verdicts.items() if verdict == reason]
        for chunk in split(ids):
            connection.execute(
                sa.update(DELIVERIES)
                .where(DELIVERIES.c.delivery_id.in_(list(chunk)))
                .values(state="skipped", reason=reason, finished_at_ms=now)
            )


def close_intent(promise: Promise, now: int) -> dict[str, Any]:
    """What becomes of an intent that a dead worker left."""
    if promise is Promise.REJECTS_REPEATS:
        return {"state": "queued"}
    return {"state": "in_doubt", "reason": "worker_lost", "finished_at_ms": now}
