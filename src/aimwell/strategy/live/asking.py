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

from aimwell.engine.driver_statements import Rows, Statement, run_all

_FORMS = {
    True: "(SELECT '[' || group_concat('[' || {columns} || ']') || ']' FROM {table} WHERE {condition})",
    False: "(SELECT CAST(json_agg(json_build_array({columns})) AS TEXT) FROM {table} WHERE {condition})",
}
_THEIRS = {
    True: "customer_id IN (SELECT value FROM json_each(:people))",
    # By the index, whatever the planner believes of the number of people.
    False: "customer_id = ANY(ARRAY(SELECT json_array_elements_text(CAST(:people AS JSON))))",
}
_JSON = "pairs"
"""The column that is JSON itself, and goes into the answer as it is."""


class Asked(NamedTuple):
    """Columns of a table's rows; the condition on them names its values with a colon."""

    table: str
    columns: tuple[str, ...]
    condition: str = ""
    of_people: bool = True
    """Of those who are asked about only."""


def ask(
    connection: sa.Connection, people: Sequence[str], *what: Asked, **values: str | int
) -> tuple[str, ...]:
    """The people's rows, as JSON for each of ``what``; all in one query."""
    question = write_question(connection.dialect.name == "sqlite", people, *what, **values)
    return read_answer(run_all(connection, [question])[0])


def write_question(is_sqlite: bool, people: Sequence[str], *what: Asked, **values: str | int) -> Statement:
    """The query of ``ask``."""
    return Statement(_write(is_sqlite, what), {"people": msgspec.json.encode(people).decode(), **values})


def read_answer(rows: Rows) -> tuple[str, ...]:
    """What it brought."""
    return tuple(text or "[]" for text in rows[0])


@cache
def _write(is_sqlite: bool, what: tuple[Asked, ...]) -> str:
    parts = []
    for table, columns, condition, of_people in what:
        told = ", ".join(columns)
        if is_sqlite:
            # Put together as text: ``json_array`` would read the JSON and write it anew.
            told = " || ',' || ".join(name if name == _JSON else f"json_quote({name})" for name in columns)
        wanted = " AND ".join(filter(None, (_THEIRS[is_sqlite] if of_people else "", condition)))
        parts.append(_FORMS[is_sqlite].format(columns=told, table=table, condition=wanted))
    return f"SELECT {', '.join(parts)}"
