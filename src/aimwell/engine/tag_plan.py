"""The parts of the query that measures tags: which source is read for which figures, and how far back.

Figures that look back equally far share one reading of their source (``events_figures_30d``), so that a window of
30 days reads 30 days and not the whole history, unless the history is hardly longer; counts of different values and
favourites read what they need by themselves. Dates are folded in Python; values of users are bound.
Reads order_lines, products, events, signals, customers; writes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from textwrap import indent

from aimwell.core.tables import Type
from aimwell.engine.specification import (
    BASES,
    Aggregate,
    Condition,
    DaysSince,
    Function,
    Measure,
    Ratio,
    Source,
    TagSpec,
    TopValue,
    Trend,
    Window,
    find_source,
    list_aggregates,
)
from aimwell.engine.sql_text import Binder, free_name, select, show_day

REACHES = (30, 90, 365)
"""Windows are read together with all others that fit into so many days; longer ones read everything."""
_PRODUCT_COLUMNS = ("department", "category", "brand")
_ORDERS = {
    "ordered_at": "MIN(ordered_at)",
    "ordered_on": "MIN(ordered_on)",
    "hour": "MIN(ordered_hour)",
    "weekday": "EXTRACT(ISODOW FROM MIN(ordered_on))",
    "store_id": "MIN(store_id)",
    "lines": "COUNT(*)",
    "units": "SUM(quantity)",
    "revenue": "SUM(revenue)",
    "discount": "SUM(discount)",
}
"""The columns of an order besides its id, worked out from its lines."""
_ORDER_DAYS = """\
    SELECT
        customer_id,
        ordered_on,
        EXTRACT(YEAR FROM ordered_on) * 12 + EXTRACT(MONTH FROM ordered_on) AS month,
        gap
    FROM (
        SELECT
            customer_id,
            ordered_on,
            DATE_DIFF(
                'day', LAG(ordered_on) OVER (PARTITION BY customer_id ORDER BY ordered_on), ordered_on
            ) AS gap
        FROM (SELECT DISTINCT customer_id, ordered_on FROM orders_seen) AS bought
    ) AS spaced"""
_LINES_OF_ORDERS = ("order_id", "ordered_on", "is_return")
"""What any order is worked out from; the rest is looked up in ``_BEHIND_ORDERS``."""
_BEHIND_ORDERS = {
    "ordered_at": "ordered_at",
    "hour": "ordered_hour",
    "store_id": "store_id",
    "units": "quantity",
    "revenue": "revenue",
    "discount": "discount",
}
_ZERO = ("count", "count_distinct", "sum")
_EDGES = ("latest", "earliest")
_SHIFT = 5 * 10**17
"""Microseconds that are added to instants: those of the years −10 000 to 17 000 have 18 digits then, and no sign."""


@dataclass(frozen=True)
class Among:
    """Which customers a query is about: from one id up to another (not included), or those of a table; or all.

    ``everybody`` names a table of all customers, for those who know it already; ``facts`` stands before the names of
    the dated tables (``some_events``) where only the rows of these customers are to be read; ``facts_are_theirs``: and
    these hold nobody else's.
    """

    low: str | None = None
    high: str | None = None
    table: str | None = None
    everybody: str | None = None
    facts: str = ""
    facts_are_theirs: bool = False

    def render(self, column: str, binder: Binder) -> list[str]:
        """The conditions on ``column``, which holds the customer's id."""
        tests = []
        if self.low is not None:
            tests.append(f"{column} >= {binder.bind(self.low)}")
        if self.high is not None:
            tests.append(f"{column} < {binder.bind(self.high)}")
        if self.table is not None:
            tests.append(f"{column} IN (SELECT customer_id FROM {self.table})")
        return tests


@dataclass(frozen=True)
class _Reading:
    """One reading of a source: how far back (None: everything), or for the counts of different values of a column.

    ``distinct`` is such a count without its window, if that ends at the day of the query: those with the same column
    and conditions are counted together, in a reading that goes back as far as the longest.
    """

    table: str
    reach: int | None
    distinct: Aggregate | None = None


