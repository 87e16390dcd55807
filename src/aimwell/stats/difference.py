"""The difference of two means with Welch's interval, from aggregates.

Reads and writes no table. Welch (1947): no common variance is assumed, degrees by Satterthwaite.
"""

from __future__ import annotations

import math

from aimwell.stats.distribution import LEVEL
from aimwell.stats.effect import Effect
from aimwell.stats.moments import Moments


def find_welch_degrees(treatment: Moments, control: Moments) -> float:
    """Satterthwaite's degrees of freedom; infinite when neither arm varies."""
    parts = [(arm.variance / arm.n, arm.n) for arm in (treatment, control)]
    total = sum(part for part, _ in parts)
    below = sum(part * part / (n - 1) for part, n in parts if n > 1)
    return total * total / below if below > 0 else math.inf


def compare_means(
    treatment: Moments, control: Moments, *, level: float = LEVEL, method: str = "welch t"
) -> Effect:
    """Treatment minus control by Welch, in the metric's unit; each arm should have at least two values.

    >>> effect = compare_means(Moments(100, 12.0, 25.0), Moments(50, 10.0, 16.0))
    >>> round(effect.estimate, 2), round(effect.standard_error, 3)
    (2.0, 0.755)
    """
    variance = treatment.variance / treatment.n + control.variance / control.n
    return Effect.from_t(
        treatment.mean - control.mean,
        standard_error=math.sqrt(variance),
        degrees=find_welch_degrees(treatment, control),
        n_treatment=treatment.n,
        n_control=control.n,
        method=method,
        level=level,
    )
