"""What a test can see: the smallest visible effect from an outcome's past, with clusters, adjustment and skew.

The variance by moments with its own error (Var s² ≈ (m₄ − s⁴)/n, Cramér 1946), adjusted by one slope on what was known
before (CUPED: Deng, Xu, Kohavi and Walker 2013), shares with each arm's own variance. Few buyers make the normal
approximation doubtful: then arms are drawn again and again from the past, with and without an effect. Pure.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aimwell.core.errors import BadInput
from aimwell.core.estimate import Estimate
from aimwell.core.text import say
from aimwell.stats.clustering import Clustering, measure_clustering
from aimwell.stats.cuped import compare_adjusted
from aimwell.stats.difference import compare_means
from aimwell.stats.distribution import find_normal_quantile
from aimwell.stats.effect import Effect
from aimwell.stats.mean import estimate_mean_of
from aimwell.stats.moments import JointMoments, Moments
from aimwell.stats.power import (
    ALPHA,
    LEAST_BUYERS,
    POWER,
    find_needed_customers,
    find_reach,
    find_smallest_effect,
    find_smallest_share_change,
)
from aimwell.strategy.experiment.history import Kind
from aimwell.strategy.problem import Reals

REPETITIONS = 400
_MOST_DRAWS = 30_000_000


@dataclass(frozen=True)
class Spread:
    """An outcome's level and noise: ``sd`` after adjustment with its relative standard error."""

    mean: Estimate
    sd_plain: float
    sd: float
    sd_error: float
    """Standard error of ``sd`` over ``sd``."""
    variance_removed: float
    buyer_share: float
    clustering: Clustering | None

    @property
    def design_effect(self) -> float:
        """By how much clusters enlarge the variance; 1 without clusters."""
        return self.clustering.design_effect if self.clustering else 1.0


@dataclass(frozen=True)
class Visible:
    """The smallest visible effect, absolute in the outcome's unit; infinite when nothing can be shown."""

    n_treatment: int
    n_control: int
    smallest: float
    lower: float
    upper: float
    """Nominal 95 % interval of ``smallest``, from the error of the noise's estimate; skewed money: 88 % (measured)."""
    relative: float | None
    expected_buyers: float
    """In the smaller arm."""

    @property
    def skewed(self) -> bool:
        """Whether buyers are too few for intervals by the normal approximation."""
        return self.expected_buyers < LEAST_BUYERS


@dataclass(frozen=True)
class Trial:
    """Tests on arms drawn from the past: shares that found something, without and with an effect of that size."""

    effect: float
    false_alarms: float
    power: float
    repetitions: int


def measure_spread(
    outcome: Reals, before: Reals | None = None, cluster: NDArray[np.int64] | None = None
) -> Spread:
    """Level and noise of ``outcome`` (n,); BadInput when fewer than two values or none varies."""
    mean = estimate_mean_of(outcome)
    if len(outcome) < 2 or float(outcome.std()) == 0:
        raise BadInput(
            "strategy.nothing_varies",
            say("The outcome was the same for everybody, so nothing can be said about noise."),
            remedy=say("Choose a longer window or another outcome."),
        )
    residual, plain = outcome - outcome.mean(), float(outcome.std(ddof=1))
    if before is not None and float(before.std()) > 0:
        centred = before - before.mean()
        residual = residual - float(centred @ residual) / float(centred @ centred) * centred
    variance = float(residual @ residual) / (len(residual) - 1)
    removed = min(max(1 - variance / plain**2, 0.0), 1 - 1e-12)
    sd = plain * math.sqrt(1 - removed)
    kurtosis = float((residual**4).mean()) / sd**4 if sd > 0 else 1.0
    error = 0.5 * math.sqrt(max(kurtosis - 1, 0.0) / len(residual))
    clustering = None if cluster is None else measure_clustering(residual, cluster)
    return Spread(mean, plain, sd, error, removed, float((outcome != 0).mean()), clustering)