class TagPlan:
    """Collects what the tags need of each source, and renders the parts that answer it."""

    def __init__(self, as_of: date, among: Among, spans: Mapping[str, int]) -> None:
        self.as_of = as_of
        self.among = among
        self._spans = spans
        self.binder = Binder()
        self._readings: dict[_Reading, dict[Aggregate, str]] = {}
        self._names: dict[_Reading, str] = {}
        self._tops: dict[TopValue, str] = {}

    @property
    def joined(self) -> list[str]:
        """The parts that a customer's row is put together from."""
        return [*self._names.values(), *self._tops.values()]

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
        """The parts by name, in the order in which they build on each other."""
        used = {reading.table for reading in self._readings} | {spec.table for spec in self._tops}
        parts = {"everybody": self._render_everybody()}
        if used & {"orders", "order_days", "order_lines"}:
            parts["order_lines_seen"] = self._render_lines(used)
        if used & {"orders", "order_days"}:
            parts["orders_seen"] = self._render_orders()
        if "order_days" in used:
            parts["order_days_seen"] = _ORDER_DAYS
        for reading, figures in self._readings.items():
            parts[self._names[reading]] = self._render_reading(reading, figures)
        for spec, alias in self._tops.items():
            parts.update(self._render_top(spec, alias))
        return parts

    # ------------------------------------------------------------ what is needed

    def _find_reach(self, table: str, window: Window | None) -> int | None:
        # Few rows are read once for all windows: each further reading is grouped and joined by itself. So are those
        # of which a window holds the most: finding a row's customer costs about as much as a dozen figures.
        reach = find_reach(window)
        if self.among.facts or reach is None or 2 * reach > self._span(table):
            return None
        return reach

    def _span(self, table: str) -> float:
        """How many days back the first row of ``table`` is; infinite if nobody said."""
        (base,) = BASES.get(table, (table,))
        return self._spans.get(base, math.inf)

    def _holds_all(self, table: str, window: Window) -> bool:
        """Whether no row before the query's day is outside the window."""
        return not window.ending and window.days >= self._span(table)

    def _figure(self, aggregate: Aggregate) -> str:
        reach = self._find_reach(aggregate.table, aggregate.window)
        if aggregate.function == "count_distinct":
            ends_before = aggregate.window is not None and aggregate.window.ending
            counted = aggregate if ends_before else replace(aggregate, window=None)
            reading = _Reading(aggregate.table, None, counted)
        else:
            reading = _Reading(aggregate.table, reach)
        figures = self._readings.setdefault(reading, {})
        if reading not in self._names:
            self._names[reading] = free_name(_name_reading(reading), set(self._names.values()))
        if aggregate not in figures:
            figures[aggregate] = _name_figure(aggregate, set(figures.values()))
        text = f"{self._names[reading]}.{figures[aggregate]}"
        if aggregate.function in _ZERO:
            return f"COALESCE({text}, 0)"
        if aggregate.function in _EDGES:
            # The figure is the instant, a bar and the value: eighteen characters and one; a day has ten.
            return f"SUBSTRING({text}, {20 if find_source(aggregate.table).instant else 12})"
        return text

    def _top(self, spec: TopValue) -> str:
        key = replace(spec, output="value")
        if key not in self._tops:
            self._tops[key] = free_name(f"top_{spec.column}", set(self._tops.values()))
        return self._tops[key]

    def _list_columns(self, table: str) -> list[str]:
        """The columns of ``table`` that any reading needs, in declared order."""
        wanted: set[str] = {find_source(table).day}
        for reading, figures in self._readings.items():
            if reading.table == table:
                for aggregate in figures:
                    wanted |= _list_needs_of(aggregate)
        for spec in self._tops:
            if spec.table == table:
                wanted |= _list_needs(spec.column, spec.conditions) | {spec.weight or ""}
        return [name for name in find_source(table).stored if name in wanted]

    # ------------------------------------------------------------ the sources

    def _render_everybody(self) -> str:
        listed = self.among.table or self.among.everybody
        if listed is not None:
            tests = Among(self.among.low, self.among.high).render("customer_id", self.binder)
            return f"    SELECT customer_id FROM {listed}{_where(tests)}"
        known = _where(self.among.render("customer_id", self.binder))
        parts = [f"    SELECT customer_id FROM customers{known}"]
        for table, day in (("order_lines", "ordered_on"), ("events", "occurred_on")):
            tests = [f"{day} < {show_day(self.as_of)}", *self.among.render("customer_id", self.binder)]
            parts.append(f"    SELECT customer_id FROM {table}{_where(tests)}")
        return "\n    UNION\n".join(parts)

    def _render_lines(self, used: set[str]) -> str:
        needed = set(self._list_columns("order_lines")) if "order_lines" in used else set()
        if used & {"orders", "order_days"}:
            needed |= {*_LINES_OF_ORDERS, *_find_behind(self._list_columns("orders"))}
        columns = ["l.customer_id"]
        for name in find_source("order_lines").stored:
            if name in needed and name == "is_return":
                columns.append(
                    "CASE WHEN l.quantity < 0 OR l.revenue < 0 THEN TRUE ELSE FALSE END AS is_return"
                )
            elif name in needed:
                columns.append(f"{'p' if name in _PRODUCT_COLUMNS else 'l'}.{name}")
        end = [f"    FROM {self.among.facts}order_lines AS l"]
        if needed & set(_PRODUCT_COLUMNS):
            end.append("    LEFT JOIN products AS p ON p.product_id = l.product_id")
        tests = [f"l.ordered_on < {show_day(self.as_of)}", *self._render_people("l.customer_id")]
        if not used & {"orders", "order_days"}:
            tests += self._bound("l.ordered_on", self._find_furthest("order_lines"))
        return select(columns, [*end, f"    WHERE {' AND '.join(tests)}"])

    def _render_orders(self) -> str:
        """The orders, with the columns that anything asks for: each further one costs as much as a figure."""
        wanted = {"ordered_on", *self._list_columns("orders")}
        columns = [f"{figure} AS {name}" for name, figure in _ORDERS.items() if name in wanted]
        end = [
            "    FROM order_lines_seen",
            "    GROUP BY customer_id, order_id",
            "    HAVING SUM(CASE WHEN is_return THEN 0 ELSE 1 END) > 0",
        ]
        return select(["customer_id", "order_id", *columns], end)

    def _find_furthest(self, table: str) -> int | None:
        """How far back any reading of ``table`` looks; None when one reads everything."""
        reaches = [
            self._find_reach_of(reading, figures)
            for reading, figures in self._readings.items()
            if reading.table == table
        ]
        reaches += [self._find_reach(spec.table, spec.window) for spec in self._tops if spec.table == table]
        found = [reach for reach in reaches if reach is not None]
        return max(found) if len(found) == len(reaches) else None

    def _render_people(self, column: str) -> list[str]:
        """The conditions on the customer of a dated row."""
        return [] if self.among.facts_are_theirs else self.among.render(column, self.binder)

    def _find_reach_of(self, reading: _Reading, figures: Iterable[Aggregate]) -> int | None:
        if reading.distinct is None:
            return reading.reach
        reaches = [self._find_reach(one.table, one.window) for one in figures]
        known = [reach for reach in reaches if reach is not None]
        return max(known) if len(known) == len(reaches) else None

    def _bound(self, column: str, reach: int | None) -> list[str]:
        return [] if reach is None else [f"{column} >= {show_day(self.as_of - timedelta(days=reach))}"]

    def _read(self, table: str, columns: Iterable[str], tests: list[str], reach: int | None) -> list[str]:
        """FROM and WHERE of one reading of ``table`` that needs ``columns``."""
        day = find_source(table).day
        if table in ("order_lines", "orders", "order_days"):
            every = [*self._bound(day, reach), *tests]
            return [f"    FROM {table}_seen", *([f"    WHERE {' AND '.join(every)}"] if every else [])]
        listed = ", ".join(
            f"{'p' if table == 'events' and name in _PRODUCT_COLUMNS else 's'}.{name}"
            for name in dict.fromkeys(("customer_id", day, *columns))
            if name
        )
        joined = (
            " LEFT JOIN products AS p ON p.product_id = s.product_id"
            if table == "events" and set(columns) & set(_PRODUCT_COLUMNS)
            else ""
        )
        seen = [
            f"s.{day} < {show_day(self.as_of)}",
            *self._bound(f"s.{day}", reach),
            *self._render_people("s.customer_id"),
        ]
        inner = f"SELECT {listed} FROM {self.among.facts}{table} AS s{joined} WHERE {' AND '.join(seen)}"
        return [
            f"    FROM ({inner}) AS {table}_seen",
            *([f"    WHERE {' AND '.join(tests)}"] if tests else []),
        ]

    # ------------------------------------------------------------ the figures

    def _render_reading(self, reading: _Reading, figures: dict[Aggregate, str]) -> str:
        if reading.distinct is not None:
            return self._render_distinct(reading, figures)
        columns = [
            f"{self._render_aggregate(one, reading.reach)} AS {alias}" for one, alias in figures.items()
        ]
        needed: set[str] = set()
        for one in figures:
            needed |= _list_needs_of(one)
        listed = [name for name in find_source(reading.table).stored if name in needed]
        end = self._read(reading.table, listed, self._find_common(reading.table, figures), reading.reach)
        return select(["customer_id", *columns], [*end, "    GROUP BY customer_id"])

    def _find_common(self, table: str, figures: Iterable[Aggregate]) -> list[str]:
        """What every figure asks of a row may as well be asked once."""
        shared: set[Condition] | None = None
        for figure in figures:
            shared = set(figure.conditions) if shared is None else shared & set(figure.conditions)
        return self._render_conditions(table, sorted(shared or (), key=repr))

    def _render_distinct(self, reading: _Reading, figures: dict[Aggregate, str]) -> str:
        """Different values are counted over the rows that count only: remembering them is what costs.

        A value that was last seen within a window is one of those seen in it, so that each is remembered once for all
        windows.
        """
        longest = max(figures, key=lambda one: one.window.days if one.window else math.inf)
        reach = self._find_reach_of(reading, figures)
        column, tests = str(longest.column), self._render_tests(longest, reach)
        listed = sorted(_list_needs(column, longest.conditions))
        if len(figures) == 1:
            end = self._read(reading.table, listed, tests, reach)
            figure = f"COUNT(DISTINCT {column}) AS {figures[longest]}"
            return select(["customer_id", figure], [*end, "    GROUP BY customer_id"])
        day = find_source(reading.table).day
        end = self._read(reading.table, listed, [f"{column} IS NOT NULL", *tests], reach)
        values = select(
            ["customer_id", f"MAX({day}) AS last_seen"], [*end, f"    GROUP BY customer_id, {column}"]
        )
        counts = [
            f"COUNT({self._render_last_seen(one, longest)}) AS {alias}" for one, alias in figures.items()
        ]
        inner = f"    FROM (\n{indent(values, '    ')}\n    ) AS values_seen"
        return select(["customer_id", *counts], [inner, "    GROUP BY customer_id"])

    def _render_last_seen(self, one: Aggregate, longest: Aggregate) -> str:
        """1 where a value was last seen within the window; the values were looked for in the ``longest``."""
        if one is longest or one.window is None or self._holds_all(one.table, one.window):
            return "1"
        return f"CASE WHEN last_seen >= {show_day(self.as_of - timedelta(days=one.window.days))} THEN 1 END"

    def _render_aggregate(self, aggregate: Aggregate, reach: int | None) -> str:
        source = find_source(aggregate.table)
        tests = self._render_tests(aggregate, reach)
        column = aggregate.column or "1"
        if aggregate.function in _EDGES:
            tests.append(f"{column} IS NOT NULL")
            column = f"CONCAT(CAST({_render_time(source)} AS VARCHAR), '|', CAST({column} AS VARCHAR))"
        value = f"CASE WHEN {' AND '.join(tests)} THEN {column} END" if tests else column
        match aggregate.function:
            case "count":
                return f"COUNT({value})"
            case "sum":
                # Money is summed exactly first: a sum of floats depends on the order of the rows.
                return f"CAST({self._sum(aggregate, value)} AS DOUBLE)"
            case "average":
                return f"CAST({self._sum(aggregate, value)} AS DOUBLE) / NULLIF(COUNT({value}), 0)"
            case "deviation":
                return _render_deviation(value)
            case "latest" | "earliest":
                # Texts that begin with a time of fixed width: what was last, and of equals the greatest value.
                return f"{'MAX' if aggregate.function == 'latest' else 'MIN'}({value})"
            case _:
                plain = f"{aggregate.function.upper()}({value})"
                money = aggregate.column is not None and source.type_of(aggregate.column) is Type.MONEY
                return f"CAST({plain} AS DOUBLE)" if money else plain

    def _sum(self, aggregate: Aggregate, value: str) -> str:
        """Floating figures are summed as decimals: the same rows give the same bits in any order."""
        source = find_source(aggregate.table)
        if aggregate.column is not None and source.type_of(aggregate.column) is Type.REAL:
            return f"SUM(CAST({value} AS DECIMAL(18, 4)))"
        return f"SUM({value})"

    def _render_tests(self, one: Aggregate | TopValue, reach: int | None) -> list[str]:
        """Conditions and window of a figure, as far as its reading has not seen to the window already."""
        return [*self._render_conditions(one.table, one.conditions), *self._render_window(one, reach)]

    def _render_window(self, one: Aggregate | TopValue, reach: int | None) -> list[str]:
        tests: list[str] = []
        day, window = find_source(one.table).day, one.window
        if window is None or self._holds_all(one.table, window):
            return tests
        end = self.as_of - timedelta(days=window.ending)
        if window.days + window.ending != reach:
            tests.append(f"{day} >= {show_day(end - timedelta(days=window.days))}")
        if window.ending:
            tests.append(f"{day} < {show_day(end)}")
        return tests

    def _render_conditions(self, table: str, conditions: Iterable[Condition]) -> list[str]:
        return render_conditions(table, conditions, self.binder)

    def _render_top(self, spec: TopValue, alias: str) -> dict[str, str]:
        """Three parts: the weight of each value, the greatest weight and the total, the value that has it."""
        reach = self._find_reach(spec.table, spec.window)
        kind = find_source(spec.table).type_of(spec.weight) if spec.weight else Type.INTEGER
        summed = f"CAST({spec.weight} AS DECIMAL(18, 4))" if kind is Type.REAL else spec.weight
        weight = f"SUM({summed})" if spec.weight else "COUNT(*)"
        needed = _list_needs(spec.column, spec.conditions) | ({spec.weight} if spec.weight else set())
        tests = [f"{spec.column} IS NOT NULL", *self._render_tests(spec, reach)]
        grouped = [
            *self._read(spec.table, sorted(needed), tests, reach),
            f"    GROUP BY customer_id, {spec.column}",
            f"    HAVING {weight} > 0",
        ]
        found = [
            f"    FROM {alias}_weights AS w",
            f"    INNER JOIN {alias}_best AS b ON b.customer_id = w.customer_id AND b.best = w.weight",
            "    GROUP BY w.customer_id",
        ]
        return {
            f"{alias}_weights": select(
                ["customer_id", f"{spec.column} AS value", f"{weight} AS weight"], grouped
            ),
            f"{alias}_best": select(
                ["customer_id", "MAX(weight) AS best", "SUM(weight) AS total"],
                [f"    FROM {alias}_weights", "    GROUP BY customer_id"],
            ),
            alias: select(
                [
                    "w.customer_id",
                    # Values that tie: the one that sorts first.
                    "MIN(w.value) AS value",
                    "CAST(MAX(b.best) AS DOUBLE) / CAST(MAX(b.total) AS DOUBLE) AS share",
                ],
                found,
            ),
        }


