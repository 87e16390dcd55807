"""Who is where: the statements on enrolments and visits, many rows at a time, inside the caller's transaction.

Reads and writes the store's ``journey_enrolments``, ``journey_visits`` and ``journey_positions`` (SQLite, PostgreSQL).
Rows are taken in the order of their numbers, so that pages are written once and two workers never wait for each other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from aimwell.engine.journey_tables import JOURNEY_ENROLMENTS, JOURNEY_POSITIONS

READY, WAITING, ENDED = "ready", "waiting", "ended"
TREATMENT, HOLDOUT = "treatment", "holdout"
MOST_DUE = 1_000_000
"""So many due enrolments are listed at once."""


class Person:
    """One enrolment while it is moved: what stands in its row."""

    __slots__ = (
        "arm",
        "brought",
        "context",
        "customer_id",
        "due_ms",
        "edge",
        "ended_ms",
        "enrolment_id",
        "entered_ms",
        "journey",
        "node",
        "occasion",
        "outcome",
        "probability",
        "state",
        "step",
        "version",
    )

    def __init__(self, *row: Any) -> None:
        (
            self.enrolment_id,
            self.journey,
            self.version,
            self.customer_id,
            self.occasion,
            self.arm,
            self.node,
            self.state,
            self.edge,
            self.probability,
            self.due_ms,
            self.step,
            self.entered_ms,
            self.context,
        ) = row
        self.outcome: str | None = None
        self.ended_ms: int | None = None
        self.brought = False
        """Whether ``context`` is another than in the row."""

    @property
    def packed(self) -> str:
        """``context`` as it stands in the row."""
        return json.dumps(self.context)

    def bring(self, properties: dict[str, Any]) -> None:
        """Remember what an event brought."""
        if properties:
            self.context, self.brought = {**(self.context or {}), **properties}, True

    def end(self, outcome: str, now_ms: int) -> None:
        """Leave the journey."""
        self.state, self.outcome, self.due_ms, self.ended_ms = ENDED, outcome, None, now_ms


class Visit(NamedTuple):
    """Somebody came to a node."""

    enrolment_id: int
    step: int
    node: str
    at_ms: int
    edge: str
    probability: float
    result: str | None


class Entering(NamedTuple):
    """Somebody who may enter: where, for which occasion, since when, with which properties."""

    customer_id: str
    occasion: str
    to: str
    entered_ms: int
    context: dict[str, Any] | None


_C = JOURNEY_ENROLMENTS.c
_READ = (
    _C.enrolment_id, _C.journey, _C.version, _C.customer_id, _C.occasion, _C.arm, _C.node, _C.state, _C.edge,
    _C.probability, _C.due_ms, _C.step, _C.entered_ms, _C.context,
)  # fmt: skip
_MOVED = ("node", "state", "edge", "probability", "due_ms", "step")
_BROUGHT = (*_MOVED, "context")
_LEFT = (*_MOVED, "ended_ms", "outcome")
"""What changes of whoever goes on, of whoever an event brought something, and of whoever leaves."""
_POSTGRES_TYPES = {
    "node": "text",
    "state": "text",
    "edge": "text",
    "probability": "double precision",
    "due_ms": "bigint",
    "step": "integer",
    "context": "json",
    "ended_ms": "bigint",
    "outcome": "text",
    "enrolment_id": "bigint",
    "at_ms": "bigint",
    "result": "text",
}


def list_due(connection: sa.Connection, journey: str, now_ms: int, limit: int = MOST_DUE) -> list[int]:
    """The numbers of enrolments with something to do, in their order."""
    due = sa.select(_C.enrolment_id).where(_C.journey == journey, _C.due_ms <= now_ms)
    return sorted(connection.execute(due.order_by(_C.due_ms).limit(limit)).scalars())


def find_first_due(connection: sa.Connection, journeys: Sequence[str]) -> int | None:
    """When the first of these journeys' enrolments is due."""
    firsts = [
        connection.execute(sa.select(sa.func.min(_C.due_ms)).where(_C.journey == name)).scalar()
        for name in journeys
    ]
    return min((first for first in firsts if first is not None), default=None)


def read_due(
    connection: sa.Connection, enrolments: Sequence[int], now_ms: int, *, lock: bool
) -> list[Person]:
    """Those of them that are still due, by number; with ``lock`` nobody else moves them, and locked ones are left."""
    query = (
        sa.select(*_READ)
        .where(among(connection, _C.enrolment_id, enrolments), _C.due_ms <= now_ms)
        .order_by(_C.enrolment_id)
    )
    if lock:
        query = query.with_for_update(skip_locked=True)
    return [Person(*row) for row in connection.execute(query).all()]


def read_active(connection: sa.Connection, journeys: Sequence[str], customers: Sequence[str]) -> list[Person]:
    """The enrolments of these customers that have not ended, by number.

    Within ``Store.begin()`` without a gate nobody else writes: the rows need no locks of their own.
    """
    query = (
        sa.select(*_READ)
        .where(
            among(connection, _C.customer_id, customers), _C.journey.in_(list(journeys)), _C.state != ENDED
        )
        .order_by(_C.enrolment_id)
    )
    return [Person(*row) for row in connection.execute(query).all()]


