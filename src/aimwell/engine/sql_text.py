"""The bricks of generated SQL: text with bound values, names, literals, and readable layout."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from aimwell.core.tables import Type

SQL_TYPES: dict[Type, str] = {
    Type.TEXT: "VARCHAR",
    Type.INTEGER: "BIGINT",
    Type.REAL: "DOUBLE",
    Type.MONEY: "DOUBLE",
    Type.BOOLEAN: "BOOLEAN",
    Type.DATE: "DATE",
}


@dataclass(frozen=True)
class Query:
    """SQL text and the values that it binds as ``$name``."""

    sql: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


def show_sql(query: Query) -> str:
    """The text of ``query`` with its values written in, for people to read."""
    return re.sub(r"\$(p\d+)\b", lambda found: show_value(query.parameters[found[1]]), query.sql)


def quote_name(name: str) -> str:
    """``name`` as an SQL identifier: bare when it can be nothing else, else in double quotes."""
    plain = re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)+", name)
    if plain and not name.startswith(("current_", "session_", "local")):
        return name
    return '"' + name.replace('"', '""') + '"'


class Binder:
    """Gives every value a name, the same value the same name."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self._names: dict[tuple[str, str], str] = {}

    def bind(self, value: object) -> str:
        """The placeholder of ``value``."""
        key = (type(value).__name__, repr(value))
        if key not in self._names:
            self._names[key] = f"p{len(self._names) + 1}"
            self.values[self._names[key]] = value
        return f"${self._names[key]}"


def free_name(name: str, taken: set[str]) -> str:
    """``name``, numbered when it is taken."""
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    return free


def select(columns: Iterable[str], end: Iterable[str]) -> str:
    """A SELECT with one column a line, indented for a CTE."""
    listed = ",\n".join(f"        {column}" for column in columns)
    return "\n".join(["    SELECT", listed, *end])


def with_parts(parts: Mapping[str, str], kept: Collection[str] = ()) -> str:
    """The WITH clause of CTEs by name; those ``kept`` are computed once, whatever the planner thinks of it."""
    return "WITH " + ",\n".join(
        f"{name} AS {'MATERIALIZED ' if name in kept else ''}(\n{body}\n)" for name, body in parts.items()
    )


def dedent(body: str) -> str:
    """``body`` moved out of a CTE."""
    return "\n".join(line.removeprefix("    ") for line in body.splitlines())


def show_day(day: date) -> str:
    """``day`` as an SQL literal."""
    return f"DATE '{day.isoformat()}'"


def show_value(value: object) -> str:
    """``value`` as an SQL literal, for people to read; values of users are bound instead."""
    if isinstance(value, bool):
        return "TRUE" if value else "FALSE"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, date):
        return show_day(value)
    return "'" + str(value).replace("'", "''") + "'"