def _render_deviation(value: str) -> str:
    """Sums of decimals are exact, so that the same rows give the same bits in any order."""
    # 19 digits: with 18, DuckDB multiplies in 64 bits, and the square of an order of 100 000 would be too large.
    exact = f"CAST({value} AS DECIMAL(19, 4))"
    count, total = f"COUNT({value})", f"CAST(SUM({exact}) AS DOUBLE)"
    squares = f"CAST(SUM({exact} * {exact}) AS DOUBLE)"
    spread = f"GREATEST({squares} - {total} * {total} / NULLIF({count}, 0), 0)"
    return f"CASE WHEN {count} > 1 THEN SQRT({spread} / NULLIF({count} - 1, 0)) END"


def _render_time(source: Source) -> str:
    """When a row was, in as many characters for every row; of rows without instants no two have the same day."""
    return f"EPOCH_US({source.instant}) + {_SHIFT}" if source.instant else source.day


def find_reach(window: Window | None) -> int | None:
    """How many days back the reading goes that a figure with this window shares; None: everything."""
    if window is None:
        return None
    return next((reach for reach in REACHES if window.days + window.ending <= reach), None)


def render_conditions(table: str, conditions: Iterable[Condition], binder: Binder) -> list[str]:
    """The comparisons of a row's columns."""
    tests = []
    for one in conditions:
        is_day = find_source(table).type_of(one.column) is Type.DATE
        # A day is bound as one: a text would only by chance compare as a day does, and not on every engine.
        value = date.fromisoformat(str(one.value)) if is_day else one.value
        tests.append(f"{one.column} {one.operator} {binder.bind(value)}")
    return tests


