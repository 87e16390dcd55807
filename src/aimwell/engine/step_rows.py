"""SQL of the rows that steps are looked for in: one shape for events, orders and order lines, in the portable subset.

Every row has customer_id, happened_at, happened_on, row_id and the columns that conditions need. Properties of
events come out of their JSON as ``property_1``, ``property_2``… Reads events, order_lines, products; writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date

from aimwell.core.tables import Type
from aimwell.engine.funnel import (
    INSTANTS,
    KEYS,
    PROPERTY,
    FunnelTable,
    Step,
    find_column_type,
    show_property,
)
from aimwell.engine.specification import find_source
from aimwell.engine.sql_text import Binder, quote_name, select, show_day

_PRODUCT_COLUMNS = ("department", "category", "brand")
_RETURNED = "CASE WHEN l.quantity < 0 OR l.revenue < 0 THEN TRUE ELSE FALSE END"
_ORDER_COLUMNS = {
    "hour": "MIN(l.ordered_hour)",
    "weekday": "EXTRACT(ISODOW FROM MIN(l.ordered_on))",
    "store_id": "MIN(l.store_id)",
    "lines": "COUNT(*)",
    "units": "SUM(l.quantity)",
    "revenue": "SUM(l.revenue)",
    "discount": "SUM(l.discount)",
}


class StepRows:
    """Renders the rows of steps: which columns are needed, what a condition reads, which rows meet it."""

    def __init__(self, binder: Binder, *, start: date | None, end: date, chosen: str | None = None) -> None:
        self.binder = binder
        self._start = start
        self._end = end
        self._chosen = chosen
        self._properties: dict[str, str] = {}

    def name_column(self, column: str) -> str:
        """How ``column`` is called in the rows."""
        if not column.startswith(PROPERTY):
            return quote_name(column)
        return self._properties.setdefault(column, f"property_{len(self._properties) + 1}")

    def render_test(self, step: Step) -> str:
        """The predicate of ``step`` over the rows; null counts as false."""
        tests = []
        for one in step.conditions:
            value: object = one.value
            if find_column_type(step.table, one.column) is Type.DATE:
                value = date.fromisoformat(str(one.value))
            sign = "<>" if one.operator == "!=" else one.operator
            tests.append(f"{self.name_column(one.column)} {sign} {self.binder.bind(value)}")
        return " AND ".join(tests) or "TRUE"

    def render(self, table: FunnelTable, columns: Iterable[str]) -> str:
        """The SELECT of the rows of ``table`` with ``columns`` besides the four that all have."""
        wanted = sorted(set(columns) - {find_source(table).day, KEYS[table]})
        if find_source(table).day in set(columns):
            wanted.append(find_source(table).day)
        if KEYS[table] in set(columns):
            wanted.append(KEYS[table])
        if table == "orders":
            return self._render_orders(wanted)
        alias, day, key = (
            ("e", "occurred_on", "event_id") if table == "events" else ("l", "ordered_on", "line_id")
        )
        shown = [
            f"{alias}.customer_id",
            f"{alias}.{INSTANTS[table]} AS happened_at",
            f"{alias}.{day} AS happened_on",
            f"{alias}.{key} AS row_id",
            *(self._render_column(alias, column) for column in wanted),
        ]
        end = [f"    FROM {table} AS {alias}"]
        if set(wanted) & set(_PRODUCT_COLUMNS):
            end.append(f"    LEFT JOIN products AS p ON p.product_id = {alias}.product_id")
        return select(shown, [*end, self._render_days(alias, day)])

    def _render_column(self, alias: str, column: str) -> str:
        if column.startswith(PROPERTY):
            name = column.removeprefix(PROPERTY)
            return f"{show_property(f'{alias}.properties', name)} AS {self.name_column(column)}"
        if column == "is_return":
            return f"{_RETURNED} AS is_return"
        if column in _PRODUCT_COLUMNS:
            return f"p.{column}"
        return f"{alias}.{quote_name(column)}"

    def _render_orders(self, wanted: list[str]) -> str:
        """Purchases only: an order that holds nothing but returns is none."""
        extra = [f"{_ORDER_COLUMNS[one]} AS {quote_name(one)}" for one in wanted if one in _ORDER_COLUMNS]
        extra += [f"MIN(l.ordered_on) AS {one}" for one in wanted if one == "ordered_on"]
        extra += [f"l.{one}" for one in wanted if one == "order_id"]
        shown = [
            "l.customer_id",
            "MIN(l.ordered_at) AS happened_at",
            "MIN(l.ordered_on) AS happened_on",
            "l.order_id AS row_id",
            *extra,
        ]
        end = [
            "    FROM order_lines AS l",
            self._render_days("l", "ordered_on"),
            "    GROUP BY l.customer_id, l.order_id",
            f"    HAVING SUM(CASE WHEN {_RETURNED} THEN 0 ELSE 1 END) > 0",
        ]
        return select(shown, end)

    def _render_days(self, alias: str, day: str) -> str:
        tests = [f"{alias}.{day} < {show_day(self._end)}"]
        if self._start is not None:
            tests.append(f"{alias}.{day} >= {show_day(self._start)}")
        if self._chosen is not None:
            tests.append(f"{alias}.customer_id IN (SELECT customer_id FROM {quote_name(self._chosen)})")
        return "    WHERE " + " AND ".join(tests)
