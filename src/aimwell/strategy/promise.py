"""A promise that a plan then keeps: the winner's curse measured on an honest copy of the estimates.

Reads and writes no tables. Whatever was believed before choosing, a plan picks what looked best, and beliefs are never
quite right. Known noise lets the estimates be split in two copies that are independent of each other (data fission:
Leiner, Duan, Wasserman & Ramdas 2023; for normal noise, Rasines & Young 2022): a plan is made from the one,
and the other, which nothing was chosen by, says what it would really have earned. The share between the
two corrects the promise of the plan that is made from all.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from aimwell.core.seeds import generator
from aimwell.strategy.inputs import PlanInputs
from aimwell.strategy.optimiser import optimise
from aimwell.strategy.posterior import EffectPrior, find_posterior, fit_prior
from aimwell.strategy.problem import Integers, Problem, Reals

SPLIT = 0.5
"""Noise added to the copy that plans are made from, in standard errors: little, so that it plans like the whole."""
COPIES = 2
LEAST, GREATEST = 0.25, 2.0
"""Bounds of a correction: beyond them the model of the effects is wrong, not the promise."""
PRIOR_SD = 0.2
"""How far a share is thought to stray from 1 before it is measured, as for measured plans (``optimism``)."""


@dataclass(frozen=True)
class Correction:
    """What the chosen effects are really worth, as a share of what was believed of them."""

    share: float
    standard_error: float
    """Of the measured share, before it is drawn to 1; infinity when no plan chose anybody."""


@dataclass(frozen=True)
class Belief:
    """What to plan with: posterior means, corrected for the winner's curse, and posterior deviations."""

    effect: Reals
    """Customers × actions; NaN where nothing was estimated."""
    deviation: Reals
    correction: Correction


def believe(
    estimate: Reals, standard_error: Reals, choose: Callable[[Reals], Integers], *, seed: int = 0
) -> Belief:
    """What raw estimates are worth to a plan; both customers × actions, NaN estimates: not known.

    ``choose``: the plan for a matrix of effects (customers × slots of chosen actions; −1: none), such as an optimiser
    with its costs and limits. Errors of the estimates are normal, independent, and as large as stated: whether that
    holds, only a measured wave tells (``fallback``). Raises BadInput when nothing is known or an error is not usable.
    """
    prior = fit_prior(estimate, standard_error, seed=seed)
    posterior = find_posterior(prior, estimate, standard_error)
    correction = measure_correction(prior, estimate, standard_error, choose, seed=seed)
    known = np.isfinite(estimate)
    effect = np.where(known, correction.share * posterior.mean, np.nan)
    return Belief(effect, np.where(known, correction.share * posterior.deviation, 0.0), correction)


def measure_correction(
    prior: EffectPrior,
    estimate: Reals,
    standard_error: Reals,
    choose: Callable[[Reals], Integers],
    *,
    seed: int = 0,
) -> Correction:
    """The share of the believed effects that plans keep, measured on the copies that they were not made from."""
    promised = kept = variance = 0.0
    known = np.isfinite(estimate)
    for copy in range(COPIES):
        first, second = split_estimates(estimate, standard_error, seed=seed, copy=copy)
        believed = find_posterior(prior, first, standard_error * np.sqrt(1 + SPLIT**2)).mean
        slots = choose(np.where(known, believed, np.nan))
        customer, place = np.nonzero(slots >= 0)
        action = slots[customer, place]
        promised += float(believed[customer, action].sum()) / COPIES
        kept += float(second[customer, action].sum()) / COPIES
        # The copies share the estimates' own noise, so a second one is not counted as new evidence.
        variance += float(np.sum(standard_error[customer, action] ** 2)) * (1 + 1 / SPLIT**2) / COPIES
    if promised <= 0:
        return Correction(1.0, float("inf"))
    error = float(np.sqrt(variance)) / promised
    trust = PRIOR_SD**2 / (PRIOR_SD**2 + error**2)
    return Correction(float(np.clip(1 + trust * (kept / promised - 1), LEAST, GREATEST)), error)


def split_estimates(
    estimate: Reals, standard_error: Reals, *, seed: int, copy: int = 0
) -> tuple[Reals, Reals]:
    """Two unbiased copies of the estimates with independent noise: √(1 + s²) and √(1 + 1/s²) errors, s = 1/2."""
    draw = generator(seed, "strategy", "fission", copy).standard_normal(estimate.shape) * standard_error
    return estimate + SPLIT * draw, estimate - draw / SPLIT


def believe_inputs(inputs: PlanInputs, *, seed: int = 0) -> PlanInputs:
    """``inputs`` whose raw effects have become beliefs; the limits stay what they are.

    Only for estimates as measured: effects that were shrunken before (the models step's are) must not come here.
    Inputs without effects are returned as they are.
    """
    if inputs.estimate is None or inputs.standard_error is None or not inputs.has_effects:
        return inputs
    rows, allowed = inputs.build_rows(), inputs.eligible & inputs.known

    def choose(effect: Reals) -> Integers:
        value = np.nan_to_num(effect, nan=0.0) - inputs.unit_cost
        return optimise(Problem(value, rows, allowed), effort="quick").slots

    belief = believe(inputs.estimate, inputs.standard_error, choose, seed=seed)
    return replace(inputs, estimate=belief.effect, standard_error=belief.deviation)
