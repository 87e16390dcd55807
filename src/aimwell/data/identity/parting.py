"""What a join that is undone leaves behind in the store: refusals hold for everybody, the rest stays where it is.

Nobody knows any more under which record somebody refused, entered a journey or was written to while the records were
one. So whoever refused as one person has refused under each of the records; journeys, waiting messages and contacts
stay with the customer who had them. Reads the store's ``journey_enrolments`` and ``deliveries``; reads and writes
``suppressions`` and ``consent_states``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import sqlalchemy as sa

from aimwell.engine.journey_tables import JOURNEY_ENROLMENTS
from aimwell.engine.ledger_tables import CONSENT_STATES, DELIVERIES, WAITING
from aimwell.engine.permissions import (
    ConsentState,
    add_suppression,
    list_suppressions,
    remember_consents,
    take_turn,
)


@dataclass(frozen=True)
class Stays:
    """What stays with ``customer``: journeys on their way, waiting messages; how many refusals hold for all now."""

    customer: str
    journeys: int
    messages: int
    refusals: int


def keep_refusals(connection: sa.Connection, customer: str, records: Sequence[str]) -> Stays:
    """Let the records of a customer refuse what the customer has refused; safe to repeat."""
    take_turn(connection)
    lines = list_suppressions(connection, [customer])
    others = [record for record in records if record != customer]
    for line in lines:
        for record in others:
            add_suppression(connection, replace(line, customer_id=record))
    columns = CONSENT_STATES.c
    refused = sa.select(*(columns[name] for name in ConsentState._fields)).where(
        columns.customer_id == customer, columns.allowed.is_(False)
    )
    states = [ConsentState(*row) for row in connection.execute(refused)]
    remember_consents(
        connection, [state._replace(customer_id=record) for state in states for record in others]
    )
    return Stays(
        customer,
        _count(connection, JOURNEY_ENROLMENTS, customer, JOURNEY_ENROLMENTS.c.state != "ended"),
        _count(connection, DELIVERIES, customer, WAITING),
        len({line.channel for line in lines} | {state.channel for state in states}),
    )


def _count(connection: sa.Connection, table: sa.Table, customer: str, which: sa.ColumnElement[bool]) -> int:
    query = sa.select(sa.func.count()).select_from(table).where(table.c.customer_id == customer, which)
    return int(connection.execute(query).scalar_one())
