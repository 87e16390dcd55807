"""The call centre's tasks: who takes the next-best one, under a lease, and which wait for their time.

Several agents on several machines never hold the same task: a task is taken in a transaction that locks its row, and
whoever enters an outcome must still hold the turn in which it was taken. Before a task is given out the customer's
wishes are looked up again: whoever is on the suppression list or has withdrawn consent meanwhile is not called.

Reads and writes the store's ``call_tasks``; reads ``call_attempts``, ``suppressions``, ``consent_states`` and
``deliveries``. The statements are portable (SQLite, PostgreSQL) and work inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import sqlalchemy as sa

from aimwell.deployment.channels.event_outbox import insert_new
from aimwell.engine.channel_tables import CALL_ATTEMPTS, CALL_TASKS
from aimwell.engine.ledger_tables import CONSENT_STATES, DELIVERIES
from aimwell.engine.permissions import ALL_CHANNELS, list_suppressions, take_turn

TaskKind = Literal["call", "reply"]
CHANNEL = "call"
_COLUMNS = CALL_TASKS.c
_LOOKED_AT = 50
"""Tasks that are locked at once while one is looked for that may be given out."""


@dataclass(frozen=True)
class NewTask:
    """A task as it comes to the desk. ``priority`` is what the contact is worth, in cents."""

    task_id: str
    customer_id: str
    kind: TaskKind
    plan_id: str
    card: Mapping[str, str]
    due_ms: int
    priority: int = 0
    planned_seconds: int = 0
    best_hour: int | None = None
    expires_ms: int | None = None


@dataclass(frozen=True)
class Task:
    """A task as an agent sees it. ``turn`` is the number under which it was taken."""

    task_id: str
    customer_id: str
    kind: TaskKind
    plan_id: str
    state: str
    card: Mapping[str, str]
    priority: int
    planned_seconds: int
    best_hour: int | None
    due_ms: int
    expires_ms: int | None
    promised: bool
    agent: str | None
    lease_until_ms: int | None
    turn: int
    attempts: int
    outcome: str | None
    finished_ms: int | None


@dataclass(frozen=True)
class Shift:
    """The terms of an agent's work. ``hour`` is the business's now; a lease lasts ``lease_ms``.

    ``capacity_seconds`` is what the desk may still talk since ``day_began_ms``, all agents together; None: no limit.
    ``open_hours``: in which hours, from–to, people may be called at all.
    """

    hour: int
    day_began_ms: int
    lease_ms: int = 1_800_000
    capacity_seconds: int | None = None
    open_hours: tuple[int, int] = (9, 21)


@dataclass(frozen=True)
class Taken:
    """What ``take_next`` found. Without a task ``why`` says why: empty, closed or capacity."""

    task: Task | None
    why: str = ""
    closed: tuple[str, ...] = field(default=())
    """Tasks that were closed on the way, because their customers may not be called any more or it is too late."""


def add_tasks(connection: sa.Connection, tasks: Sequence[NewTask], now_ms: int) -> int:
    """Put tasks on the list; returns how many were not on it yet."""
    rows = [
        {**vars(task), "card": dict(task.card), "state": "open", "promised": False, "turn": 0, "attempts": 0,
         "created_ms": now_ms}
        for task in tasks
    ]  # fmt: skip
    return insert_new(connection, CALL_TASKS, rows)


def take_next(connection: sa.Connection, agent: str, shift: Shift, now_ms: int) -> Taken:
    """The agent's next task, leased to nobody else.

    Whoever holds one already gets that one again. First come promised calls whose time has come (to their own agent
    before others), then customers whose best hour it is, then the most valuable.
    """
    # Suppressions and other agents take turns at the same gate: what is read here stands until this commits.
    take_turn(connection)
    closed: list[str] = []
    held = _read_held(connection, agent, now_ms)
    if held is not None:
        objection = find_objections(connection, [held], now_ms).get(held.task_id)
        if objection is None:
            return Taken(_lease(connection, held, agent, shift, now_ms))
        close_task(connection, held.task_id, objection, now_ms)
        closed.append(held.task_id)
    calls = shift.open_hours[0] <= shift.hour < shift.open_hours[1]
    left = (
        None if shift.capacity_seconds is None else shift.capacity_seconds - count_seconds(connection, shift)
    )
    why = "empty" if calls else "closed"
    while rows := _lock_waiting(connection, agent, shift, now_ms, calls=calls):
        objections = find_objections(connection, rows, now_ms)
        for row in rows:
            if reason := objections.get(row.task_id):
                close_task(connection, row.task_id, reason, now_ms)
                closed.append(row.task_id)
            elif left is not None and row.kind == "call" and row.planned_seconds > left:
                # No time for calls is left; what must be read may still be read.
                why, calls = "capacity", False
            else:
                return Taken(_lease(connection, row, agent, shift, now_ms), "", tuple(closed))
    return Taken(None, why, tuple(closed))


def read_task(connection: sa.Connection, task_id: str) -> Task | None:
    """One task, by its id or the beginning of it where no other begins so."""
    query = sa.select(*_list_columns()).where(_COLUMNS.task_id.startswith(task_id, autoescape=True)).limit(2)
    rows = connection.execute(query).all()
    return Task(*rows[0]) if len(rows) == 1 else None


def list_tasks(connection: sa.Connection, *, state: str | None = None, limit: int = 100) -> list[Task]:
    """Tasks, the most valuable first."""
    query = sa.select(*_list_columns()).order_by(_COLUMNS.priority.desc(), _COLUMNS.task_id).limit(limit)
    if state is not None:
        query = query.where(_COLUMNS.state == state)
    return [Task(*row) for row in connection.execute(query)]


def count_tasks(connection: sa.Connection) -> dict[str, int]:
    """Tasks by state."""
    query = sa.select(_COLUMNS.state, sa.func.count()).group_by(_COLUMNS.state)
    return {row[0]: int(row[1]) for row in connection.execute(query)}


def count_seconds(connection: sa.Connection, shift: Shift) -> int:
    """Seconds that were talked since the day began, and those planned of calls that are under way."""
    talked = sa.select(sa.func.coalesce(sa.func.sum(CALL_ATTEMPTS.c.seconds), 0)).where(
        CALL_ATTEMPTS.c.at_ms >= shift.day_began_ms
    )
    under_way = sa.select(sa.func.coalesce(sa.func.sum(_COLUMNS.planned_seconds), 0)).where(
        _COLUMNS.state == "taken", _COLUMNS.kind == "call"
    )
    return int(connection.execute(talked).scalar_one()) + int(connection.execute(under_way).scalar_one())


def find_objections(connection: sa.Connection, rows: Sequence[Any], now_ms: int) -> dict[str, str]:
    """Task id → why it must not be done any more. Replies are read whatever their writer allows.

    Calls in somebody's service need no marketing consent, and only a line for all channels forbids them.
    """
    calls = [row for row in rows if row.kind == "call"]
    customers = sorted({row.customer_id for row in calls})
    lines = {(line.customer_id, line.channel) for line in list_suppressions(connection, customers)}
    ended = sa.or_(CONSENT_STATES.c.allowed.is_(False), CONSENT_STATES.c.until_ms <= now_ms)
    query = sa.select(CONSENT_STATES.c.customer_id).where(
        CONSENT_STATES.c.customer_id.in_(customers), CONSENT_STATES.c.channel == CHANNEL, ended
    )
    withdrawn = set(connection.execute(query).scalars())
    service = sa.select(DELIVERIES.c.delivery_id).where(
        DELIVERIES.c.delivery_id.in_([row.task_id for row in calls]), DELIVERIES.c.purpose == "service"
    )
    needed = set(connection.execute(service).scalars())
    found = {
        row.task_id: "expired" for row in rows if row.expires_ms is not None and row.expires_ms <= now_ms
    }
    for row in calls:
        customer, own = row.customer_id, row.task_id not in needed
        if (customer, ALL_CHANNELS) in lines or (own and (customer, CHANNEL) in lines):
            found[row.task_id] = "suppressed"
        elif own and customer in withdrawn:
            found[row.task_id] = "withdrawn"
    return found


def close_task(connection: sa.Connection, task_id: str, outcome: str, now_ms: int) -> None:
    """Nothing more is to be done; what the agent saw of the customer is not kept."""
    values = {"state": "done", "outcome": outcome, "finished_ms": now_ms, "card": {}, "lease_until_ms": None}
    connection.execute(sa.update(CALL_TASKS).where(_COLUMNS.task_id == task_id).values(**values))


def release_task(connection: sa.Connection, task_id: str, agent: str) -> bool:
    """Give a task back that the agent holds; False when the agent holds it no more."""
    mine = (_COLUMNS.task_id == task_id) & (_COLUMNS.agent == agent) & (_COLUMNS.state == "taken")
    values = {"state": "open", "agent": None, "lease_until_ms": None}
    return connection.execute(sa.update(CALL_TASKS).where(mine).values(**values)).rowcount > 0


def forget_tasks(connection: sa.Connection, before_ms: int) -> int:
    """Delete tasks that were done before ``before_ms``, with their attempts; returns how many tasks."""
    old = sa.select(_COLUMNS.task_id).where(_COLUMNS.state == "done", _COLUMNS.finished_ms < before_ms)
    connection.execute(sa.delete(CALL_ATTEMPTS).where(CALL_ATTEMPTS.c.task_id.in_(old)))
    return connection.execute(sa.delete(CALL_TASKS).where(_COLUMNS.task_id.in_(old))).rowcount


def _list_columns() -> list[sa.Column[Any]]:
    return [_COLUMNS[name] for name in Task.__dataclass_fields__]


def _read_held(connection: sa.Connection, agent: str, now_ms: int) -> Any:
    mine = (_COLUMNS.agent == agent) & (_COLUMNS.state == "taken") & (_COLUMNS.lease_until_ms > now_ms)
    query = sa.select(*_list_columns()).where(mine).order_by(_COLUMNS.task_id).limit(1).with_for_update()
    return connection.execute(query).first()


def _lock_waiting(
    connection: sa.Connection, agent: str, shift: Shift, now_ms: int, *, calls: bool
) -> Sequence[Any]:
    """Tasks that may be given out now, the best first, locked: those of another transaction are passed over."""
    expired = (_COLUMNS.state == "taken") & (_COLUMNS.lease_until_ms <= now_ms)
    waiting = ((_COLUMNS.state == "open") | expired) & (_COLUMNS.due_ms <= now_ms)
    if not calls:
        waiting &= _COLUMNS.kind != "call"
    promised = sa.case((_COLUMNS.promised & (_COLUMNS.agent == agent), 0), (_COLUMNS.promised, 1), else_=2)
    now_is_best = sa.case((_COLUMNS.best_hour == shift.hour, 0), else_=1)
    query = (
        sa.select(*_list_columns())
        .where(waiting)
        .order_by(promised, now_is_best, _COLUMNS.priority.desc(), _COLUMNS.due_ms, _COLUMNS.task_id)
        .limit(_LOOKED_AT)
        .with_for_update(skip_locked=True)
    )
    return connection.execute(query).all()


def _lease(connection: sa.Connection, row: Any, agent: str, shift: Shift, now_ms: int) -> Task:
    fresh = row.state != "taken" or row.agent != agent
    values = {
        "state": "taken",
        "agent": agent,
        "lease_until_ms": now_ms + shift.lease_ms,
        "turn": row.turn + (1 if fresh else 0),
    }
    connection.execute(sa.update(CALL_TASKS).where(_COLUMNS.task_id == row.task_id).values(**values))
    return Task(**{**row._mapping, **values})
