"""What follows from a bounce or a complaint: the delivery's end in the ledger, and whether the address is mailed again.

A mail that came back did not reach anybody: its delivery ends as failed (``bounced`` for good, ``bounced_soft`` for
now) and no longer counts as a contact. After a hard bounce, a complaint, or several soft bounces in a row the customer
is suppressed on e-mail, and an event for the customer's history waits for the intake. Recording the same report again
changes nothing. Reads and writes the store's ``deliveries``, ``suppressions`` and ``channel_events``; the statements
are portable (SQLite, PostgreSQL).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import sqlalchemy as sa

from aimwell.deployment.channels.bounces import Bounce, read_bounce
from aimwell.deployment.channels.event_outbox import Event, make_event, put_events
from aimwell.deployment.channels.return_path import ReturnPath
from aimwell.engine.ledger_tables import DELIVERIES
from aimwell.engine.permissions import Suppression, add_suppression, take_turn
from aimwell.engine.store import Store

EMAIL = "email"
SOFT_LIMIT = 3
_EVENTS = {"hard": "Email Bounced", "soft": "Email Bounced", "complaint": "Email Marked as Spam"}
_REASONS = {"hard": "bounced", "soft": "bounced_soft"}

Effect = Literal["suppressed", "noted", "repeated", "unknown", "unverified"]


@dataclass(frozen=True)
class Recorded:
    """What a report changed; ``unknown``: it is about no delivery of this ledger."""

    effect: Effect
    bounce: Bounce
    delivery_id: str | None = None
    customer_id: str | None = None
    plan_id: str | None = None


def record_bounce(
    connection: sa.Connection,
    bounce: Bounce,
    now_ms: int,
    *,
    soft_limit: int = SOFT_LIMIT,
    only_verified: bool = False,
) -> Recorded:
    """Record ``bounce`` in the caller's transaction, which takes the gate's turn.

    ``only_verified``: bounces that came to no signed return path change nothing (complaints do: to stop mailing
    whoever complains harms nobody).
    """
    if only_verified and not bounce.verified and bounce.kind != "complaint":
        return Recorded("unverified", bounce)
    take_turn(connection)
    row = _find(connection, bounce)
    if row is None:
        return Recorded("unknown", bounce)
    known = (row.delivery_id, row.customer_id, row.plan_id)
    if bounce.kind == "late":
        return Recorded("noted", bounce, *known)
    ended = bounce.kind != "complaint" and _end(connection, row, _REASONS[bounce.kind], now_ms)
    if ended or bounce.kind == "complaint":
        put_events(connection, [_build_event(bounce, row, now_ms)], now_ms)
    gone = bounce.kind != "soft" or _count_soft(connection, row.customer_id) >= soft_limit
    source = {"hard": "bounce", "soft": "soft_bounces"}.get(bounce.kind, "complaint")
    if gone and add_suppression(connection, Suppression(row.customer_id, EMAIL, source, now_ms)):
        return Recorded("suppressed", bounce, *known)
    return Recorded("noted" if ended else "repeated", bounce, *known)


def take_reports(
    store: Store,
    mails: Iterable[bytes],
    now_ms: int,
    *,
    path: ReturnPath | None = None,
    soft_limit: int = SOFT_LIMIT,
) -> list[Recorded]:
    """Record all reports among ``mails``, each in a transaction of its own; what is no report is passed over.

    With ``path`` only bounces that came to an address which it signed count.
    """
    recorded = []
    for raw in mails:
        bounce = read_bounce(raw, path)
        if bounce is None:
            continue
        with store.begin() as connection:
            recorded.append(
                record_bounce(
                    connection, bounce, now_ms, soft_limit=soft_limit, only_verified=path is not None
                )
            )
    effects = Counter(f"{one.bounce.kind} {one.effect}" for one in recorded)
    if effects:
        store.audit("mail.reports", "email", dict(effects))
    return recorded


class _Found(NamedTuple):
    delivery_id: str
    customer_id: str
    plan_id: str


def _build_event(bounce: Bounce, row: _Found, now_ms: int) -> Event:
    """In Segment's words; the same report about the same delivery is the same event."""
    properties = {
        "delivery_id": row.delivery_id,
        "plan_id": row.plan_id,
        "kind": bounce.kind,
        "status": bounce.status,
    }
    key = (bounce.kind, row.delivery_id)
    return make_event(_EVENTS[bounce.kind], row.customer_id, now_ms, properties, key=key)


def _find(connection: sa.Connection, bounce: Bounce) -> _Found | None:
    columns = DELIVERIES.c
    # All ids that start so: the first that does not comes after "g", which is no hexadecimal digit.
    which = (
        columns.delivery_id == bounce.delivery_id
        if bounce.delivery_id is not None
        else sa.and_(columns.delivery_id >= bounce.id_start, columns.delivery_id < bounce.id_start + "g")
    )
    query = sa.select(columns.delivery_id, columns.customer_id, columns.plan_id)
    row = connection.execute(query.where(which, columns.channel == EMAIL)).first()
    return None if row is None else _Found(*row)


def _end(connection: sa.Connection, row: _Found, reason: str, now_ms: int) -> bool:
    """Close the delivery as failed; False when it had come back before, or was never sent."""
    mine = sa.and_(
        DELIVERIES.c.delivery_id == row.delivery_id,
        DELIVERIES.c.channel == EMAIL,
        sa.or_(
            DELIVERIES.c.state.in_(("sent", "in_doubt")),
            # A mail server may say "for now" first and "for good" later.
            sa.and_(
                DELIVERIES.c.state == "failed",
                DELIVERIES.c.reason == "bounced_soft",
                sa.literal(reason) == "bounced",
            ),
        ),
    )
    values = {"state": "failed", "reason": reason, "finished_at_ms": now_ms}
    return connection.execute(sa.update(DELIVERIES).where(mine).values(**values)).rowcount > 0


def _count_soft(connection: sa.Connection, customer_id: str) -> int:
    """Soft bounces since the last mail that did not come back."""
    columns = DELIVERIES.c
    query = (
        sa.select(columns.reason)
        .where(
            columns.customer_id == customer_id,
            columns.channel == EMAIL,
            sa.or_(columns.state == "sent", columns.reason == "bounced_soft"),
        )
        .order_by(columns.contact_on.desc(), columns.delivery_id)
        .limit(50)
    )
    count = 0
    for reason in connection.execute(query).scalars():
        if reason != "bounced_soft":
            break
        count += 1
    return count
