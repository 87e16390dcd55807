"""Contradictory minimums: proves that nothing keeps all limits, and names the smallest set that conflicts.

A set of limits conflicts when a Farkas certificate exists: non-negative weights with which even the best plan
breaks the weighted sum. Small problems are asked exactly (HiGHS), so that limits which only fractions of people
could keep are found too. The deletion filter (Chinneck & Dravnieks 1991) then drops every limit that is not
needed for the conflict. Reads and writes no tables.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from math import comb

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from aimwell.core.errors import Conflict
from aimwell.core.lists import join_list
from aimwell.core.text import say
from aimwell.strategy.certificate import EPSILON
from aimwell.strategy.core import limit_customers, limit_rows
from aimwell.strategy.dual import Dual, cut_down
from aimwell.strategy.problem import Problem, Row
from aimwell.strategy.quiet import drop_solver_output

EXACT_PAIRS = 6_000
INFEASIBLE = 2
MOST_SETS = 100
"""Sets of one size up to which all of them are asked."""


def check_minimums(problem: Problem) -> None:
    """Conflict with the smallest conflicting set of limits when no plan keeps them all."""
    minimums = [row for row in problem.rows if row.sense == "at_least" and row.limit > 0]
    if minimums and is_impossible(problem, problem.rows):
        raise name_conflict(find_conflict(problem))


def find_conflict(problem: Problem) -> list[Row]:
    """The smallest set of rows found that conflicts; it no longer does when any one of them is dropped.

    The deletion filter ends at a set of which every row is needed, but another set may be smaller: smaller ones are
    tried from the smallest on, as long as there are few.
    """
    needed = list(problem.rows)
    for row in problem.rows:
        without = [other for other in needed if other is not row]
        if is_impossible(problem, tuple(without)):
            needed = without
    for size in range(1, len(needed)):
        if comb(len(problem.rows), size) > MOST_SETS:
            break
        for some in combinations(problem.rows, size):
            if is_impossible(problem, some):
                return list(some)
    return needed


def name_conflict(rows: list[Row]) -> Conflict:
    """The error that names ``rows``."""
    return Conflict(
        "strategy.contradictory_limits",
        say("No plan can keep these limits together: {names}.", names=join_list(row.name for row in rows)),
        remedy=say("Lower a minimum, raise a maximum, or allow more actions or customers."),
        where={"column": rows[0].name if rows else None},
    )


def admit_failure() -> Conflict:
    """The error where no plan was found and nothing is proven."""
    return Conflict(
        "strategy.no_plan_found",
        say("No plan was found that keeps all limits, though none is proven to be impossible."),
        remedy=say("Lower a minimum, raise a maximum, or allow more actions or customers."),
    )


def is_impossible(problem: Problem, rows: tuple[Row, ...]) -> bool:
    """Whether it is proven that nothing keeps ``rows`` together."""
    if not any(row.sense == "at_least" and row.limit > 0 for row in rows):
        return any(row.sense == "at_most" and row.limit < 0 for row in rows)
    part = replace(problem, rows=rows)
    if problem.customers * problem.actions <= EXACT_PAIRS:
        return _is_impossible_exactly(part)
    return _has_certificate(part)


def _is_impossible_exactly(problem: Problem) -> bool:
    pairs = tuple(part.astype(np.int64) for part in np.nonzero(problem.mask))
    everybody = np.arange(problem.customers)
    if not len(pairs[0]):
        return True
    nothing = np.full((problem.customers, problem.slots), -1, dtype=np.int64)
    both = (pairs[0], pairs[1])
    constraints: list[LinearConstraint] = [
        *limit_rows(problem, nothing, everybody, both),
        *limit_customers(problem, everybody, both),
    ]
    size = len(pairs[0])
    with drop_solver_output():
        found = milp(
            np.zeros(size),
            integrality=np.ones(size),
            bounds=Bounds(0, 1),
            constraints=constraints,
            options={"node_limit": 5_000, "time_limit": 20.0},
        )
    return bool(found.status == INFEASIBLE)


def _has_certificate(problem: Problem) -> bool:
    # Values of 0 leave only the limits: the dual is then below zero somewhere if and only if they conflict.
    zero = replace(problem, value=np.zeros_like(problem.value))
    dual = Dual.build(zero, zero.mask)
    dual = replace(dual, value=np.where(zero.mask, 0.0, -np.inf))
    weights = cut_down(dual, np.zeros(len(problem.rows)), radius=0.5, ceiling=1.0)
    total, _ = dual.evaluate(weights)
    error = EPSILON * len(weights) * problem.customers * float(np.abs(dual.usage).max(initial=1.0)) * 4
    return total < -error - 1e-9 * float(np.abs(dual.limits).max(initial=1.0))
