"""How a goal's figure grew day by day: in the goal's own window so far, and in past windows of the same weekdays.

Reads customers, order_lines, products, segment_members, deliveries, plans; writes nothing. A KPI per customer is a
total over a fixed number of customers; a share counts each customer on the day on which it became true.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aimwell.core.time import Window
from aimwell.engine.session import Queryable
from aimwell.goals.audience import bind_members, filter_members, find_member_day, read_members
from aimwell.goals.company import CompanyGoal
from aimwell.goals.goal import Goal
from aimwell.stats.forecast import Paths

Array = NDArray[np.float64]
MOST_WINDOWS = 156
"""Past windows that begin a week apart: three years of them."""
MOST_QUERIED = 60
"""Where each past window takes a query of its own."""
WEEK = 7

_KNOWN = "customer_id IN (SELECT customer_id FROM customers)"


def _write_daily(value: str, members: str, known: str) -> str:
    return f"""SELECT l.ordered_on AS day, CAST(COALESCE({value}, 0) AS DOUBLE) AS value
FROM order_lines AS l
LEFT JOIN products AS p ON p.product_id = l.product_id
WHERE l.ordered_on >= $start AND l.ordered_on < $end {known} {members}
GROUP BY l.ordered_on
ORDER BY l.ordered_on"""


_MARGIN = """SUM(CASE
    WHEN p.unit_cost IS NOT NULL AND l.quantity IS NOT NULL
    THEN CAST(l.revenue AS DOUBLE) - l.quantity * CAST(p.unit_cost AS DOUBLE)
    ELSE CAST(l.revenue AS DOUBLE) * $margin_rate
END)"""
_VALUES = {"revenue": "SUM(l.revenue)", "orders": "COUNT(DISTINCT l.order_id)", "margin": _MARGIN}
_TOTALS = {
    "profit_per_customer": "margin",
    "revenue_per_customer": "revenue",
    "orders_per_customer": "orders",
    "contribution": "margin",
    "revenue": "revenue",
    "orders": "orders",
}
"""KPI or measure → the daily sum that it is made of."""
_COSTS = """SELECT p.as_of AS day, CAST(-SUM(d.unit_cost) AS DOUBLE) AS value
FROM deliveries AS d
INNER JOIN plans AS p ON p.plan_id = d.plan_id
WHERE d.state = 'sent' AND p.as_of >= $start AND p.as_of < $end
GROUP BY p.as_of
ORDER BY p.as_of"""
_NEW = """SELECT first_on AS day, CAST(COUNT(*) AS DOUBLE) AS value
FROM (SELECT customer_id, MIN(ordered_on) AS first_on FROM order_lines GROUP BY customer_id) AS firsts
WHERE first_on >= $start AND first_on < $end
GROUP BY first_on
ORDER BY first_on"""
_POOLS = {
    "active_rate": "SELECT customer_id FROM customers WHERE 1 = 1",
    "retention_rate": """SELECT DISTINCT customer_id FROM order_lines
WHERE ordered_on >= $before AND ordered_on < $start""",
    "reactivation_rate": """SELECT customer_id FROM order_lines
WHERE ordered_on < $start {members}
GROUP BY customer_id
HAVING MAX(ordered_on) < $before""",
}


def write_share_sql(metric: str, segment: str | None) -> str:
    """SQL of a share's path: a row for each day with how many customers it became true for, and one without a day for
    how many could.
    """
    members = filter_members(segment)
    pool = _POOLS[metric].format(members=members)
    if metric != "reactivation_rate":
        pool = f"{pool} {members}"
    return f"""WITH pool AS (
{pool}
),
hits AS (
    SELECT customer_id, MIN(ordered_on) AS day
    FROM order_lines
    WHERE ordered_on >= $start AND ordered_on < $end
    GROUP BY customer_id
)
SELECT h.day, COUNT(*) AS customers
FROM pool AS b
LEFT JOIN hits AS h ON h.customer_id = b.customer_id
GROUP BY h.day"""


def write_repeat_sql(segment: str | None) -> str:
    """SQL of how many customers made their first and their second order of the window on each day."""
    return f"""WITH made AS (
    SELECT customer_id, order_id, MIN(ordered_on) AS day
    FROM order_lines
    WHERE ordered_on >= $start AND ordered_on < $end {filter_members(segment)}
    GROUP BY customer_id, order_id
),
placed AS (
    SELECT day, ROW_NUMBER() OVER (PARTITION BY customer_id ORDER BY day, order_id) AS place
    FROM made
)
SELECT
    day,
    SUM(CASE WHEN place = 1 THEN 1 ELSE 0 END) AS firsts,
    SUM(CASE WHEN place = 2 THEN 1 ELSE 0 END) AS seconds