def among(
    connection: sa.Connection, column: sa.ColumnElement[Any], values: Iterable[Any]
) -> sa.ColumnElement[bool]:
    """``column`` is one of ``values``, however many: one parameter carries them all."""
    listed = list(values)
    if connection.dialect.name == "postgresql":
        # Made once, in a query of its own: of an array whose length the planner sees it holds reading the whole table
        # for cheaper than looking up a hundredth of it, which is more work the more people wait.
        packed = sa.bindparam("listed", _pack_array(listed), type_=sa.types.NullType(), unique=True)
        array = postgresql.ARRAY(column.type)
        return column == sa.any_(sa.cast(sa.select(sa.cast(packed, array)).scalar_subquery(), array))
    return column.in_(sa.text("SELECT value FROM json_each(:listed)").bindparams(listed=json.dumps(listed)))


def write_moves(connection: sa.Connection, people: Sequence[Person]) -> None:
    """Put everybody where they are now."""
    going: list[Person] = []
    brought: list[Person] = []
    left: list[Person] = []
    for one in people:
        (left if one.outcome is not None else brought if one.brought else going).append(one)
    _write(connection, _MOVED, going)
    _write(connection, _BROUGHT, brought)
    _write(connection, _LEFT, left)


def _write(connection: sa.Connection, names: Sequence[str], people: Sequence[Person]) -> None:
    if not people:
        return
    read = attrgetter(*("packed" if name == "context" else name for name in names), "enrolment_id")
    rows = [read(one) for one in people]
    if connection.dialect.name == "postgresql":
        shown, moved, parameters = _send((*names, "enrolment_id"), rows)
        changes = ", ".join(f"{name} = {shown[name]}" for name in names)
        connection.exec_driver_sql(
            f"UPDATE journey_enrolments AS e SET {changes} FROM {moved} WHERE e.enrolment_id = moved.enrolment_id",
            parameters,
        )
        return
    changes = ", ".join(f"{name} = ?" for name in names)
    connection.exec_driver_sql(f"UPDATE journey_enrolments SET {changes} WHERE enrolment_id = ?", rows)


def add_visits(connection: sa.Connection, visits: Sequence[Visit]) -> None:
    """Write down who came where."""
    if not visits:
        return
    names = Visit._fields
    if connection.dialect.name == "postgresql":
        shown, moved, parameters = _send(names, visits)
        connection.exec_driver_sql(
            f"INSERT INTO journey_visits ({', '.join(names)}) SELECT {', '.join(shown.values())} FROM {moved}",
            parameters,
        )
        return
    marks = ", ".join("?" for _ in names)
    connection.exec_driver_sql(
        f"INSERT INTO journey_visits ({', '.join(names)}) VALUES ({marks})", list(map(tuple, visits))
    )


def add_enrolments(connection: sa.Connection, rows: Sequence[dict[str, Any]]) -> int:
    """Let people in, each at most once for an occasion; how many are new."""
    if not rows:
        return 0
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    return connection.execute(insert(JOURNEY_ENROLMENTS).on_conflict_do_nothing(), list(rows)).rowcount


def read_past(
    connection: sa.Connection, journey: str, customers: Sequence[str]
) -> dict[str, tuple[int, int, set[str]]]:
    """Customer → (enrolments that have not ended, last entry or end, occasions), of those ever in the journey."""
    query = sa.select(_C.customer_id, _C.state, _C.entered_ms, _C.ended_ms, _C.occasion).where(
        among(connection, _C.customer_id, customers), _C.journey == journey
    )
    past: dict[str, tuple[int, int, set[str]]] = {}
    for customer, state, entered, ended, occasion in connection.execute(query):
        active, last, occasions = past.get(customer, (0, 0, set()))
        occasions.add(occasion)
        past[customer] = (active + (state != ENDED), max(last, entered, ended or 0), occasions)
    return past


def read_contexts(connection: sa.Connection, enrolments: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Enrolment → what events brought, of those that are there."""
    query = sa.select(_C.enrolment_id, _C.context).where(among(connection, _C.enrolment_id, enrolments))
    return {number: context or {} for number, context in connection.execute(query)}


def read_position(connection: sa.Connection, source: str, *, lock: bool = False) -> int | None:
    """How far ``source`` was looked through; None: never."""
    query = sa.select(JOURNEY_POSITIONS.c.position).where(JOURNEY_POSITIONS.c.source == source)
    found = connection.execute(query.with_for_update() if lock else query).scalar()
    return None if found is None else int(found)


def write_position(connection: sa.Connection, source: str, position: int) -> None:
    """``source`` was looked through up to ``position``."""
    mine = JOURNEY_POSITIONS.c.source == source
    changed = connection.execute(sa.update(JOURNEY_POSITIONS).where(mine).values(position=position))
    if not changed.rowcount:
        connection.execute(sa.insert(JOURNEY_POSITIONS).values(source=source, position=position))


def _send(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> tuple[dict[str, str], str, tuple[Any, ...]]:
    """Rows for PostgreSQL: how each column is called, where from, the parameters. What is alike in all is sent once."""
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    varied = [name for name in names if name == "enrolment_id" or len(set(columns[name])) > 1]
    alike = [name for name in names if name not in varied]
    shown = {name: f"moved.{name}" if name in varied else f"%s::{_POSTGRES_TYPES[name]}" for name in names}
    # As in ``among``: the planner does not see how many there are.
    arrays = ", ".join(f"(SELECT %s::{_POSTGRES_TYPES[name]}[])" for name in varied)
    values = (*(columns[name][0] for name in alike), *(_pack_array(columns[name]) for name in varied))
    return shown, f"unnest({arrays}) AS moved ({', '.join(varied)})", values


def _pack_array(column: Sequence[Any]) -> str:
    """A column as PostgreSQL writes an array: the driver takes a third of a batch's time to do so value by value."""
    shown = {value: _show(value) for value in set(column)}
    return "{" + ",".join([shown[value] for value in column]) + "}"


def _show(value: str | float | None) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return repr(value)
