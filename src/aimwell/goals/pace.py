"""Pacing: where a running goal stands against the path that past windows took, and where it will probably end.

What is *observed* holds everything that happened in the window; what experiments *measured* is what campaigns caused.
Both are shown, each under its name. Reads what ``curves`` reads, and results; writes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal

from aimwell.core.estimate import Estimate
from aimwell.engine.session import Queryable
from aimwell.goals.baseline import measure_baseline
from aimwell.goals.company import CompanyGoal
from aimwell.goals.curves import Curves, read_curves
from aimwell.goals.goal import Goal
from aimwell.goals.metrics import Kind
from aimwell.stats.forecast import YEAR, EndForecast, forecast_end

Status = Literal["not_started", "ahead", "behind", "unclear", "reached", "missed"]
RECENT = 28
"""Days that the recent rate is taken over."""

_MEASURED_TOTALS = {
    "profit_per_customer": "incremental_contribution",
    "revenue_per_customer": "incremental_revenue",
    "orders_per_customer": "incremental_orders",
    "contribution": "incremental_profit",
    "revenue": "incremental_revenue",
    "orders": "incremental_orders",
}
"""KPI or measure → the total that evaluation keeps of it."""
_INCREMENTS = """
SELECT r.plan_id, r.estimate, r.lower, r.upper, r.n_treatment + r.n_control AS n, r.simulated, p.goal
FROM results AS r
INNER JOIN plans AS p ON p.plan_id = r.plan_id
WHERE r.metric = $metric AND r.segment = 'all' AND p.as_of >= $start AND p.as_of < $end
ORDER BY p.as_of, r.plan_id
"""


@dataclass(frozen=True)
class Increments:
    """What experiments measured for the goal: totals over the treated, plan by plan, and together."""

    plans: tuple[str, ...]
    total: Estimate
    simulated: bool


@dataclass(frozen=True)
class Pace:
    """A goal on the day before ``until``; figures in its own unit. ``expected``: the target's path up to now.

    ``rate``: what the last days brought a day; ``required``: what each day that is left must bring.
    """

    goal: Goal | CompanyGoal
    kind: Kind
    until: date
    elapsed: int
    observed: float
    baseline: float
    target: float
    expected: float | None
    forecast: EndForecast | None
    status: Status
    chance: float | None
    rate: float | None
    required: float | None
    increments: Increments | None
    path: tuple[float, ...]
    expected_path: tuple[float, ...]
    history_days: int

    @property
    def days_left(self) -> int:
        """Days of the window that are still to come."""
        return self.goal.days - self.elapsed

    @property
    def short_history(self) -> bool:
        """Whether a season may come that the data have not seen yet."""
        return self.history_days < YEAR + self.goal.days


def measure_pace(
    reader: Queryable,
    goal: Goal | CompanyGoal,
    *,
    first: date,
    until: date,
    margin_rate: float,
    served_by: Collection[str] = (),
) -> Pace | None:
    """The pace of ``goal`` by the data before ``until`` (they begin on ``first``); None without a baseline.

    ``served_by``: the goals below it, whose experiments count for it.
    """
    levels = _find_levels(reader, goal, margin_rate)
    if levels is None:
        return None
    baseline, target = levels
    curves = read_curves(reader, goal, first=first, until=until, margin_rate=margin_rate)
    elapsed = len(curves.so_far) - 1
    forecast = forecast_end(curves.past, curves.so_far, goal.start.toordinal())
    profile = curves.past.profile()
    path = () if profile is None else tuple((profile * target).tolist())
    observed = curves.so_far[-1]
    left = goal.days - elapsed
    return Pace(
        goal,
        _find_kind(goal),
        curves.until,
        elapsed,
        observed,
        baseline,
        target,
        path[elapsed] if path else None,
        forecast,
        judge(observed, target, elapsed, left, forecast),
        None if forecast is None else forecast.chance_of(target),
        _find_rate(curves),
        max(target - observed, 0.0) / left if left else None,
        _read_increments(reader, goal, {goal.name, *served_by}),
        curves.so_far,
        path,
        (curves.until - first).days,
    )


def judge(observed: float, target: float, elapsed: int, left: int, forecast: EndForecast | None) -> Status:
    """Ahead or behind only where the whole interval of the end lies on that side of the target."""
    if not left:
        return "reached" if observed >= target else "missed"
    if not elapsed:
        return "not_started"
    if forecast is None or math.isinf(forecast.error):
        return "unclear"
    end = forecast.to_estimate()
    if end.lower >= target:
        return "ahead"
    return "behind" if end.upper < target else "unclear"


def _find_levels(
    reader: Queryable, goal: Goal | CompanyGoal, margin_rate: float
) -> tuple[float, float] | None:
    if isinstance(goal, CompanyGoal):
        return float(goal.baseline_amount), float(goal.target_amount)
    found = measure_baseline(
        reader, goal.definition, window=goal.window, margin_rate=margin_rate, segment=goal.segment
    )
    if found is None or found.window.days != goal.days:
        # A shorter baseline is another figure: a window's total grows with its days.
        return None
    return found.now.estimate, found.now.estimate * (1 + goal.target)


def _find_kind(goal: Goal | CompanyGoal) -> Kind:
    if isinstance(goal, CompanyGoal):
        return "orders" if goal.measure == "orders" else "money"
    return goal.definition.kind


def _find_rate(curves: Curves) -> float | None:
    days = min(len(curves.so_far) - 1, RECENT)
    return (curves.so_far[-1] - curves.so_far[-1 - days]) / days if days else None


def _read_increments(
    reader: Queryable, goal: Goal | CompanyGoal, names: Collection[str]
) -> Increments | None:
    """Separate experiments: their errors are independent, so half-widths add in squares."""
    metric = _MEASURED_TOTALS.get(goal.measure if isinstance(goal, CompanyGoal) else goal.metric)
    if metric is None:
        return None
    values: dict[str, Any] = {"metric": metric, "start": goal.start, "end": goal.window.end}
    rows = [row for row in reader.query(_INCREMENTS, values).to_pylist() if row["goal"] in names]
    if not rows:
        return None
    total = sum(row["estimate"] for row in rows)
    below = math.sqrt(sum((row["estimate"] - row["lower"]) ** 2 for row in rows))
    above = math.sqrt(sum((row["upper"] - row["estimate"]) ** 2 for row in rows))
    found = Estimate(
        total, total - below, total + above, sum(row["n"] for row in rows), "sum over experiments"
    )
    plans = tuple(str(row["plan_id"]) for row in rows)
    return Increments(plans, found, any(row["simulated"] for row in rows))


def list_days(pace: Pace) -> list[dict[str, Any]]:
    """The observed path and the target's, day by day, for a chart; ``observed`` is None in days to come."""
    return [
        {
            "day": (pace.goal.start + timedelta(days=day - 1)).isoformat(),
            "observed": pace.path[day] if day < len(pace.path) else None,
            "expected": pace.expected_path[day] if pace.expected_path else None,
        }
        for day in range(1, pace.goal.days + 1)
    ]
