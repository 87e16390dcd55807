"""Turns tag specifications into SQL that a data person can read, in the portable subset.

All tags of a catalogue become one query that scans each source table once: a CTE per source
(``order_lines_seen``, ``orders_seen``, ``events_seen``), one per source with all figures of a customer
(``order_lines_figures``…), one per favourite, then one column per tag. Dates are folded in Python (``as_of`` minus
n days); values of users are bound, never written into the text.
Reads order_lines, products, events, customers; writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, timedelta

from aimwell.core.errors import BadInput
from aimwell.core.tables import Type
from aimwell.core.text import say
from aimwell.engine.specification import (
    SOURCES,
    Aggregate,
    Condition,
    DaysSince,
    Expression,
    Function,
    Measure,
    Ratio,
    TagSpec,
    TopValue,
    Trend,
    Window,
    find_source,
    find_tag_type,
    validate_tag,
)
from aimwell.engine.sql_text import (
    SQL_TYPES,
    Binder,
    Query,
    free_name,
    quote_name,
    select,
    show_day,
    with_parts,
)

_PRODUCT_COLUMNS = ("department", "category", "brand")
_ORDER_NEEDS = (
    "order_id",
    "ordered_on",
    "ordered_hour",
    "store_id",
    "quantity",
    "revenue",
    "discount",
    "is_return",
)
_ORDERS = """\
    SELECT
        customer_id,
        order_id,
        MIN(ordered_on) AS ordered_on,
        MIN(ordered_hour) AS hour,
        EXTRACT(ISODOW FROM MIN(ordered_on)) AS weekday,
        MIN(store_id) AS store_id,
        COUNT(*) AS lines,
        SUM(quantity) AS units,
        SUM(revenue) AS revenue,
        SUM(discount) AS discount
    FROM order_lines_seen
    GROUP BY customer_id, order_id
    HAVING SUM(CASE WHEN is_return THEN 0 ELSE 1 END) > 0"""


def compile_tags(tags: Mapping[str, TagSpec], *, as_of: date) -> Query:
    """One query: a row per customer (of customers or order_lines, sorted), a column per tag, as ordered.

    BadInput when a specification does not fit, or expressions wait for each other.
    """
    types = {name: find_tag_type(spec) for name, spec in tags.items()}
    for spec in tags.values():
        validate_tag(spec, types)
    plan = _TagPlan(as_of)
    measured = {name: plan.render(spec) for name, spec in tags.items() if not isinstance(spec, Expression)}
    columns = [
        f"CAST({text} AS {SQL_TYPES[types[name]]}) AS {quote_name(name)}" for name, text in measured.items()
    ]
    parts = plan.list_parts()
    joins = [f"    LEFT JOIN {name} ON {name}.customer_id = c.customer_id" for name in plan.joined]
    parts["layer_0"] = select(["c.customer_id", *columns], ["    FROM everybody AS c", *joins])
    last = _add_layers(parts, tags, types, list(measured))
    chosen = ", ".join(quote_name(name) for name in ("customer_id", *tags))
    return Query(
        f"{with_parts(parts)}\nSELECT {chosen}\nFROM {last}\nORDER BY customer_id", plan.binder.values
    )


class _TagPlan:
    """Collects what the tags need of each source, so that each is read once."""

    def __init__(self, as_of: date) -> None:
        self.as_of = as_of
        self.binder = Binder()
        self._figures: dict[str, dict[Aggregate, str]] = {name: {} for name in SOURCES}
        self._tops: dict[TopValue, str] = {}

    @property
    def joined(self) -> list[str]:
        """The CTEs that a customer's row is put together from."""
        return [f"{name}_figures" for name, figures in self._figures.items() if figures] + list(
            self._tops.values()
        )

    def render(self, spec: TagSpec) -> str:
        """The SQL of one tag over the figures, which are noted on the way."""
        match spec:
            case Measure(of=aggregate):
                return self._figure(aggregate)
            case Ratio(part=part, whole=whole):
                return f"CAST({self._figure(part)} AS DOUBLE) / NULLIF({self._figure(whole)}, 0)"
            case Trend(recent=recent, before=before):
                rates = [
                    f"{self._figure(part)} / {float(part.window.days)}"
                    for part in (recent, before)
                    if part.window is not None
                ]
                return f"({rates[0]} - {rates[1]}) / NULLIF(ABS({rates[0]}) + ABS({rates[1]}), 0)"
            case DaysSince(table=table, which=which, conditions=conditions):
                function: Function = "max" if which == "last" else "min"
                day = Aggregate(table, function, find_source(table).day, conditions)
                return f"DATE_DIFF('day', {self._figure(day)}, {show_day(self.as_of)})"
            case TopValue():
                return f"{self._top(spec)}.{spec.output}"
            case _:
                raise AssertionError(spec)

    def list_parts(self) -> dict[str, str]:
        """The CTEs by name, in the order in which they build on each other."""
        used = {name for name, figures in self._figures.items() if figures}
        used |= {spec.table for spec in self._tops}
        parts = {"everybody": self._render_everybody()}
        if used & {"orders", "order_lines"}:
            parts["order_lines_seen"] = self._render_lines("orders" in used)
        if "orders" in used:
            parts["orders_seen"] = _ORDERS
        if "events" in used:
            parts["events_seen"] = self._render_events()
        for name, figures in self._figures.items():
            if figures:
                columns = [f"{self._render_aggregate(one)} AS {alias}" for one, alias in figures.items()]
                end = [f"    FROM {name}_seen", "    GROUP BY customer_id"]
                parts[f"{name}_figures"] = select(["customer_id", *columns], end)
        for spec, alias in self._tops.items():
            parts.update(self._render_top(spec, alias))
        return parts

    def _figure(self, aggregate: Aggregate) -> str:
        figures = self._figures[aggregate.table]
        if aggregate not in figures:
            figures[aggregate] = _name_figure(aggregate, set(figures.values()))
        text = f"{aggregate.table}_figures.{figures[aggregate]}"
        zero = aggregate.function in ("count", "count_distinct", "sum")
        return f"COALESCE({text}, 0)" if zero else text

    def _top(self, spec: TopValue) -> str:
        key = TopValue(spec.table, spec.column, spec.weight, spec.window, spec.conditions)
        if key not in self._tops:
            taken = set(self._tops.values())
            self._tops[key] = free_name(f"top_{spec.column}", taken)
        return self._tops[key]

    def _render_everybody(self) -> str:
        return (
            "    SELECT customer_id FROM customers\n    UNION\n"
            f"    SELECT customer_id FROM order_lines WHERE ordered_on < {show_day(self.as_of)}"
        )

    def _list_columns(self, table: str) -> list[str]:
        """The columns of ``table`` that are needed, in declared order."""
        wanted = {find_source(table).day}
        for aggregate in self._figures[table]:
            wanted |= {aggregate.column or "", *(one.column for one in aggregate.conditions)}
        for spec in self._tops:
            if spec.table == table:
                wanted |= {spec.column, spec.weight or "", *(one.column for one in spec.conditions)}
        return [name for name, _ in find_source(table).columns if name in wanted]

    def _render_lines(self, with_orders: bool) -> str:
        needed = set(self._list_columns("order_lines")) | (set(_ORDER_NEEDS) if with_orders else set())
        columns = ["l.customer_id"]
        for name, _ in find_source("order_lines").columns:
            if name in needed and name == "is_return":
                columns.append(
                    "CASE WHEN l.quantity < 0 OR l.revenue < 0 THEN TRUE ELSE FALSE END AS is_return"
                )
            elif name in needed:
                columns.append(f"{'p' if name in _PRODUCT_COLUMNS else 'l'}.{name}")
        end = ["    FROM order_lines AS l"]
        if needed & set(_PRODUCT_COLUMNS):
            end.append("    LEFT JOIN products AS p ON p.product_id = l.product_id")
        return select(columns, [*end, f"    WHERE l.ordered_on < {show_day(self.as_of)}"])

    def _render_events(self) -> str:
        columns = [f"e.{name}" for name in ("customer_id", *self._list_columns("events"))]
        return select(columns, ["    FROM events AS e", f"    WHERE e.occurred_on < {show_day(self.as_of)}"])

    def _render_aggregate(self, aggregate: Aggregate) -> str:
        source = find_source(aggregate.table)
        tests = self._render_tests(source.day, aggregate.window, aggregate.conditions)
        column = aggregate.column or "1"
        value = f"CASE WHEN {' AND '.join(tests)} THEN {column} END" if tests else column
        is_real = aggregate.column is not None and source.type_of(aggregate.column) is not Type.INTEGER
        match aggregate.function:
            case "count":
                return f"COUNT({value})"
            case "count_distinct":
                return f"COUNT(DISTINCT {value})"
            case "sum":
                # Money is summed exactly first: a sum of floats depends on the order of the rows.
                return f"CAST(SUM({value}) AS DOUBLE)"
            case "average":
                return f"CAST(SUM({value}) AS DOUBLE) / NULLIF(COUNT({value}), 0)"
            case "min" | "max":
                plain = f"{aggregate.function.upper()}({value})"
                money = is_real and source.type_of(column) is Type.MONEY
                return f"CAST({plain} AS DOUBLE)" if money else plain

    def _render_tests(self, day: str, window: Window | None, conditions: Iterable[Condition]) -> list[str]:
        tests = [f"{one.column} {one.operator} {self.binder.bind(one.value)}" for one in conditions]
        if window is not None:
            end = self.as_of - timedelta(days=window.ending)
            tests.append(f"{day} >= {show_day(end - timedelta(days=window.days))}")
            if window.ending:
                tests.append(f"{day} < {show_day(end)}")
        return tests

    def _render_top(self, spec: TopValue, alias: str) -> dict[str, str]:
        """Three CTEs: the weight of each value, its place (ties: what sorts first), the first place."""
        source = find_source(spec.table)
        weight = f"SUM({spec.weight})" if spec.weight else "COUNT(*)"
        tests = [
            f"{spec.column} IS NOT NULL",
            *self._render_tests(source.day, spec.window, spec.conditions),
        ]
        grouped = [
            f"    FROM {spec.table}_seen",
            f"    WHERE {' AND '.join(tests)}",
            f"    GROUP BY customer_id, {spec.column}",
            f"    HAVING {weight} > 0",
        ]
        place = "ROW_NUMBER() OVER (PARTITION BY customer_id ORDER BY weight DESC, value) AS place"
        total = "SUM(weight) OVER (PARTITION BY customer_id) AS total"
        share = "CAST(weight AS DOUBLE) / CAST(total AS DOUBLE) AS share"
        first = [f"    FROM {alias}_places", "    WHERE place = 1"]
        return {
            f"{alias}_weights": select(
                ["customer_id", f"{spec.column} AS value", f"{weight} AS weight"], grouped
            ),
            f"{alias}_places": select(
                ["customer_id", "value", "weight", total, place], [f"    FROM {alias}_weights"]
            ),
            alias: select(["customer_id", "value", share], first),
        }


