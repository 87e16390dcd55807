"""A few tables in memory, on which specifications are run."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

import duckdb
import pyarrow as pa

from aimwell.core.tables import TABLES
from aimwell.engine.sql_text import Query

SOURCES = ("customers", "products", "order_lines", "events", "consents")
AS_OF = date(2024, 3, 31)


class Scratch:
    """A DuckDB in memory that holds the tables given, the other source tables being empty."""

    def __init__(self, tables: Mapping[str, pa.Table]) -> None:
        self.connection = duckdb.connect(":memory:", config={"threads": 2})
        for name in SOURCES:
            self.connection.register(name, tables.get(name, TABLES[name].build([])))
        for name in set(tables) - set(SOURCES):
            self.connection.register(name, tables[name])

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        return self.connection.sql(sql, params=dict(parameters) if parameters else None).to_arrow_table()

    def run(self, query: Query) -> pa.Table:
        return self.query(query.sql, query.parameters)

    def run_by_customer(self, query: Query) -> dict[str, dict[str, Any]]:
        return {row.pop("customer_id"): row for row in self.run(query).to_pylist()}


def build_lines(*rows: dict[str, Any]) -> pa.Table:
    """Order lines; what a row leaves out is filled in."""
    return TABLES["order_lines"].build([_fill_line(number, row) for number, row in enumerate(rows)])


def build_events(*rows: tuple[str, str, date]) -> pa.Table:
    """Events from customer, name and day."""
    return TABLES["events"].build(
        [
            {
                "event_id": f"e{number}",
                "customer_id": customer,
                "name": name,
                "occurred_at": datetime(day.year, day.month, day.day, 12, tzinfo=UTC),
                "occurred_on": day,
                "source": "test",
                "simulated": False,
            }
            for number, (customer, name, day) in enumerate(rows)
        ]
    )


def _fill_line(number: int, row: dict[str, Any]) -> dict[str, Any]:
    day: date = row["ordered_on"]
    return {
        "line_id": f"l{number}",
        "order_id": f"o{number}",
        "product_id": None,
        "ordered_at": datetime(day.year, day.month, day.day, tzinfo=UTC),
        "source": "test",
        "simulated": False,
        **row,
    }