@dataclass(frozen=True)
class Look:
    """One look of a tag at the rows of a source: which rows count, in which window, and the columns that it needs."""

    source: str
    conditions: tuple[Condition, ...]
    window: Window | None
    needs: frozenset[str]


def list_looks(spec: TagSpec) -> list[Look]:
    """Everything that a measured tag looks at."""
    match spec:
        case DaysSince(table=table, conditions=conditions):
            return [Look(table, conditions, None, frozenset(_list_needs(None, conditions)))]
        case TopValue(table=table, conditions=conditions, window=window):
            needs = _list_needs(spec.column, conditions) | {name for name in (spec.weight,) if name}
            return [Look(table, conditions, window, frozenset(needs))]
        case _:
            return [
                Look(one.table, one.conditions, one.window, frozenset(_list_needs_of(one)))
                for one in list_aggregates(spec)
            ]


def list_stored(look: Look) -> set[str]:
    """The columns of the table behind ``look`` that it needs, besides customer and day."""
    needs = set(look.needs)
    if look.source in ("orders", "order_days"):
        needs = {*_LINES_OF_ORDERS, *_find_behind(needs)}
    if needs & set(_PRODUCT_COLUMNS):
        needs = needs - set(_PRODUCT_COLUMNS) | {"product_id"}
    if "is_return" in needs:
        needs = needs - {"is_return"} | {"quantity", "revenue"}
    return needs


