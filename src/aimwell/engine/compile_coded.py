"""Turns a funnel into queries over the coded rows: the customer's number, the instant and what the row is.

Conditions on coded columns compare codes; a funnel that asks for something that is not coded (properties, a product's
department) has no such queries. Reads the published file (``coded``), extra_events, identities; writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from itertools import pairwise

from aimwell.core.tables import Type
from aimwell.engine.coded_reader import EXTRA, CodedRows
from aimwell.engine.coded_rows import WORD_COLUMNS, Month
from aimwell.engine.funnel import (
    TABLES_IN_ORDER,
    Funnel,
    FunnelTable,
    Step,
    find_column_type,
    validate_funnel,
)
from aimwell.engine.specification import Condition
from aimwell.engine.sql_text import Binder, Query, show_day

_PLAIN: dict[FunnelTable, dict[str, str]] = {
    "events": {"occurred_on": "day", "event_id": "event_id"},
    "orders": {
        name: name
        for name in ("order_id", "hour", "weekday", "store_id", "lines", "units", "revenue", "discount")
    }
    | {"ordered_on": "day"},
    "order_lines": {
        name: name
        for name in (
            "order_id",
            "line_id",
            "ordered_hour",
            "quantity",
            "revenue",
            "discount",
            "store_id",
            "is_return",
        )
    }
    | {"ordered_on": "day"},
}
"""Columns of the warehouse → columns of the coded tables that hold the same values."""
_NEW = "extra_numbers"
_MOST_BITS = 62
_MOST_ROWS = 0.7


@dataclass(frozen=True)
class CodedRun:
    """Rows of one table that stand in order of customer and instant.

    ``rank``: their place among rows of one instant. ``chain``: runs of one chain do not overlap in time. ``span``: the
    table's first and last instant, in microseconds since 1970.
    """

    rank: int
    chain: int
    span: tuple[int, int]
    query: Query


@dataclass(frozen=True)
class CodedPlan:
    """The queries of a funnel: customer, moment and raw.

    ``codes`` None: ``raw`` is the row's marks, a bit per step, the first one lowest, and one for exclusions. Else
    ``raw`` is the event's name, and ``codes`` the name that each bit stands for.
    """

    runs: tuple[CodedRun, ...]
    extra: Query | None
    codes: tuple[int, ...] | None
    rows: int


def compile_coded(funnel: Funnel, coded: CodedRows) -> CodedPlan | None:
    """The queries of ``funnel``; None where a condition, or the file, does not allow it. BadInput as ever."""
    validate_funnel(funnel)
    steps = (*funnel.steps, *funnel.exclusions)
    used: list[FunnelTable] = [table for table in TABLES_IN_ORDER if any(s.table == table for s in steps)]
    if any(not _is_coded(step.table, one) for step in steps for one in step.conditions):
        return None
    if used != ["events"] and not (coded.has_orders and _are_orders_whole(funnel, coded, used)):
        return None
    words = [
        (one.column, str(one.value)) for step in steps for one in step.conditions if _is_word(step.table, one)
    ]
    writer = _Writer(funnel, coded.find_codes(list(dict.fromkeys(words))), coded.names)
    months = [month for month in coded.months if _overlaps(funnel, month.days)] if "events" in used else []
    ordered = sorted(months, key=lambda month: month.first_at)
    # Months that do not overlap are in order of time one after the other.
    apart = all(one.last_at < two.first_at for one, two in pairwise(ordered))
    runs = [writer.render_month(month, 0 if apart else chain) for chain, month in enumerate(ordered)]
    rows = sum(month.rows for month in months)
    for table in used:
        if table != "events":
            found = coded.query(
                f"SELECT MIN(moment) AS a, MAX(moment) AS b, COUNT(*) AS n FROM coded.{table}"
            )
            row = found.to_pylist()[0]
            rows += row["n"]
            if row["n"]:
                runs.append(writer.render_table(table, len(runs), (row["a"], row["b"])))
    extra = writer.render_extra() if coded.has_extra and "events" in used else None
    return CodedPlan(tuple(runs), extra, writer.codes, rows)


def list_new_customers(funnel: Funnel) -> Query:
    """The customers of events that are not in the file who have no number, sorted."""
    return Query(
        f"WITH x AS ({_render_extra_rows(funnel)}) SELECT DISTINCT x.customer_id FROM x"
        " WHERE NOT EXISTS (SELECT 1 FROM coded.numbers AS n WHERE n.customer_id = x.customer_id)"
        " ORDER BY x.customer_id"
    )


class _Writer:
    """Writes the queries of one funnel."""

    def __init__(self, funnel: Funnel, codes: dict[tuple[str, str], int], counts: dict[int, int]) -> None:
        self._funnel = funnel
        self._counts = counts
        self._codes = codes
        names = [_find_bare_name(step) for step in (*funnel.steps, *funnel.exclusions)]
        bare = len(set(names)) == len(names) and None not in names and len(funnel.exclusions) <= 1
        self.codes = tuple(codes["name", str(name)] for name in names) if bare else None
        self._names = [str(name) for name in names]

    def render_month(self, month: Month, chain: int) -> CodedRun:
        """The events of a month."""
        binder = Binder()
        raw, wanted = self._render_raw("events", binder)
        days = [] if _lies_within(self._funnel, month) else _render_days(self._funnel, "day")
        sql = f"SELECT customer, moment, {raw} AS raw FROM coded.{month.name} WHERE {' AND '.join([*days, wanted])}"
        return CodedRun(0, chain, (month.first_at, month.last_at), Query(sql, binder.values))

    def render_table(self, table: FunnelTable, chain: int, span: tuple[int, int]) -> CodedRun:
        """The rows of orders or order lines."""
        binder = Binder()
        raw, wanted = self._render_raw(table, binder)
        tests = " AND ".join([*_render_days(self._funnel, "day"), wanted])
        sql = f"SELECT customer, moment, {raw} AS raw FROM coded.{table} WHERE {tests}"
        return CodedRun(TABLES_IN_ORDER.index(table), chain, span, Query(sql, binder.values))

    def render_extra(self) -> Query:
        """The events that are not in the file, sorted, for all customers; ``extra_numbers`` has the new ones."""
        binder = Binder()
        raw, wanted = self._render_raw("events", binder, in_words=True)
        sql = (
            f"WITH x AS ({_render_extra_rows(self._funnel)}),"
            f" numbered AS (SELECT customer, customer_id FROM coded.numbers"
            f" UNION ALL SELECT customer, customer_id FROM {_NEW})"
            f" SELECT n.customer, EPOCH_US(x.occurred_at) AS moment, {raw} AS raw"
            f" FROM x JOIN numbered AS n ON n.customer_id = x.customer_id WHERE {wanted}"
            " ORDER BY n.customer, moment, x.event_id"
        )
        return Query(sql, binder.values)

    def _render_raw(self, table: FunnelTable, binder: Binder, *, in_words: bool = False) -> tuple[str, str]:
        """What the column ``raw`` is, and which rows are of interest."""
        if self.codes is not None and not in_words:
            return _render_bare(self.codes, self._counts)
        if self.codes is not None:
            pairs = [(binder.bind(name), code) for name, code in zip(self._names, self.codes, strict=True)]
            cases = " ".join(f"WHEN name = {name} THEN {code}" for name, code in pairs)
            return f"CASE {cases} END", f"name IN ({', '.join(name for name, _ in pairs)})"
        steps = self._funnel.steps
        tests = [
            (self._render_test(step, binder, in_words=in_words), 1 << min(bit, len(steps)))
            for bit, step in enumerate((*steps, *self._funnel.exclusions))
            if step.table == table
        ]
        marks = " | ".join(f"(CASE WHEN {test} THEN {bit} ELSE 0 END)" for test, bit in tests)
        return marks, "(" + " OR ".join(f"({test})" for test, _ in tests) + ")"

    def _render_test(self, step: Step, binder: Binder, *, in_words: bool) -> str:
        tests = []
        for one in step.conditions:
            sign = "<>" if one.operator == "!=" else one.operator
            if in_words or not _is_word(step.table, one):
                value: object = one.value
                if find_column_type(step.table, one.column) is Type.DATE:
                    value = date.fromisoformat(str(one.value))
                column = one.column if in_words else _PLAIN[step.table][one.column]
                tests.append(f"{column} {sign} {binder.bind(value)}")
            else:
                tests.append(f"{one.column} {sign} {self._codes[one.column, str(one.value)]}")
        return " AND ".join(tests) or "TRUE"


def _is_word(table: FunnelTable, one: Condition) -> bool:
    return one.column in WORD_COLUMNS.get(table, ())


def _is_coded(table: FunnelTable, one: Condition) -> bool:
    if _is_word(table, one):
        return one.operator in ("=", "!=")
    return one.column in _PLAIN[table]


def _render_bare(codes: tuple[int, ...], names: dict[int, int]) -> tuple[str, str]:
    """The name's code, as narrow as it can be, and which rows to take: those of ``codes``, or nearly all."""
    highest = max(names, default=0)
    raw = "CAST(name AS UTINYINT)" if highest < 256 else "name"
    wanted = sum(names.get(code, 0) for code in codes)
    if wanted > _MOST_ROWS * sum(names.values()):
        # Looking at every row costs more than taking some in vain, which match no step.
        return raw, "TRUE"
    if highest < _MOST_BITS:
        # One shift instead of a comparison with each code.
        return raw, f"({sum(1 << code for code in codes if code >= 0)} >> name) & 1 = 1"
    return raw, "(" + " OR ".join(f"name = {code}" for code in codes) + ")"


