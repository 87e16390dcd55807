"""Choose at most k actions for every customer under all constraints at once, with a certificate.

Lagrangian duality gives prices; prices give a draft; the draft is repaired, improved, and its near-ties are
decided exactly. What comes out keeps every constraint, and no plan earns more than ``upper_bound``. Same input,
same answer: nothing depends on the clock. Pure functions of arrays: reads and writes no tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from aimwell.strategy.certificate import (
    bound_profit,
    choose_best,
    find_usable,
    keeps,
    measure_gap,
    reduce_values,
    sum_usage,
    sum_value,
)
from aimwell.strategy.conflict import admit_failure, check_minimums
from aimwell.strategy.core import solve_core
from aimwell.strategy.dual import TOLERANCE, find_prices, lower_flat_prices, measure_margins
from aimwell.strategy.problem import Flags, Integers, Problem, Reals
from aimwell.strategy.repair import NARROW, Draft, improve, repair

Effort = Literal["quick", "full"]
CORES = (60, 150)
GOOD_GAP = 2e-4
QUICK_TOLERANCE = 2e-5


@dataclass(frozen=True)
class Solution:
    """A plan that keeps every constraint, and the proof of how good it is."""

    slots: Integers
    """Customers × k: the chosen actions; −1: none."""
    objective: float
    upper_bound: float
    gap: float
    used: Reals
    """What each row is used."""
    prices: Reals
    """Shadow prices, ≥ 0: what one more unit (of a minimum: one unit less) would earn; money per unit."""

    @property
    def action(self) -> Integers:
        """The action of each customer when k = 1; −1: none."""
        return self.slots[:, 0]


def optimise(problem: Problem, *, start: Reals | None = None, effort: Effort = "full") -> Solution:
    """Solve ``problem``; ``start``: prices of a similar one; ``quick`` leaves the exact core out.

    Raises Conflict, naming the smallest set of limits that nothing can keep together.
    """
    check_minimums(problem)
    usable = find_usable(problem)
    tolerance = TOLERANCE if effort == "full" else QUICK_TOLERANCE
    prices = find_prices(problem, problem.mask, start=start, tolerance=tolerance)
    prices = lower_flat_prices(problem, prices)
    reduced = reduce_values(problem, prices)
    margins = measure_margins(problem, reduced, usable)
    slots = _draft_plan(problem, usable, prices, reduced, margins)
    upper_bound, prices = _tighten(problem, usable, prices)
    if effort == "full":
        slots = _settle_ties(problem, usable, slots, reduced, margins, upper_bound)
    objective = sum_value(problem, slots)
    upper_bound = max(upper_bound, objective)
    return Solution(
        slots=slots,
        objective=objective,
        upper_bound=upper_bound,
        gap=measure_gap(objective, upper_bound),
        used=np.array([sum_usage(row, slots) for row in problem.rows]),
        prices=prices,
    )


def _draft_plan(problem: Problem, usable: Flags, prices: Reals, reduced: Reals, margins: Reals) -> Integers:
    draft = Draft.start(problem, usable, choose_best(reduced, usable, problem))
    if not repair(draft, prices, margins):
        draft = _restart(problem, usable, prices, margins, reduced)
    near = np.sort(np.argsort(margins, kind="stable")[:NARROW])
    improve(draft, near)
    if not keeps(problem, draft.slots):
        repair(draft, prices, margins)
    return draft.slots


def _restart(problem: Problem, usable: Flags, prices: Reals, margins: Reals, reduced: Reals) -> Draft:
    """Repair once more from nothing, then exactly; Conflict when neither finds a plan, proven or not."""
    nothing = np.full((problem.customers, problem.slots), -1, dtype=np.int64)
    draft = Draft.start(problem, usable, nothing)
    if repair(draft, prices, margins):
        return draft
    everybody = np.arange(problem.customers)
    found = solve_core(problem, usable, nothing, everybody, reduced, tolerance=np.inf, feasible=False)
    if not keeps(problem, found):
        raise admit_failure()
    return Draft.start(problem, usable, found)


def _tighten(problem: Problem, usable: Flags, prices: Reals) -> tuple[float, Reals]:
    """The best bound of some prices, and prices without traces on rows that have room to spare."""
    bound = bound_profit(problem, prices, usable)
    for index in np.flatnonzero(prices):
        without = prices.copy()
        without[index] = 0.0
        candidate = bound_profit(problem, without, usable)
        if candidate <= bound + 1e-7 * abs(bound) and _is_trace(problem, prices, int(index), bound):
            bound, prices = min(bound, candidate), without
    return min(bound, bound_profit(problem, np.zeros_like(prices), usable)), prices


def _is_trace(problem: Problem, prices: Reals, index: int, bound: float) -> bool:
    # A price this small is what the search left behind, not a sign that the limit is scarce.
    row = problem.rows[index]
    return bool(row.limit != 0 and prices[index] * abs(row.limit) <= 1e-4 * max(abs(bound), 1e-12))


def _settle_ties(
    problem: Problem, usable: Flags, slots: Integers, reduced: Reals, margins: Reals, upper_bound: float
) -> Integers:
    order = np.argsort(margins, kind="stable")
    for size in CORES:
        left = upper_bound - sum_value(problem, slots)
        if left <= GOOD_GAP * abs(upper_bound):
            break
        core = np.sort(order[:size])
        tolerance = max(0.2 * GOOD_GAP * abs(upper_bound), 1e-9)
        slots = solve_core(problem, usable, slots, core, reduced, tolerance=tolerance)
        if size >= problem.customers:
            break
    return slots
