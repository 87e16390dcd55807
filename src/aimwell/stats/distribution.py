"""The three distributions that intervals and tests need, from ``scipy.special`` (fast to import).

Reads and writes no table.
"""

from __future__ import annotations

import math

from scipy import special

LEVEL = 0.95
"""The level of every interval unless said."""


def find_normal_quantile(probability: float) -> float:
    """The z with P(Z ≤ z) = ``probability`` in (0, 1)."""
    return float(special.ndtri(probability))


def find_normal_probability(z: float) -> float:
    """P(Z ≤ z) of the standard normal."""
    return float(special.ndtr(z))


def find_t_critical(degrees: float, level: float = LEVEL) -> float:
    """The two-sided critical value of Student's t; the normal's when ``degrees`` is infinite."""
    tail = (1 + level) / 2
    if math.isinf(degrees):
        return find_normal_quantile(tail)
    return float(special.stdtrit(degrees, tail))


def find_t_p_value(statistic: float, degrees: float) -> float:
    """P(|T| ≥ |statistic|), two-sided."""
    if math.isinf(degrees):
        return 2 * find_normal_probability(-abs(statistic))
    return 2 * float(special.stdtr(degrees, -abs(statistic)))


def find_chi_square_p_value(statistic: float, degrees: int) -> float:
    """P(χ² ≥ statistic) with ``degrees`` of freedom, at least 1."""
    return float(special.chdtrc(degrees, statistic))


def find_binomial_p_value(successes: int, trials: int, probability: float) -> float:
    """Exact two-sided p-value: twice the smaller tail, at most 1."""
    below = float(special.bdtr(successes, trials, probability))
    above = float(special.bdtrc(successes - 1, trials, probability)) if successes > 0 else 1.0
    return min(1.0, 2 * min(below, above))
