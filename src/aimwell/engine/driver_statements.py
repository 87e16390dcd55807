"""Statements as the driver takes them, for transactions that run hundreds of times a second.

SQLAlchemy puts a statement together, looks for it among those that it knows and describes its result: for one row by
its key that costs several times what the database does. Here a statement is text with ``:name`` for each value, spelt
as the database's driver wants it; errors are SQLAlchemy's all the same. What belongs together goes to a server in one
packet: on the way there and back, whoever else wants the same lock waits, too. Portable (SQLite, PostgreSQL); reads and
writes what its callers say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import chain
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa

from aimwell.engine.postgres_connection import end_idle
from aimwell.engine.postgres_packets import Rows as Rows
from aimwell.engine.postgres_packets import Values, exchange
from aimwell.engine.store_errors import is_busy

_TOGETHER = (64, 32, 16, 8, 4, 2, 1)
"""Rows that SQLite inserts by one statement: with each statement the thread lets the interpreter go."""
_AT_END = "aimwell_at_end"


class Statement(NamedTuple):
    """No colon in its text but of names and casts. With several values it runs once for each, and has no rows."""

    text: str
    values: Values = ()


def run_all(connection: sa.Connection, statements: Sequence[Statement]) -> list[Rows]:
    """The rows of each, which run one after the other; the first that fails ends it."""
    driver: Any = connection.connection.dbapi_connection
    if not statements:
        return []
    with _raising(connection, driver, statements):
        if connection.dialect.name == "sqlite":
            return [_run_on_sqlite(driver, one) for one in statements]
        return exchange(driver, statements)


def run_at_end(connection: sa.Connection, statements: Sequence[Statement]) -> None:
    """Run them before the transaction's end at the latest: to a server they go with COMMIT, and fail there."""
    if connection.dialect.name == "sqlite":
        run_all(connection, statements)
    else:
        connection.info.setdefault(_AT_END, []).extend(statements)


def run_with_commit(connection: sa.Connection) -> None:
    """Send COMMIT to a server with what was kept for it; the driver's own, afterwards, has nothing left to do."""
    kept = connection.info.pop(_AT_END, ())
    if kept:
        driver: Any = connection.connection.dbapi_connection
        with _raising(connection, driver, kept):
            exchange(driver, kept, ends=True)


def forget_kept(connection: sa.Connection) -> None:
    """The transaction is undone."""
    # A connection that was lost has nothing any more.
    if not connection.invalidated:
        connection.info.pop(_AT_END, None)


def make_insert(connection: sa.Connection, table: sa.Table, rows: Sequence[Sequence[Any]]) -> list[Statement]:
    """What inserts rows that have all columns of the table, in their order: text, numbers, truth, nothing."""
    if connection.dialect.name != "sqlite":
        names = [column.name for column in table.columns]
        told = msgspec.json.encode([dict(zip(names, row, strict=True)) for row in rows]).decode()
        return [Statement(_write_insert_of_json(table), {"rows": told})]
    statements, start = [], 0
    for size in _TOGETHER:
        while len(rows) - start >= size:
            values = tuple(chain.from_iterable(rows[start : start + size]))
            statements.append(Statement(_write_insert(table, size), values))
            start += size
    return statements


def _run_on_sqlite(driver: Any, statement: Statement) -> Rows:
    if isinstance(statement.values, list):
        driver.executemany(statement.text, statement.values)
        return []
    found: Rows = driver.execute(statement.text, statement.values).fetchall()
    return found


@contextmanager
def _raising(connection: sa.Connection, driver: Any, statements: Sequence[Statement]) -> Iterator[None]:
    """The driver's errors as SQLAlchemy raises them, without the values."""
    kind = driver.Error
    try:
        yield
    except kind as error:
        if is_busy(error):
            end_idle(connection.engine)
        lost = connection.dialect.is_disconnect(error, driver, None)
        wrapped = sa.exc.DBAPIError.instance(
            "; ".join(one.text for one in statements),
            None,
            error,
            kind,
            hide_parameters=True,
            connection_invalidated=lost,
            dialect=connection.dialect,
        )
        if lost:
            connection.invalidate(wrapped)
        raise wrapped from error


@cache
def _write_insert(table: sa.Table, size: int) -> str:
    names = [column.name for column in table.columns]
    row = f"({', '.join('?' * len(names))})"
    return f"INSERT INTO {table.name} ({', '.join(names)}) VALUES {', '.join([row] * size)}"


@cache
def _write_insert_of_json(table: sa.Table) -> str:
    names = ", ".join(column.name for column in table.columns)
    told = f"json_populate_recordset(CAST(NULL AS {table.name}), CAST(:rows AS JSON))"
    return f"INSERT INTO {table.name} ({names}) SELECT {names} FROM {told}"
