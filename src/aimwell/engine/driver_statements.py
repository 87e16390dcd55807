"""Statements as the driver takes them, for transactions that run hundreds of times a second.

SQLAlchemy puts a statement together, looks for it among those that it knows and describes its result: for one row by
its key that costs several times what the database does. Here a statement is text with ``:name`` for each value, spelt
as the database's driver wants it; errors are SQLAlchemy's all the same. Portable (SQLite, PostgreSQL); reads and writes
what its callers say.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import chain
from typing import Any

import sqlalchemy as sa

_TOGETHER = (64, 32, 16, 8, 4, 2, 1)
"""Rows that SQLite inserts by one statement: with each statement the thread lets the interpreter go."""
_NAME = re.compile(r"(?<!:):([a-z_]+)")


def run(
    connection: sa.Connection, statement: str, values: Mapping[str, Any] | Sequence[Mapping[str, Any]]
) -> list[tuple[Any, ...]]:
    """Run ``statement`` with its values, or once with each of several; its rows. No colon in it but of names, casts."""
    if connection.dialect.name != "sqlite":
        result = connection.exec_driver_sql(_spell(statement), values)
        return [tuple(row) for row in result] if result.returns_rows else []
    driver: Any = connection.connection.driver_connection
    try:
        if isinstance(values, Mapping):
            return list(driver.execute(statement, values).fetchall())
        driver.executemany(statement, values)
    except sqlite3.Error as error:
        raise _wrap(connection, statement, error) from error
    return []


def insert(connection: sa.Connection, table: sa.Table, rows: Sequence[Sequence[Any]]) -> None:
    """Insert rows that have all columns of the table, in their order."""
    if connection.dialect.name != "sqlite":
        names = [column.name for column in table.columns]
        connection.execute(sa.insert(table), [dict(zip(names, row, strict=True)) for row in rows])
        return
    driver: Any = connection.connection.driver_connection
    start = 0
    for size in _TOGETHER:
        while len(rows) - start >= size:
            values = tuple(chain.from_iterable(rows[start : start + size]))
            statement = _write_insert(table, size)
            try:
                driver.execute(statement, values)
            except sqlite3.Error as error:
                raise _wrap(connection, statement, error) from error
            start += size


def _wrap(connection: sa.Connection, statement: str, error: sqlite3.Error) -> BaseException:
    """The driver's error as SQLAlchemy raises it, without the values."""
    return sa.exc.DBAPIError.instance(
        statement, None, error, sqlite3.Error, hide_parameters=True, dialect=connection.dialect
    )


@cache
def _write_insert(table: sa.Table, size: int) -> str:
    names = [column.name for column in table.columns]
    row = f"({', '.join('?' * len(names))})"
    return f"INSERT INTO {table.name} ({', '.join(names)}) VALUES {', '.join([row] * size)}"


@cache
def _spell(statement: str) -> str:
    return _NAME.sub(r"%(\1)s", statement.replace("%", "%%"))
