"""What the tables' names mean in a query: SQL over the warehouse's files, the same on every engine.

Data arrives under the record that its source knows (a till's member number, a shop's account). Once ``identities``
says which records are one person, readers see the person: ``customers`` has one row per customer and every fact
carries the customer's id. Rows as they were delivered stay readable as ``delivered_customers``,
``delivered_order_lines``… As long as no record was joined, both are the same and nothing is paid for it.
Writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from aimwell.core.tables import Table, Type

RESOLVED = ("customers", "order_lines", "events", "consents", "signals")
"""The tables in which facts arrive under the record's id."""

DUCKDB_TYPES = {
    Type.TEXT: "VARCHAR",
    Type.INTEGER: "BIGINT",
    Type.REAL: "DOUBLE",
    Type.MONEY: "DECIMAL(18,2)",
    Type.BOOLEAN: "BOOLEAN",
    Type.DATE: "DATE",
    Type.INSTANT: "TIMESTAMPTZ",
    Type.JSON: "VARCHAR",
    Type.MESSAGE: "VARCHAR",
}
_JOINED = """\
joined AS (
    SELECT record_id, customer_id FROM identities
    UNION
    SELECT customer_id AS record_id, customer_id FROM identities
)"""


def name_stored(table: str) -> str:
    """The view in which rows of ``table`` stand as they were delivered."""
    return f"delivered_{table}" if table in RESOLVED else table


def read_schema(paths: Iterable[Path]) -> dict[str, pa.DataType]:
    """Every column of these Parquet files with its type, in the order in which it is first met."""
    columns: dict[str, pa.DataType] = {}
    for path in paths:
        for field in _read_file(str(path))[0]:
            columns.setdefault(field.name, field.type)
    return columns


def have_one_schema(paths: Iterable[Path]) -> bool:
    """Whether these Parquet files have the same columns in the same order."""
    return len({tuple((field.name, str(field.type)) for field in _read_file(str(p))[0]) for p in paths}) <= 1


def count_rows(paths: Iterable[Path]) -> int:
    """The rows of these Parquet files, by their footers."""
    return sum(_read_file(str(path))[1] for path in paths)


@lru_cache(maxsize=65536)
def _read_file(path: str) -> tuple[pa.Schema, int]:
    # A file of the warehouse never changes under its name.
    metadata = pq.read_metadata(path)
    return metadata.schema.to_arrow_schema(), metadata.num_rows


def type_columns(table: Table, *stored: Mapping[str, pa.DataType]) -> dict[str, str]:
    """The columns of the view of ``table`` with their SQL types: the declared ones, then what else is stored."""
    columns = {column.name: DUCKDB_TYPES[column.type] for column in table.columns}
    for schema in stored:
        for name, kind in schema.items():
            columns.setdefault(name, _name_type(kind))
    return columns


def render_stored(
    columns: Mapping[str, str],
    present: Iterable[str],
    source: str,
    sides: Mapping[str, str] | None = None,
    side: str = "",
) -> str:
    """All ``columns`` (name → type) from ``source``, which has only those that are ``present``: the others are empty.

    A column may be younger than the files. ``sides``: which side of a join has a column, where it is not ``side``.
    """
    known = set(present)
    chosen = []
    for name, kind in columns.items():
        if name not in known:
            chosen.append(f"CAST(NULL AS {kind}) AS {_quote(name)}")
        elif side:
            chosen.append(f"{(sides or {}).get(name, side)}.{_quote(name)} AS {_quote(name)}")
        else:
            chosen.append(_quote(name))
    return f"SELECT {', '.join(chosen)} FROM {source}"


def render_empty(columns: Mapping[str, str]) -> str:
    """A table of these columns (name → type) without rows."""
    chosen = ", ".join(f"CAST(NULL AS {kind}) AS {_quote(name)}" for name, kind in columns.items())
    return f"SELECT {chosen} WHERE 1 = 0"


