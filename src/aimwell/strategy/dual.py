"""Prices: the Lagrangian dual of a problem, minimised over one price for each constraint.

First a smoothed dual (log-sum-exp, Nesterov 2005) of a sample by L-BFGS-B, then the exact dual of everybody by
cutting planes in a box that moves with the best prices (boxstep: Marsten, Hogan, Blankenship 1975). Usages are
scaled so that one price unit is comparable between rows. Reads and writes no tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.optimize import linprog, minimize

from aimwell.core.seeds import generator
from aimwell.strategy.certificate import choose_best, reduce_values, take_best_of_offers
from aimwell.strategy.problem import Flags, Integers, Problem, Reals
from aimwell.strategy.relaxation import MOST_PAIRS, solve_relaxation

SAMPLE = 4_000
CUTS = 60
TOLERANCE = 1e-6
LARGE_TOLERANCE = 1e-5


class DualFunction(Protocol):
    """A convex function of scaled prices."""

    def evaluate(self, prices: Reals) -> tuple[float, Reals]:
        """Its value and one of its subgradients."""


@dataclass(frozen=True)
class Dual:
    """The dual function in scaled prices: value scaled to about 1, rows scaled by their limits or mean usage."""

    problem: Problem
    value: Reals
    usage: Reals
    """Rows × (customers · actions), signed and scaled."""
    limits: Reals
    usable: Flags
    value_scale: float
    row_scale: Reals

    @classmethod
    def build(cls, problem: Problem, usable: Flags) -> Dual:
        """Scale ``problem``; ties are broken by a millionth so that prices can separate equal customers."""
        noise = generator(0, "strategy.dual").random(problem.value.shape)
        value_scale = float(np.max(np.abs(problem.value[usable]), initial=0.0)) or 1.0
        value = np.where(usable, problem.value / value_scale + 1e-6 * noise, -np.inf)
        row_scale = np.array([_scale_row(row.usage, row.limit, usable) for row in problem.rows])
        usage = np.empty((len(problem.rows), problem.value.size))
        for index, row in enumerate(problem.rows):
            np.multiply(row.usage.ravel(), row.sign / row_scale[index], out=usage[index])
        limits = np.array([row.sign * row.limit for row in problem.rows]) / row_scale
        return cls(problem, value, usage, limits, usable, value_scale, row_scale)

    def take(self, customers: Integers) -> Dual:
        """The same for some customers, with limits in proportion."""
        shape = (len(self.limits), *self.value.shape)
        usage = self.usage.reshape(shape)[:, customers].reshape(len(self.limits), -1)
        share = len(customers) / max(1, len(self.value))
        return Dual(
            self.problem,
            self.value[customers],
            np.ascontiguousarray(usage),
            self.limits * share,
            self.usable[customers],
            self.value_scale,
            self.row_scale,
        )

    def unscale(self, prices: Reals) -> Reals:
        """Scaled prices as money per unit."""
        return prices * self.value_scale / self.row_scale

    def scale(self, prices: Reals) -> Reals:
        """Money per unit as scaled prices."""
        return prices * self.row_scale / self.value_scale

    def evaluate(self, prices: Reals) -> tuple[float, Reals]:
        """The exact dual and one of its subgradients."""
        reduced = self.value - (prices @ self.usage).reshape(self.value.shape)
        if self.problem.slots == 1:
            actions = np.argmax(reduced, axis=1)
            customers = np.flatnonzero(reduced[np.arange(len(reduced)), actions] > 0)
            actions = actions[customers]
        else:
            slots = choose_best(reduced, self.usable, self.problem)
            customers, places = np.nonzero(slots >= 0)
            actions = slots[customers, places]
        total = float(reduced[customers, actions].sum() + prices @ self.limits)
        flat = customers * self.value.shape[1] + actions
        return total, self.limits - self.usage[:, flat].sum(axis=1)

    def smooth(self, prices: Reals, temperature: float) -> tuple[float, Reals]:
        """The dual with each customer's maximum replaced by a soft one; k = 1 only (an upper model otherwise)."""
        reduced = (self.value - (prices @ self.usage).reshape(self.value.shape)) / temperature
        peak = np.maximum(reduced.max(axis=1, initial=0.0), 0.0)[:, None]
        weights = np.exp(reduced - peak)
        total = weights.sum(axis=1, keepdims=True) + np.exp(-peak)
        soft = temperature * float((peak + np.log(total)).sum())
        weights /= total
        return soft + float(prices @ self.limits), self.limits - self.usage @ weights.ravel()


def find_prices(
    problem: Problem, usable: Flags, *, start: Reals | None = None, tolerance: float = TOLERANCE
) -> Reals:
    """Prices (one per row, ≥ 0, money per unit) that nearly minimise the dual."""
    if not problem.rows or problem.customers == 0:
        return np.zeros(len(problem.rows))
    if problem.customers * problem.actions <= MOST_PAIRS:
        exact = solve_relaxation(problem, usable)
        if exact is not None:
            return exact
    dual = Dual.build(problem, usable)
    scaled = dual.scale(start) if start is not None else np.zeros(len(problem.rows))
    if start is None:
        sample = _sample(dual)
        scaled = _descend(sample, scaled)
        if sample is not dual:
            scaled = cut_down(sample, scaled, radius=0.02)
            # The more people, the less a single one weighs: a coarser price is as good, and passes are dear.
            tolerance = max(tolerance, LARGE_TOLERANCE)
    scaled = cut_down(dual, scaled, radius=0.01, tolerance=tolerance)
    return dual.unscale(scaled)


