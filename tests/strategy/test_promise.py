"""The winner's curse against known truth: what a plan promises is what it then earns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from aimwell.strategy.planner import make_rollout, split_audience
from aimwell.strategy.promise import believe, believe_inputs, number_units, split_estimates
from tests.strategy.world import make_inputs, without_exploration

Reals = NDArray[np.float64]
Integers = NDArray[np.int64]


def choose_top(effect: Reals) -> Integers:
    """The best action of the fifth of customers for whom it is best."""
    best = np.nanargmax(effect, axis=1)
    worth = effect[np.arange(len(effect)), best]
    return np.where(worth > np.quantile(worth, 0.8), best, -1)[:, None].astype(np.int64)


def add_up(effect: Reals, slots: Integers) -> float:
    customer = np.flatnonzero(slots[:, 0] >= 0)
    return float(effect[customer, slots[customer, 0]].sum())


def test_the_two_copies_are_unbiased_and_independent() -> None:
    error = np.full((40_000, 1), 2.0)
    truth = np.full((40_000, 1), 5.0)
    estimate = truth + error * np.random.default_rng(1).standard_normal(truth.shape)
    first, second = split_estimates(estimate, error, seed=3)
    assert first.mean() == pytest.approx(5, abs=0.05) and second.mean() == pytest.approx(5, abs=0.1)
    assert first.std() == pytest.approx(2 * np.sqrt(1.25), rel=0.02)
    assert second.std() == pytest.approx(2 * np.sqrt(5), rel=0.02)
    assert abs(np.corrcoef(first[:, 0], second[:, 0])[0, 1]) < 3 / np.sqrt(len(truth))


@pytest.mark.parametrize("level", [0.25, 0.5, 1.0, 2.0])
def test_promised_is_realised_at_every_noise_and_no_less_is_earned(level: float) -> None:
    ratios, gains = [], []
    for seed in range(4):
        random = np.random.default_rng([seed, 5])
        # Skewed within a size, too, which the prior does not know.
        truth = random.lognormal(0, 0.7, (2000, 1)) * random.gamma(1.2, 1.0, (2000, 6)) - 0.5
        error = np.full(truth.shape, level * truth.std())
        estimate = truth + error * random.standard_normal(truth.shape)
        belief = believe(estimate, error, choose_top, seed=seed)
        slots, naive = choose_top(belief.effect), choose_top(estimate)
        ratios.append(add_up(belief.effect, slots) / add_up(truth, slots))
        gains.append(add_up(truth, slots) / add_up(truth, naive) - 1)
        assert belief.correction.standard_error < 0.2
    assert 0.9 < np.mean(ratios) < 1.1
    assert np.mean(gains) > -0.005


def test_a_naive_promise_is_far_too_high_where_ours_is_not() -> None:
    random = np.random.default_rng(9)
    truth = random.normal(1, 1, (2000, 8))
    error = np.full(truth.shape, 2.0)
    estimate = truth + error * random.standard_normal(truth.shape)
    naive = choose_top(estimate)
    assert add_up(estimate, naive) / add_up(truth, naive) > 2
    belief = believe(estimate, error, choose_top)
    slots = choose_top(belief.effect)
    assert add_up(belief.effect, slots) / add_up(truth, slots) == pytest.approx(1, abs=0.1)


def test_noise_without_any_effect_promises_little() -> None:
    error = np.ones((1500, 6))
    estimate = np.random.default_rng(4).standard_normal(error.shape)
    belief = believe(estimate, error, choose_top)
    assert add_up(belief.effect, choose_top(belief.effect)) < 0.1 * add_up(estimate, choose_top(estimate))


def test_who_chooses_nobody_corrects_nothing() -> None:
    estimate = np.random.default_rng(4).standard_normal((100, 3))
    belief = believe(estimate, np.ones((100, 3)), lambda effect: np.full((len(effect), 1), -1))
    assert belief.correction.share == 1.0
    assert belief.correction.standard_error == np.inf


def test_the_planner_keeps_what_it_promises_with_raw_effects() -> None:
    ratios: list[float] = []
    naive: list[float] = []
    for seed in range(3):
        truth_inputs = without_exploration(make_inputs(700, seed=seed, budget="250"))
        truth = truth_inputs.estimate
        assert truth is not None
        error = np.full(truth.shape, 1.5 * truth.std())
        noisy = truth + error * np.random.default_rng([seed, 8]).standard_normal(truth.shape)
        noisy[:, 3] = np.nan
        raw = replace(truth_inputs, estimate=noisy, standard_error=error)
        measured = replace(raw, measured=True)
        believed = believe_inputs(measured, split_audience(measured)[0], seed=seed)
        assert not believed.measured
        for inputs, seen in ((believed, ratios), (raw, naive)):
            plan = make_rollout(inputs)
            assert all(use.kept for use in plan.uses)
            assert not np.any(plan.action == 3)
            seen.append(plan.objective / float(truth_inputs.profit[plan.customer, plan.action].sum()))
    assert np.mean(naive) > 1.5
    assert 0.9 < np.mean(ratios) < 1.1


def test_inputs_without_effects_stay() -> None:
    inputs = make_inputs(50, effects=False)
    assert believe_inputs(inputs, np.arange(50)) is inputs


def test_only_what_was_measured_becomes_a_belief_and_only_once() -> None:
    posterior = make_inputs(300)
    everybody = np.arange(300)
    assert believe_inputs(posterior, everybody) is posterior
    once = believe_inputs(replace(posterior, measured=True), everybody)
    assert not np.array_equal(once.estimate, posterior.estimate)
    assert believe_inputs(once, everybody) is once


def test_customers_who_were_measured_together_are_one_unit() -> None:
    random = np.random.default_rng(6)
    estimate, error = random.normal(1, 1, (40, 3)), np.full((40, 3), 0.5)
    estimate[5, 1] = np.nan
    segment = random.integers(0, 40, 900)
    segment[:40] = np.arange(40)
    first, unit = number_units(estimate[segment], error[segment])
    assert len(first) == 40
    np.testing.assert_array_equal(estimate[segment][first][unit], estimate[segment])
    alone, _ = number_units(estimate, error)
    np.testing.assert_array_equal(alone, np.arange(40))


def test_a_segments_error_is_one_error_however_many_customers_it_has() -> None:
    ratios, naive = [], []
    for seed in range(20):
        random = np.random.default_rng([seed, 11])
        truth = random.lognormal(0, 0.6, (60, 1)) * random.gamma(1.2, 1.0, (60, 4)) - 0.5
        error = np.full(truth.shape, truth.std())
        estimate = truth + error * random.standard_normal(truth.shape)
        segment = np.repeat(np.arange(60), 25)
        belief = believe(estimate[segment], error[segment], choose_top, seed=seed)
        slots, raw = choose_top(belief.effect), choose_top(estimate[segment])
        ratios.append(add_up(belief.effect, slots) / add_up(truth[segment], slots))
        naive.append(add_up(estimate[segment], raw) / add_up(truth[segment], raw))
        # 60 segments say little about a share; 1,500 customers would say much.
        assert belief.correction.standard_error > 0.1
    assert np.mean(naive) > 1.25
    assert 0.85 < np.mean(ratios) < 1.15
