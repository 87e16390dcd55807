"""Queued messages follow the customer: what was queued under a record that was joined with others goes to the person.

So it is with messages of journeys and of campaigns. Consents and suppressions, the address, the zone and the caps are
the person's from then on: what any record refused or got before, the person did. A campaign that wanted several of
the records reaches the person as one of them. A worker that holds such a message loses it: whoever takes it next
judges it as the person's. What is just being handed over is looked at again afterwards.
Reads and writes the store's ``deliveries``, ``consent_states`` and ``suppressions``; writes ``journey_positions``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from aimwell.deployment.coupons import take_back
from aimwell.deployment.journeys.enrolments import among, read_position, write_position
from aimwell.deployment.journeys.knowledge import Contact, Facts, Joined, Knowledge, Need
from aimwell.deployment.journeys.walk import PREFIX
from aimwell.deployment.ledger_rows import identify_delivery, split
from aimwell.deployment.sources import is_campaign
from aimwell.engine.ledger_tables import CONSENT_STATES, CONTACT_STATES, DELIVERIES, HELD, WAITING
from aimwell.engine.permissions import (
    ConsentState,
    add_suppression,
    list_suppressions,
    remember_consents,
    take_turn,
)
from aimwell.engine.store import Store

FOLLOWED = "identities:messages"
"""As of which version of the table ``identities`` queued messages stand under their customers' ids."""
JUDGED = "identities:people"
"""As of which version what waits under customers' own ids was judged as that of all their records."""
_CHUNK = 1_000
_D = DELIVERIES.c
_UNTOLD = ("queued", "leased")
"""Of a message of which nothing was said to a provider yet."""
_TOLD = tuple(state for state in CONTACT_STATES if state not in _UNTOLD)
_POSTPONED = ("quiet_hours", "outranked")
"""Why a message waits whose customer's hours or other messages are in the way."""


def is_behind(connection: sa.Connection, version: int) -> bool:
    """Whether messages may stand under the ids of an older version of joined records."""
    return (read_position(connection, FOLLOWED) or 0) < version


def is_unjudged(connection: sa.Connection, version: int) -> bool:
    """Whether messages under customers' own ids may have been judged by fewer records than these."""
    return (read_position(connection, JUDGED) or 0) < version


def follow_messages(store: Store, facts: Facts, joined: Joined, now_ms: int) -> int:
    """Bring all queued messages of people with several records under their customers' ids; how many those are.

    What stands under its customer's id already is judged again, too: the other records may have refused it.
    """
    with store.snapshot() as connection:
        if not is_behind(connection, joined.version):
            return 0
        found, speaking = _list_concerned(connection, joined, HELD, now_ms)
        fresh = is_unjudged(connection, joined.version)
        # All that waits is looked through once, and again at the end, however long something is said to a record.
        if fresh or not speaking:
            found += _list_concerned(connection, joined, WAITING, now_ms)[0]
        if not fresh:
            found = [one for one in found if one[1] in joined.customers]
    moved = _follow(store, facts, joined, found, now_ms)
    if not speaking:
        _bring_all_contacts(store, joined)
    if fresh or not speaking:
        with store.begin() as connection:
            write_position(connection, JUDGED, joined.version)
            if not speaking:
                write_position(connection, FOLLOWED, joined.version)
    return moved


def follow_source(store: Store, facts: Facts, joined: Joined, source: str, now_ms: int) -> int:
    """The same for one source, which has just queued something for records as it knew them."""
    with store.snapshot() as connection:
        found, _ = _list_concerned(connection, joined, WAITING & (_D.plan_id == source), now_ms)
    return _follow(store, facts, joined, found, now_ms)


