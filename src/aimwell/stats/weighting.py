"""Differences when the chance of treatment differs between customers: strata, and inverse probabilities.

Reads and writes no table. ``compare_strata`` adds up differences within strata; ``compare_weighted`` is
Hájek's estimator with weights 1 ÷ probability of the arm that was drawn.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from aimwell.core.errors import BadInput
from aimwell.core.text import say
from aimwell.stats.distribution import LEVEL
from aimwell.stats.effect import Effect
from aimwell.stats.moments import Moments

Array = NDArray[np.float64]
Arms = dict[int, tuple[Moments, Moments]]


def find_group_moments(outcome: Array, treated: NDArray[np.bool_], groups: NDArray[np.int64]) -> Arms:
    """(treatment, control) moments of each group in which both arms have a customer."""
    found: Arms = {}
    for group in np.unique(groups):
        inside = groups == group
        one, two = outcome[inside & treated], outcome[inside & ~treated]
        if len(one) and len(two):
            found[int(group)] = (Moments.of(one), Moments.of(two))
    return found


def compare_strata(arms: Arms, *, level: float = LEVEL, method: str = "stratified welch t") -> Effect:
    """The effect on the treated: differences within strata, weighted by the treated in each.

    Degrees of freedom by Satterthwaite over all arms. BadInput when no stratum has both arms.
    """
    if not arms:
        raise BadInput(
            "stats.no_comparison",
            say("No stratum has customers in both arms."),
            remedy=say("Draw a control group before launch."),
        )
    total = sum(treatment.n for treatment, _ in arms.values())
    pooled = _pool_variance(arms)
    estimate = variance = below = 0.0
    for treatment, control in arms.values():
        weight = treatment.n / total
        estimate += weight * (treatment.mean - control.mean)
        for arm in (treatment, control):
            # One customer alone shows no variation: it takes that of all arms.
            part = weight * weight * (arm.variance if arm.n > 1 else pooled) / arm.n
            variance += part
            below += part * part / (arm.n - 1) if arm.n > 1 else 0.0
    return Effect.from_t(
        estimate,
        standard_error=math.sqrt(variance),
        degrees=variance * variance / below if below > 0 else math.inf,
        n_treatment=total,
        n_control=sum(control.n for _, control in arms.values()),
        method=method,
        level=level,
    )


def _pool_variance(arms: Arms) -> float:
    every = [arm for pair in arms.values() for arm in pair]
    degrees = sum(arm.n - 1 for arm in every)
    return sum((arm.n - 1) * arm.variance for arm in every) / degrees if degrees else 0.0


def compare_weighted(
    outcome: Array, treated: NDArray[np.bool_], probability: Array, *, level: float = LEVEL
) -> Effect:
    """Hájek's difference of weighted means, each customer weighing 1 ÷ ``probability`` of the own arm, in
    (0, 1].

    Estimates the effect on everybody in the experiment. BadInput for a probability out of range or an empty
    arm.
    """
    if not ((probability > 0) & (probability <= 1)).all():
        raise BadInput(
            "stats.bad_probability",
            say("A probability of assignment is not above 0 and at most 1."),
            remedy=say("Log the probability with which each arm was drawn."),
        )
    if treated.all() or not treated.any():
        raise BadInput(
            "stats.no_comparison",
            say("No stratum has customers in both arms."),
            remedy=say("Draw a control group before launch."),
        )
    means, variances, effective = zip(
        *(_weigh(outcome[rows], 1 / probability[rows]) for rows in (treated, ~treated)), strict=True
    )
    return Effect.from_t(
        means[0] - means[1],
        standard_error=math.sqrt(sum(variances)),
        degrees=max(1.0, min(effective) - 1),
        n_treatment=int(treated.sum()),
        n_control=int((~treated).sum()),
        method="inverse probability",
        level=level,
    )


def _weigh(outcome: Array, weights: Array) -> tuple[float, float, float]:
    share = weights / weights.sum()
    mean = float(share @ outcome)
    effective = 1 / float(share @ share)
    spread = float((share**2) @ (outcome - mean) ** 2)
    return mean, spread * effective / (effective - 1) if effective > 1 else 0.0, effective
