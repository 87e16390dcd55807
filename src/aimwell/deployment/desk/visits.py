"""Visit plans of account managers: whom to visit on which day, by class of customers, value and what is overdue.

A class has a service standard: at most so many days between two visits. Writes the store's ``visits``,
``suppressions``, ``consent_states`` and ``channel_events``. The statements are portable (SQLite, PostgreSQL) and work
inside the caller's transaction.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal, get_args

import sqlalchemy as sa

from aimwell.core.text import Text, say
from aimwell.deployment.channels.event_outbox import make_event, put_events
from aimwell.engine.channel_tables import VISITS
from aimwell.engine.permissions import (
    ALL_CHANNELS,
    ConsentState,
    Suppression,
    add_suppression,
    remember_consents,
    take_turn,
)

Reason = Literal["overdue", "due", "early"]
VisitOutcome = Literal["met", "not_met", "interested", "declined", "complaint", "do_not_contact"]
VISIT_OUTCOMES: tuple[VisitOutcome, ...] = get_args(VisitOutcome)
_EARLY = 5
"""Where there is room, customers are visited up to a fifth of their standard before they are due."""
_COLUMNS = VISITS.c
_CHUNK = 500


@dataclass(frozen=True)
class Client:
    """A customer as an account manager looks after it. ``last_visit``: None if never."""

    customer_id: str
    account_manager: str
    customer_class: str
    value_cents: int
    last_visit: date | None = None


@dataclass(frozen=True)
class Visit:
    """A visit as it is planned, and what came of it."""

    visit_id: str
    customer_id: str
    account_manager: str
    visit_on: date
    customer_class: str
    value_cents: int
    reason: Reason
    state: str = "planned"
    outcome: str | None = None
    note: str | None = None


def plan_visits(
    clients: Sequence[Client], *, days: Sequence[date], a_day: int, every_days: Mapping[str, int]
) -> list[Visit]:
    """At most ``a_day`` visits for each account manager on each of ``days``, which are working days in order.

    Who waited twice as long as the standard comes first, so that nobody is forgotten; then the classes by how often
    they are to be visited, the more valuable customers first. Classes without a standard are not visited.
    """
    managers: dict[str, list[Client]] = defaultdict(list)
    for client in clients:
        if client.customer_class in every_days:
            managers[client.account_manager].append(client)
    visits: list[Visit] = []
    for _, own in sorted(managers.items()):
        last = {client.customer_id: client.last_visit for client in own}
        for day in days:
            ranked = sorted(
                (key, client)
                for client in own
                if (key := _rank(client, last[client.customer_id], day, every_days)) is not None
            )
            for key, client in ranked[:a_day]:
                last[client.customer_id] = day
                visits.append(_make_visit(client, day, _find_reason(key, day)))
    return visits


def find_late(
    clients: Sequence[Client], visits: Sequence[Visit], *, until: date, every_days: Mapping[str, int]
) -> list[Client]:
    """Whose standard will not be kept on ``until`` by these visits: what the account managers have no time for."""
    last = {visit.customer_id: visit.visit_on for visit in sorted(visits, key=lambda one: one.visit_on)}
    late = []
    for client in clients:
        seen = last.get(client.customer_id, client.last_visit)
        days = every_days.get(client.customer_class)
        if days is not None and (seen is None or seen + timedelta(days=days) < until):
            late.append(client)
    return late


def save_plan(connection: sa.Connection, visits: Sequence[Visit], *, first: date, now_ms: int) -> int:
    """Replace what was planned from ``first`` on, but for what was done already; returns how many are planned."""
    take_turn(connection)
    planned = (_COLUMNS.state == "planned") & (_COLUMNS.visit_on >= first)
    connection.execute(sa.delete(VISITS).where(planned))
    kept = set(connection.execute(sa.select(_COLUMNS.visit_id).where(_COLUMNS.visit_on >= first)).scalars())
    rows = [{**vars(visit), "changed_ms": now_ms} for visit in visits if visit.visit_id not in kept]
    for start in range(0, len(rows), _CHUNK):
        connection.execute(sa.insert(VISITS), rows[start : start + _CHUNK])
    return len(rows)


def list_visits(
    connection: sa.Connection, *, first: date, last: date, account_manager: str | None = None
) -> list[Visit]:
    """Visits of these days, by day, account manager and value."""
    names = Visit.__dataclass_fields__
    query = sa.select(*(_COLUMNS[name] for name in names)).where(_COLUMNS.visit_on.between(first, last))
    if account_manager is not None:
        query = query.where(_COLUMNS.account_manager == account_manager)
    order = (_COLUMNS.visit_on, _COLUMNS.account_manager, _COLUMNS.value_cents.desc(), _COLUMNS.visit_id)
    return [Visit(*row) for row in connection.execute(query.order_by(*order))]


def read_visits(connection: sa.Connection, ids: Iterable[str]) -> dict[str, Visit]:
    """Visits by their ids."""
    names, wanted = Visit.__dataclass_fields__, sorted(set(ids))
    found: dict[str, Visit] = {}
    for start in range(0, len(wanted), _CHUNK):
        query = sa.select(*(_COLUMNS[name] for name in names)).where(
            _COLUMNS.visit_id.in_(wanted[start : start + _CHUNK])
        )
        found |= {row.visit_id: Visit(*row) for row in connection.execute(query)}
    return found


def read_last_visits(connection: sa.Connection) -> dict[str, date]:
    """When each customer was last met."""
    met = (_COLUMNS.state == "done") & (_COLUMNS.outcome != "not_met")
    query = sa.select(_COLUMNS.customer_id, sa.func.max(_COLUMNS.visit_on)).where(met)
    return {row[0]: row[1] for row in connection.execute(query.group_by(_COLUMNS.customer_id))}


def record_visit(
    connection: sa.Connection, visit: Visit, outcome: VisitOutcome, note: str | None, now_ms: int
) -> bool:
    """Enter what came of a visit; False when that stood already. Correcting it counts as news."""
    if (visit.outcome, visit.note) == (outcome, note):
        return False
    values = {"state": "done", "outcome": outcome, "note": note, "changed_ms": now_ms}
    connection.execute(sa.update(VISITS).where(_COLUMNS.visit_id == visit.visit_id).values(**values))
    if visit.outcome == outcome:
        return True
    # Of the day of the visit, not of the day on which somebody found time to enter it.
    day = datetime.combine(visit.visit_on, time(12), UTC)
    at_ms = min(int(day.timestamp() * 1000), now_ms)
    properties = {"outcome": outcome, "account_manager": visit.account_manager, "met": outcome != "not_met"}
    events = [
        make_event("Visit Completed", visit.customer_id, at_ms, properties, key=[visit.visit_id, outcome])
    ]
    if outcome == "do_not_contact":
        add_suppression(connection, Suppression(visit.customer_id, ALL_CHANNELS, "desk:visit", now_ms))
        remember_consents(connection, [ConsentState(visit.customer_id, "call", False, now_ms)])
        withdrawn = {"channel": ALL_CHANNELS, "purpose": "marketing", "allowed": False, "source": "desk"}
        events.append(
            make_event("Consent Withdrawn", visit.customer_id, at_ms, withdrawn, key=[visit.visit_id])
        )
    put_events(connection, events, now_ms)
    return True


def title_visit_outcome(outcome: str) -> Text:
    """The outcome for people."""
    titles = {
        "met": say("met"),
        "not_met": say("not met"),
        "interested": say("interested"),
        "declined": say("declined"),
        "complaint": say("complaint"),
        "do_not_contact": say("wants no contact"),
    }
    return titles.get(outcome) or Text(outcome)


def title_visit_reason(reason: str) -> Text:
    """Why the customer is visited, for people."""
    return {"overdue": say("overdue"), "due": say("due"), "early": say("soon due")}.get(reason) or Text(
        reason
    )


@dataclass(frozen=True, order=True)
class _Rank:
    """The order in which customers are visited on a day; what comes first is smaller."""

    patient: bool
    early: bool
    every: int
    worth: int
    due: date
    customer_id: str


def _rank(client: Client, last: date | None, day: date, every_days: Mapping[str, int]) -> _Rank | None:
    """None when it is not time for a visit."""
    every = every_days[client.customer_class]
    due = day if last is None else last + timedelta(days=every)
    if day < due - timedelta(days=every // _EARLY) or (last is not None and day <= last):
        return None
    return _Rank((day - due).days < every, day < due, every, -client.value_cents, due, client.customer_id)


def _find_reason(rank: _Rank, day: date) -> Reason:
    return "early" if rank.early else "due" if rank.due == day else "overdue"


def _make_visit(client: Client, day: date, reason: Reason) -> Visit:
    key = "\x1f".join((client.account_manager, client.customer_id, day.isoformat()))
    return Visit(
        hashlib.sha256(key.encode()).hexdigest(),
        client.customer_id,
        client.account_manager,
        day,
        client.customer_class,
        client.value_cents,
        reason,
    )