def readdress(
    store: Store, facts: Facts, joined: Joined, found: Sequence[tuple[str, str]], now_ms: int
) -> int:
    """Queue these messages (delivery, under which id) for the customers whose they are; how many were not told yet.

    With them everything that waits or is held under a record of theirs: the person's messages are judged together.
    """
    if not found:
        return 0
    customers = frozenset(joined.find(record) for _, record in found)
    # Read before the transaction; it brings the records' suppressions to the person, too.
    known = facts.learn(Need(contacts=True, zones=True), customers, now_ms)
    with store.begin() as connection:
        take_turn(connection)
        if known.consents:
            remember_consents(connection, known.consents)
        known_as = dict(found)
        mine = among(connection, _D.customer_id, [*_list_records(joined, customers), *customers])
        query = sa.select(DELIVERIES).where(mine, _D.state.in_((*_UNTOLD, "intent")), _D.purpose != "test")
        # Not those of the customer's own that nobody asked for, or that somebody else has looked at meanwhile.
        rows = [
            row
            for row in connection.execute(query).all()
            if row.customer_id in joined.customers or row.customer_id == known_as.get(row.delivery_id)
        ]
        untold = [_describe(row, joined, known) | _wait(row) for row in rows if row.state in _UNTOLD]
        spoken = [_describe(row, joined, known) for row in rows if row.state == "intent"]
        if untold:
            connection.execute(_READDRESS, untold)
        if spoken:
            connection.execute(_RENAME, spoken)
        _unite(connection, joined, customers, now_ms)
    return len(untold)


def give_back(store: Store, deliveries: Sequence[str]) -> None:
    """Whoever holds these loses them: they are judged again."""
    if deliveries:
        with store.begin() as connection:
            mine = among(connection, _D.delivery_id, deliveries) & (_D.state == "leased")
            connection.execute(sa.update(DELIVERIES).where(mine).values(state="queued"))


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
    _skip(connection, skipped, now_ms)


def _skip(connection: sa.Connection, deliveries: Sequence[str], now_ms: int) -> None:
    """The person gets it as another record, or has it already."""
    if deliveries:
        values = {"state": "skipped", "reason": "merged", "finished_at_ms": now_ms}
        which = among(connection, _D.delivery_id, deliveries)
        connection.execute(sa.update(DELIVERIES).where(which).values(**values))
        take_back(connection, deliveries)


def _name_place(row: Any, joined: Joined) -> tuple[str, str, str]:
    """Whose message it is, and of which node."""
    return joined.find(row.customer_id), row.plan_id, row.detail["node"]


def _list_concerned(
    connection: sa.Connection, joined: Joined, which: sa.ColumnElement[bool], now_ms: int
) -> tuple[list[tuple[str, str]], bool]:
    """Of people with several records what nobody was told yet (delivery, under which id).

    And whether something is just being handed over that stands under a record.
    """
    if not joined.customers:
        return [], False
    columns = (_D.delivery_id, _D.customer_id, _D.state, _D.lease_until_ms)
    query = sa.select(*columns).where(which, _D.purpose != "test")
    rows = [
        row
        for row in connection.execute(query)
        if row.customer_id in joined.customers or row.customer_id in joined.records
    ]
    untold = [(row.delivery_id, row.customer_id) for row in rows if row.state in _UNTOLD]
    spoken = (row for row in rows if row.state == "intent" and row.customer_id in joined.customers)
    return untold, any(row.lease_until_ms > now_ms for row in spoken)


def _follow(store: Store, facts: Facts, joined: Joined, found: Sequence[tuple[str, str]], now_ms: int) -> int:
    chunks = (found[start : start + _CHUNK] for start in range(0, len(found), _CHUNK))
    return sum(readdress(store, facts, joined, chunk, now_ms) for chunk in chunks)


def _unite(connection: sa.Connection, joined: Joined, customers: Collection[str], now_ms: int) -> None:
    """What the records refused, got, or are to get: the person did, and is; the caller holds the gate's turn."""
    records = _list_records(joined, customers)
    for some in split(records):
        for entry in list_suppressions(connection, some):
            add_suppression(connection, replace(entry, customer_id=joined.find(entry.customer_id)))
    columns = [CONSENT_STATES.c[name] for name in ConsentState._fields]
    mine = among(connection, CONSENT_STATES.c.customer_id, records)
    states = [ConsentState(*row) for row in connection.execute(sa.select(*columns).where(mine))]
    remember_consents(connection, [one._replace(customer_id=joined.find(one.customer_id)) for one in states])
    _bring_contacts(connection, joined, records)
    _skip_doubles(connection, joined, customers, now_ms)


def _list_records(joined: Joined, customers: Iterable[str]) -> list[str]:
    return [record for customer in customers for record in joined.records.get(customer, ())]


