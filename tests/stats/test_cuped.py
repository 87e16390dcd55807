"""CUPED from aggregates equals the regression it stands for."""

from __future__ import annotations

import numpy as np
from numpy.testing import assert_allclose

from aimwell.stats.cap import cap_values, find_cap
from aimwell.stats.cuped import compare_adjusted
from aimwell.stats.moments import JointMoments
from aimwell.stats.regression import fit_least_squares


def draw(n: int = 400, seed: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    x = random.lognormal(2.0, 0.8, n)
    treated = random.random(n) < 0.7
    return 0.8 * x + 3.0 * treated + random.normal(0, 4, n), x, treated


def test_it_is_analysis_of_covariance() -> None:
    y, x, treated = draw()
    found = compare_adjusted(
        JointMoments.of(y[treated], x[treated]), JointMoments.of(y[~treated], x[~treated])
    )
    fit = fit_least_squares(y, np.column_stack([np.ones(len(y)), treated, x]))
    assert_allclose(found.effect.estimate, fit.coefficients[1])
    assert_allclose(found.slope, fit.coefficients[2])
    assert 0.4 < found.variance_removed < 0.95


def test_a_constant_covariate_changes_nothing() -> None:
    y, _, treated = draw()
    one = np.ones(len(y))
    found = compare_adjusted(
        JointMoments.of(y[treated], one[treated]), JointMoments.of(y[~treated], one[~treated])
    )
    assert_allclose(found.effect.estimate, found.plain.estimate)
    assert found.variance_removed == 0.0


def test_the_cap_is_a_value_that_was_seen_and_bounds_both_sides() -> None:
    before = np.array([0.0] * 990 + [float(value) for value in range(1, 11)])
    cap = find_cap(before, quantile=0.995)
    assert cap in before
    assert cap_values(np.array([-100.0, 1.0, 100.0]), cap=cap).tolist() == [-cap, 1.0, cap]