def find_visible(
    spread: Spread,
    kind: Kind,
    *,
    n_treatment: int,
    n_control: int,
    power: float = POWER,
    alpha: float = ALPHA,
    looks_factor: float = 1.0,
) -> Visible:
    """The smallest effect seen with ``power`` by arms of these sizes; ``looks_factor``: what looking early costs."""
    degrees = math.inf if spread.clustering is None else spread.clustering.clusters - 2.0
    if degrees < 1 or min(n_treatment, n_control) < 1:
        return Visible(n_treatment, n_control, math.inf, math.inf, math.inf, None, 0.0)
    reach = find_reach(power=power, alpha=alpha, degrees=degrees) * looks_factor
    if kind == "share":
        smallest = find_smallest_share_change(
            spread.mean.estimate,
            n_treatment=n_treatment,
            n_control=n_control,
            variance_removed=spread.variance_removed,
            design_effect=spread.design_effect,
            reach=reach,
        )
    else:
        plain = find_smallest_effect(
            sd=spread.sd, n_treatment=n_treatment, n_control=n_control, power=power, alpha=alpha
        )
        smallest = plain / find_reach(power=power, alpha=alpha) * reach * math.sqrt(spread.design_effect)
    half = find_normal_quantile(0.975) * spread.sd_error
    level = abs(spread.mean.estimate)
    return Visible(
        n_treatment,
        n_control,
        smallest,
        smallest * max(1 - half, 0.0),
        smallest * (1 + half),
        smallest / level if level > 0 and math.isfinite(smallest) else None,
        spread.buyer_share * min(n_treatment, n_control),
    )


def find_audience(
    spread: Spread,
    effect: float,
    *,
    control_share: float,
    treatments: int = 1,
    power: float = POWER,
    alpha: float = ALPHA,
    looks_factor: float = 1.0,
) -> int | None:
    """Customers in all arms who show ``effect`` (absolute) of each treatment; None when no number does."""
    treated = (1 - control_share) / treatments
    pair = control_share + treated
    factor = math.sqrt(spread.design_effect) * looks_factor
    found = find_needed_customers(
        effect=effect, sd=spread.sd * factor, control_share=control_share / pair, power=power, alpha=alpha
    )
    return None if found is None else math.ceil(found / pair)


def find_days(customers: int, *, audience: int, per_day: float, window: int) -> int | None:
    """Days until ``customers`` were enrolled and each was watched for ``window`` days; None when they never come.

    ``audience`` customers are there on the first day and ``per_day`` join on each day after it.
    """
    if customers <= audience:
        return window
    return math.ceil((customers - audience) / per_day) + window if per_day > 0 else None


def try_on_past(
    outcome: Reals,
    before: Reals | None,
    kind: Kind,
    effect: float,
    *,
    n_treatment: int,
    n_control: int,
    generator: np.random.Generator,
    alpha: float = ALPHA,
) -> Trial:
    """Draw both arms from the past, with replacement; ``effect`` (absolute, positive) multiplies spending, or turns
    some who did nothing into some who did.
    """
    size = n_treatment + n_control
    repetitions = max(40, min(REPETITIONS, _MOST_DRAWS // max(size, 1)))
    found = [0, 0]
    for _ in range(repetitions):
        rows = generator.integers(0, len(outcome), size)
        drawn, past = outcome[rows], None if before is None else before[rows]
        raised = _raise_outcome(drawn[:n_treatment], kind, effect, outcome, generator)
        for place, treated in enumerate((drawn[:n_treatment], raised)):
            values = np.concatenate([treated, drawn[n_treatment:]])
            shown = _compare(values, past, n_treatment)
            found[place] += shown.p_value < alpha and (place == 0 or shown.estimate > 0)
    return Trial(effect, found[0] / repetitions, found[1] / repetitions, repetitions)


def _raise_outcome(
    values: Reals, kind: Kind, effect: float, past: Reals, generator: np.random.Generator
) -> Reals:
    level = float(past.mean())
    if kind == "share":
        turned = generator.random(len(values)) < effect / max(1 - level, 1e-12)
        return np.where((values == 0) & turned, 1.0, values)
    return values * (1 + effect / level) if level > 0 else values + effect


def _compare(values: Reals, past: Reals | None, n_treatment: int) -> Effect:
    if past is None:
        return compare_means(Moments.of(values[:n_treatment]), Moments.of(values[n_treatment:]))
    arms = (slice(0, n_treatment), slice(n_treatment, None))
    treatment, control = (JointMoments.of(values[rows], past[rows]) for rows in arms)
    return compare_adjusted(treatment, control).effect
