"""Joint posteriors against known truth: they are right on average, sure of what they should be, and joint."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from aimwell.core.errors import BadInput
from aimwell.strategy.posterior import find_posterior, fit_prior

Reals = NDArray[np.float64]


def make_effects(n: int, actions: int, *, seed: int, skewed: bool = False) -> Reals:
    """One common factor beside each action's own; skewed: times the customer's size."""
    random = np.random.default_rng(seed)
    effects = 1 + random.normal(0, 1, (n, 1)) + random.normal(0, 0.6, (n, actions))
    return effects * random.lognormal(0, 0.7, (n, 1)) if skewed else effects


@pytest.mark.parametrize("noise", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("skewed", [False, True])
def test_posteriors_are_nearer_to_the_truth_than_shrinking_each_action_alone(
    noise: float, skewed: bool
) -> None:
    truth = make_effects(1500, 6, seed=1, skewed=skewed)
    error = np.full(truth.shape, noise * truth.std())
    estimate = truth + error * np.random.default_rng(2).standard_normal(truth.shape)
    found = find_posterior(fit_prior(estimate, error), estimate, error)
    own = np.maximum(estimate.var(axis=0) - error[0] ** 2, 0)
    alone = estimate.mean(axis=0) + own / (own + error[0] ** 2) * (estimate - estimate.mean(axis=0))
    raw, single, joint = (np.mean((x - truth) ** 2) for x in (estimate, alone, found.mean))
    assert joint < single < raw


@pytest.mark.parametrize("skewed", [False, True])
def test_intervals_cover_as_often_as_they_say(skewed: bool) -> None:
    truth = make_effects(1500, 6, seed=3, skewed=skewed)
    error = truth.std() * np.random.default_rng(4).gamma(4, 0.25, truth.shape)
    estimate = truth + error * np.random.default_rng(5).standard_normal(truth.shape)
    found = find_posterior(fit_prior(estimate, error), estimate, error)
    covered = np.abs(truth - found.mean) <= 1.96 * found.deviation
    assert covered.mean() == pytest.approx(0.95, abs=0.015)
    assert found.mean.mean() == pytest.approx(truth.mean(), abs=0.1)


def test_the_best_of_a_customers_actions_promises_what_it_is_worth() -> None:
    promises, gains = [], []
    for seed in range(4):
        truth = make_effects(1500, 6, seed=seed, skewed=True)
        error = np.full(truth.shape, truth.std())
        estimate = truth + error * np.random.default_rng(70 + seed).standard_normal(truth.shape)
        found = find_posterior(fit_prior(estimate, error), estimate, error)
        rows = np.arange(len(truth))
        naive, ours = estimate.argmax(axis=1), found.mean.argmax(axis=1)
        assert estimate[rows, naive].mean() > 1.4 * truth[rows, naive].mean()
        promises.append(found.mean[rows, ours].mean() / truth[rows, ours].mean())
        gains.append(truth[rows, ours].mean() / truth[rows, naive].mean() - 1)
    # All actions are alike here, so the largest estimate is the best choice: nothing is to be gained, nor lost.
    assert np.mean(promises) == pytest.approx(1, abs=0.05)
    assert np.mean(gains) > -0.01


def test_one_action_says_something_about_another_that_was_not_measured() -> None:
    truth = make_effects(1500, 4, seed=8)
    error = np.full(truth.shape, 0.3)
    estimate = truth + error * np.random.default_rng(9).standard_normal(truth.shape)
    estimate[:300, 0] = np.nan
    found = find_posterior(fit_prior(estimate, error), estimate, error)
    assert np.corrcoef(found.mean[:300, 0], truth[:300, 0])[0, 1] > 0.7
    assert found.deviation[:300, 0].mean() > 2 * found.deviation[300:, 0].mean()


def test_precise_estimates_are_left_alone() -> None:
    truth = make_effects(500, 3, seed=10)
    sure = np.full(truth.shape, 1e-9)
    found = find_posterior(fit_prior(truth, sure), truth, sure)
    np.testing.assert_allclose(found.mean, truth, atol=0.01)


def test_the_same_estimates_give_the_same_beliefs_and_units_do_not_matter() -> None:
    estimate = make_effects(1800, 3, seed=12, skewed=True)
    error = np.full(estimate.shape, 1.0)
    first, again = (find_posterior(fit_prior(estimate, error), estimate, error) for _ in range(2))
    np.testing.assert_array_equal(first.mean, again.mean)
    cents = find_posterior(fit_prior(100 * estimate, 100 * error), 100 * estimate, 100 * error)
    np.testing.assert_allclose(cents.mean, 100 * first.mean, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_less(first.lower(1.0), first.mean)


def test_unusable_numbers_are_refused() -> None:
    estimate = make_effects(50, 3, seed=13)
    with pytest.raises(BadInput):
        fit_prior(np.full((5, 3), np.nan), np.ones((5, 3)))
    for bad in (-1.0, np.nan, np.inf):
        with pytest.raises(BadInput):
            fit_prior(estimate, np.full(estimate.shape, bad))


@pytest.mark.parametrize(("n", "actions"), [(1, 1), (1, 4), (2, 1), (40, 1)])
def test_few_customers_or_a_single_action_are_no_trouble(n: int, actions: int) -> None:
    estimate = np.arange(n * actions, dtype=float).reshape(n, actions)
    found = find_posterior(fit_prior(estimate, np.ones((n, actions))), estimate, np.ones((n, actions)))
    assert np.all(np.isfinite(found.mean)) and np.all(found.deviation >= 0)


def test_estimates_that_are_all_alike_stay() -> None:
    estimate, error = np.full((30, 3), 7.0), np.full((30, 3), 2.0)
    found = find_posterior(fit_prior(estimate, error), estimate, error)
    np.testing.assert_allclose(found.mean, 7.0, atol=0.5)