def _find_bare_name(step: Step) -> str | None:
    """The event's name where nothing else is asked."""
    if step.table != "events" or len(step.conditions) != 1:
        return None
    (one,) = step.conditions
    return str(one.value) if (one.column, one.operator) == ("name", "=") else None


def _are_orders_whole(funnel: Funnel, coded: CodedRows, used: list[FunnelTable]) -> bool:
    """Whether no order reaches over the first or the last day: of such a one only a part counts."""
    if "orders" not in used:
        return True
    cuts = [day for day in (funnel.start, funnel.end) if day is not None]
    tests = " OR ".join(f"(day < {show_day(cut)} AND last_day >= {show_day(cut)})" for cut in cuts)
    found = coded.query(
        f"SELECT COUNT(*) AS n FROM (SELECT 1 FROM coded.orders WHERE {tests} LIMIT 1) AS cut"
    )
    return not found["n"][0].as_py()


def _overlaps(funnel: Funnel, days: tuple[date, date]) -> bool:
    return days[0] < funnel.end and (funnel.start is None or days[1] > funnel.start)


def _lies_within(funnel: Funnel, month: Month) -> bool:
    first, after = month.days
    return after <= funnel.end and (funnel.start is None or first >= funnel.start)


def _render_days(funnel: Funnel, column: str) -> list[str]:
    tests = [f"{column} < {show_day(funnel.end)}"]
    if funnel.start is not None:
        tests.append(f"{column} >= {show_day(funnel.start)}")
    return tests


def _render_extra_rows(funnel: Funnel) -> str:
    return (
        "SELECT COALESCE(i.customer_id, d.customer_id) AS customer_id, d.event_id, d.name, d.channel,"
        f" d.product_id, d.occurred_at, d.occurred_on FROM {EXTRA} AS d"
        " LEFT JOIN identities AS i ON i.record_id = d.customer_id"
        f" WHERE {' AND '.join(_render_days(funnel, 'd.occurred_on'))}"
    )
