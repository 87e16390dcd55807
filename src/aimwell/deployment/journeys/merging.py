"""Records that were joined are one customer: the enrolments of all of them go on under the customer's id.

Whoever matches events or lets people in knows the joined records as of a version of ``identities``, and does so only
in a transaction in which enrolments stand as of the same one. Where more of one customer's records were in a journey
than its re-entry rule lets in at once, the first to enter go on and the others exit, and what they had queued is not
sent. A join that is undone moves nobody back.
Reads and writes the store's ``journey_enrolments``, ``journey_positions`` and ``deliveries``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import sqlalchemy as sa

from aimwell.deployment.journeys.enrolments import (
    Person,
    among,
    read_active,
    read_position,
    write_moves,
    write_position,
)
from aimwell.deployment.journeys.entering import may_enter
from aimwell.deployment.journeys.graph import Reentry
from aimwell.deployment.journeys.knowledge import Joined
from aimwell.deployment.journeys.readdressing import skip_surplus
from aimwell.deployment.journeys.versions import Catalogue, list_running
from aimwell.engine.journey_tables import JOURNEY_ENROLMENTS
from aimwell.engine.store import Store

JOINED = "identities"
"""As of which version of the table ``identities`` enrolments stand under their customers' ids."""
MERGED = "merged"
"""The way by which somebody left who was in the journey as another record, too."""
_CHUNK = 10_000
_C = JOURNEY_ENROLMENTS.c


def follow_joined(store: Store, catalogue: Catalogue, joined: Joined, now_ms: int) -> int:
    """Bring all enrolments under their customers' ids; how many there were under another one."""
    with store.snapshot() as connection:
        if _find_version(connection) >= joined.version:
            return 0
        last = int(connection.execute(sa.select(sa.func.max(_C.enrolment_id))).scalar() or 0)
        numbers = _list_renamed(connection, joined, _C.enrolment_id <= last)
    with store.begin() as connection:
        if _find_version(connection) >= joined.version:
            return 0
        # Most were found without keeping anybody waiting.
        numbers += _list_renamed(connection, joined, _C.enrolment_id > last)
        for start in range(0, len(numbers), _CHUNK):
            customers = _rename(connection, joined, numbers[start : start + _CHUNK])
            surplus = _leave_surplus(connection, catalogue, customers, now_ms)
            if surplus:
                skip_surplus(connection, joined, surplus, now_ms)
        write_position(connection, JOINED, joined.version)
    return len(numbers)


def is_current(connection: sa.Connection, version: int) -> bool:
    """Whether enrolments stand under the ids that this version of joined records says."""
    return _find_version(connection) == version


def _find_version(connection: sa.Connection) -> int:
    return read_position(connection, JOINED) or 0


def _list_renamed(connection: sa.Connection, joined: Joined, which: sa.ColumnElement[bool]) -> list[int]:
    if not joined.customers:
        return []
    query = sa.select(_C.enrolment_id, _C.customer_id).where(which).order_by(_C.enrolment_id)
    return [number for number, customer in connection.execute(query) if customer in joined.customers]


def _rename(connection: sa.Connection, joined: Joined, numbers: Sequence[int]) -> Collection[str]:
    """Put these enrolments under their customers' ids; whose they are."""
    columns = (_C.enrolment_id, _C.journey, _C.customer_id, _C.occasion)
    query = sa.select(*columns).where(among(connection, _C.enrolment_id, numbers)).order_by(_C.enrolment_id)
    rows = [(*row[:2], joined.find(row.customer_id), row.occasion) for row in connection.execute(query)]
    customers = {customer for _, _, customer, _ in rows}
    theirs = sa.select(*columns[1:]).where(among(connection, _C.customer_id, sorted(customers)))
    taken = {tuple(row) for row in connection.execute(theirs)}
    changes = []
    for number, journey, customer, occasion in rows:
        # Two records entered for one day or slot: the occasion stays that of the first.
        own = f"{occasion[:128]}#{number}" if (journey, customer, occasion) in taken else occasion
        taken.add((journey, customer, own))
        changes.append({"which": number, "whose": customer, "why": own})
    if changes:
        connection.execute(_RENAME, changes)
    return customers


_RENAME = (
    sa.update(JOURNEY_ENROLMENTS)
    .where(_C.enrolment_id == sa.bindparam("which"))
    .values(customer_id=sa.bindparam("whose"), occasion=sa.bindparam("why"))
)


def _leave_surplus(
    connection: sa.Connection, catalogue: Catalogue, customers: Collection[str], now_ms: int
) -> dict[int, str]:
    """Whoever is in a journey more often than its rule allows leaves it.

    Returns the enrolments (and whose they are) that the rule would not have let in of one customer, ended ones too.
    """
    running = {one.name: one.version for one in list_running(connection) if one.state != "stopped"}
    rules = {name: catalogue.find(connection, name, version).reentry for name, version in running.items()}
    active: dict[tuple[str, str], list[Person]] = defaultdict(list)
    for person in read_active(connection, list(running), sorted(customers)):
        active[person.journey, person.customer_id].append(person)
    leaving: list[Person] = []
    for (name, _), people in active.items():
        people.sort(key=lambda one: (one.entered_ms, one.enrolment_id))
        leaving += people[rules[name].at_once :]
    surplus = _find_surplus(connection, rules, customers)
    for person in leaving:
        person.end("exit", now_ms)
        person.edge, person.probability = MERGED, 1.0
        surplus[person.enrolment_id] = person.customer_id
    write_moves(connection, sorted(leaving, key=lambda one: one.enrolment_id))
    return surplus


def _find_surplus(
    connection: sa.Connection, rules: Mapping[str, Reentry], customers: Collection[str]
) -> dict[int, str]:
    columns = (_C.journey, _C.customer_id, _C.enrolment_id, _C.entered_ms, _C.ended_ms)
    mine = among(connection, _C.customer_id, sorted(customers)) & _C.journey.in_(list(rules))
    kept: dict[tuple[str, str], list[Any]] = defaultdict(list)
    surplus: dict[int, str] = {}
    query = sa.select(*columns).where(mine).order_by(_C.entered_ms, _C.enrolment_id)
    for row in connection.execute(query):
        before = kept[row.journey, row.customer_id]
        inside = sum(one.ended_ms is None or one.ended_ms > row.entered_ms for one in before)
        last = max((one.ended_ms or one.entered_ms for one in before), default=-1)
        if may_enter(rules[row.journey], inside, last, row.entered_ms):
            before.append(row)
        else:
            surplus[row.enrolment_id] = row.customer_id
    return surplus
