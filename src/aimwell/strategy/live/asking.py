"""Rows of many people, asked for in one value and answered in one: JSON arrays.

Hundreds of parameters cost more than the answer. And with every row that SQLite brings, a thread lets the interpreter
go and waits to have it back: beside a busy event loop, that takes longer than all else. Reads the tables that it is
asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

import msgspec
import sqlalchemy as sa

_FORMS = {
    True: "(SELECT '[' || group_concat('[' || {columns} || ']') || ']' FROM {table} "
    "WHERE customer_id IN (SELECT value FROM json_each(:people)){condition})",
    False: "(SELECT CAST(json_agg(json_build_array({columns})) AS TEXT) FROM {table} "
    "WHERE customer_id IN (SELECT value FROM json_array_elements_text(CAST(%(people)s AS JSON))){condition})",
}
_JSON = "pairs"
"""The column that is JSON itself, and goes into the answer as it is."""


class Asked(NamedTuple):
    """Columns of a table's rows; a condition (AND …) on them names its values with a colon."""

    table: str
    columns: tuple[str, ...]
    condition: str = ""


def ask(
    connection: sa.Connection, people: Sequence[str], *what: Asked, **values: str | int
) -> tuple[str, ...]:
    """The people's rows, as JSON for each of ``what``; all in one query."""
    query = _write(connection.dialect.name == "sqlite", what, tuple(values))
    given = {"people": msgspec.json.encode(people).decode(), **values}
    # As the driver takes it: SQLAlchemy's own cost as much as the answer.
    found = connection.exec_driver_sql(query, given).one()
    return tuple(text or "[]" for text in found)


@cache
def _write(is_sqlite: bool, what: tuple[Asked, ...], values: tuple[str, ...]) -> str:
    parts = []
    for table, columns, condition in what:
        told = ", ".join(columns)
        if is_sqlite:
            # Put together as text: ``json_array`` would read the JSON and write it anew.
            told = " || ',' || ".join(name if name == _JSON else f"json_quote({name})" for name in columns)
        parts.append(_FORMS[is_sqlite].format(columns=told, table=table, condition=condition))
    query = f"SELECT {', '.join(parts)}"
    for name in () if is_sqlite else values:
        query = query.replace(f":{name}", f"%({name})s")
    return query
