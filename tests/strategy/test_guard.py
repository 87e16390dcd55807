"""The guard: actions differ between customers only where that is proven to earn more than one for all."""

from __future__ import annotations

import numpy as np
import pytest

from aimwell.core.text import say
from aimwell.stats.policy_value import score_arms
from aimwell.strategy.guard import (
    Guard,
    GuardedEffects,
    check_personalising,
    choose_arms,
    explain_guard,
    guard_effects,
)

EFFECTS = np.array([0.5, 0.3])


def check(seed: int, *, difference: float, n: int = 2_000) -> Guard:
    """Two actions and nothing; the second is better by ``difference`` where a trait is above 0, estimates are noisy."""
    random = np.random.default_rng(seed)
    trait = random.random(n) < 0.4
    effects = np.column_stack([np.full(n, EFFECTS[0]), EFFECTS[1] + difference * (trait - 0.4), np.zeros(n)])
    arm = random.integers(0, 3, n)
    outcome = 2.0 + effects[np.arange(n), arm] + random.standard_normal(n)
    scores = score_arms(outcome, arm, np.full((n, 3), 1 / 3), np.full((n, 3), 2.0))
    net = effects[:, :2] + random.normal(0, 0.15, (n, 2))
    return check_personalising(net, scores)


def test_where_customers_are_alike_personalising_is_hardly_ever_proven() -> None:
    proven = sum(check(seed, difference=0.0).proven for seed in range(300))
    assert proven / 300 <= 0.025


def test_where_they_differ_enough_it_is_proven() -> None:
    found = [check(seed, difference=1.0) for seed in range(40)]
    assert sum(guard.proven for guard in found) >= 38
    assert np.mean([guard.difference.estimate for guard in found]) == pytest.approx(0.16, abs=0.03)


def test_nothing_is_best_where_every_action_loses() -> None:
    net = np.array([[-1.0, -0.1], [0.0, 0.0], [0.2, 0.1], [0.1, 0.3]])
    assert choose_arms(net).tolist() == [2, 0, 0, 1]


def test_without_proof_everybody_has_the_mean_effect() -> None:
    effects = GuardedEffects(np.array([[1.0, 2.0], [3.0, 0.0]]), np.ones((2, 2)))
    means, errors = np.array([0.7, 0.4]), np.array([0.1, 0.2])
    kept = guard_effects(check(0, difference=1.0), effects, means, errors)
    assert kept is effects
    flat = guard_effects(check(0, difference=0.0), effects, means, errors)
    assert flat.estimate.tolist() == [[0.7, 0.4]] * 2
    assert flat.standard_error.tolist() == [[0.1, 0.2]] * 2


def test_what_the_guard_found_is_told_in_both_languages() -> None:
    for difference, words in ((0.0, "not proven"), (1.0, "is proven")):
        guard = check(1, difference=difference)
        told = explain_guard(guard, say("nothing"), ("$1", "$0.5", "$1.5"))
        assert words in told.render("en")
        assert told.render("zh") != told.render("en")
        assert guard.to_dict()["proven"] is guard.proven
