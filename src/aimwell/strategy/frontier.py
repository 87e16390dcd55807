"""The frontier: what each budget is expected to earn, with bounds and intervals, and today's plan on it.

Every point is a plan of its own that keeps all limits; each starts from the prices of the one before. Reads and
writes no tables.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from aimwell.core.money import to_cents
from aimwell.strategy.inputs import Limit, PlanInputs
from aimwell.strategy.optimiser import Solution, optimise
from aimwell.strategy.planner import build_problem, estimate_profit, split_audience
from aimwell.strategy.problem import Integers, Reals

POINTS = 20
BUDGET = "budget"


@dataclass(frozen=True)
class FrontierPoint:
    """One budget: the expected profit of all chosen (as if all were treated), its bound and 95 % interval."""

    budget: float
    profit: float
    upper_bound: float
    lower: float
    upper: float
    spent: float
    chosen: int
    shadow_price: float
    """What one more unit of money would earn."""
    today: bool

    def to_dict(self) -> dict[str, float | int | bool]:
        """For JSON."""
        return dict(vars(self))


def trace_frontier(
    inputs: PlanInputs, *, budgets: tuple[float, ...] | None = None, points: int = POINTS
) -> tuple[FrontierPoint, ...]:
    """Budget → profit at ``budgets``, or at about ``points`` of them from 0 to where more money earns nothing."""
    considered, _ = split_audience(inputs)
    if not inputs.has_effects or not len(considered):
        return ()
    today = next((limit.limit for limit in inputs.limits if limit.limit_id == BUDGET), None)
    budgets = budgets or _choose_budgets(inputs, considered, today, points)
    found: list[FrontierPoint] = []
    prices: Reals | None = None
    for budget in budgets:
        changed = set_budget(inputs, budget)
        solution = optimise(build_problem(changed, considered), start=prices, effort="quick")
        prices = solution.prices
        found.append(_make_point(changed, considered, solution, budget, budget == today))
    return tuple(found)


def set_budget(inputs: PlanInputs, budget: float | None) -> PlanInputs:
    """The same inputs with another overall budget; None: without one."""
    others = tuple(limit for limit in inputs.limits if limit.limit_id != BUDGET)
    if budget is None:
        return replace(inputs, limits=others)
    title = next((limit.title for limit in inputs.limits if limit.limit_id == BUDGET), None)
    assert title is not None, "a plan has a budget"
    return replace(inputs, limits=(Limit(BUDGET, title, "money", budget), *others))


def _choose_budgets(
    inputs: PlanInputs, considered: Integers, today: float | None, points: int
) -> tuple[float, ...]:
    free = optimise(build_problem(set_budget(inputs, None), considered), effort="quick")
    most = _sum_cost(inputs, considered, free)
    reach = most if not today else min(most * 1.05, 3.0 * today) if most > today else 1.5 * today
    steps = [round(reach * step / (points - 1), 2) for step in range(points)]
    return tuple(sorted({*steps, *([today] if today is not None else [])}))


def _sum_cost(inputs: PlanInputs, considered: Integers, solution: Solution) -> float:
    place = np.flatnonzero(solution.action >= 0)
    customer = considered[place]
    return float(inputs.cost_cents[customer, solution.action[place]].sum()) / 100


def _make_point(
    inputs: PlanInputs, considered: Integers, solution: Solution, budget: float, today: bool
) -> FrontierPoint:
    place = np.flatnonzero(solution.action >= 0)
    customer, action = considered[place], solution.action[place]
    estimate = estimate_profit(inputs.profit[customer, action], inputs.error[customer, action], action)
    price = next(
        (p for limit, p in zip(inputs.limits, solution.prices, strict=True) if limit.limit_id == BUDGET), 0.0
    )
    return FrontierPoint(
        budget=to_cents(budget) / 100,
        profit=estimate.estimate,
        upper_bound=max(solution.upper_bound, estimate.estimate) if inputs.caution else solution.upper_bound,
        lower=estimate.lower,
        upper=estimate.upper,
        spent=_sum_cost(inputs, considered, solution),
        chosen=len(place),
        shadow_price=float(price) * 100,
        today=today,
    )
