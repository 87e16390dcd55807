"""Values that contents take from customers' attributes and tags.

Reads ``customers`` and ``tags``; writes nothing. Only columns that a content names are read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa

from aimwell.deployment.content.variables import Variable
from aimwell.engine.workspace import Reader

_TABLES = ("customers", "tags")


def read_values(
    reader: Reader, customer_ids: Iterable[str], variables: Mapping[str, Variable]
) -> dict[str, dict[str, Any]]:
    """Per customer the value of each variable that has a source.

    A column that is not there gives nobody a value: the variable's default counts, or the message is not written.
    """
    values: dict[str, dict[str, Any]] = defaultdict(dict)
    wanted = {name: variable.source for name, variable in variables.items() if variable.source}
    if not wanted:
        return values
    reader.register(
        "content_customers", pa.table({"customer_id": pa.array(sorted(set(customer_ids)), pa.string())})
    )
    for table in _TABLES:
        chosen = {
            name: source.split(".", 1)[1] for name, source in wanted.items() if source.startswith(f"{table}.")
        }
        _read_table(reader, table, chosen, values)
    return values


def _read_table(
    reader: Reader, table: str, chosen: Mapping[str, str], values: dict[str, dict[str, Any]]
) -> None:
    there = set(reader.query(f"SELECT * FROM {table} LIMIT 0").column_names) if chosen else set()
    columns = {name: column for name, column in chosen.items() if column in there}
    if not columns:
        return
    # Names of columns cannot be bound; these are the table's own, and a quote in one is doubled.
    listed = ", ".join(
        'source."' + column.replace('"', '""') + f'" AS {name}' for name, column in sorted(columns.items())
    )
    sql = (
        f"SELECT source.customer_id AS customer_id, {listed} FROM {table} AS source "
        "JOIN content_customers ON content_customers.customer_id = source.customer_id"
    )
    for row in reader.query(sql).to_pylist():
        customer = row.pop("customer_id")
        values[customer] |= {name: value for name, value in row.items() if value is not None}
