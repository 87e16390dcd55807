"""Many customers alike: ties are broken by a trace before optimising, and counted without it afterwards.

Where nothing tells customers apart (each action's mean effect for everybody), one price decides for all of them at
once, and thousands would have to be moved one by one. A trace of a ten-thousandth, drawn from a fixed seed, puts them
into an order. What is reported is measured on the values as they are: objective, use and bound. Reads and writes no
tables.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from aimwell.core.seeds import generator
from aimwell.strategy.certificate import bound_profit, find_usable, keeps, measure_gap, sum_usage, sum_value
from aimwell.strategy.optimiser import Effort, Solution, optimise
from aimwell.strategy.problem import Flags, Problem, Reals
from aimwell.strategy.repair import Draft, improve

TRACE = 1e-4
GOOD_GAP = 1e-3
"""A larger gap is closed by moves of everybody, one by one."""
FEW = 2_000
"""Customers up to whom the optimiser moves them one by one anyway."""


def optimise_apart(problem: Problem, *, start: Reals | None = None, effort: Effort = "full") -> Solution:
    """``optimise``, with ties broken first where at least half of the customers are like another one."""
    if not has_ties(problem.value, problem.mask):
        return optimise(problem, start=start, effort=effort)
    random = generator(0, "strategy.ties", problem.customers)
    trace = 1.0 + TRACE * random.random((problem.customers, 1))
    # Prices of a similar problem lie among the ties, where a trace decides everything: begin without.
    found = optimise(replace(problem, value=problem.value * trace), effort=effort)
    usable, slots = find_usable(problem), found.slots
    # Without any price the bound of an empty plan is exact.
    bound = min(
        bound_profit(problem, prices, usable) for prices in (found.prices, np.zeros_like(found.prices))
    )
    objective = sum_value(problem, slots)
    if measure_gap(objective, bound) > GOOD_GAP:
        draft = Draft.start(problem, usable, slots)
        improve(draft, np.arange(problem.customers))
        if keeps(problem, draft.slots):
            slots, objective = draft.slots, sum_value(problem, draft.slots)
    bound = max(objective, bound)
    used = np.array([sum_usage(row, slots) for row in problem.rows])
    return replace(
        found,
        slots=slots,
        objective=objective,
        upper_bound=bound,
        gap=measure_gap(objective, bound),
        used=used,
    )


def has_ties(value: Reals, allowed: Flags) -> bool:
    """Whether there are many customers, at most half of whom have a best value of their own (customers × actions)."""
    if len(value) <= FEW:
        return False
    best = np.where(allowed, value, -np.inf).max(axis=1, initial=-np.inf)
    return bool(len(np.unique(best)) <= len(value) // 2)
