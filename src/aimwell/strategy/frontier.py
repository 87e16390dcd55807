"""The frontier: what each budget is expected to earn, with bounds and intervals, and today's plan on it.

Every point is a plan of its own that keeps all limits; each starts from the prices of the one before. Reads and
writes no tables.

Points share customers, and so their errors: intervals are joint. ``band_lower`` and ``band_upper`` hold for all
points at once (sup-t band: Montiel Olea and Plagborg-Møller 2019), so that the best of twenty points cannot be picked
by its luck; what a budget adds to today's is estimated as a difference, in which the shared customers cancel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from aimwell.core.errors import Conflict
from aimwell.core.money import show_money, to_cents
from aimwell.core.seeds import generator
from aimwell.core.text import Text, say
from aimwell.strategy.explain import show_signed
from aimwell.strategy.inputs import PlanInputs
from aimwell.strategy.planner import Z, split_audience
from aimwell.strategy.problem import Reals
from aimwell.strategy.scenarios import BUDGET, Solved, measure_difference, read_budget, set_budget, solve

POINTS = 20
DRAWS = 4_000
FLAT = 0.01
"""Money: one more unit of budget that earns less than this earns nothing that matters."""


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
    band_lower: float = float("nan")
    """With ``band_upper``: holds for all points at once with 95 %."""
    band_upper: float = float("nan")
    gain: float | None = None
    """Expected profit less that of today's budget; None where there is no budget today."""
    gain_lower: float | None = None
    gain_upper: float | None = None

    def to_dict(self) -> dict[str, float | int | bool | None]:
        """For JSON."""
        return dict(vars(self))


def trace_frontier(
    inputs: PlanInputs, *, budgets: tuple[float, ...] | None = None, points: int = POINTS
) -> tuple[FrontierPoint, ...]:
    """Budget → profit at ``budgets``, or at about ``points`` of them from 0 to where more money earns nothing."""
    considered, _ = split_audience(inputs)
    if not inputs.has_effects or not len(considered):
        return ()
    today = read_budget(inputs)
    budgets = budgets or _choose_budgets(inputs, today, points)
    solved: list[tuple[float, Solved]] = []
    prices: Reals | None = None
    for budget in budgets:
        try:
            # Today's point is today's plan itself, with the same effort and from the same start.
            one = (
                solve(inputs, effort="full")
                if budget == today
                else solve(set_budget(inputs, budget), start=prices, effort="quick")
            )
        except Conflict:
            # A budget that is too small for the minimums is no point; today's is an error, and so is none at all.
            if budget == today or budget == budgets[-1]:
                raise
            continue
        solved.append((budget, one))
        prices = one.solution.prices
    found = [_make_point(one, budget, budget == today) for budget, one in solved]
    return _add_band(found, [one for _, one in solved])


def _choose_budgets(inputs: PlanInputs, today: float | None, points: int) -> tuple[float, ...]:
    most = solve(set_budget(inputs, None), effort="quick").cost
    reach = most if not today else min(most * 1.05, 3.0 * today) if most > today else 1.5 * today
    steps = [round(reach * step / (points - 1), 2) for step in range(points)]
    return tuple(sorted({*steps, *([today] if today is not None else [])}))


def _make_point(solved: Solved, budget: float, today: bool) -> FrontierPoint:
    estimate = solved.profit
    price = next((use.shadow_price for use in solved.list_uses() if use.limit.limit_id == BUDGET), 0.0)
    return FrontierPoint(
        budget=to_cents(budget) / 100,
        profit=estimate.estimate,
        upper_bound=solved.upper_bound,
        lower=estimate.lower,
        upper=estimate.upper,
        spent=solved.cost,
        chosen=len(solved.customer),
        shadow_price=price,
        today=today,
    )


def _add_band(points: Sequence[FrontierPoint], solved: Sequence[Solved]) -> tuple[FrontierPoint, ...]:
    # What is single customers' own moves together, too, where plans share most customers.
    errors = np.array([[*one.errors.common, np.sqrt(one.errors.own)] for one in solved])
    spread = np.sqrt(np.sum(errors**2, axis=1))
    reach = find_reach(errors) * spread
    base = next((one for one, point in zip(solved, points, strict=True) if point.today), None)
    full = []
    for point, one, half in zip(points, solved, reach.tolist(), strict=True):
        banded = replace(point, band_lower=point.profit - half, band_upper=point.profit + half)
        if base is not None:
            gain = measure_difference(base, one)
            banded = replace(banded, gain=gain.estimate, gain_lower=gain.lower, gain_upper=gain.upper)
        full.append(banded)
    return tuple(full)


def find_reach(errors: Reals, *, level: float = 0.95) -> float:
    """How many standard errors a band needs to hold at all points at once; at least that of one point.

    ``errors``: points × factors, what the points' errors share: the model's factors where it says so, else the sums of
    standard errors by action, as ``planner.estimate_profit`` takes them.
    """
    spread = np.sqrt(np.sum(errors**2, axis=1))
    known = spread > 0
    if known.sum() < 2:
        return Z
    drawn = generator(0, "strategy.frontier", errors.shape[1]).standard_normal((DRAWS, errors.shape[1]))
    worst = np.max(np.abs(drawn @ (errors[known] / spread[known, None]).T), axis=1)
    return max(Z, float(np.quantile(worst, level)))


def describe_frontier(points: Sequence[FrontierPoint], currency: str) -> tuple[Text, ...]:
    """What the frontier says, in words: today, one step more and less, and where money stops earning."""
    if not points:
        return ()
    found: list[Text] = []
    if points[0].budget > 0:
        found.append(
            say(
                "Of the budgets that were looked at, {budget} is the smallest with which all minimums are kept.",
                budget=_show(points[0].budget, currency),
            )
        )
    place = next((index for index, point in enumerate(points) if point.today), None)
    if place is not None:
        found.append(_say_today(points[place], currency))
        if place + 1 < len(points):
            found.append(_say_step(points[place], points[place + 1], currency))
        if place > 0:
            found.append(_say_step(points[place], points[place - 1], currency))
    end = next((point for point in points if point.shadow_price < FLAT), None)
    found.append(
        say(
            "Up to {budget}, the most that was looked at, more money still earns.",
            budget=_show(points[-1].budget, currency),
        )
        if end is None
        else say("From {budget} on, more money earns nothing.", budget=_show(end.budget, currency))
    )
    return tuple(found)


def _say_today(point: FrontierPoint, currency: str) -> Text:
    return say(
        "Today's budget of {budget} is expected to earn {profit} ({lower} to {upper}); {one} more would earn {price}.",
        budget=_show(point.budget, currency),
        profit=_show(point.profit, currency),
        lower=_show(point.lower, currency),
        upper=_show(point.upper, currency),
        one=_show(1.0, currency),
        price=_show(point.shadow_price, currency),
    )


def _say_step(today: FrontierPoint, other: FrontierPoint, currency: str) -> Text:
    assert other.gain is not None and other.gain_lower is not None and other.gain_upper is not None
    shown = say(
        "With {change} of budget: {gain} of profit ({lower} to {upper}).",
        change=show_signed(other.budget - today.budget, currency),
        gain=show_signed(other.gain, currency),
        lower=show_signed(other.gain_lower, currency),
        upper=show_signed(other.gain_upper, currency),
    )
    if other.gain_lower > 0 or other.gain_upper < 0:
        return shown
    return say("{sentence} The difference is not proven.", sentence=shown)


def _show(amount: float, currency: str) -> str:
    return show_money(amount, currency)
