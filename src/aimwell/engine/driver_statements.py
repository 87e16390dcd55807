"""Statements as the driver takes them, for transactions that run hundreds of times a second.

SQLAlchemy puts a statement together, looks for it among those that it knows and describes its result: for one row by
its key that costs several times what the database does. Here a statement is text with ``:name`` for each value, spelt
as the database's driver wants it; errors are SQLAlchemy's all the same. Portable (SQLite, PostgreSQL); reads and writes
what its callers say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import sqlalchemy as sa

_NAME = re.compile(r"(?<!:):([a-z_]+)")


def run(
    connection: sa.Connection, statement: str, values: Mapping[str, Any] | Sequence[Mapping[str, Any]]
) -> sa.CursorResult[Any]:
    """Run ``statement`` with its values, or once with each of several. It holds no colon but of names and casts."""
    spelt = statement if connection.dialect.name == "sqlite" else _spell(statement)
    return connection.exec_driver_sql(spelt, values)


@cache
def _spell(statement: str) -> str:
    return _NAME.sub(r"%(\1)s", statement.replace("%", "%%"))