def cut_down(
    dual: DualFunction,
    start: Reals,
    *,
    radius: float,
    floor: Reals | float = 0.0,
    ceiling: Reals | float = np.inf,
    tolerance: float = TOLERANCE,
    patience: int = CUTS,
) -> Reals:
    """Cutting planes in a moving box around the best prices, until the model meets the dual or the cuts are spent.

    Prices stay between ``floor`` and ``ceiling``, each one for all rows or one for each. ``patience``: how many cuts in
    a row may find nothing that is better by more than the tolerance.
    """
    best = start
    low, high = np.broadcast_to(floor, start.shape), np.broadcast_to(ceiling, start.shape)
    best_total, gradient = dual.evaluate(best)
    known = [(best_total - float(gradient @ best), gradient)]
    half = radius * (1.0 + float(np.max(best, initial=0.0)))
    idle = 0
    for _ in range(CUTS):
        candidate, model = _minimise_model(known, best, half, low, high)
        if best_total - model <= tolerance * max(1e-9, abs(best_total)):
            if not _touches_box(candidate, best, half, low, high):
                break
            half *= 4.0
        total, gradient = dual.evaluate(candidate)
        idle = 0 if total < best_total - tolerance * abs(best_total) else idle + 1
        known.append((total - float(gradient @ candidate), gradient))
        if total < best_total:
            half *= 2.0 if _touches_box(candidate, best, half, low, high) else 1.0
            best, best_total = candidate, total
        else:
            half *= 0.5
        if idle >= patience:
            break
    return best


def _minimise_model(
    cuts: list[tuple[float, Reals]], centre: Reals, half: float, low: Reals, high: Reals
) -> tuple[Reals, float]:
    rows = len(centre)
    # Variables: the step from the centre, then how far the model lies below the level of the best cut.
    matrix = np.column_stack([np.array([cut[1] for cut in cuts]), -np.ones(len(cuts))])
    heights = np.array([cut[0] + cut[1] @ centre for cut in cuts])
    size = float(np.max(np.abs(heights), initial=1.0))
    least, most = np.maximum(-half, low - centre), np.minimum(half, high - centre)
    solved = linprog(
        np.append(np.zeros(rows), 1.0),
        A_ub=np.where(np.arange(rows + 1) < rows, matrix / size, matrix),
        b_ub=-heights / size,
        bounds=[*zip(least.tolist(), most.tolist(), strict=True), (None, None)],
        method="highs",
    )
    if solved.x is None:
        return centre, float(heights.max())
    return np.clip(centre + solved.x[:rows], low, high), float(solved.x[rows]) * size


def _touches_box(candidate: Reals, centre: Reals, half: float, low: Reals, high: Reals) -> bool:
    moved = np.abs(candidate - centre) >= half * 0.999
    return bool(np.any(moved & (candidate > low) & (candidate < high)))


def _descend(dual: Dual, prices: Reals) -> Reals:
    size = float(max(1, len(dual.value)))
    temperatures = (0.1, 0.02, 0.004) if dual.problem.slots == 1 else (0.0,)
    for temperature in temperatures:

        def measure(point: Reals, heat: float = temperature) -> tuple[float, Reals]:
            total, gradient = dual.smooth(point, heat) if heat else dual.evaluate(point)
            return total / size, gradient / size

        found = minimize(
            measure,
            prices,
            jac=True,
            method="L-BFGS-B",
            bounds=[(0, 1e6)] * len(prices),
            options={"maxiter": 40},
        )
        prices = np.maximum(found.x, 0.0)
    return prices


def _sample(dual: Dual) -> Dual:
    count = len(dual.value)
    if count <= SAMPLE:
        return dual
    return dual.take(np.sort(generator(0, "strategy.sample", count).permutation(count)[:SAMPLE]))


def _scale_row(usage: Reals, limit: float, usable: Flags) -> float:
    used = usage[usable]
    typical = float(used.mean()) if used.size else 0.0
    return typical or abs(limit) or 1.0


def measure_margins(problem: Problem, reduced: Reals, usable: Flags) -> Reals:
    """How far each customer is from changing its choice: small margins are the near-ties; money."""
    masked = np.where(usable, reduced, -np.inf)
    if problem.slots == 1:
        padded = np.column_stack([masked, np.zeros(len(masked))])
        top = np.partition(padded, -2, axis=1)[:, -2:]
        return np.asarray(np.abs(top[:, 1] - top[:, 0]))
    values, _ = take_best_of_offers(masked, problem.groups)
    padded = -np.sort(-np.column_stack([values, np.zeros((len(values), problem.slots))]), axis=1)
    edge = padded[:, problem.slots - 1] - padded[:, problem.slots]
    near_zero = np.min(np.abs(np.where(np.isfinite(values), values, np.inf)), axis=1)
    return np.asarray(np.minimum(edge, near_zero))


def lower_flat_prices(problem: Problem, prices: Reals) -> Reals:
    """Of limits of 0, the lowest price at which still nobody would use them: what a first unit would earn.

    The dual does not depend on such a price once it is high enough, so the search may stop far above.
    """
    lowered = prices.copy()
    for index, row in enumerate(problem.rows):
        users = problem.mask & (row.usage > 0)
        if row.sense == "at_most" and row.limit == 0 and prices[index] > 0:
            without = lowered.copy()
            without[index] = 0.0
            reduced = reduce_values(problem, without)
            instead = np.max(np.where(problem.mask & ~users, reduced, 0.0), axis=1, initial=0.0)
            earned = np.where(users, reduced - instead[:, None], 0.0) / np.where(users, row.usage, 1.0)
            lowered[index] = min(float(prices[index]), max(0.0, float(earned.max(initial=0.0))))
    return lowered