def render_resolved(table: Table, columns: Sequence[str], *, any_joined: bool) -> str:
    """``table`` by customer instead of record, over its delivered rows and ``identities``."""
    if not any_joined:
        return f"SELECT {_list(columns)} FROM {name_stored(table.name)}"
    if table.name == "customers":
        return _render_customers(columns)
    if table.name == "consents":
        return _render_consents(columns)
    chosen = ", ".join(
        "COALESCE(i.customer_id, d.customer_id) AS customer_id"
        if name == "customer_id"
        else f"d.{_quote(name)}"
        for name in columns
    )
    return (
        f"SELECT {chosen} FROM {name_stored(table.name)} AS d"
        " LEFT JOIN identities AS i ON i.record_id = d.customer_id"
    )


def _render_customers(columns: Sequence[str]) -> str:
    """Who was never joined as delivered; of the joined, each column from the best record that knows it.

    The best is the record that gave the customer its id, then the others by source and record.
    """
    values = [name for name in columns if name != "customer_id"]
    ranks = ", ".join(
        f"MIN(CASE WHEN {_quote(name)} IS NOT NULL THEN place END) OVER (PARTITION BY customer_id) AS best_{number}"
        for number, name in enumerate(values)
    )
    chosen = ", ".join(
        f"MAX(CASE WHEN place = best_{number} THEN {_quote(name)} END) AS {_quote(name)}"
        for number, name in enumerate(values)
    )
    order = "CASE WHEN d.customer_id = j.customer_id THEN 0 ELSE 1 END, d.source, d.customer_id"
    return (
        f"WITH {_JOINED}, placed AS (SELECT j.customer_id, {', '.join('d.' + _quote(name) for name in values)},"
        f" ROW_NUMBER() OVER (PARTITION BY j.customer_id ORDER BY {order}) AS place"
        " FROM delivered_customers AS d INNER JOIN joined AS j ON j.record_id = d.customer_id),"
        f" ranked AS (SELECT customer_id, place, {_list(values)}, {ranks} FROM placed)"
        f" SELECT customer_id, {_list(values)} FROM delivered_customers"
        " WHERE customer_id NOT IN (SELECT record_id FROM joined)"
        f" UNION ALL SELECT customer_id, {chosen} FROM ranked GROUP BY customer_id"
    )


def _render_consents(columns: Sequence[str]) -> str:
    """All consents of all records; where two records disagree about the same instant, the refusal holds.

    Of equal permissions the one that ends first holds, of equal refusals the one that ends last.
    """
    values = [name for name in columns if name != "customer_id"]
    order = (
        "d.allowed, CASE WHEN d.allowed = (d.until IS NULL) THEN 1 ELSE 0 END,"
        " CASE WHEN d.allowed THEN d.until END, CASE WHEN NOT d.allowed THEN d.until END DESC,"
        " d.source, d.customer_id"
    )
    return (
        f"WITH {_JOINED}, placed AS (SELECT j.customer_id, {', '.join('d.' + _quote(name) for name in values)},"
        f" ROW_NUMBER() OVER (PARTITION BY j.customer_id, d.channel, d.purpose, d.since ORDER BY {order}) AS place"
        " FROM delivered_consents AS d INNER JOIN joined AS j ON j.record_id = d.customer_id)"
        f" SELECT customer_id, {_list(values)} FROM delivered_consents"
        " WHERE customer_id NOT IN (SELECT record_id FROM joined)"
        f" UNION ALL SELECT customer_id, {_list(values)} FROM placed WHERE place = 1"
    )


def _name_type(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        return "BOOLEAN"
    if pa.types.is_integer(kind):
        return "BIGINT"
    if pa.types.is_decimal(kind):
        return f"DECIMAL({kind.precision},{kind.scale})"
    if pa.types.is_floating(kind):
        return "DOUBLE"
    if pa.types.is_timestamp(kind):
        return "TIMESTAMPTZ"
    return "DATE" if pa.types.is_date(kind) else "VARCHAR"


def _list(columns: Iterable[str]) -> str:
    return ", ".join(_quote(name) for name in columns)


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
