"""Doubly robust values: unbiased with any prediction, intervals that cover, less noise with a good one."""

from __future__ import annotations

import numpy as np
import pytest

from aimwell.core.errors import BadInput
from aimwell.stats.policy_value import compare_policies, score_arms, value_policy

SHARES = np.array([0.5, 0.2, 0.3])


def draw(n: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """x, arm, outcome and the expected outcome of each arm (n × 3)."""
    random = np.random.default_rng(seed)
    x = random.standard_normal(n)
    arm = random.choice(3, n, p=SHARES)
    expected = np.column_stack([1.0 + x, 1.5 - x, np.ones(n)])
    outcome = expected[np.arange(n), arm] + random.gamma(1.0, 1.0, n) - 1.0
    return x, arm, outcome, expected


@pytest.mark.parametrize("known", [True, False])
def test_the_interval_covers_the_value_whatever_is_predicted(known: bool) -> None:
    covered, widths = 0, []
    for seed in range(400):
        x, arm, outcome, expected = draw(500, seed)
        chosen = np.where(x > 0.25, 0, 1)
        predicted = expected if known else np.zeros_like(expected)
        scores = score_arms(outcome, arm, np.tile(SHARES, (500, 1)), predicted)
        found = value_policy(scores, chosen)
        covered += found.covers(_true_value())
        widths.append(found.upper - found.lower)
    assert covered / 400 == pytest.approx(0.95, abs=0.035)
    assert np.mean(widths) < (0.45 if known else 0.8)


def _true_value() -> float:
    """E[max(1 + x, 1.5 − x)] of a standard normal x, by a fine grid."""
    x = np.linspace(-9, 9, 200_001)
    density = np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    return float(np.sum(np.maximum(1 + x, 1.5 - x) * density) * (x[1] - x[0]))


def test_policies_that_agree_do_not_differ() -> None:
    x, arm, outcome, expected = draw(300, 1)
    scores = score_arms(outcome, arm, np.tile(SHARES, (300, 1)), expected)
    same = np.zeros(300, dtype=np.int64)
    assert compare_policies(scores, same, same).to_dict()["upper"] == 0.0
    other = np.where(x > 1.5, 1, 0)
    near = compare_policies(scores, same, other)
    assert near.upper - near.lower < value_policy(scores, same).upper - value_policy(scores, same).lower


def test_unusable_rows_are_refused() -> None:
    good = np.full((2, 2), 0.5)
    for outcome, arm, probability in (
        (np.zeros(2), np.array([0, 2]), good),
        (np.zeros(2), np.array([0, 1]), np.zeros((2, 2))),
        (np.zeros(3), np.array([0, 1, 1]), good),
    ):
        with pytest.raises(BadInput):
            score_arms(outcome, arm, probability, np.zeros((2, 2)))
