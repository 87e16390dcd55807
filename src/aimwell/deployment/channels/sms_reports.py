"""What SMS providers say of messages after they took them, and whose message it is.

A provider's number is kept beside our delivery when the provider tells it; a report that comes before that waits.
A message in parts is delivered when all its parts are. Reads and writes the store's ``provider_messages``; writes
``channel_events``; closes doubts in ``deliveries``. The statements are portable (SQLite, PostgreSQL).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import sqlalchemy as sa

from aimwell.deployment.channels.channel import Message
from aimwell.deployment.channels.event_outbox import TransactionSource, insert_new, make_event, put_events
from aimwell.deployment.channels.replies import Reply, ReplyRules, apply_reply
from aimwell.deployment.channels.smpp_receipts import SmsReply, SmsReport, Status
from aimwell.engine.channel_tables import PROVIDER_MESSAGES
from aimwell.engine.erased import LoadErased, begin_knowing
from aimwell.engine.ledger_tables import DELIVERIES
from aimwell.engine.permissions import take_turn

_EVENTS: dict[str, str] = {"delivered": "Message Delivered", "failed": "Message Failed"}
_FINAL = ("delivered", "failed")
_COLUMNS = PROVIDER_MESSAGES.c
_CHUNK = 500
_SAME_MS = 600_000
FindCustomers = Callable[[str], Sequence[str]]


class ReportBook:
    """Keeps what ``provider`` says, in ``store``. ``clock`` gives seconds since 1970.

    What people write is done (``replies.apply_reply``) where ``find_customers`` tells who has a telephone number. Of
    people who were erased meanwhile (``load_erased``) nothing is kept.
    """

    def __init__(
        self,
        store: TransactionSource,
        provider: str,
        *,
        find_customers: FindCustomers | None = None,
        rules: ReplyRules | None = None,
        load_erased: LoadErased | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._load_erased = load_erased
        self._provider = provider
        self._find_customers = find_customers
        self._rules = rules or ReplyRules()
        self._clock = clock

    def note_taken(self, message: Message, message_id: str, part: int, parts: int) -> None:
        """The provider took a part of the message under this id."""
        now = self._now()
        values = {"delivery_id": message.delivery_id, "customer_id": message.customer_id, "part": part,
                  "parts": parts, "taken_at_ms": now}  # fmt: skip
        with begin_knowing(self._store.begin, self._load_erased) as (connection, erased):
            if erased.tell(message.customer_id, "record"):
                return
            self._keep(connection, message_id, values)
            row = self._read(connection, message_id)
            if row.status is not None:
                _tell(connection, row.delivery_id, row.customer_id, now)

    def note_report(self, report: SmsReport) -> None:
        """The provider says what became of it. What was final stays so: reports come in any order."""
        now = self._now()
        values = {"status": report.status, "code": report.code[:64], "status_at_ms": now}
        with self._store.begin() as connection:
            before = self._read(connection, report.message_id)
            if before is not None and before.status in _FINAL:
                return
            self._keep(connection, report.message_id, values)
            if before is not None and before.delivery_id is not None:
                _tell(connection, before.delivery_id, before.customer_id, now)

    def note_reply(self, reply: SmsReply) -> None:
        """A person wrote to us. The centre gives such messages no number: the same words soon after are a repeat."""
        if self._find_customers is None:
            return
        # Outside the transaction: looking numbers up may be slow.
        customers = tuple(self._find_customers(f"+{reply.sender.lstrip('+')}"))
        now = self._now()
        key = f"{reply.sender}\x1f{reply.text}\x1f{reply.part}\x1f{now // _SAME_MS}"
        with begin_knowing(self._store.begin, self._load_erased) as (connection, erased):
            known = tuple(one for one in customers if not erased.tell(one, "record"))
            apply_reply(connection, Reply(key, reply.text, known, now), self._rules, now)

    def _now(self) -> int:
        return int(self._clock() * 1000)

    def _key(self, message_id: str) -> sa.ColumnElement[bool]:
        return (_COLUMNS.provider == self._provider) & (_COLUMNS.message_id == message_id)

    def _read(self, connection: sa.Connection, message_id: str) -> Any:
        return connection.execute(sa.select(PROVIDER_MESSAGES).where(self._key(message_id))).one_or_none()

    def _keep(self, connection: sa.Connection, message_id: str, values: dict[str, Any]) -> None:
        key = {"provider": self._provider, "message_id": message_id}
        if insert_new(connection, PROVIDER_MESSAGES, [{"part": 1, "parts": 1, **key, **values}]) == 0:
            connection.execute(sa.update(PROVIDER_MESSAGES).where(self._key(message_id)).values(**values))


def tell_report(
    connection: sa.Connection,
    delivery_id: str,
    customer_id: str,
    status: Status,
    code: str | None,
    now_ms: int,
) -> None:
    """Make the event of a whole message's fate; one for each delivery and fate, however often it is told."""
    if status in _EVENTS:
        properties = {"channel": "sms", "delivery_id": delivery_id, "code": code}
        event = make_event(_EVENTS[status], customer_id, now_ms, properties, key=[delivery_id])
        put_events(connection, [event], now_ms)


def settle_doubts(connection: sa.Connection, now_ms: int) -> int:
    """Deliveries in doubt of which the provider is known to have every part were sent; returns how many.

    A worker that was killed between the provider's answer and the ledger leaves such, and an answer that came late.
    """
    doubtful = (DELIVERIES.c.state == "in_doubt") & (_COLUMNS.taken_at_ms.is_not(None))
    query = (
        sa.select(DELIVERIES.c.delivery_id)
        .join(PROVIDER_MESSAGES, _COLUMNS.delivery_id == DELIVERIES.c.delivery_id)
        .where(doubtful)
        .group_by(DELIVERIES.c.delivery_id)
        .having(sa.func.count(_COLUMNS.part.distinct()) >= sa.func.max(_COLUMNS.parts))
    )
    take_turn(connection)
    settled = sorted(connection.execute(query).scalars())
    for start in range(0, len(settled), _CHUNK):
        which = DELIVERIES.c.delivery_id.in_(settled[start : start + _CHUNK])
        connection.execute(
            sa.update(DELIVERIES)
            .where(which, DELIVERIES.c.state == "in_doubt")
            .values(state="sent", reason=None, finished_at_ms=now_ms)
        )
    return len(settled)


def forget_reports(connection: sa.Connection, before_ms: int) -> int:
    """Delete numbers and reports of before ``before_ms``; returns how many. Providers report within days."""
    last = sa.func.coalesce(_COLUMNS.status_at_ms, _COLUMNS.taken_at_ms)
    return connection.execute(sa.delete(PROVIDER_MESSAGES).where(last < before_ms)).rowcount


def _tell(connection: sa.Connection, delivery_id: str, customer_id: str, now_ms: int) -> None:
    """Say what became of the whole message, once that is known."""
    query = sa.select(_COLUMNS.status, _COLUMNS.code, _COLUMNS.parts).where(
        _COLUMNS.delivery_id == delivery_id
    )
    rows = connection.execute(query.order_by(_COLUMNS.part)).all()
    failed = next((row for row in rows if row.status == "failed"), None)
    if failed is not None:
        tell_report(connection, delivery_id, customer_id, "failed", failed.code, now_ms)
    elif len(rows) >= rows[0].parts and all(row.status == "delivered" for row in rows):
        tell_report(connection, delivery_id, customer_id, "delivered", None, now_ms)
