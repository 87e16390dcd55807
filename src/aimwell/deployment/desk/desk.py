"""The desk of a workspace: its shift, its agents' calls and its account managers' visits, by the settings ``[desk]``.

Reads ``customers`` for visit plans; all else stands in the store (``tasks``, ``outcomes``, ``visits``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from aimwell.core.errors import NotReady
from aimwell.core.text import say
from aimwell.core.time import zone
from aimwell.deployment.calendar import Calendar
from aimwell.deployment.desk.outcomes import CallResult, Retry, record_outcome
from aimwell.deployment.desk.tasks import Shift, Taken, Task, take_next
from aimwell.deployment.desk.visit_sheet import export_visits
from aimwell.deployment.desk.visits import (
    Client,
    Visit,
    find_late,
    list_visits,
    plan_visits,
    read_last_visits,
    save_plan,
)
from aimwell.engine.workspace import Workspace

_MINUTE_MS = 60_000
_HOUR_MS = 3_600_000


def build_shift(workspace: Workspace, at: datetime) -> Shift:
    """The terms of work at ``at``."""
    desk, place = workspace.settings.desk, zone(workspace.settings.business.zone)
    local = at.astimezone(place)
    began = datetime.combine(local.date(), time(), place)
    capacity = desk.minutes_a_day
    return Shift(
        hour=local.hour,
        day_began_ms=to_ms(began),
        lease_ms=desk.lease_minutes * _MINUTE_MS,
        capacity_seconds=None if capacity is None else round(capacity * 60),
        open_hours=(desk.open_from, desk.open_until),
    )


def take_call(workspace: Workspace, agent: str, at: datetime) -> Taken:
    """The agent's next-best task."""
    with workspace.store.begin() as connection:
        return take_next(connection, agent, build_shift(workspace, at), to_ms(at))


def enter_outcome(workspace: Workspace, result: CallResult, at: datetime) -> Task:
    """Enter what came of a task."""
    desk = workspace.settings.desk
    retry = Retry(desk.attempts, desk.retry_hours * _HOUR_MS)
    with workspace.store.begin() as connection:
        return record_outcome(connection, result, to_ms(at), retry=retry)


def plan_days(workspace: Workspace, first: date, days: int, at: datetime) -> tuple[list[Visit], list[Client]]:
    """Plan the working days of ``days`` days from ``first`` on, instead of what was planned; and who is left out."""
    settings = workspace.settings
    calendar = Calendar(countries=settings.contact.holidays, send_on="working_days")
    span = [first + timedelta(days=number) for number in range(days)]
    working = [day for day in span if not calendar.rests(day)]
    with workspace.store.begin() as connection:
        last = read_last_visits(connection)
    clients = read_clients(workspace, last)
    desk = settings.desk
    visits = plan_visits(clients, days=working, a_day=desk.visits_a_day, every_days=desk.visit_every_days)
    with workspace.store.begin() as connection:
        save_plan(connection, visits, first=first, now_ms=to_ms(at))
    late = find_late(clients, visits, until=first + timedelta(days=days), every_days=desk.visit_every_days)
    return visits, late


def export_days(
    workspace: Workspace, path: Path, first: date, days: int, *, account_manager: str | None = None
) -> int:
    """Write the visits of these days to ``path``; returns how many. That personal data left is audited."""
    last = first + timedelta(days=days - 1)
    with workspace.store.begin() as connection:
        visits = list_visits(connection, first=first, last=last, account_manager=account_manager)
    names = _read_names(workspace, [visit.customer_id for visit in visits])
    export_visits(path, visits, names)
    workspace.store.audit("desk.visits_exported", path.name, {"rows": len(visits)})
    return len(visits)


def read_clients(workspace: Workspace, last_visits: Mapping[str, date]) -> list[Client]:
    """The customers whom account managers look after; NotReady when no attribute says whose they are."""
    desk = workspace.settings.desk
    with workspace.read() as reader:
        there = {name.lower() for name in reader.query("SELECT * FROM customers LIMIT 0").column_names}
        for setting, column in (("manager_column", desk.manager_column), ("class_column", desk.class_column)):
            if column.lower() not in there:
                raise _no_column(setting, column)
        value = _quote(desk.value_column) if desk.value_column.lower() in there else "NULL"
        rows = reader.query(
            f"SELECT customer_id, {_quote(desk.manager_column)} AS manager, {_quote(desk.class_column)} AS class,"
            f" TRY_CAST({value} AS DOUBLE) AS value FROM customers"
            f" WHERE {_quote(desk.manager_column)} IS NOT NULL ORDER BY customer_id"
        ).to_pylist()
    return [_read_client(row, last_visits) for row in rows]


def to_ms(at: datetime) -> int:
    """Milliseconds since 1970."""
    return int(at.timestamp() * 1000)


def _read_client(row: Mapping[str, Any], last_visits: Mapping[str, date]) -> Client:
    return Client(
        row["customer_id"],
        str(row["manager"]).strip()[:128],
        str(row["class"] or "").strip()[:32],
        round((row["value"] or 0.0) * 100),
        last_visits.get(row["customer_id"]),
    )


def _read_names(workspace: Workspace, customers: Sequence[str]) -> dict[str, str]:
    wanted = set(customers)
    with workspace.read() as reader:
        there = reader.query("SELECT * FROM customers LIMIT 0").column_names
        if "name" not in there:
            return {}
        rows = reader.query("SELECT customer_id, name FROM customers WHERE name IS NOT NULL").to_pylist()
    return {row["customer_id"]: str(row["name"]) for row in rows if row["customer_id"] in wanted}


def _quote(column: str) -> str:
    return '"' + column.replace('"', '""') + '"'


def _no_column(setting: str, column: str) -> NotReady:
    return NotReady(
        "deployment.no_desk_column",
        say("Customers have no attribute '{column}'.", column=column),
        remedy=say(
            "Load customers with it, or name another one in the settings: {setting} in the section [desk].",
            setting=setting,
        ),
        where={"column": column},
    )
