"""Lin's estimator equals the interacted regression, and survives covariates that say nothing."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from aimwell.stats.adjustment import compare_with_covariates, drop_repeated
from aimwell.stats.regression import fit_least_squares
from aimwell.stats.weighting import compare_strata, compare_weighted, find_group_moments


def draw(n: int = 1200, seed: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    x = random.lognormal(1.0, 0.7, (n, 2))
    treated = random.random(n) < 0.6
    y = x @ [1.0, 0.5] + treated * (1 + 0.8 * x[:, 0]) + random.normal(0, 2, n)
    return y, treated, x


def test_it_is_the_interacted_regression() -> None:
    y, treated, x = draw()
    centred = x - x.mean(axis=0)
    design = np.column_stack([np.ones(len(y)), treated, centred, centred * treated[:, None]])
    known = fit_least_squares(y, design)
    found = compare_with_covariates(y, treated, x)
    assert_allclose(found.effect.estimate, known.coefficients[1])
    assert found.effect.method == "regression-adjusted (Lin), welch t"
    assert found.variance_removed > 0.3


def test_small_arms_share_one_slope() -> None:
    y, treated, x = draw(60)
    found = compare_with_covariates(y, treated, x)
    known = fit_least_squares(y, np.column_stack([np.ones(len(y)), treated, x]))
    assert_allclose(found.effect.estimate, known.coefficients[1])


@given(st.floats(0.1, 100.0), st.floats(-50.0, 50.0))
def test_it_moves_with_the_outcomes_unit_and_level(factor: float, level: float) -> None:
    y, treated, x = draw(300)
    plain = compare_with_covariates(y, treated, x).effect
    moved = compare_with_covariates(y * factor + level, treated, x * 7 - 3).effect
    assert_allclose(moved.estimate, plain.estimate * factor, rtol=1e-7, atol=1e-8)
    assert_allclose(moved.standard_error, plain.standard_error * factor, rtol=1e-7)


def test_useless_covariates_are_dropped() -> None:
    _, _, x = draw(100)
    messy = np.column_stack([np.ones(100), x[:, 0], 2 * x[:, 0] + 5, x[:, 1]])
    assert drop_repeated(messy - messy.mean(axis=0)).shape[1] == 2
    y, treated, _ = draw(100)
    plain = compare_with_covariates(y, treated, np.ones((100, 2)))
    assert plain.covariates == 0
    assert_allclose(plain.effect.estimate, plain.plain.estimate)


def test_groups_with_other_chances_do_not_bias() -> None:
    random = np.random.default_rng(11)
    group = random.integers(0, 2, 4000)
    treated = random.random(4000) < np.where(group == 1, 0.8, 0.2)
    y = 10.0 * group + 1.0 * treated + random.normal(0, 1, 4000)
    naive = y[treated].mean() - y[~treated].mean()
    found = compare_with_covariates(y, treated, random.normal(0, 1, (4000, 1)), groups=group).effect
    assert naive > 5
    assert found.lower < 1.0 < found.upper
    own = np.where(group == 1, 0.8, 0.2)
    weighted = compare_weighted(y, treated, np.where(treated, own, 1 - own))
    assert abs(weighted.estimate - 1.0) < 4 * weighted.standard_error < 3


def test_one_stratum_is_welch_and_a_lone_customer_borrows_variation() -> None:
    y, treated, _ = draw(50)
    groups = np.zeros(50, dtype=np.int64)
    arms = find_group_moments(y, treated, groups)
    one, two = y[treated], y[~treated]
    known = np.sqrt(one.var(ddof=1) / len(one) + two.var(ddof=1) / len(two))
    assert_allclose(compare_strata(arms).standard_error, known)
    lone = np.array([True] * 5 + [False])
    found = compare_strata(find_group_moments(np.arange(6.0), lone, np.zeros(6, dtype=np.int64)))
    assert_allclose(found.standard_error, np.sqrt(2.5 / 5 + 2.5))
