"""CUPED: the difference of means less what a covariate from before the experiment explains.

Reads and writes no table. Deng, Xu, Kohavi and Walker (2013), with one slope pooled over the arms. From
aggregates alone, so that ten million customers cost one query; with arrays, ``adjustment`` does more.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from aimwell.stats.difference import compare_means
from aimwell.stats.distribution import LEVEL
from aimwell.stats.effect import Effect
from aimwell.stats.moments import JointMoments, Moments


@dataclass(frozen=True)
class Cuped:
    """The adjusted effect, the plain one, the slope, and the share of variance that went away."""

    effect: Effect
    plain: Effect
    slope: float
    variance_removed: float


def find_slope(treatment: JointMoments, control: JointMoments) -> float:
    """The pooled within-arm slope of outcome on covariate; 0 when the covariate does not vary."""
    arms = (treatment, control)
    below = sum((arm.n - 1) * arm.covariate_variance for arm in arms)
    return sum((arm.n - 1) * arm.covariance for arm in arms) / below if below > 0 else 0.0


def adjust_moments(arm: JointMoments, *, slope: float, centre: float) -> Moments:
    """The moments of outcome − slope × (covariate − centre)."""
    variance = arm.variance - 2 * slope * arm.covariance + slope * slope * arm.covariate_variance
    return Moments(arm.n, arm.mean - slope * (arm.covariate_mean - centre), max(0.0, variance))


def compare_adjusted(treatment: JointMoments, control: JointMoments, *, level: float = LEVEL) -> Cuped:
    """Treatment minus control by CUPED, in the outcome's unit."""
    slope = find_slope(treatment, control)
    centre = (treatment + control).covariate_mean
    adjusted = [adjust_moments(arm, slope=slope, centre=centre) for arm in (treatment, control)]
    effect = compare_means(adjusted[0], adjusted[1], level=level, method="cuped, welch t")
    plain = compare_means(treatment.outcome, control.outcome, level=level)
    return Cuped(effect, plain, slope, find_variance_removed(effect, plain))


def find_variance_removed(adjusted: Effect, plain: Effect) -> float:
    """1 − Var(adjusted) ÷ Var(plain); below 0 when adjusting did harm, 0 when nothing varied."""
    if plain.standard_error <= 0:
        return 0.0
    return 1 - math.pow(adjusted.standard_error / plain.standard_error, 2)
