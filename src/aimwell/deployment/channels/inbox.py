"""The in-app inbox: messages that wait in the store until the customer opens the app or the site.

A channel of class A: a message is known by its delivery id, so that handing over again changes nothing. Reads and
writes the store's ``in_app_messages``; the statements are portable (SQLite, PostgreSQL).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import sqlalchemy as sa

from aimwell.deployment.channels.channel import Channel, Message, Outcome, Promise, Receipt
from aimwell.deployment.channels.event_outbox import TransactionSource, insert_new, make_event, put_events
from aimwell.engine.channel_tables import IN_APP_MESSAGES

Mark = Literal["read", "unread", "dismissed"]
MARKS: tuple[Mark, ...] = ("read", "unread", "dismissed")
_DAY_MS = 86_400_000
_KEPT_DAYS = 30
_LINK = ("https://", "http://", "/")
_COLUMNS = IN_APP_MESSAGES.c


@dataclass(frozen=True)
class InAppMessage:
    """One message as its customer sees it."""

    delivery_id: str
    language: str
    title: str
    body: str
    link: str | None
    created_at_ms: int
    expires_at_ms: int | None
    read_at_ms: int | None

    def to_dict(self) -> dict[str, Any]:
        """For the HTTP interface."""
        return asdict(self)


class InboxChannel(Channel):
    """Puts messages into the store. ``clock`` gives seconds since 1970; they expire after ``days``.

    The message's details may say otherwise: ``expires_at_ms`` (milliseconds since 1970) and ``link``.
    """

    promise = Promise.REJECTS_REPEATS
    window = 200

    def __init__(
        self, store: TransactionSource, *, days: int = _KEPT_DAYS, clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._days = days
        self._clock = clock

    def deliver(self, message: Message) -> Receipt:
        """Take one message in."""
        return self.deliver_batch([message])[0]

    def deliver_batch(self, messages: Sequence[Message]) -> list[Receipt]:
        """Take all in, in one transaction."""
        now = int(self._clock() * 1000)
        with self._store.begin() as connection:
            insert_new(connection, IN_APP_MESSAGES, [self._build_row(message, now) for message in messages])
        return [Receipt(Outcome.SENT, provider_id=message.delivery_id) for message in messages]

    def _build_row(self, message: Message, now: int) -> dict[str, Any]:
        link = message.details.get("link", "")
        until = message.details.get("expires_at_ms", "")
        return {
            "delivery_id": message.delivery_id,
            "customer_id": message.customer_id,
            "plan_id": message.plan_id,
            "language": message.language,
            "title": message.subject,
            "body": message.text,
            # Nothing that a browser would run: a page or a path, or no link at all.
            "link": link if link.startswith(_LINK) and not link.startswith("//") else None,
            "created_at_ms": now,
            "expires_at_ms": int(until) if until.isdigit() else now + self._days * _DAY_MS,
        }


def list_messages(
    connection: sa.Connection, customer_id: str, now_ms: int, *, limit: int = 50
) -> list[InAppMessage]:
    """What the customer's inbox shows at ``now_ms``, newest first: neither dismissed nor expired."""
    names = InAppMessage.__dataclass_fields__
    query = (
        sa.select(*(_COLUMNS[name] for name in names))
        .where(_is_shown(customer_id, now_ms))
        .order_by(_COLUMNS.created_at_ms.desc(), _COLUMNS.delivery_id)
        .limit(limit)
    )
    return [InAppMessage(*row) for row in connection.execute(query)]


def count_unread(connection: sa.Connection, customer_id: str, now_ms: int) -> int:
    """How many messages the customer has not read, for the number beside the bell."""
    unread = _is_shown(customer_id, now_ms) & _COLUMNS.read_at_ms.is_(None)
    query = sa.select(sa.func.count()).select_from(IN_APP_MESSAGES).where(unread)
    return int(connection.execute(query).scalar_one())


def mark(connection: sa.Connection, customer_id: str, delivery_id: str, state: Mark, now_ms: int) -> bool:
    """Note that the customer read, unread or dismissed a message; False when the customer has no such message.

    Saying it again changes nothing; the first time is an event ('Message Opened', 'Message Dismissed').
    """
    where = (_COLUMNS.delivery_id == delivery_id) & _is_shown(customer_id, now_ms)
    row = connection.execute(sa.select(IN_APP_MESSAGES).where(where)).one_or_none()
    if row is None:
        return False
    if state == "unread":
        values: dict[str, Any] = {"read_at_ms": None}
    elif state == "read":
        values = {"read_at_ms": row.read_at_ms or now_ms}
    else:
        values = {"dismissed_at_ms": now_ms}
    connection.execute(sa.update(IN_APP_MESSAGES).where(where).values(**values))
    name = {"read": "Message Opened", "dismissed": "Message Dismissed"}.get(state)
    if name is not None and (state != "read" or row.read_at_ms is None):
        properties = {"channel": "web", "plan_id": row.plan_id, "delivery_id": delivery_id}
        put_events(connection, [make_event(name, customer_id, now_ms, properties, key=[delivery_id])], now_ms)
    return True


def drop_expired(connection: sa.Connection, before_ms: int) -> int:
    """Delete what expired before ``before_ms`` or was dismissed before it; returns how many."""
    old = (_COLUMNS.expires_at_ms < before_ms) | (_COLUMNS.dismissed_at_ms < before_ms)
    return connection.execute(sa.delete(IN_APP_MESSAGES).where(old)).rowcount


def _is_shown(customer_id: str, now_ms: int) -> sa.ColumnElement[bool]:
    alive = _COLUMNS.expires_at_ms.is_(None) | (_COLUMNS.expires_at_ms > now_ms)
    return (_COLUMNS.customer_id == customer_id) & _COLUMNS.dismissed_at_ms.is_(None) & alive
