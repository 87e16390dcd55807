"""What a policy would have earned, from randomised data: doubly robust scores, values and differences.

The score of row i for arm a is m_a(x_i) + 1{arm_i = a} (y_i − m_a(x_i)) ÷ p_a(x_i): unbiased because the probabilities
are known, whatever the prediction m, and the surer the better it predicts (Robins, Rotnitzky and Zhao 1994; Dudík,
Langford and Li 2011). m must not have seen the row. Pure: reads and writes no tables.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from aimwell.core.errors import BadInput
from aimwell.core.estimate import Estimate
from aimwell.core.text import say
from aimwell.stats.distribution import find_normal_quantile

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
METHOD = "doubly robust, on rows that the policy did not learn from"


def score_arms(outcome: Floats, arm: Integers, probability: Floats, predicted: Floats) -> Floats:
    """Scores (n × arms) of n rows; ``probability`` and ``predicted``: n × arms, the former above 0.

    BadInput when the shapes differ, an arm is none of them, or a probability is not above 0.
    """
    rows = np.arange(len(outcome))
    fits = predicted.shape == probability.shape == (len(outcome), predicted.shape[1]) and len(arm) == len(
        rows
    )
    if not fits or not np.all((arm >= 0) & (arm < predicted.shape[1])) or not np.all(probability > 0):
        raise BadInput(
            "stats.bad_policy_rows",
            say("A policy cannot be valued with these rows."),
            remedy=say("Every row needs its arm, and every arm a prediction and a probability above 0."),
        )
    scores = predicted.copy()
    scores[rows, arm] += (outcome - predicted[rows, arm]) / probability[rows, arm]
    return scores


def value_policy(scores: Floats, chosen: Integers, *, level: float = 0.95) -> Estimate:
    """Mean outcome per row had everybody got ``chosen`` (n: places of arms)."""
    return _average(scores[np.arange(len(chosen)), chosen], level)


def compare_policies(scores: Floats, chosen: Integers, other: Integers, *, level: float = 0.95) -> Estimate:
    """Mean outcome per row under ``chosen`` less that under ``other``; rows where both agree cancel."""
    rows = np.arange(len(chosen))
    return _average(scores[rows, chosen] - scores[rows, other], level)


def _average(scores: Floats, level: float) -> Estimate:
    count = len(scores)
    if count < 2:
        return Estimate(float(scores.sum()), -math.inf, math.inf, count, METHOD)
    middle = float(scores.mean())
    reach = find_normal_quantile((1 + level) / 2) * float(scores.std(ddof=1)) / math.sqrt(count)
    return Estimate(middle, middle - reach, middle + reach, count, METHOD)
