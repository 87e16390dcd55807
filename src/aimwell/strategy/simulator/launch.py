"""From a pilot to the full launch: what it will earn, with an interval for the profit that will really come.

The pilot gives the plan to a random part of the audience and withholds it from a control group. The difference is
adjusted for what was known before with slopes of each arm's own (Lin 2013, "Agnostic notes on regression adjustments
to experimental data"), and taken up to the size of the launch. Reads and writes no table.
"""

from __future__ import annotations

import math

import numpy as np

from aimwell.core.errors import BadInput
from aimwell.core.estimate import Estimate
from aimwell.core.text import say
from aimwell.stats.distribution import find_normal_quantile
from aimwell.strategy.problem import Flags, Reals

SMALLEST_ARM = 30
"""Customers in an arm below which nothing dependable can be said about money (as in ``strategy.design``)."""


def predict_launch(outcome: Reals, treated: Flags, before: Reals, *, customers: int) -> Estimate:
    """The profit that launching to ``customers`` more of the same audience will bring; money, 95 % interval.

    ``outcome`` (m): contribution in the window, less cost of offer and contact; ``treated`` (m): drawn at random;
    ``before`` (m): contribution before the window. The interval has both the pilot's error and the launch's own
    luck: what treatment adds to the variance of an outcome is luck that the launch will draw again.
    Raises BadInput when an arm has fewer than 30 customers.
    """
    arms = [np.flatnonzero(treated), np.flatnonzero(~treated)]
    if min(len(arm) for arm in arms) < SMALLEST_ARM:
        raise BadInput(
            "strategy.small_pilot",
            say("An arm of the pilot has fewer than {least} customers.", least=SMALLEST_ARM),
            remedy=say("Make the pilot larger, or its arms more even."),
            where={"value": min(len(arm) for arm in arms)},
        )
    centred = before - before.mean()
    means, slopes, variances, errors = [], [], [], []
    for arm in arms:
        design = np.column_stack([np.ones(len(arm)), centred[arm]])
        solution, *_ = np.linalg.lstsq(design, outcome[arm], rcond=None)
        left = outcome[arm] - design @ solution
        means.append(float(solution[0]))
        slopes.append(float(solution[1]))
        errors.append(float(left @ left) / max(len(arm) - 2, 1) / len(arm))
        variances.append(float(outcome[arm].var(ddof=1)))
    # The slopes' difference times the pilot's own chance mean of what was known before.
    chance = (slopes[0] - slopes[1]) ** 2 * float(before.var(ddof=1)) / len(before)
    luck = max(0.0, variances[0] - variances[1])
    deviation = math.sqrt(customers**2 * (sum(errors) + chance) + customers * luck)
    half = find_normal_quantile(0.975) * deviation
    middle = customers * (means[0] - means[1])
    return Estimate(
        middle, middle - half, middle + half, len(outcome), "pilot, regression-adjusted, simulated"
    )