def _add_layers(
    parts: dict[str, str], tags: Mapping[str, TagSpec], types: Mapping[str, Type], known: list[str]
) -> str:
    """Add a CTE for each depth of expressions over other tags; returns the name of the last."""
    waiting = {name: spec for name, spec in tags.items() if isinstance(spec, Expression)}
    depth = 0
    while waiting:
        ready = {name: spec for name, spec in waiting.items() if set(spec.inputs) <= set(known)}
        if not ready:
            raise BadInput(
                "engine.circular_tags",
                say("These tags wait for each other: {names}.", names=", ".join(sorted(waiting))),
                remedy=say("Write one of them without the others."),
            )
        columns = [quote_name(name) for name in ("customer_id", *known)]
        columns += [
            f"CAST({one.sql} AS {SQL_TYPES[types[name]]}) AS {quote_name(name)}"
            for name, one in ready.items()
        ]
        parts[f"layer_{depth + 1}"] = select(columns, [f"    FROM layer_{depth}"])
        known.extend(ready)
        waiting = {name: spec for name, spec in waiting.items() if name not in ready}
        depth += 1
    return f"layer_{depth}"


def _name_figure(aggregate: Aggregate, taken: set[str]) -> str:
    window = aggregate.window
    reach = (
        "" if window is None else f"_{window.days}d" + (f"_before_{window.ending}d" if window.ending else "")
    )
    return free_name(f"{aggregate.function}_{aggregate.column or 'rows'}{reach}", taken)
