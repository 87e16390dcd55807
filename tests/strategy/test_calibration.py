"""Calibration on randomised outcomes against known truth, out of fold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from aimwell.core.errors import BadInput
from aimwell.strategy.calibration import Calibrated, calibrate, find_signals, fit_curve

Reals = NDArray[np.float64]
Integers = NDArray[np.int64]


def make_experiment(n: int, *, seed: int, control: float = 0.4) -> tuple[Reals, Reals, Integers, Reals]:
    """Truth, overstated estimates (bent, too high), the drawn actions, and unbiased signals."""
    random = np.random.default_rng(seed)
    truth = random.gamma(1.5, 2.0, (n, 4)) - 1
    estimate = 3 * np.sign(truth) * np.abs(truth) ** 0.7 + 2 + random.normal(0, 1, truth.shape)
    action, treated = random.integers(0, 4, n), random.random(n) >= control
    base = random.lognormal(2, 0.5, n)
    outcome = base + treated * truth[np.arange(n), action] + random.normal(0, 2, n)
    signal = find_signals(outcome, treated, np.where(treated, 1 - control, control), base)
    return truth, estimate, action, signal


def run_calibration(n: int, seed: int) -> tuple[Reals, Reals, Calibrated]:
    truth, estimate, action, signal = make_experiment(n, seed=seed)
    names = [f"c{number}" for number in range(n)]
    return truth, estimate, calibrate(estimate, np.arange(n), action, signal, names, salt=str(seed))


def test_signals_are_unbiased_whatever_was_expected() -> None:
    random = np.random.default_rng(3)
    treated = random.random(200_000) < 0.7
    outcome = 10 + 2.0 * treated + random.normal(0, 3, len(treated))
    chance = np.where(treated, 0.7, 0.3)
    for expected in (None, np.full(len(treated), 10.0), np.full(len(treated), -5.0)):
        signal = find_signals(outcome, treated, chance, expected)
        assert signal.mean() == pytest.approx(2.0, abs=4 * signal.std() / np.sqrt(len(signal)))


def test_overstated_effects_come_down_to_the_truth() -> None:
    for seed in range(3):
        truth, estimate, found = run_calibration(4000, seed)
        assert np.mean((found.effect - truth) ** 2) < 0.3 * np.mean((estimate - truth) ** 2)
        assert found.effect.mean() == pytest.approx(truth.mean(), abs=0.3)
        top = found.effect > np.quantile(found.effect, 0.8)
        assert truth[top].mean() == pytest.approx(found.effect[top].mean(), rel=0.12)


def test_the_mean_gap_is_zero_as_often_as_it_says() -> None:
    gaps = [run_calibration(600, 100 + seed)[2] for seed in range(120)]
    within = np.mean([abs(found.mean_gap) <= 1.96 * found.standard_error for found in gaps])
    assert within >= 0.9


def test_nobody_is_calibrated_by_their_own_outcome() -> None:
    _, estimate, action, signal = make_experiment(500, seed=5)
    names, who = [f"c{number}" for number in range(500)], np.arange(500)
    before = calibrate(estimate, who, action, signal, names, salt="1").effect
    changed = signal.copy()
    changed[7] += 1e6
    after = calibrate(estimate, who, action, changed, names, salt="1").effect
    np.testing.assert_array_equal(before[7], after[7])
    assert np.any(before != after)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(-5, 5), st.floats(-100, 100)), min_size=1, max_size=40))
def test_a_curve_rises_and_keeps_the_mean(points: list[tuple[int, float]]) -> None:
    score = np.array([float(x) for x, _ in points])
    signal = np.array([y for _, y in points])
    curve = fit_curve(score, signal)
    assert np.all(np.diff(curve.heights) >= -1e-9)
    assert np.all(np.diff(curve.knots) > 0)
    assert np.all((curve.heights >= signal.min() - 1e-9) & (curve.heights <= signal.max() + 1e-9))
    assert np.isnan(curve.apply(np.array([np.nan]))[0])
    assert np.all(np.diff(curve.apply(np.linspace(-9, 9, 50))) >= -1e-9)


def test_with_few_signals_estimates_stay() -> None:
    estimate = np.ones((30, 2))
    who = np.arange(10)
    found = calibrate(estimate, who, who % 2, np.zeros(10), [str(x) for x in range(30)], salt="1")
    assert found.effect is estimate
    assert found.standard_error == np.inf


def test_unknown_estimates_stay_unknown() -> None:
    _, estimate, action, signal = make_experiment(300, seed=6)
    estimate[:, 2] = np.nan
    found = calibrate(estimate, np.arange(300), action, signal, [str(x) for x in range(300)], salt="1")
    assert np.all(np.isnan(found.effect[:, 2]))
    assert np.all(np.isfinite(found.effect[:, :2]))


@pytest.mark.parametrize("chance", [0.0, 1.0, np.nan, -0.1])
def test_an_arm_that_was_not_drawn_at_random_is_refused(chance: float) -> None:
    with pytest.raises(BadInput) as refused:
        find_signals(np.ones(3), np.ones(3, dtype=bool), np.full(3, chance))
    assert refused.value.code == "strategy.bad_probability"
