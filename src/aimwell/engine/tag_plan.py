"""The parts of the query that measures tags: which source is read for which figures, and how far back.

Figures that look back equally far share one reading of their source (``events_figures_30d``), so that a window of
30 days reads 30 days and not the whole history; counts of different values and favourites read what they need by
themselves. Dates are folded in Python; values of users are bound.
Reads order_lines, products, events, signals, customers; writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, timedelta

from aimwell.core.tables import Type
from aimwell.engine.specification import (
    Aggregate,
    Condition,
    DaysSince,
    Function,
    Measure,
    Ratio,
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
_LINES_OF_ORDERS = (
    "order_id",
    "ordered_on",
    "ordered_hour",
    "store_id",
    "quantity",
    "revenue",
    "discount",
    "is_return",
)
_ZERO = ("count", "count_distinct", "sum")


@dataclass(frozen=True)
class Among:
    """Which customers a query is about: from one id up to another (not included), or those of a table; or all.

    ``everybody`` names a table of all customers, for those who know it already; ``facts`` stands before the names of
    the dated tables (``some_events``) where only the rows of these customers are to be read.
    """

    low: str | None = None
    high: str | None = None
    table: str | None = None
    everybody: str | None = None
    facts: str = ""

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
    """One reading of a source: how far back (None: everything), or for one count of different values."""

    table: str
    reach: int | None
    distinct: Aggregate | None = None


class TagPlan:
    """Collects what the tags need of each source, and renders the parts that answer it."""

    def __init__(self, as_of: date, among: Among) -> None:
        self.as_of = as_of
        self.among = among
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
            parts["orders_seen"] = _ORDERS
        if "order_days" in used:
            parts["order_days_seen"] = _ORDER_DAYS
        for reading, figures in self._readings.items():
            parts[self._names[reading]] = self._render_reading(reading, figures)
        for spec, alias in self._tops.items():
            parts.update(self._render_top(spec, alias))
        return parts

    # ------------------------------------------------------------ what is needed

    def _find_reach(self, window: Window | None) -> int | None:
        # Few rows are read once for all windows: each further reading is grouped and joined by itself.
        return None if self.among.facts else find_reach(window)

    def _figure(self, aggregate: Aggregate) -> str:
        reach = self._find_reach(aggregate.window)
        if aggregate.function == "count_distinct":
            reading = _Reading(aggregate.table, reach, aggregate)
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
        if aggregate.function in ("latest", "earliest"):
            # The figure is the day, a bar and the value: ten characters and one.
            return f"SUBSTRING({text}, 12)"
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
                    wanted |= _list_needs(aggregate.column, aggregate.conditions)
        for spec in self._tops:
            if spec.table == table:
                wanted |= _list_needs(spec.column, spec.conditions) | {spec.weight or ""}
        return [name for name, _ in find_source(table).columns if name in wanted]

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
            needed |= set(_LINES_OF_ORDERS)
        columns = ["l.customer_id"]
        for name, _ in find_source("order_lines").columns:
            if name in needed and name == "is_return":
                columns.append(
                    "CASE WHEN l.quantity < 0 OR l.revenue < 0 THEN TRUE ELSE FALSE END AS is_return"
                )
            elif name in needed:
                columns.append(f"{'p' if name in _PRODUCT_COLUMNS else 'l'}.{name}")
        end = [f"    FROM {self.among.facts}order_lines AS l"]
        if needed & set(_PRODUCT_COLUMNS):
            end.append("    LEFT JOIN products AS p ON p.product_id = l.product_id")
        tests = [f"l.ordered_on < {show_day(self.as_of)}", *self.among.render("l.customer_id", self.binder)]
        if not used & {"orders", "order_days"}:
            tests += self._bound("l.ordered_on", self._find_furthest("order_lines"))
        return select(columns, [*end, f"    WHERE {' AND '.join(tests)}"])

    def _find_furthest(self, table: str) -> int | None:
        """How far back any reading of ``table`` looks; None when one reads everything."""
        reaches = [reading.reach for reading in self._readings if reading.table == table]
        reaches += [self._find_reach(spec.window) for spec in self._tops if spec.table == table]
        found = [reach for reach in reaches if reach is not None]
        return max(found) if len(found) == len(reaches) else None

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
            *self.among.render("s.customer_id", self.binder),
        ]
        inner = f"SELECT {listed} FROM {self.among.facts}{table} AS s{joined} WHERE {' AND '.join(seen)}"
        return [
            f"    FROM ({inner}) AS {table}_seen",
            *([f"    WHERE {' AND '.join(tests)}"] if tests else []),
        ]

    # ------------------------------------------------------------ the figures

    def _render_reading(self, reading: _Reading, figures: dict[Aggregate, str]) -> str:
        if reading.distinct is not None:
            return self._render_distinct(reading.distinct, figures[reading.distinct])
        columns = [
            f"{self._render_aggregate(one, reading.reach)} AS {alias}" for one, alias in figures.items()
        ]
        needed: set[str] = set()
        for one in figures:
            needed |= _list_needs(one.column, one.conditions)
        listed = [name for name, _ in find_source(reading.table).columns if name in needed]
        end = self._read(reading.table, listed, self._find_common(reading.table, figures), reading.reach)
        return select(["customer_id", *columns], [*end, "    GROUP BY customer_id"])

    def _find_common(self, table: str, figures: Iterable[Aggregate]) -> list[str]:
        """What every figure asks of a row may as well be asked once."""
        shared: set[Condition] | None = None
        for figure in figures:
            shared = set(figure.conditions) if shared is None else shared & set(figure.conditions)
        return self._render_conditions(table, sorted(shared or (), key=repr))

    def _render_distinct(self, aggregate: Aggregate, alias: str) -> str:
        """Different values are counted over the rows that count only: remembering them is what costs."""
        reach = self._find_reach(aggregate.window)
        tests = self._render_tests(aggregate, reach)
        listed = sorted(_list_needs(aggregate.column, aggregate.conditions))
        end = self._read(aggregate.table, listed, tests, reach)
        figure = f"COUNT(DISTINCT {aggregate.column}) AS {alias}"
        return select(["customer_id", figure], [*end, "    GROUP BY customer_id"])

    def _render_aggregate(self, aggregate: Aggregate, reach: int | None) -> str:
        source = find_source(aggregate.table)
        tests = self._render_tests(aggregate, reach)
        column = aggregate.column or "1"
        if aggregate.function in ("latest", "earliest"):
            tests.append(f"{column} IS NOT NULL")
            column = f"CONCAT(CAST({source.day} AS VARCHAR), '|', CAST({column} AS VARCHAR))"
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
        tests = self._render_conditions(one.table, one.conditions)
        day, window = find_source(one.table).day, one.window
        if window is None:
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
        reach = self._find_reach(spec.window)
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
                Look(
                    one.table, one.conditions, one.window, frozenset(_list_needs(one.column, one.conditions))
                )
                for one in list_aggregates(spec)
            ]


def list_stored(look: Look) -> set[str]:
    """The columns of the table behind ``look`` that it needs, besides customer and day."""
    needs = set(_LINES_OF_ORDERS if look.source in ("orders", "order_days") else look.needs)
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


def _list_needs(column: str | None, conditions: Iterable[Condition]) -> set[str]:
    return {name for name in (column, *(one.column for one in conditions)) if name}


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
