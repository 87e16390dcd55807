"""Prices of small problems: the linear relaxation solved whole by HiGHS, whose duals are the best prices.

For large ones that takes minutes (measured: 100,000 × 20 gave no answer in 274 s), see ``strategy.dual``. Reads and
writes no tables.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.optimize import linprog

from aimwell.strategy.problem import Flags, Integers, Problem, Reals

MOST_PAIRS = 6_000


def solve_relaxation(problem: Problem, allowed: Flags) -> Reals | None:
    """The duals of the rows (≥ 0, money per unit); None when the solver gives no answer."""
    customers, actions = np.nonzero(allowed)
    usages = [row.usage[customers, actions] for row in problem.rows]
    # The solver's tolerance is absolute: unscaled, a limit of a billionth would not be seen.
    scale = np.array([float(usage.max(initial=0.0)) or 1.0 for usage in usages])
    rows = [
        sp.csr_matrix(row.sign * usage[None, :] / most)
        for row, usage, most in zip(problem.rows, usages, scale, strict=True)
    ]
    limits = [row.sign * row.limit / most for row, most in zip(problem.rows, scale, strict=True)]
    mine = _sum_by(customers, problem.customers)
    blocks, bounds = [*rows, mine], [np.array(limits), np.full(problem.customers, float(problem.slots))]
    if problem.slots > 1:
        cell = customers * (int(problem.groups.max()) + 1) + problem.groups[actions]
        _, place = np.unique(cell, return_inverse=True)
        offers = _sum_by(place.astype(np.int64), int(place.max(initial=-1)) + 1)
        blocks, bounds = [*blocks, offers], [*bounds, np.ones(offers.shape[0])]
    if not len(customers):
        return None
    found = linprog(
        -problem.value[customers, actions],
        A_ub=sp.vstack(blocks, format="csr"),
        b_ub=np.concatenate(bounds),
        bounds=(0, 1),
        method="highs",
    )
    if found.status != 0:
        return None
    return np.asarray(np.maximum(-np.asarray(found.ineqlin.marginals)[: len(problem.rows)], 0.0) / scale)


def _sum_by(label: Integers, count: int) -> sp.csr_matrix:
    columns = np.arange(len(label))
    return sp.csr_matrix((np.ones(len(label)), (label, columns)), shape=(count, len(label)))