FROM placed
WHERE place <= 2
GROUP BY day"""


@dataclass(frozen=True)
class Curves:
    """``so_far``: the figure after 0 … t days of the goal's window, up to ``until``."""

    so_far: tuple[float, ...]
    past: Paths
    until: date


def read_curves(
    reader: Queryable, goal: Goal | CompanyGoal, *, first: date, until: date, margin_rate: float
) -> Curves:
    """The goal's window up to the day before ``until``, and the past windows that had ended by then."""
    window = goal.window
    ended = min(max(until, window.start), window.end)
    reach = _find_reach(goal)
    starts = _list_starts(window, ended, first + timedelta(days=reach), limit=_find_limit(goal))
    read = _choose_reader(reader, goal, starts, ended, margin_rate)
    found = [(start, read(Window.after(start, window.days))) for start in starts]
    known = [(start, path) for start, path in found if path is not None]
    days = np.array([start.toordinal() for start, _ in known], dtype=np.int64)
    values = np.array([path for _, path in known]) if known else np.zeros((0, window.days + 1))
    elapsed = (ended - window.start).days
    own = read(Window.after(window.start, elapsed)) if elapsed else None
    so_far = np.zeros(elapsed + 1) if own is None else own
    return Curves(tuple(so_far.tolist()), Paths(days, values), ended)


def _find_limit(goal: Goal | CompanyGoal) -> int:
    daily = isinstance(goal, CompanyGoal) or (goal.definition.kind != "share" and goal.segment is None)
    return MOST_WINDOWS if daily else MOST_QUERIED


def _find_reach(goal: Goal | CompanyGoal) -> int:
    """Days of data that a window needs before it: whoever came back, or is new, must be told from the others."""
    if isinstance(goal, Goal) and goal.metric in (
        "retention_rate",
        "reactivation_rate",
        "new_customers_per_day",
    ):
        return goal.days
    return 0


def _list_starts(window: Window, ended: date, first: date, *, limit: int) -> list[date]:
    """First days of past windows on the goal's weekday, oldest first."""
    found: list[date] = []
    start = window.start - timedelta(days=WEEK)
    while start >= first and len(found) < limit:
        if start + timedelta(days=window.days) <= ended:
            found.append(start)
        start -= timedelta(days=WEEK)
    return found[::-1]


def _choose_reader(
    reader: Queryable, goal: Goal | CompanyGoal, starts: Sequence[date], ended: date, margin_rate: float
) -> Callable[[Window], Array | None]:
    """What gives a window's path; None for windows that nothing is known of."""
    if isinstance(goal, CompanyGoal):
        daily = _read_daily(reader, goal.measure, starts, ended, goal.start, margin_rate)
        return lambda window: _sum_days(daily, window)
    if goal.metric == "new_customers_per_day":
        span = Window(min([*starts, goal.start]), max(ended, goal.start + timedelta(days=1)))
        rows = reader.query(_NEW, {"start": span.start, "end": span.end})
        new = dict(zip(rows["day"].to_pylist(), rows["value"].to_pylist(), strict=True))
        # The KPI is a mean over the window's days: a day adds its share of it.
        return lambda window: _sum_days(new, window) / goal.days
    if goal.definition.kind == "share":
        return lambda window: _read_share(reader, goal, window)
    if goal.segment is not None:
        return lambda window: _read_member_total(reader, goal, window, margin_rate)
    size = int(reader.query("SELECT COUNT(*) AS n FROM customers")["n"][0].as_py())
    totals = _read_daily(reader, goal.metric, starts, ended, goal.start, margin_rate, known=f"AND l.{_KNOWN}")
    return lambda window: _sum_days(totals, window) / size if size else None


