"""Who may be contacted, as the store knows it: consents as they stand, the suppression list, the gate before both.

Every change takes the gate's next turn in its transaction, so that no reservation of deliveries passes between reading
and writing. Reads and writes the store's ``consent_states``, ``suppressions`` and ``contact_gate``; the statements are
portable (SQLite, PostgreSQL) and work inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import sqlalchemy as sa

from aimwell.core.time import now
from aimwell.engine.driver_statements import Rows, Statement, run_all
from aimwell.engine.ledger_tables import CONSENT_STATES, CONTACT_GATE, SUPPRESSIONS
from aimwell.engine.store import Store

ALL_CHANNELS = "all"
_CHUNK = 500
_GATE = 1


class ConsentState(NamedTuple):
    """The latest marketing consent of one customer for one channel; instants in ms since 1970, UTC."""

    customer_id: str
    channel: str
    allowed: bool
    since_ms: int
    until_ms: int | None = None


@dataclass(frozen=True)
class Suppression:
    """One line of the suppression list; ``channel`` may be ``all``."""

    customer_id: str
    channel: str
    source: str
    since_ms: int


def take_turn(connection: sa.Connection) -> int:
    """Lock the gate and return its next number: reservations follow one another, the highest is the newest."""
    return read_turn(connection, run_all(connection, [NEXT_TURN])[0])


def read_turn(connection: sa.Connection, rows: Rows) -> int:
    """The number from the rows of ``NEXT_TURN``; nobody has taken one before where there are none."""
    if not rows:
        connection.execute(sa.insert(CONTACT_GATE).values(gate=_GATE, turn=1))
        return 1
    return int(rows[0][0])


NEXT_TURN = Statement(
    "UPDATE contact_gate SET turn = turn + 1 WHERE gate = :gate RETURNING turn", {"gate": _GATE}
)
"""Takes the next turn; for transactions that send it with others."""


def halt(connection: sa.Connection, by: str) -> bool:
    """The kill switch: nothing of any source is reserved or handed over from now on; False when that stood already."""
    take_turn(connection)
    since = int(now().timestamp() * 1000)
    running = CONTACT_GATE.c.halted_at_ms.is_(None)
    change = sa.update(CONTACT_GATE).where(CONTACT_GATE.c.gate == _GATE, running)
    return connection.execute(change.values(halted_at_ms=since, halted_by=by[:128])).rowcount > 0


def go_on(connection: sa.Connection) -> bool:
    """The kill switch is off again; False when it was not on."""
    take_turn(connection)
    held = CONTACT_GATE.c.halted_at_ms.is_not(None)
    change = sa.update(CONTACT_GATE).where(CONTACT_GATE.c.gate == _GATE, held)
    return connection.execute(change.values(halted_at_ms=None, halted_by=None)).rowcount > 0


def find_halt(connection: sa.Connection) -> tuple[int, str] | None:
    """Since when (ms), and by whom, everything is halted; None when it is not."""
    columns = CONTACT_GATE.c
    query = sa.select(columns.halted_at_ms, columns.halted_by).where(columns.halted_at_ms.is_not(None))
    row = connection.execute(query).first()
    return None if row is None else (int(row.halted_at_ms), str(row.halted_by))


def add_suppression(connection: sa.Connection, entry: Suppression) -> bool:
    """Never contact the customer (on the channel) again; False when that stood already."""
    take_turn(connection)
    columns = SUPPRESSIONS.c
    found = sa.select(columns.customer_id).where(
        columns.customer_id == entry.customer_id, columns.channel == entry.channel
    )
    if connection.execute(found).first() is not None:
        return False
    connection.execute(sa.insert(SUPPRESSIONS).values(vars(entry)))
    return True


def suppress_customers(
    store: Store, customers: Iterable[str], *, channel: str = ALL_CHANNELS, source: str = "cli"
) -> bool:
    """Never contact these customers (one person's records) again; False when all that stood already. Audited."""
    since = int(now().timestamp() * 1000)
    with store.begin() as connection:
        entries = [Suppression(customer, channel, source, since) for customer in sorted(set(customers))]
        added = [add_suppression(connection, entry) for entry in entries]
    if any(added):
        store.audit("customer.suppressed", channel, {"source": source})
    return any(added)


def remove_suppression(connection: sa.Connection, customer_id: str, channel: str | None = None) -> int:
    """Take the customer off the list (one channel's line, or all lines); how many lines went."""
    take_turn(connection)
    condition = SUPPRESSIONS.c.customer_id == customer_id
    if channel is not None:
        condition &= SUPPRESSIONS.c.channel == channel
    return int(connection.execute(sa.delete(SUPPRESSIONS).where(condition)).rowcount)


def list_suppressions(
    connection: sa.Connection, customers: Iterable[str] | None = None, *, limit: int | None = None
) -> list[Suppression]:
    """The list (of some customers), newest first."""
    columns = SUPPRESSIONS.c
    query = sa.select(columns.customer_id, columns.channel, columns.source, columns.since_ms)
    if customers is not None:
        query = query.where(columns.customer_id.in_(sorted(set(customers))))
    query = query.order_by(columns.since_ms.desc(), columns.customer_id, columns.channel).limit(limit)
    return [Suppression(*row) for row in connection.execute(query)]


def count_suppressions(connection: sa.Connection) -> int:
    """How many lines the list has."""
    return int(connection.execute(sa.select(sa.func.count()).select_from(SUPPRESSIONS)).scalar_one())


def remember_consents(connection: sa.Connection, consents: Sequence[ConsentState]) -> None:
    """Insert or update what is newer than what stands; at one instant a refusal replaces a permission."""
    for start in range(0, len(consents), _CHUNK):
        _remember(connection, consents[start : start + _CHUNK])


def _remember(connection: sa.Connection, consents: Sequence[ConsentState]) -> None:
    columns = CONSENT_STATES.c
    names = ConsentState._fields
    query = sa.select(*(columns[name] for name in names)).where(
        columns.customer_id.in_(sorted({consent.customer_id for consent in consents}))
    )
    known = {(row.customer_id, row.channel): ConsentState(*row) for row in connection.execute(query)}
    latest: dict[tuple[str, str], ConsentState] = {}
    for consent in consents:
        key = (consent.customer_id, consent.channel)
        if _is_news(consent, latest.get(key, known.get(key))):
            latest[key] = consent
    fresh = [consent._asdict() for key, consent in latest.items() if key not in known]
    changed = [consent for key, consent in latest.items() if key in known]
    if fresh:
        connection.execute(sa.insert(CONSENT_STATES), fresh)
    if changed:
        connection.execute(_UPDATE, [_bind_update(consent) for consent in changed])


_UPDATE = (
    sa.update(CONSENT_STATES)
    .where(
        CONSENT_STATES.c.customer_id == sa.bindparam("customer"),
        CONSENT_STATES.c.channel == sa.bindparam("way"),
    )
    .values(
        allowed=sa.bindparam("new_allowed"),
        since_ms=sa.bindparam("new_since"),
        until_ms=sa.bindparam("new_until"),
    )
)


def _bind_update(consent: ConsentState) -> dict[str, Any]:
    names = ("customer", "way", "new_allowed", "new_since", "new_until")
    return dict(zip(names, consent, strict=True))


def _is_news(consent: ConsentState, known: ConsentState | None) -> bool:
    if known is None or consent.since_ms > known.since_ms:
        return True
    return consent.since_ms == known.since_ms and known.allowed and not consent.allowed
