"""The interval of one mean (Student) and of one share (Wilson 1927).

Reads and writes no table.

>>> estimate_share(0, 20).upper < 0.17
True
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from aimwell.core.estimate import Estimate
from aimwell.stats.distribution import LEVEL, find_normal_quantile, find_t_critical
from aimwell.stats.moments import Moments


def estimate_mean(moments: Moments, *, level: float = LEVEL) -> Estimate:
    """The mean with Student's interval; one value alone gives an interval of one point."""
    if moments.n < 2:
        return Estimate(moments.mean, moments.mean, moments.mean, moments.n, "single value")
    half = find_t_critical(moments.n - 1, level) * math.sqrt(moments.variance / moments.n)
    return Estimate(moments.mean, moments.mean - half, moments.mean + half, moments.n, "student t")


def estimate_mean_of(values: NDArray[np.float64], *, level: float = LEVEL) -> Estimate:
    """The mean of ``values``, shape (n,), with Student's interval; BadInput when empty."""
    return estimate_mean(Moments.of(values), level=level)


def estimate_share(successes: int, n: int, *, level: float = LEVEL) -> Estimate:
    """A share with Wilson's score interval, which stays within 0 and 1 and is right for 0 of n."""
    if n == 0:
        return Estimate(0.0, 0.0, 1.0, 0, "wilson")
    z = find_normal_quantile((1 + level) / 2)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    lower = 0.0 if successes == 0 else centre - half
    upper = 1.0 if successes == n else centre + half
    return Estimate(share, lower, upper, n, "wilson")
