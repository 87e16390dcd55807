"""The certificate: what a plan earns, whether it keeps every constraint, and what no plan can exceed.

Floating-point sums would let a bound fall below the truth (measured: by 6e-9 of it in float32). Here sums are
correctly rounded (``math.fsum``, Shewchuk 1997), a limit is checked by the sign of an exact sum, and the bound
is raised by all that rounding can have taken from it. Reads and writes no tables.
"""

from __future__ import annotations

import math

import numpy as np

from aimwell.strategy.problem import Flags, Integers, Problem, Reals, Row

EPSILON = float(np.finfo(np.float64).eps)


def pick(matrix: Reals, slots: Integers) -> Reals:
    """The entries of ``matrix`` (customers × actions) at the chosen ``slots`` (customers × k; −1: none)."""
    customers, places = np.nonzero(slots >= 0)
    return matrix[customers, slots[customers, places]]


def sum_value(problem: Problem, slots: Integers) -> float:
    """What the plan earns, correctly rounded; money."""
    return math.fsum(pick(problem.value, slots))


def sum_usage(row: Row, slots: Integers) -> float:
    """What the plan uses of ``row``, correctly rounded."""
    return math.fsum(pick(row.usage, slots))


def measure_excess(row: Row, slots: Integers) -> float:
    """By how much ``row`` is broken; its sign is exact, so that ``<= 0`` means kept, without tolerance."""
    return row.sign * math.fsum([*pick(row.usage, slots), -row.limit])


def keeps(problem: Problem, slots: Integers) -> bool:
    """Whether the plan keeps every constraint, every offer once, and only what is allowed."""
    customers, places = np.nonzero(slots >= 0)
    if not np.all(problem.mask[customers, slots[customers, places]]):
        return False
    offers = np.where(slots >= 0, problem.groups[slots], -1 - np.arange(slots.shape[1]))
    ordered = np.sort(offers, axis=1)
    if np.any(ordered[:, 1:] == ordered[:, :-1]):
        return False
    return all(measure_excess(row, slots) <= 0 for row in problem.rows)


def find_usable(problem: Problem) -> Flags:
    """Allowed pairs that fit every limit by themselves: usages are not negative, so the others are in no plan."""
    usable = problem.mask.copy()
    for row in problem.rows:
        if row.sense == "at_most":
            usable &= row.usage <= row.limit
    return usable


def bound_profit(problem: Problem, prices: Reals, usable: Flags) -> float:
    """No plan earns more: the Lagrangian dual at ``prices`` (one per row, ≥ 0), with the rounding slack added.

    Everett (1963); valid at any prices. Each reduced value errs by at most (m + 2) ε × its largest terms.
    """
    reduced = reduce_values(problem, prices)
    best = sum_best(reduced, usable, problem)
    linear = [price * row.sign * row.limit for price, row in zip(prices, problem.rows, strict=True)]
    total = math.fsum([*best, *linear])
    if not np.any(prices):
        return math.nextafter(total, math.inf) if total else 0.0
    largest = float(np.max(np.abs(problem.value), initial=0.0)) + math.fsum(
        price * float(np.max(row.usage, initial=0.0)) for price, row in zip(prices, problem.rows, strict=True)
    )
    terms = len(problem.rows) + problem.slots + 2
    slack = EPSILON * terms * (largest * problem.slots * problem.customers + math.fsum(map(abs, linear)))
    return total + slack


def reduce_values(problem: Problem, prices: Reals) -> Reals:
    """Value less the price of what is used; customers × actions."""
    reduced = problem.value.copy()
    for price, row in zip(prices, problem.rows, strict=True):
        if price:
            reduced -= (price * row.sign) * row.usage
    return reduced


def sum_best(reduced: Reals, usable: Flags, problem: Problem) -> Reals:
    """The best reduced value that each customer can reach; at least 0 (nothing chosen)."""
    masked = np.where(usable, reduced, -np.inf)
    if problem.slots == 1:
        return np.asarray(np.max(masked, axis=1, initial=0.0))
    best = np.maximum(take_best_of_offers(masked, problem.groups)[0], 0.0)
    return np.asarray(np.sort(best, axis=1)[:, ::-1][:, : problem.slots].sum(axis=1))


def take_best_of_offers(masked: Reals, groups: Integers) -> tuple[Reals, Integers]:
    """Of each offer its best action: the reduced values and the actions, both customers × offers."""
    values, actions = [], []
    for offer in np.unique(groups):
        columns = np.flatnonzero(groups == offer)
        chosen = np.argmax(masked[:, columns], axis=1)
        values.append(masked[np.arange(len(masked)), columns[chosen]])
        actions.append(columns[chosen])
    return np.column_stack(values), np.column_stack(actions)


def choose_best(reduced: Reals, usable: Flags, problem: Problem) -> Integers:
    """The slots (customers × k, −1: none) of the best actions with a positive reduced value."""
    masked = np.where(usable, reduced, -np.inf)
    if problem.slots == 1:
        action = np.argmax(masked, axis=1)
        chosen = np.where(masked[np.arange(len(masked)), action] > 0, action, -1)
        return chosen[:, None].astype(np.int64)
    values, actions = take_best_of_offers(masked, problem.groups)
    order = np.argsort(-values, axis=1, kind="stable")[:, : problem.slots]
    best = np.take_along_axis(values, order, axis=1)
    return np.where(best > 0, np.take_along_axis(actions, order, axis=1), -1).astype(np.int64)


def measure_gap(objective: float, upper_bound: float) -> float:
    """(Bound − objective) ÷ bound; 0 when both are 0."""
    if upper_bound == objective:
        return 0.0
    return (upper_bound - objective) / abs(upper_bound) if upper_bound else math.inf