def _read_daily(
    reader: Queryable,
    what: str,
    starts: Sequence[date],
    ended: date,
    start: date,
    margin_rate: float,
    *,
    known: str = "",
) -> dict[date, float]:
    span = Window(min([*starts, start]), max(ended, start + timedelta(days=1)))
    sql = _write_daily(_VALUES[_TOTALS[what]], "", known)
    values: dict[str, Any] = {"start": span.start, "end": span.end}
    if "$margin_rate" in sql:
        values["margin_rate"] = margin_rate
    rows = reader.query(sql, values)
    daily = dict(zip(rows["day"].to_pylist(), rows["value"].to_pylist(), strict=True))
    if what == "contribution":
        costs = reader.query(_COSTS, {"start": span.start, "end": span.end})
        for day, cost in zip(costs["day"].to_pylist(), costs["value"].to_pylist(), strict=True):
            daily[day] = daily.get(day, 0.0) + cost
    return daily


def _read_member_total(reader: Queryable, goal: Goal, window: Window, margin_rate: float) -> Array | None:
    assert goal.segment is not None
    day = _find_day(reader, goal, window)
    size = len(read_members(reader, goal.segment, day))
    if not size:
        return None
    sql = _write_daily(
        _VALUES[_TOTALS[goal.metric]],
        filter_members(goal.segment, "l.customer_id"),
        f"AND l.{_KNOWN}",
    )
    values: dict[str, Any] = {"start": window.start, "end": window.end, **bind_members(goal.segment, day)}
    if "$margin_rate" in sql:
        values["margin_rate"] = margin_rate
    rows = reader.query(sql, values)
    daily = dict(zip(rows["day"].to_pylist(), rows["value"].to_pylist(), strict=True))
    return _sum_days(daily, window) / size


def _find_day(reader: Queryable, goal: Goal, window: Window) -> date:
    """The day on which who belongs to the segment is decided: the window's first; today's members only for the goal's
    own window, never for past ones, where they would have been chosen by what they did in them.
    """
    return find_member_day(reader, goal.segment, window.start) if window.start == goal.start else window.start


def _read_share(reader: Queryable, goal: Goal, window: Window) -> Array | None:
    values: dict[str, Any] = {
        "start": window.start,
        "end": window.end,
        **bind_members(goal.segment, _find_day(reader, goal, window)),
    }
    if goal.metric == "repeat_rate":
        rows = reader.query(write_repeat_sql(goal.segment), values).to_pylist()
        if not rows:
            return None
        firsts = _sum_days({row["day"]: float(row["firsts"]) for row in rows}, window)
        seconds = _sum_days({row["day"]: float(row["seconds"]) for row in rows}, window)
        return seconds / np.maximum(firsts, 1.0)
    sql = write_share_sql(goal.metric, goal.segment)
    if "$before" in sql:
        values["before"] = window.start - timedelta(days=goal.days)
    rows = reader.query(sql, values).to_pylist()
    size = sum(row["customers"] for row in rows)
    hits = {row["day"]: float(row["customers"]) for row in rows if row["day"] is not None}
    return _sum_days(hits, window) / size if size else None


def _sum_days(daily: Mapping[date, float], window: Window) -> Array:
    values = [daily.get(window.start + timedelta(days=day), 0.0) for day in range(window.days)]
    return np.concatenate([[0.0], np.cumsum(values)])
