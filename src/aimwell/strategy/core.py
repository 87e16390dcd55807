"""The exact core: the customers whose choice is nearly a tie are decided again, together, by HiGHS.

Everybody else keeps the draft's choice, so the draft itself is a solution of the core's problem and the core can
only improve on it. An answer that is cut short by the node limit is taken only if it keeps every constraint by
exact sums (measured: a stopped solver can hand back a non-solution). Reads and writes no tables.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from scipy.optimize import Bounds, LinearConstraint, milp

from aimwell.strategy.certificate import keeps, pick, sum_value
from aimwell.strategy.problem import Flags, Integers, Problem, Reals
from aimwell.strategy.quiet import drop_solver_output

NODES = 150
SOLVER_TOLERANCE = 1e-6
"""By how much HiGHS lets a row be broken, in parts of its largest usage."""
SECONDS = 20.0


def solve_core(
    problem: Problem,
    usable: Flags,
    slots: Integers,
    core: Integers,
    reduced: Reals,
    *,
    tolerance: float,
    feasible: bool = True,
) -> Integers:
    """``slots`` with the customers of ``core`` decided again; ``tolerance`` is the money that may be left.

    With ``feasible=False`` the slots given break a constraint, and any plan that keeps all is better.
    """
    pairs = _list_pairs(usable, slots, core, reduced)
    if not len(pairs[0]):
        return slots
    # Where the solver's tolerance let a limit be broken by a trace, it is asked to stay that far away.
    for margin in (0.0,) if feasible else (0.0, 2 * SOLVER_TOLERANCE):
        answer = _solve(problem, slots, core, pairs, tolerance, margin)
        if answer is None:
            continue
        candidate = place_pairs(slots, core, pairs[0][answer], pairs[1][answer], problem.slots)
        if candidate is None or not keeps(problem, candidate):
            continue
        if not feasible or sum_value(problem, candidate) > sum_value(problem, slots):
            return candidate
    return slots


def place_pairs(
    slots: Integers, core: Integers, customers: Integers, actions: Integers, width: int
) -> Integers | None:
    """``slots`` with the core's customers given exactly these actions; None if one has more than ``width``."""
    result = slots.copy()
    result[core] = -1
    filled = np.zeros(len(slots), dtype=np.int64)
    for customer, action in zip(customers, actions, strict=True):
        if filled[customer] >= width:
            return None
        result[customer, filled[customer]] = action
        filled[customer] += 1
    return result


def _list_pairs(usable: Flags, slots: Integers, core: Integers, reduced: Reals) -> tuple[Integers, Integers]:
    masked = np.where(usable[core], reduced[core], -np.inf)
    best = np.maximum(masked.max(axis=1, initial=0.0), 0.0)
    margins = best - np.maximum(
        np.partition(np.column_stack([masked, np.zeros(len(core))]), -2, axis=1)[:, -2], 0.0
    )
    # Far from the best, an action enters a good plan only by accident: leave it out of large cores.
    reach = np.inf if len(core) * usable.shape[1] <= 3_000 else 4.0 * float(margins.max(initial=0.0)) + 1e-9
    wanted = masked >= (best - reach)[:, None]
    customers, places = np.nonzero(slots[core] >= 0)
    wanted[customers, slots[core][customers, places]] = True
    wanted &= usable[core]
    where, action = np.nonzero(wanted)
    return core[where], action.astype(np.int64)


def _solve(
    problem: Problem,
    slots: Integers,
    core: Integers,
    pairs: tuple[Integers, Integers],
    tolerance: float,
    margin: float,
) -> Flags | None:
    customers, actions = pairs
    value = problem.value[customers, actions]
    earned = _sum_core(problem.value, slots, core)
    constraints = [*limit_rows(problem, slots, core, pairs, margin), *limit_customers(problem, core, pairs)]
    # The node limit is what ends a hard core: the clock must not decide. The time limit is for emergencies.
    gap = min(1.0, tolerance / max(abs(earned), 1e-9))
    with drop_solver_output():
        found = milp(
            -value,
            integrality=np.ones(len(value)),
            bounds=Bounds(0, 1),
            constraints=constraints,
            options={"node_limit": NODES, "time_limit": SECONDS, "mip_rel_gap": gap},
        )
    return None if found.x is None else np.asarray(found.x > 0.5)


def limit_rows(
    problem: Problem,
    slots: Integers,
    core: Integers,
    pairs: tuple[Integers, Integers],
    margin: float = 0.0,
) -> list[LinearConstraint]:
    """What the rows leave to the ``pairs`` (customers, actions) of the core, scaled to about 1, less ``margin``."""
    fixed = slots.copy()
    fixed[core] = -1
    constraints = []
    for row in problem.rows:
        usage = row.usage[pairs]
        left = row.limit - float(pick(row.usage, fixed).sum())
        if np.all(usage == np.floor(usage)):
            # Half a unit of play changes nothing for whole numbers (cents, minutes, offers), and keeps the
            # solver's own rounding, which it complains of on standard output, away from the limit.
            left = np.floor(left) + 0.5 if row.sense == "at_most" else np.ceil(left) - 0.5
        scale = float(usage.max(initial=0.0)) or 1.0
        left = left / scale - row.sign * margin
        low, high = (-np.inf, left) if row.sense == "at_most" else (left, np.inf)
        constraints.append(LinearConstraint(sp.csr_matrix(usage[None, :] / scale), low, high))
    return constraints


def limit_customers(
    problem: Problem, core: Integers, pairs: tuple[Integers, Integers]
) -> list[LinearConstraint]:
    """At most k actions for a customer, and one of each offer."""
    customers, actions = pairs
    position = np.searchsorted(np.sort(core), customers)
    ones = np.ones(len(customers))
    columns = np.arange(len(customers))
    shape = (len(core), len(customers))
    per_customer = LinearConstraint(
        sp.csr_matrix((ones, (position, columns)), shape=shape), -np.inf, problem.slots
    )
    if problem.slots == 1:
        return [per_customer]
    offers = problem.groups[actions]
    cell = position * (int(problem.groups.max()) + 1) + offers
    _, row = np.unique(cell, return_inverse=True)
    per_offer = sp.csr_matrix((ones, (row, columns)), shape=(int(row.max()) + 1, len(customers)))
    return [per_customer, LinearConstraint(per_offer, -np.inf, 1)]


def _sum_core(value: Reals, slots: Integers, core: Integers) -> float:
    chosen = np.full_like(slots, -1)
    chosen[core] = slots[core]
    return float(pick(value, chosen).sum())
