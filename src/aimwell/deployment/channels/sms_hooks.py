"""What an SMS provider tells by webhook: delivery reports and replies, verified, and what follows from them.

A body is JSON: one object, or a list of them. Fields are called as in ``sms_dialects.PlainDialect``, or as Aliyun and
Tencent call them. Headers ``x-timestamp`` (seconds) and ``x-signature`` say who sent it (``hooks.sign_body``).
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from aimwell.core.errors import BadInput
from aimwell.core.text import say
from aimwell.deployment.channels.event_outbox import TransactionSource
from aimwell.deployment.channels.hooks import HookEvent, check_signature
from aimwell.deployment.channels.replies import Reply, ReplyRules, apply_reply
from aimwell.deployment.channels.smpp_receipts import Status
from aimwell.deployment.channels.sms_dialects import find_meaning
from aimwell.deployment.channels.sms_numbers import write_number
from aimwell.deployment.channels.sms_reports import tell_report
from aimwell.engine.erased import LoadErased, begin_knowing
from aimwell.engine.ledger_tables import DELIVERIES
from aimwell.engine.permissions import Suppression, add_suppression, take_turn

PROVIDER = "sms"
_MOST_ITEMS = 1_000
_MOST_TEXT = 2_000
_DELIVERY = re.compile(r"[0-9a-f]{64}")
_ARRIVED = re.compile(r"deliver(e)?d|DELIVRD|SUCCESS|true", re.IGNORECASE)
_YEAR_3000_MS = 32_503_680_000_000
FindCustomers = Callable[[str], Sequence[str]]


def read_hook(
    provider: str, headers: Mapping[str, str], body: bytes, secret: bytes, *, now_ms: int | None = None
) -> list[HookEvent]:
    """The events of a body; NotAllowed when nobody who knows ``secret`` signed it, BadInput when it cannot be read.

    ``headers`` have names in lower case.
    """
    now = int(time.time() * 1000) if now_ms is None else now_ms
    timestamp, signature = headers.get("x-timestamp", ""), headers.get("x-signature", "")
    check_signature(secret, timestamp, body, signature, now_ms=now)
    try:
        told = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise _unreadable() from error
    items = told if isinstance(told, list) else [told]
    if len(items) > _MOST_ITEMS or not all(isinstance(item, dict) for item in items):
        raise _unreadable()
    return [_read_item(provider, item, now) for item in items]


def apply_hooks(
    store: TransactionSource,
    events: Sequence[HookEvent],
    now_ms: int,
    find_customers: FindCustomers,
    rules: ReplyRules | None = None,
    load_erased: LoadErased | None = None,
) -> int:
    """Do what follows from the events, in one transaction; returns how many were about deliveries or people we know.

    Telling them again changes nothing. ``find_customers`` gives all who have a telephone number (E.164); of those whom
    ``load_erased`` knows nothing is written.
    """
    # Outside the transaction: looking numbers up may be slow.
    people = {event.recipient: tuple(find_customers(event.recipient)) for event in events
              if event.kind == "reply" and event.recipient}  # fmt: skip
    known = 0
    with begin_knowing(store.begin, load_erased) as (connection, erased):
        take_turn(connection)
        for event in events:
            if event.kind == "reply":
                found = people.get(event.recipient or "", ())
                customers = tuple(one for one in found if not erased.tell(one, "record"))
                reply = Reply(event.event_id, event.text or "", customers, event.at_ms)
                apply_reply(connection, reply, rules or ReplyRules(), now_ms)
                known += bool(customers)
            else:
                known += _apply_report(connection, event, now_ms)
    return known


def _apply_report(connection: sa.Connection, event: HookEvent, now_ms: int) -> bool:
    columns = DELIVERIES.c
    query = sa.select(columns.customer_id, columns.state).where(
        columns.delivery_id == (event.delivery_id or "")
    )
    row = connection.execute(query).one_or_none()
    if row is None or event.delivery_id is None:
        return False
    status: Status = "delivered" if event.kind == "delivered" else "failed"
    tell_report(connection, event.delivery_id, row.customer_id, status, event.code, event.at_ms)
    if row.state == "in_doubt":
        # Whatever became of it, the provider had it.
        values = {"state": "sent", "reason": None, "finished_at_ms": now_ms}
        connection.execute(
            sa.update(DELIVERIES).where(columns.delivery_id == event.delivery_id).values(**values)
        )
    if event.code and find_meaning(event.code, {}) == "provider_blocklist":
        line = Suppression(row.customer_id, "sms", "provider", event.at_ms)
        add_suppression(connection, line)
    return True


def _read_item(provider: str, item: Mapping[str, Any], now_ms: int) -> HookEvent:
    text = _find(item, "text", "content")
    phone = _find(item, "phone", "phone_number", "mobile")
    nation = _find(item, "nationcode")
    number = (
        write_number(f"+{nation}{phone}" if nation and not phone.startswith("+") else phone)
        if phone
        else None
    )
    out_id = _find(item, "out_id", "SessionContext", "session_context").lower()
    at_ms = _read_instant(
        _find(item, "at_ms", "at", "report_time", "user_receive_time", "send_time", "time"), now_ms
    )
    is_reply = bool(text) and not out_id and not _find(item, "status", "success", "report_status")
    arrived = _ARRIVED.fullmatch(_find(item, "status", "success", "report_status")) is not None
    code = _find(item, "code", "err_code", "errmsg", "description")[:64] or None
    identity = _find(item, "id", "sequence_id", "sid", "biz_id") or json.dumps(
        item, sort_keys=True, default=str
    )
    key = "\x1f".join((provider, "reply" if is_reply else out_id, identity, str(arrived)))
    return HookEvent(
        provider=provider,
        kind="reply" if is_reply else "delivered" if arrived else "failed",
        event_id=hashlib.sha256(key.encode("utf-8", "replace")).hexdigest(),
        at_ms=at_ms,
        delivery_id=out_id if _DELIVERY.fullmatch(out_id) else None,
        recipient=number,
        text=text[:_MOST_TEXT] if is_reply else None,
        code=code,
    )


def _find(item: Mapping[str, Any], *names: str) -> str:
    for name in names:
        value = item.get(name)
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, str | int) and str(value):
            return str(value)
    return ""


def _read_instant(text: str, now_ms: int) -> int:
    """Milliseconds, or ISO with a zone; anything else, and what lies in the future, is now."""
    if text.isdecimal() and 12 <= len(text) <= 15:
        return min(int(text), now_ms, _YEAR_3000_MS)
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return now_ms
    return now_ms if at.tzinfo is None else max(0, min(int(at.timestamp() * 1000), now_ms))


def _unreadable() -> BadInput:
    return BadInput(
        "deployment.hook_unreadable",
        say("What the provider sent cannot be read."),
        remedy=say("Send one JSON object, or a list of at most {most}.", most=_MOST_ITEMS),
    )
