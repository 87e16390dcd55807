"""The rows of the whole store as text that any database can take: what backups hold, and how a store moves to another.

A row is one line, a JSON array of its values; bytes are base64, days ISO, JSON columns the very text that stands
there. The values are read in one transaction and written in one, whatever database is at either end.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import islice
from typing import Any

import msgspec
import sqlalchemy as sa

from aimwell.core.errors import BadInput
from aimwell.core.text import say
from aimwell.engine.store import Store
from aimwell.engine.store_metadata import METADATA

_PAGE = 2_000
_KINDS: tuple[tuple[type[Any], str], ...] = (
    (sa.JSON, "json"),
    (sa.Boolean, "bool"),
    (sa.Date, "date"),
    (sa.LargeBinary, "bytes"),
    (sa.Integer, "int"),
    (sa.Float, "float"),
)
_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True)
class TableCopy:
    """One table: its columns with their kinds, and the next number of a key that counts by itself."""

    columns: tuple[tuple[str, str], ...]
    following: int | None = None


def describe_tables(connection: sa.Connection) -> dict[str, TableCopy]:
    """Every table of this version's store, those first that others refer to."""
    return {
        str(table.name): TableCopy(
            tuple((str(column.name), _name_kind(column)) for column in table.columns),
            _read_following(connection, table),
        )
        for table in METADATA.sorted_tables
    }


def read_lines(connection: sa.Connection, table: str) -> Iterator[bytes]:
    """The rows of a table, a line each, in the order of its key."""
    known = METADATA.tables[table]
    columns = [_select(column) for column in known.columns]
    query = sa.select(*columns).order_by(*known.primary_key)
    result = connection.execution_options(stream_results=True, max_row_buffer=_PAGE).execute(query)
    for rows in result.partitions(_PAGE):
        yield b"".join(_encode([_pack(value) for value in row]) + b"\n" for row in rows)


def write_lines(connection: sa.Connection, table: str, copy: TableCopy, lines: Iterable[bytes]) -> int:
    """Put rows that ``read_lines`` gave into an empty table; how many there were."""
    names = [name for name, _ in copy.columns]
    kinds = [kind for _, kind in copy.columns]
    rows = ([_unpack(kind, value) for kind, value in zip(kinds, msgspec.json.decode(line), strict=True)]
            for line in lines)  # fmt: skip
    try:
        if connection.dialect.name == "sqlite":
            return _insert(connection, table, names, rows)
        return _copy_in(connection, table, names, rows)
    except (sa.exc.DataError, connection.dialect.loaded_dbapi.DataError, ValueError) as error:
        raise _does_not_fit(table) from error


def empty_tables(connection: sa.Connection, tables: Iterable[str]) -> None:
    """Take out what the migrations themselves put in."""
    for name in reversed(list(tables)):
        connection.execute(sa.delete(sa.table(name)))


def set_following(connection: sa.Connection, tables: Mapping[str, TableCopy]) -> None:
    """Keys that count by themselves go on where they were: a number that somebody has seen never comes again."""
    for name, copy in tables.items():
        if copy.following is None:
            continue
        if connection.dialect.name == "sqlite":
            values = {"name": name, "last": copy.following - 1}
            connection.execute(sa.text("DELETE FROM sqlite_sequence WHERE name = :name"), values)
            connection.execute(sa.text("INSERT INTO sqlite_sequence VALUES (:name, :last)"), values)
        else:
            column = _find_counting(METADATA.tables[name])
            restart = sa.text("SELECT setval(pg_get_serial_sequence(:name, :column), :following, false)")
            connection.execute(restart, {"name": name, "column": column, "following": max(copy.following, 1)})


def count_rows(store: Store) -> dict[str, int]:
    """How many rows each table of the store has."""
    with store.snapshot() as connection:
        return {
            table.name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            for table in METADATA.sorted_tables
        }


def _name_kind(column: sa.Column[Any]) -> str:
    return next((name for kind, name in _KINDS if isinstance(column.type, kind)), "text")


def _select(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    """JSON and instants as the text that stands there, not as what it means."""
    if isinstance(column.type, sa.JSON):
        return sa.cast(column, sa.Text)
    if isinstance(column.type, sa.types.TypeDecorator):
        return sa.type_coerce(column, sa.String)
    return column


def _pack(value: Any) -> Any:
    if isinstance(value, bytes | memoryview):
        return base64.b64encode(value).decode()
    return value.isoformat() if isinstance(value, date) else value


def _unpack(kind: str, value: Any) -> Any:
    if value is None:
        return None
    if kind == "bytes":
        return base64.b64decode(value)
    return bool(value) if kind == "bool" else value


def _insert(connection: sa.Connection, table: str, names: Sequence[str], rows: Iterator[list[Any]]) -> int:
    places = ", ".join("?" for _ in names)
    statement = f"INSERT INTO {table} ({', '.join(map(_quote, names))}) VALUES ({places})"
    count = 0
    while page := list(islice(rows, _PAGE)):
        connection.exec_driver_sql(statement, [tuple(row) for row in page])
        count += len(page)
    return count


def _copy_in(connection: sa.Connection, table: str, names: Sequence[str], rows: Iterator[list[Any]]) -> int:
    count = 0
    cursor = connection.connection.cursor()
    columns = ", ".join(map(_quote, names))
    with cursor.copy(f"COPY {table} ({columns}) FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
            count += 1
    return count


def _quote(name: str) -> str:
    return f'"{name}"'


def _find_counting(table: sa.Table) -> str | None:
    """The key that counts by itself; other whole numbers are given by the program."""
    key = table.autoincrement_column if table.kwargs.get("sqlite_autoincrement") else None
    return None if key is None else key.name


def _read_following(connection: sa.Connection, table: sa.Table) -> int | None:
    column = _find_counting(table)
    if column is None:
        return None
    newest = int(connection.execute(sa.select(sa.func.max(table.c[column]))).scalar() or 0)
    if connection.dialect.name == "sqlite":
        given = sa.text("SELECT seq FROM sqlite_sequence WHERE name = :name")
        return max(newest, int(connection.execute(given, {"name": table.name}).scalar() or 0)) + 1
    named = sa.text("SELECT pg_get_serial_sequence(:name, :column)")
    sequence = connection.execute(named, {"name": table.name, "column": column}).scalar_one()
    last, called = connection.exec_driver_sql(f"SELECT last_value, is_called FROM {sequence}").one()
    return max(newest + 1, int(last) + int(called))


def _does_not_fit(table: str) -> BadInput:
    return BadInput(
        "engine.row_does_not_fit",
        say("A row of the table {table} does not fit into this database.", table=table),
        remedy=say("Restore into a SQLite workspace: give no address of a database."),
    )
