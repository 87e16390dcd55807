"""What a campaign's goal is worth to the goal it serves: its KPI's change in the parent's unit, at baseline values.

Reads order_lines, products, segment_members; writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from aimwell.core.money import to_money
from aimwell.engine.session import Queryable
from aimwell.goals.audience import find_member_day
from aimwell.goals.baseline import Baseline, measure_baseline
from aimwell.goals.company import CompanyGoal, Measure
from aimwell.goals.goal import Goal
from aimwell.goals.kept import AnyGoal
from aimwell.goals.measures import Activity, read_activity


@dataclass(frozen=True)
class Worth:
    """``units`` more (customers, orders, money of the KPI), each worth ``per_unit`` in the parent's measure."""

    units: float
    per_unit: float
    baseline: Baseline

    @property
    def amount(self) -> Decimal:
        """Both together, in cents."""
        return to_money(self.units * self.per_unit)


def find_worth(reader: Queryable, goal: Goal, measure: Measure, *, margin_rate: float) -> Worth | None:
    """What reaching ``goal`` adds to the total of ``measure``; None without a baseline.

    The KPI's whole audience is counted: whoever is held out gets no campaign, so that less comes.
    """
    baseline = measure_baseline(
        reader, goal.definition, window=goal.window, margin_rate=margin_rate, segment=goal.segment
    )
    if baseline is None:
        return None
    day = find_member_day(reader, goal.segment, baseline.window.start)
    activity = read_activity(
        reader, baseline.window, margin_rate=margin_rate, segment=goal.segment, member_day=day
    )
    scale = goal.days / baseline.window.days
    units = goal.target * baseline.now.estimate * baseline.now.n * scale
    return Worth(units, _value_unit(goal.metric, activity, measure), baseline)


def choose_measure(top: AnyGoal) -> Measure:
    """The unit in which goals under ``top`` are added up."""
    if isinstance(top, CompanyGoal):
        return top.measure
    named: dict[str, Measure] = {"profit_per_customer": "contribution", "orders_per_customer": "orders"}
    return named.get(top.metric, "revenue")


def _value_unit(metric: str, activity: Activity, measure: Measure) -> float:
    what = "margin" if measure == "contribution" else measure
    total = {
        "profit_per_customer": activity.count("margin"),
        "revenue_per_customer": activity.count("revenue"),
        "orders_per_customer": activity.count("orders"),
        "active_rate": activity.count("customers"),
        "retention_rate": activity.count("customers", "retained"),
        "reactivation_rate": activity.count("customers", "won_back"),
        "new_customers_per_day": activity.count("customers", "new"),
    }
    parts = {
        "retention_rate": "retained",
        "reactivation_rate": "won_back",
        "new_customers_per_day": "new",
    }
    if metric == "repeat_rate":
        # One more customer who comes again brings what repeat buyers spend beyond those who came once.
        again, once = (
            _divide(activity.count(what, repeated=repeated), activity.count("customers", repeated=repeated))
            for repeated in (True, False)
        )
        return max(again - once, 0.0)
    return _divide(activity.count(what, parts.get(metric)), total[metric])


def _divide(amount: float, by: float) -> float:
    return amount / by if by else 0.0
