"""One figure by day, week or month: how many rows a step has, or a sum, mean, least or greatest value of a column.

Periods in which nothing counts are there, too: their count or sum is 0, any other figure is unknown.
Reads events, order_lines, products; writes nothing.
"""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any, get_args

from aimwell.core.errors import BadInput
from aimwell.core.text import say
from aimwell.engine.compile_cohort import compile_series, find_period_start, number_period
from aimwell.engine.funnel import Period, Series, Step
from aimwell.engine.session import Queryable
from aimwell.engine.specification import Aggregate, Function

MOST_PERIODS = 400
SHOWN_AT_FIRST: dict[Period, int] = {"day": 30, "week": 12, "month": 12}
"""How many periods there are unless somebody says where to begin."""
_ZERO = ("count", "count_distinct", "sum")


def parse_figure(text: str, step: Step) -> Aggregate:
    """What ``count``, ``sum:COLUMN``, ``average:COLUMN``… means of the rows of ``step``; BadInput when unknown."""
    name, _, column = text.partition(":")
    function: Function | None = next((one for one in get_args(Function) if one == name), None)
    if function is None or (function != "count" and not column):
        raise BadInput(
            "analysis.bad_figure",
            say("'{text}' is no figure of rows.", text=text),
            remedy=say(
                "Use count, or sum:COLUMN, average:COLUMN, min:COLUMN, max:COLUMN, count_distinct:COLUMN."
            ),
            where={"value": text},
        )
    return Aggregate(step.table, function, column or None, step.conditions)


def find_start(end: date, period: Period) -> date:
    """The first day of the earliest period that is shown when nobody says where to begin."""
    last = number_period(end - timedelta(days=1), period)
    return find_period_start(last - SHOWN_AT_FIRST[period] + 1, period)


def measure_series(reader: Queryable, series: Series) -> dict[str, Any]:
    """Each period from ``start`` to before ``end``: its first day, the figure, the rows, and whether it is whole.

    A period is not whole where its first or last days are not counted. BadInput when the days, the figure or the
    number of periods cannot be.
    """
    if series.start >= series.end:
        raise BadInput(
            "analysis.series_days",
            say(
                "There is no day from {start} to before {end}.",
                start=series.start.isoformat(),
                end=series.end.isoformat(),
            ),
            remedy=say("Choose an end after the start."),
            where={"value": series.start.isoformat()},
        )
    query = compile_series(series)
    first = number_period(series.start, series.period)
    last = number_period(series.end - timedelta(days=1), series.period)
    if last - first + 1 > MOST_PERIODS:
        raise BadInput(
            "analysis.too_many_periods",
            say("The table would have {count} periods.", count=last - first + 1),
            remedy=say("Choose longer periods: week or month."),
            where={"value": series.period},
        )
    found = {int(row["period_number"]): row for row in reader.query(query.sql, query.parameters).to_pylist()}
    nothing = {"figure": 0.0 if series.of.function in _ZERO else None, "rows_counted": 0}
    periods = []
    for number in range(first, last + 1):
        row = found.get(number, nothing)
        begins, ends = find_period_start(number, series.period), find_period_start(number + 1, series.period)
        periods.append(
            {
                "start": begins.isoformat(),
                "figure": row["figure"],
                "rows": int(row["rows_counted"]),
                "whole": begins >= series.start and ends <= series.end,
            }
        )
    return {
        "period": series.period,
        "start": series.start.isoformat(),
        "end": series.end.isoformat(),
        "table": series.of.table,
        "function": series.of.function,
        "column": series.of.column,
        "periods": periods,
    }
