"""The difference of two means with Welch's interval, from aggregates; of two shares (Newcombe 1998).

Reads and writes no table. Welch (1947): no common variance is assumed, degrees by Satterthwaite.
"""

from __future__ import annotations

import math

from aimwell.core.estimate import Estimate
from aimwell.stats.distribution import LEVEL
from aimwell.stats.effect import Effect
from aimwell.stats.mean import estimate_share
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


def compare_shares(
    treated_yes: int, treated: int, control_yes: int, control: int, *, level: float = LEVEL
) -> Estimate:
    """The difference of two shares by Newcombe's hybrid score interval (his method 10): safe for rare
    events.
    """
    one = estimate_share(treated_yes, treated, level=level)
    two = estimate_share(control_yes, control, level=level)
    gap = one.estimate - two.estimate
    below = math.hypot(one.estimate - one.lower, two.upper - two.estimate)
    above = math.hypot(one.upper - one.estimate, two.estimate - two.lower)
    return Estimate(gap, gap - below, gap + above, treated + control, "newcombe")