def _skip_doubles(connection: sa.Connection, joined: Joined, customers: Collection[str], now_ms: int) -> None:
    """A campaign that wanted several of a person's records: what it has for one of them is enough."""
    columns = (_D.delivery_id, _D.plan_id, _D.customer_id, _D.action_id, _D.state, _D.reachable, _D.priority)
    mine = among(connection, _D.customer_id, sorted(customers))
    query = sa.select(*columns).where(mine, _D.state.in_((*_UNTOLD, *CONTACT_STATES)), _D.purpose != "test")
    wanted: dict[tuple[str, str], list[Any]] = defaultdict(list)
    for row in connection.execute(query):
        if is_campaign(row.plan_id):
            wanted[row.plan_id, row.customer_id].append(row)
    surplus = [
        one
        for (_, customer), rows in wanted.items()
        if len(rows) > 1
        for one in _find_doubles(rows, [customer, *joined.records.get(customer, ())])
    ]
    _skip(connection, surplus, now_ms)


def _find_doubles(rows: Iterable[Any], records: Sequence[str]) -> list[str]:
    """Of one campaign's messages for one person: those nobody was told yet of all records but the one that keeps its.

    It is the one that was told something, else one by which she can be reached, else that of most value.
    """
    messages: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        names = (one for one in records if _is_of(row, one))
        messages[next(names, row.delivery_id)].append(row)
    ranks = {
        name: (
            any(row.state not in _UNTOLD for row in own),
            any(row.reachable for row in own),
            sum(row.priority for row in own),
            name == records[0],
            name,
        )
        for name, own in messages.items()
    }
    kept = max(messages, key=ranks.__getitem__)
    others = (row for name, own in messages.items() if name != kept for row in own)
    return [row.delivery_id for row in others if row.state in _UNTOLD]


def _is_of(row: Any, record: str) -> bool:
    """Whether the message was planned for this record: its id says so for ever."""
    return bool(row.delivery_id == identify_delivery(row.plan_id, record, row.action_id))


def _bring_all_contacts(store: Store, joined: Joined) -> None:
    """Of people for whom nothing waits as well: their caps hold for what is queued later."""
    records = sorted(joined.customers)
    for start in range(0, len(records), _CHUNK):
        with store.snapshot() as connection:
            found = _list_reached(connection, records[start : start + _CHUNK])
        if found:
            with store.begin() as connection:
                take_turn(connection)
                _bring_contacts(connection, joined, found)


def _bring_contacts(connection: sa.Connection, joined: Joined, records: Sequence[str]) -> None:
    """What the records got is what the person got: it counts towards the person's caps."""
    rows = [{"which": one, "whose": joined.find(one)} for one in _list_reached(connection, records)]
    if rows:
        connection.execute(_BRING, rows)


def _list_reached(connection: sa.Connection, records: Sequence[str]) -> list[str]:
    """Those of the records that got something, or are about to."""
    mine = among(connection, _D.customer_id, records)
    return list(
        connection.execute(sa.select(_D.customer_id).where(mine, _D.state.in_(_TOLD)).distinct()).scalars()
    )


def _describe(row: Any, joined: Joined, known: Knowledge) -> dict[str, Any]:
    """The message as the customer's."""
    customer = joined.find(row.customer_id)
    contact = known.contacts.get(customer, Contact(frozenset()))
    return {
        "which": row.delivery_id,
        "whose": customer,
        "reached": row.channel in contact.channels,
        "ways": [way for way in row.fallback or () if way in contact.channels] or None,
        "prior": max(contact.prior, row.prior_contacts),
        "place": known.zones.get(customer),
    }


def _wait(row: Any) -> dict[str, int]:
    return {"from_ms": 0 if row.reason in _POSTPONED else row.not_before_ms}


_RENAME = (
    sa.update(DELIVERIES)
    .where(_D.delivery_id == sa.bindparam("which"))
    .values(
        customer_id=sa.bindparam("whose"),
        reachable=sa.bindparam("reached"),
        fallback=sa.bindparam("ways"),
        prior_contacts=sa.bindparam("prior"),
        zone=sa.bindparam("place"),
    )
)
"""Of what is just being said to a provider, who may not be reached: then it waits as the person's."""
_READDRESS = _RENAME.values(state="queued", reason=None, not_before_ms=sa.bindparam("from_ms"))
_BRING = (
    sa.update(DELIVERIES)
    # Written out: a list that is a parameter cannot be one of many changes at once.
    .where(
        _D.customer_id == sa.bindparam("which"),
        _D.state.in_([sa.literal_column(f"'{state}'") for state in _TOLD]),
    )
    .values(customer_id=sa.bindparam("whose"))
)