def find_plain_conditions(look: Look) -> tuple[Condition, ...]:
    """The conditions of ``look`` that a row of its table answers by itself: more rows pass them than count."""
    if look.source in ("orders", "order_days"):
        return ()
    derived = {*_PRODUCT_COLUMNS, "is_return"}
    return tuple(one for one in look.conditions if one.column not in derived)


def _find_behind(columns: Iterable[str]) -> set[str]:
    """The columns of order lines that these of orders are worked out from."""
    return {_BEHIND_ORDERS[name] for name in columns if name in _BEHIND_ORDERS}


def _list_needs(column: str | None, conditions: Iterable[Condition]) -> set[str]:
    return {name for name in (column, *(one.column for one in conditions)) if name}


def _list_needs_of(aggregate: Aggregate) -> set[str]:
    needs = _list_needs(aggregate.column, aggregate.conditions)
    instant = find_source(aggregate.table).instant
    return needs | {instant} if instant and aggregate.function in _EDGES else needs


def _where(tests: list[str]) -> str:
    return f" WHERE {' AND '.join(tests)}" if tests else ""


def _name_reading(reading: _Reading) -> str:
    if reading.distinct is not None:
        return f"{reading.table}_{_name_figure(reading.distinct, set())}"
    reach = "" if reading.reach is None else f"_{reading.reach}d"
    return f"{reading.table}_figures{reach}"


def _name_figure(aggregate: Aggregate, taken: set[str]) -> str:
    window = aggregate.window
    reach = (
        "" if window is None else f"_{window.days}d" + (f"_before_{window.ending}d" if window.ending else "")
    )
    return free_name(f"{aggregate.function}_{aggregate.column or 'rows'}{reach}", taken)
