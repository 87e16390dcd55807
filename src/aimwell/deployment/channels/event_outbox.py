"""What channels learned of customers, on its way to the intake: nothing lost and nothing taken twice.

An event is written in the transaction that learned it (an outcome of a call, a reply, a provider's report) and deleted
when the intake has taken it. Between the two a crash may hand it over again: the intake knows it by its message id.
Reads and writes the store's ``channel_events``; the statements are portable (SQLite, PostgreSQL).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Any, Protocol

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from aimwell.engine.channel_tables import CHANNEL_EVENTS

Event = dict[str, Any]
"""A Segment ``track`` message."""
_CHUNK = 500


class TransactionSource(Protocol):
    """What a channel needs of the store (``engine.store.Store``)."""

    def begin(self) -> AbstractContextManager[sa.Connection]:
        """A transaction: committed at the end, rolled back on an exception."""
        ...

    def snapshot(self) -> AbstractContextManager[sa.Connection]:
        """A transaction that only reads, and waits for no writer."""
        ...


def make_event(
    name: str, customer_id: str, at_ms: int, properties: Mapping[str, Any], *, key: Sequence[object]
) -> Event:
    """A ``track`` message; ``key`` says which one it is: the same key gives the same message id for ever."""
    identity = "\x1f".join(str(part) for part in (name, customer_id, *key))
    return {
        "type": "track",
        "event": name,
        "userId": customer_id,
        "messageId": hashlib.sha256(identity.encode()).hexdigest(),
        "timestamp": datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds"),
        "properties": {name: value for name, value in properties.items() if value is not None},
    }


def put_events(connection: sa.Connection, events: Sequence[Event], at_ms: int) -> int:
    """Keep events until they are forwarded, within the caller's transaction; returns how many were not there yet."""
    rows = [
        {"event_id": event["messageId"], "customer_id": event["userId"], "at_ms": at_ms, "body": event}
        for event in events
    ]
    return insert_new(connection, CHANNEL_EVENTS, rows)


def count_events(connection: sa.Connection) -> int:
    """How many wait."""
    return int(connection.execute(sa.select(sa.func.count()).select_from(CHANNEL_EVENTS)).scalar_one())


def forward_events(store: TransactionSource, take: Callable[[list[Event]], object]) -> int:
    """Hand everything that waits to ``take`` and forget it; returns how many.

    ``take`` must be durable when it returns, as ``data.event_intake.take_events`` is; what it raises leaves the rest.
    """
    handed = 0
    while True:
        with store.snapshot() as connection:
            query = sa.select(CHANNEL_EVENTS).order_by(CHANNEL_EVENTS.c.at_ms, CHANNEL_EVENTS.c.event_id)
            rows = connection.execute(query.limit(_CHUNK)).all()
        if not rows:
            return handed
        take([row.body for row in rows])
        with store.begin() as connection:
            taken = CHANNEL_EVENTS.c.event_id.in_([row.event_id for row in rows])
            connection.execute(sa.delete(CHANNEL_EVENTS).where(taken))
        handed += len(rows)


def insert_new(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> int:
    """Insert the rows whose key is not in ``table`` yet; returns how many those were."""
    insert: Any = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    key = list(table.primary_key.columns)
    # Not the row count: PostgreSQL's driver does not know it for statements of this kind.
    statements = (insert(table).values(row).on_conflict_do_nothing().returning(*key) for row in rows)
    return sum(connection.execute(statement).first() is not None for statement in statements)
