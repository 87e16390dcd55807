"""Effects of several actions, pulled towards their mean as far as their noise says (empirical Bayes).

Reads and writes no table. Normal–normal model; the variance between actions by Paule and Mandel (1982). An
optimum over raw effects promises up to three times what it gets (measured), hence nothing is chosen from
raw effects.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aimwell.stats.distribution import find_normal_probability

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Shrunken:
    """Posterior means and standard deviations, shape (k,), and the variance found between actions."""

    means: Array
    deviations: Array
    between: float
    centre: float

    def find_chance_above(self, index: int, bound: float = 0.0) -> float:
        """Posterior probability that effect number ``index`` is above ``bound``."""
        deviation = float(self.deviations[index])
        gap = float(self.means[index]) - bound
        return find_normal_probability(gap / deviation) if deviation > 0 else float(gap > 0)


def shrink_effects(estimates: Array, standard_errors: Array) -> Shrunken:
    """Shrink k ``estimates`` with positive ``standard_errors``, in any one unit.

    The uncertainty of the common mean is added to each posterior deviation.
    """
    noise = standard_errors**2
    between = _find_between(estimates, noise)
    weights = 1 / (noise + between)
    centre = float(weights @ estimates / weights.sum())
    keep = between / (between + noise)
    means = centre + keep * (estimates - centre)
    variances = keep * noise + (1 - keep) ** 2 / float(weights.sum())
    return Shrunken(means, np.sqrt(variances), between, centre)


def _find_between(estimates: Array, noise: Array) -> float:
    def find_excess(between: float) -> float:
        weights = 1 / (noise + between)
        centre = weights @ estimates / weights.sum()
        return float(weights @ (estimates - centre) ** 2) - (len(estimates) - 1)

    if len(estimates) < 2 or find_excess(0.0) <= 0:
        return 0.0
    low, high = 0.0, float(np.ptp(estimates) ** 2)
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if find_excess(middle) > 0 else (low, middle)
    return (low + high) / 2
