"""Re-randomisation: a p-value that is right by design, and an interval by inverting it.

Reads and writes no table. Arms are drawn again within strata and the studentised difference compared
(Neuhaus 1993; Chung and Romano 2013): exact where the effect is the same for all, right in large samples
otherwise. Money is skewed: with a 5 % holdout Welch misses up to 20 % on one side where 2.5 % are due, this
1.6–3.0 % (measured).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from aimwell.stats.distribution import LEVEL
from aimwell.stats.effect import Effect
from aimwell.stats.moments import require_values

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
REPETITIONS = 2000
LEAST_ARM = 10
"""Customers in the smaller arm below which there are too few arrangements for an interval."""
_CHUNK = 4_000_000


@dataclass(frozen=True)
class _Group:
    """Sums over one group's re-drawn treated, each (repetitions,): of y, y², observed arm and y × observed
    arm.
    """

    n: int
    n_treated: int
    weight: float
    sums: Array
    totals: Array

    def find_parts(self, null: float) -> tuple[Array, Array]:
        """Weighted difference and its variance for each re-draw of y − null × observed arm."""
        treated = self._moments(self.sums, null, self.n_treated)
        control = self._moments(self.totals[None, :] - self.sums, null, self.n - self.n_treated)
        difference = self.weight * (treated[0] - control[0])
        return difference, self.weight**2 * (treated[1] + control[1])

    @staticmethod
    def _moments(sums: Array, null: float, n: int) -> tuple[Array, Array]:
        total = sums[:, 0] - null * sums[:, 2]
        square = sums[:, 1] - 2 * null * sums[:, 3] + null * null * sums[:, 2]
        variance = np.maximum(square - total * total / n, 0.0) / max(n - 1, 1) / n
        return total / n, variance


@dataclass(frozen=True)
class Rerandomisation:
    """Re-drawn arms, kept as sums, so that any hypothesis costs a few additions per re-draw."""

    groups: tuple[_Group, ...]
    estimate: float
    standard_error: float
    n_treatment: int
    n_control: int

    def find_tails(self, null: float = 0.0) -> tuple[float, float]:
        """P(statistic ≥ observed) and P(≤), if the effect were ``null`` for every customer."""
        parts = [group.find_parts(null) for group in self.groups]
        difference, variance = (sum(column) for column in zip(*parts, strict=True))
        observed = (self.estimate - null) / self.standard_error
        error = np.sqrt(np.maximum(variance, 1e-18 * self.standard_error**2))
        statistics = np.asarray(difference) / error
        slack = 1e-9 * max(1.0, abs(observed))
        # The observed draw is one of the possible ones, hence the 1 (Phipson and Smyth 2010).
        count = len(statistics) + 1
        return (
            (1 + int((statistics >= observed - slack).sum())) / count,
            (1 + int((statistics <= observed + slack).sum())) / count,
        )

    def find_p_value(self, null: float = 0.0) -> float:
        """Two-sided: twice the smaller tail, so that it agrees with the interval."""
        return min(1.0, 2 * min(self.find_tails(null)))

    def find_interval(self, level: float = LEVEL) -> tuple[float, float]:
        """The constant effects that are not rejected at 1 − ``level``."""
        tail = (1 - level) / 2
        return self._find_end(tail, -1.0), self._find_end(tail, 1.0)

    def to_effect(self, *, method: str, level: float = LEVEL) -> Effect:
        """The estimate with its interval by test inversion."""
        lower, upper = self.find_interval(level)
        return Effect(
            self.estimate,
            self.standard_error,
            lower,
            upper,
            self.find_p_value(),
            self.n_treatment,
            self.n_control,
            method,
        )

    def _find_end(self, tail: float, side: float) -> float:
        pick = 0 if side < 0 else 1
        inside, step = self.estimate, 2 * self.standard_error
        outside = inside + side * step
        for _ in range(12):
            if self.find_tails(outside)[pick] <= tail:
                break
            inside, step = outside, step * 2
            outside = outside + side * step
        for _ in range(40):
            middle = (inside + outside) / 2
            if self.find_tails(middle)[pick] <= tail:
                outside = middle
            else:
                inside = middle
        return outside


def rerandomise(
    outcome: Array,
    treated: Flags,
    *,
    generator: np.random.Generator,
    strata: NDArray[np.int64] | None = None,
    groups: NDArray[np.int64] | None = None,
    repetitions: int = REPETITIONS,
) -> Rerandomisation | None:
    """Draw the arms again within ``strata`` (n,), each keeping its number of treated.

    ``groups`` (n,) are the cells whose differences are added up, weighted by their treated (one when
    omitted); a stratum lies within one group. ``outcome`` may be residuals. None when nothing varies or no
    group has both arms.
    """
    require_values(outcome)
    strata = np.zeros(len(outcome), dtype=np.int64) if strata is None else strata
    groups = np.zeros(len(outcome), dtype=np.int64) if groups is None else groups
    cells = [np.flatnonzero(groups == group) for group in np.unique(groups)]
    cells = [rows for rows in cells if 0 < treated[rows].sum() < len(rows)]
    total = sum(int(treated[rows].sum()) for rows in cells)
    made = [
        _draw_group(outcome[rows], treated[rows], strata[rows], total, generator, repetitions)
        for rows in cells
    ]
    if not made:
        return None
    estimate = sum(float(observed[0]) for _, observed in made)
    variance = sum(float(observed[1]) for _, observed in made)
    if variance <= 0:
        return None
    n_control = sum(group.n - group.n_treated for group, _ in made)
    return Rerandomisation(tuple(g for g, _ in made), estimate, float(np.sqrt(variance)), total, n_control)


def _draw_group(
    outcome: Array,
    treated: Flags,
    strata: NDArray[np.int64],
    total: int,
    generator: np.random.Generator,
    repetitions: int,
) -> tuple[_Group, tuple[float, float]]:
    order = np.argsort(strata, kind="stable")
    # Centred, so that sums of squares lose no digits.
    outcome, treated, strata = outcome[order] - outcome.mean(), treated[order], strata[order]
    arm = treated.astype(np.float64)
    columns = np.column_stack([outcome, outcome**2, arm, outcome * arm])
    bounds = [0, *(np.flatnonzero(np.diff(strata)) + 1).tolist(), len(strata)]
    rows = max(1, _CHUNK // len(outcome))
    parts = [
        _draw_sums(columns, treated, bounds, min(rows, repetitions - start), generator)
        for start in range(0, repetitions, rows)
    ]
    n_treated = int(treated.sum())
    group = _Group(len(outcome), n_treated, n_treated / total, np.concatenate(parts), columns.sum(axis=0))
    return group, _observe(group, columns, treated)


def _observe(group: _Group, columns: Array, treated: Flags) -> tuple[float, float]:
    seen = _Group(group.n, group.n_treated, group.weight, columns[treated].sum(axis=0)[None, :], group.totals)
    difference, variance = seen.find_parts(0.0)
    return float(difference[0]), float(variance[0])


def _draw_sums(
    columns: Array, treated: Flags, bounds: list[int], repetitions: int, generator: np.random.Generator
) -> Array:
    drawn = np.empty((repetitions, len(treated)), dtype=np.float64)
    for start, end in pairwise(bounds):
        block = np.broadcast_to(treated[start:end], (repetitions, end - start))
        drawn[:, start:end] = generator.permuted(block, axis=1)
    sums: Array = drawn @ columns
    return sums
