"""Estimated effects set right on randomised data: calibrated out of fold. Reads and writes no tables.

A customer's randomised action and arm give an unbiased, if noisy, signal of that pair's effect. What is expected of an
effect that was estimated at x is a rising function of x; isotonic regression finds the best one without assuming
more (Barlow & Brunk 1972; pool adjacent violators). Nobody's calibrated effect rests on their own outcome.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression

from aimwell.core.errors import BadInput
from aimwell.core.seeds import draw_uniforms
from aimwell.core.text import say
from aimwell.strategy.problem import Flags, Integers, Reals

FOLDS = 5
FEWEST = 20
"""Signals below which nothing is calibrated: the curve would follow single outcomes."""


@dataclass(frozen=True)
class Curve:
    """A rising function, linear between ``knots`` and level outside them; both arrays of one length."""

    knots: Reals
    heights: Reals

    def apply(self, score: Reals) -> Reals:
        """The calibrated effects of ``score`` (any shape); NaN stays NaN."""
        return np.where(np.isnan(score), np.nan, np.interp(score, self.knots, self.heights))


@dataclass(frozen=True)
class Calibrated:
    """Calibrated effects, customers × actions, and what the curves said out of fold."""

    effect: Reals
    fitted: Reals
    """One for each signal: its calibrated effect from the other folds."""
    mean_gap: float
    """Mean of signal − fitted: 0 where the calibration holds."""
    standard_error: float
    """Of ``mean_gap``."""


def find_signals(
    outcome: Reals, treated: Flags, arm_probability: Reals, expected: Reals | None = None
) -> Reals:
    """An unbiased signal of each effect from a customer's outcome and randomised arm.

    ``arm_probability``: of the arm that was drawn, strictly between 0 and 1; ``expected``: any prediction of the
    outcome from before the draw, which changes nothing but the noise. Arrays of one length, outcome in money;
    Horvitz & Thompson (1952) on residuals. Raises BadInput for a probability outside (0, 1).
    """
    if not np.all((arm_probability > 0) & (arm_probability < 1)):
        raise BadInput(
            "strategy.bad_probability",
            say("An arm was drawn with a probability that is not between 0 and 1."),
            remedy=say(
                "Use only customers whose arm was drawn at random, with the probability that was logged."
            ),
            where={"column": "arm_probability"},
        )
    residual = outcome - (np.average(outcome) if expected is None else expected)
    return np.where(treated, residual, -residual) / arm_probability


def fit_curve(score: Reals, signal: Reals, weight: Reals | None = None) -> Curve:
    """The rising curve nearest to the signals in weighted squares."""
    weights = np.ones(len(score)) if weight is None else weight
    # Equal scores become one point: the curve is a function.
    knots, place = np.unique(score, return_inverse=True)
    mass = np.bincount(place, weights=weights)
    means = np.bincount(place, weights=weights * signal) / mass
    found = isotonic_regression(means, weights=mass)
    ends = np.flatnonzero(np.diff(found.blocks) > 0)
    if len(ends) == len(knots):
        return Curve(knots, np.asarray(found.x))
    # A block stands at its mean score, so that a step does not depend on where its last score happened to lie.
    block = np.repeat(np.arange(len(found.blocks) - 1), np.diff(found.blocks))
    centre = np.bincount(block, weights=mass * knots) / np.bincount(block, weights=mass)
    return Curve(centre, np.asarray(found.x)[found.blocks[:-1]])


def calibrate(
    estimate: Reals, customer: Integers, action: Integers, signal: Reals, names: Sequence[str], *, salt: str
) -> Calibrated:
    """Calibrate ``estimate`` (customers × actions) by the signals of some pairs (customer, action).

    Customers are dealt into folds by a salted draw of their names; whoever gave a signal is calibrated by the curve
    of the other folds, everybody else by the mean of all curves. Estimates must not rest on these signals.
    With fewer than 20 signals the estimates are returned as they are.
    """
    score = estimate[customer, action]
    usable = np.isfinite(score) & np.isfinite(signal)
    customer, signal, score = customer[usable], signal[usable], score[usable]
    if len(signal) < FEWEST:
        return Calibrated(estimate, score, 0.0, float("inf"))
    fold = np.minimum((draw_uniforms(f"{salt}:calibration", names) * FOLDS).astype(np.int64), FOLDS - 1)
    theirs = fold[customer]
    curves = [fit_curve(score[theirs != k], signal[theirs != k]) for k in range(FOLDS)]
    asked = np.zeros(len(estimate), dtype=np.bool_)
    asked[customer] = True
    effect = np.mean([curve.apply(estimate) for curve in curves], axis=0)
    fitted = np.empty(len(signal))
    for k, curve in enumerate(curves):
        members = asked & (fold == k)
        effect[members] = curve.apply(estimate[members])
        fitted[theirs == k] = curve.apply(score[theirs == k])
    gap = signal - fitted
    error = float(np.std(gap, ddof=1) / np.sqrt(len(gap)))
    return Calibrated(effect, fitted, float(gap.mean()), error)
