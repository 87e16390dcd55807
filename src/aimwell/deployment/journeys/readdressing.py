"""Queued messages follow the customer: what was queued under a record that was joined with others goes to the person.

Consents and suppressions, the address, the zone and the caps are the person's from then on, and what the records got
before counts for the person. A worker that holds such a message loses it: whoever takes it next judges it as the
person's. What is just being handed over is looked at again afterwards.
Reads and writes the store's ``deliveries``; writes ``consent_states`` and ``journey_positions``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from aimwell.deployment.coupons import take_back
from aimwell.deployment.journeys.enrolments import among, read_position, write_position
from aimwell.deployment.journeys.knowledge import Contact, Facts, Joined, Knowledge, Need
from aimwell.deployment.journeys.walk import PREFIX
from aimwell.engine.ledger_tables import CONTACT_STATES, DELIVERIES, HELD, WAITING
from aimwell.engine.permissions import remember_consents, take_turn
from aimwell.engine.store import Store

FOLLOWED = "identities:messages"
"""As of which version of the table ``identities`` queued messages stand under their customers' ids."""
_CHUNK = 1_000
_D = DELIVERIES.c
_UNTOLD = ("queued", "leased")
"""Of a message of which nothing was said to a provider yet."""
_POSTPONED = ("quiet_hours", "outranked")
"""Why a message waits whose customer's hours or other messages are in the way."""


def is_behind(connection: sa.Connection, version: int) -> bool:
    """Whether messages may stand under the ids of an older version of joined records."""
    return (read_position(connection, FOLLOWED) or 0) < version


def follow_messages(store: Store, facts: Facts, joined: Joined, now_ms: int) -> int:
    """Bring all queued messages of journeys under their customers' ids; how many stood under another one."""
    with store.snapshot() as connection:
        if not is_behind(connection, joined.version):
            return 0
        found, speaking = _list_renamed(connection, joined, now_ms)
    moved = 0
    for start in range(0, len(found), _CHUNK):
        moved += readdress(store, facts, joined, found[start : start + _CHUNK], now_ms)
    if not speaking:
        with store.begin() as connection:
            write_position(connection, FOLLOWED, joined.version)
    return moved


def readdress(
    store: Store, facts: Facts, joined: Joined, found: Sequence[tuple[str, str]], now_ms: int
) -> int:
    """Queue these messages (delivery, record) for the customers whose records they are; how many were not told yet."""
    customers = frozenset(joined.find(record) for _, record in found)
    # Read before the transaction; it brings the records' suppressions to the person, too.
    known = facts.learn(Need(contacts=True, zones=True), customers, now_ms)
    with store.begin() as connection:
        take_turn(connection)
        if known.consents:
            remember_consents(connection, known.consents)
        mine = among(connection, _D.delivery_id, [delivery for delivery, _ in found])
        query = sa.select(DELIVERIES).where(mine, _D.state.in_(_UNTOLD))
        # Somebody else may have done it meanwhile.
        rows = [row for row in connection.execute(query).all() if row.customer_id in joined.customers]
        if rows:
            connection.execute(_READDRESS, [_describe(row, joined, known) for row in rows])
        _bring_contacts(connection, joined, customers)
    return len(rows)


def skip_surplus(connection: sa.Connection, joined: Joined, surplus: Mapping[int, str], now_ms: int) -> None:
    """Of enrolments (and whose they are) of somebody who was in the journey as another record, too: one is enough.

    Their queued messages are skipped; so is what the other one has queued, where theirs went out already.
    """
    customers = set(surplus.values())
    columns = (_D.delivery_id, _D.plan_id, _D.customer_id, _D.state, _D.detail)
    records = among(connection, _D.customer_id, _list_records(joined, customers) + sorted(customers))
    query = sa.select(*columns).where(records, _D.state.in_((*_UNTOLD, *CONTACT_STATES)))
    rows = [row for row in connection.execute(query) if row.plan_id.startswith(PREFIX)]
    theirs = [row for row in rows if row.detail["enrolment"] in surplus]
    told = {_name_place(row, joined) for row in theirs if row.state not in _UNTOLD}
    untold = {row.delivery_id for row in theirs}
    skipped = [
        row.delivery_id
        for row in rows
        if row.state in _UNTOLD and (row.delivery_id in untold or _name_place(row, joined) in told)
    ]
    if skipped:
        values = {"state": "skipped", "reason": "merged", "finished_at_ms": now_ms}
        connection.execute(
            sa.update(DELIVERIES).where(among(connection, _D.delivery_id, skipped)).values(**values)
        )
        take_back(connection, skipped)


def _name_place(row: Any, joined: Joined) -> tuple[str, str, str]:
    """Whose message it is, and of which node."""
    return joined.find(row.customer_id), row.plan_id, row.detail["node"]


def _list_renamed(
    connection: sa.Connection, joined: Joined, now_ms: int
) -> tuple[list[tuple[str, str]], bool]:
    """What nobody was told yet (delivery, record), and whether some are just being handed over."""
    if not joined.customers:
        return [], False
    columns = (_D.delivery_id, _D.customer_id, _D.state, _D.lease_until_ms)
    query = sa.select(*columns).where(WAITING | HELD, _D.plan_id.startswith(PREFIX, autoescape=True))
    rows = [row for row in connection.execute(query) if row.customer_id in joined.customers]
    untold = [(row.delivery_id, row.customer_id) for row in rows if row.state in _UNTOLD]
    return untold, any(row.state == "intent" and row.lease_until_ms > now_ms for row in rows)


def _list_records(joined: Joined, customers: Collection[str]) -> list[str]:
    return [record for record, customer in joined.customers.items() if customer in customers]


def _bring_contacts(connection: sa.Connection, joined: Joined, customers: Collection[str]) -> None:
    """What the records got is what the person got: it counts towards the person's caps."""
    mine = among(connection, _D.customer_id, _list_records(joined, customers))
    query = sa.select(_D.customer_id).where(mine, _D.state.in_(CONTACT_STATES)).distinct()
    for record in connection.execute(query).scalars().all():
        # One by one: a list of states cannot go with many rows.
        connection.execute(_BRING, {"which": record, "whose": joined.find(record)})


def _describe(row: Any, joined: Joined, known: Knowledge) -> Mapping[str, Any]:
    """The message as the customer's."""
    customer = joined.find(row.customer_id)
    contact = known.contacts.get(customer, Contact(frozenset()))
    return {
        "which": row.delivery_id,
        "whose": customer,
        "reached": row.channel in contact.channels,
        "ways": [way for way in row.fallback or () if way in contact.channels] or None,
        "prior": contact.prior,
        "place": known.zones.get(customer),
        "from_ms": 0 if row.reason in _POSTPONED else row.not_before_ms,
    }


_READDRESS = (
    sa.update(DELIVERIES)
    .where(_D.delivery_id == sa.bindparam("which"))
    .values(
        state="queued",
        reason=None,
        customer_id=sa.bindparam("whose"),
        reachable=sa.bindparam("reached"),
        fallback=sa.bindparam("ways"),
        prior_contacts=sa.bindparam("prior"),
        zone=sa.bindparam("place"),
        not_before_ms=sa.bindparam("from_ms"),
    )
)
_BRING = (
    sa.update(DELIVERIES)
    .where(_D.customer_id == sa.bindparam("which"), _D.state.in_(CONTACT_STATES))
    .values(customer_id=sa.bindparam("whose"))
)
