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

from aimwell.core.errors import Conflict
from aimwell.core.seeds import generator
from aimwell.strategy.inputs import PlanInputs
from aimwell.strategy.limits import retitle_conflict
from aimwell.strategy.posterior import EffectPrior, find_posterior, fit_prior
from aimwell.strategy.problem import Integers, Reals
from aimwell.strategy.scale import optimise_inputs

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
    with its costs and limits. Errors of the estimates are normal, as large as stated, and independent but for customers
    who were measured together (``number_units``): whether that holds, only a measured wave tells (``fallback``).
    Raises BadInput when nothing is known or an error is not usable.
    """
    first, _ = number_units(estimate, standard_error)
    prior = fit_prior(estimate[first], standard_error[first], seed=seed)
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
    once, unit = number_units(estimate, standard_error)
    for copy in range(COPIES):
        parts = split_estimates(estimate[once], standard_error[once], seed=seed, copy=copy)
        first, second = (part[unit] for part in parts)
        believed = find_posterior(prior, first, standard_error * np.sqrt(1 + SPLIT**2)).mean
        slots = choose(np.where(known, believed, np.nan))
        customer, place = np.nonzero(slots >= 0)
        action = slots[customer, place]
        promised += float(believed[customer, action].sum()) / COPIES
        kept += float(second[customer, action].sum()) / COPIES
        # The copies share the estimates' own noise, so a second one is not counted as new evidence.
        error = _sum_by_unit(standard_error, unit, customer, action)
        variance += float(np.sum(error**2)) * (1 + 1 / SPLIT**2) / COPIES
    if promised <= 0:
        return Correction(1.0, float("inf"))
    unsure = float(np.sqrt(variance)) / promised
    trust = PRIOR_SD**2 / (PRIOR_SD**2 + unsure**2)
    return Correction(float(np.clip(1 + trust * (kept / promised - 1), LEAST, GREATEST)), unsure)


def number_units(estimate: Reals, standard_error: Reals) -> tuple[Integers, Integers]:
    """Customers whose estimates are the same numbers were measured together, such as a segment: one unit, one error.

    The first customer of each unit, and each customer's unit; every customer is one where no two are alike.
    """
    rows = np.nan_to_num(np.column_stack([estimate, standard_error]), nan=np.finfo(np.float64).max)
    _, first, unit = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    if len(first) == len(rows):
        return np.arange(len(rows)), np.arange(len(rows))
    return np.asarray(first, dtype=np.int64), np.asarray(unit.ravel(), dtype=np.int64)


def _sum_by_unit(standard_error: Reals, unit: Integers, customer: Integers, action: Integers) -> Reals:
    """The errors of the chosen pairs, added up over pairs that have the same one."""
    pair = unit[customer] * standard_error.shape[1] + action
    _, place = np.unique(pair, return_inverse=True)
    return np.bincount(place.ravel(), standard_error[customer, action]).astype(np.float64)


def split_estimates(
    estimate: Reals, standard_error: Reals, *, seed: int, copy: int = 0
) -> tuple[Reals, Reals]:
    """Two unbiased copies of the estimates with independent noise: √(1 + s²) and √(1 + 1/s²) errors, s = 1/2."""
    draw = generator(seed, "strategy", "fission", copy).standard_normal(estimate.shape) * standard_error
    return estimate + SPLIT * draw, estimate - draw / SPLIT


def believe_inputs(inputs: PlanInputs, considered: Integers, *, seed: int = 0) -> PlanInputs:
    """``inputs`` whose raw effects have become beliefs; the limits stay what they are.

    Only estimates as measured (``inputs.measured``) become beliefs: effects that are posteriors before (the models
    step's are) are returned as they are, and so are inputs without effects. What is returned is measured no more, so
    that nothing is shrunken twice. ``considered``: who may be chosen.
    """
    return find_beliefs(inputs, considered, seed=seed)[0]


def find_beliefs(
    inputs: PlanInputs, considered: Integers, *, seed: int = 0
) -> tuple[PlanInputs, Correction | None]:
    """As ``believe_inputs``, with the correction of the promise; None where nothing was to be done."""
    if not inputs.measured or inputs.estimate is None or inputs.standard_error is None:
        return inputs, None
    if not inputs.has_effects or not len(considered):
        return replace(inputs, measured=False), None

    def choose(effect: Reals) -> Integers:
        # Bold, also where the plan is cautious: errors of the copies are other ones than those of the whole.
        asked = replace(inputs, estimate=effect, caution=0.0, measured=False)
        slots = np.full((len(effect), 1), -1, dtype=np.int64)
        try:
            slots[considered, 0] = optimise_inputs(asked, considered, effort="quick").action
        except Conflict as conflict:
            raise retitle_conflict(conflict, inputs.limits, inputs.currency) from conflict
        return slots

    belief = believe(inputs.estimate, inputs.standard_error, choose, seed=seed)
    believed = replace(inputs, estimate=belief.effect, standard_error=belief.deviation, measured=False)
    return believed, belief.correction
