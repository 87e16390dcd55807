"""Turns cohort tables and metrics by period into readable SQL, in the portable subset.

Periods are whole numbers that are counted alike on every engine: days since Monday 1970-01-05, those ÷ 7 rounded
down, or months since year 0. Day differences are between dates only.
Reads events, order_lines, products, customers; writes nothing.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

from aimwell.core.errors import BadInput
from aimwell.core.lists import join_list
from aimwell.core.text import say
from aimwell.engine.funnel import (
    PERIODS,
    TABLES_IN_ORDER,
    Cohort,
    FunnelTable,
    Period,
    Series,
    Step,
    list_needed_columns,
    validate_step,
)
from aimwell.engine.specification import Aggregate, Measure, find_source, validate_tag
from aimwell.engine.sql_text import Binder, Query, quote_name, select, with_parts
from aimwell.engine.step_rows import StepRows

FIRST_MONDAY = date(1970, 1, 5)
_CELLS = """\
SELECT
    cohort,
    first_period,
    period_offset,
    COUNT(*) AS customers,
    SUM(CASE WHEN period_offset = last_offset THEN 1 ELSE 0 END) AS last_seen,
    SUM(revenue) AS revenue
FROM followed
GROUP BY cohort, first_period, period_offset
ORDER BY cohort, first_period, period_offset"""


def compile_cohort(cohort: Cohort) -> Query:
    """One row per cohort, first period and offset in which somebody was active.

    Columns: cohort (text; the attribute, null where unknown or without one), first_period and period_offset
    (whole periods), customers (active then), last_seen (of them, active never later), revenue (null without any).
    Offset −1 holds the whole cohort: everybody who began, whether active or not. BadInput when a step cannot be.
    """
    _check_period(cohort.period)
    for step in (cohort.begin, cohort.activity):
        validate_step(step)
    rows = StepRows(Binder(), start=None, end=cohort.end)
    parts = _render_tables(rows, (cohort.begin, cohort.activity), with_revenue=True)
    number = render_period("happened_on", cohort.period)
    begun = select(
        ["customer_id", f"MIN({number}) AS first_period"],
        [
            f"    FROM {cohort.begin.table}_rows",
            f"    WHERE {rows.render_test(cohort.begin)}",
            "    GROUP BY customer_id",
        ],
    )
    label, join = "CAST(NULL AS VARCHAR)", ""
    if cohort.attribute is not None:
        label = f"CAST(c.{quote_name(cohort.attribute)} AS VARCHAR)"
        join = "\n    LEFT JOIN customers AS c ON c.customer_id = b.customer_id"
    money = "CAST(NULL AS DOUBLE)" if cohort.activity.table == "events" else "SUM(revenue)"
    parts["begun"] = begun
    parts["labelled"] = (
        f"    SELECT b.customer_id, b.first_period, {label} AS cohort\n    FROM begun AS b{join}"
    )
    parts["active"] = select(
        ["customer_id", f"{number} AS period_number", f"{money} AS revenue"],
        [
            f"    FROM {cohort.activity.table}_rows",
            f"    WHERE {rows.render_test(cohort.activity)}",
            f"    GROUP BY customer_id, {number}",
        ],
    )
    parts["followed"] = _render_followed()
    return Query(f"{with_parts(parts)}\n{_CELLS}", rows.binder.values)


def compile_series(series: Series) -> Query:
    """The figure of each period in which a row counts: period_number, figure (DOUBLE), rows_counted, sorted."""
    _check_period(series.period)
    validate_tag(Measure(_check_people(series.of)), {})
    if series.of.window is not None:
        raise BadInput(
            "engine.series_with_window",
            say("A figure by period has no window of its own: the period is its window."),
            remedy=say("Leave the window out."),
        )
    step = Step(_name_table(series.of.table), series.of.conditions)
    rows = StepRows(Binder(), start=series.start, end=series.end)
    columns = list_needed_columns((step,), step.table) | ({series.of.column} if series.of.column else set())
    body = rows.render(step.table, columns)
    column = "*" if series.of.column is None else quote_name(series.of.column)
    figures = {
        "count": f"COUNT({column})",
        "count_distinct": f"COUNT(DISTINCT {column})",
        "sum": f"SUM({column})",
        "average": f"CAST(SUM({column}) AS DOUBLE) / NULLIF(COUNT({column}), 0)",
        "min": f"MIN({column})",
        "max": f"MAX({column})",
    }
    if series.of.function not in figures:
        raise BadInput(
            "engine.series_function",
            say("The function {function} cannot be had by period.", function=series.of.function),
            remedy=say("Use one of: {names}.", names=join_list(figures)),
            where={"value": series.of.function},
        )
    figure = figures[series.of.function]
    number = render_period("happened_on", series.period)
    shown = select(
        [f"{number} AS period_number", f"CAST({figure} AS DOUBLE) AS figure", "COUNT(*) AS rows_counted"],
        [f"    FROM {step.table}_rows", f"    WHERE {rows.render_test(step)}", f"    GROUP BY {number}"],
    )
    parts = {f"{step.table}_rows": body, "figures": shown}
    result = "SELECT period_number, figure, rows_counted\nFROM figures\nORDER BY period_number"
    return Query(f"{with_parts(parts)}\n{result}", rows.binder.values)


def _check_people(of: Aggregate) -> Aggregate:
    """What is left to check of ``of``: how many customers there are is a figure of a period, though no tag."""
    if (of.function, of.column) == ("count_distinct", "customer_id"):
        return replace(of, function="count", column=None)
    return of


def render_period(column: str, period: Period) -> str:
    """SQL of the number of the period in which the date ``column`` lies."""
    days = f"DATE_DIFF('day', DATE '{FIRST_MONDAY.isoformat()}', {column})"
    if period == "day":
        return days
    if period == "week":
        return f"CAST(FLOOR({days} / 7.0) AS BIGINT)"
    return f"(EXTRACT(YEAR FROM {column}) * 12 + EXTRACT(MONTH FROM {column}) - 1)"


def number_period(day: date, period: Period) -> int:
    """The number of the period in which ``day`` lies, as ``render_period`` counts."""
    if period == "month":
        return day.year * 12 + day.month - 1
    days = (day - FIRST_MONDAY).days
    return days if period == "day" else days // 7


def find_period_start(number: int, period: Period) -> date:
    """The first day of the period with this number."""
    if period == "month":
        return date(number // 12, number % 12 + 1, 1)
    return FIRST_MONDAY + timedelta(days=number if period == "day" else 7 * number)


def _render_tables(rows: StepRows, steps: tuple[Step, ...], *, with_revenue: bool) -> dict[str, str]:
    parts = {}
    for table in TABLES_IN_ORDER:
        if any(step.table == table for step in steps):
            columns = list_needed_columns(steps, table)
            if with_revenue and table != "events":
                columns |= {"revenue"}
            for column in sorted(columns):
                rows.name_column(column)
            parts[f"{table}_rows"] = rows.render(table, columns)
    return parts


def _render_followed() -> str:
    """Everybody of every cohort at offset −1, and each later period in which they were active."""
    return """\
    SELECT cohort, first_period, period_offset, revenue,
        MAX(period_offset) OVER (PARTITION BY customer_id) AS last_offset
    FROM (
        SELECT l.customer_id, l.cohort, l.first_period, -1 AS period_offset, NULL AS revenue
        FROM labelled AS l
        UNION ALL
        SELECT l.customer_id, l.cohort, l.first_period, a.period_number - l.first_period AS period_offset, a.revenue
        FROM labelled AS l
        JOIN active AS a ON a.customer_id = l.customer_id
        WHERE a.period_number >= l.first_period
    ) AS both_parts"""


def _check_period(period: str) -> None:
    if period not in PERIODS:
        raise BadInput(
            "engine.unknown_period",
            say("There is no period '{period}'.", period=period),
            remedy=say("Use day, week or month."),
            where={"value": period},
        )


def _name_table(name: str) -> FunnelTable:
    find_source(name)
    found = next((table for table in TABLES_IN_ORDER if table == name), None)
    if found is None:
        raise BadInput(
            "engine.series_table",
            say("There are no figures by period for '{table}'.", table=name),
            remedy=say("Use one of: {names}.", names=join_list(TABLES_IN_ORDER)),
            where={"table": name},
        )
    return found
