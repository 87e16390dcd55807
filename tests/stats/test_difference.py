"""Differences from aggregates agree with SciPy on the raw values, and scale with their unit."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy import stats

from aimwell.stats.difference import compare_means
from aimwell.stats.mean import estimate_mean_of, estimate_share
from aimwell.stats.moments import Moments


def draw(seed: int, n: int, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).lognormal(1.0, 1.0, n) + shift


def test_welch_agrees_with_scipy() -> None:
    one, two = draw(1, 80, 0.5), draw(2, 35)
    effect = compare_means(Moments.of(one), Moments.of(two))
    known = stats.ttest_ind(one, two, equal_var=False)
    interval = known.confidence_interval()
    assert_allclose([effect.p_value, effect.lower, effect.upper], [known.pvalue, interval.low, interval.high])


@given(st.floats(0.01, 1e4), st.integers(0, 50))
def test_other_units_scale_everything_but_the_p_value(factor: float, seed: int) -> None:
    one, two = draw(seed, 30), draw(seed + 100, 20)
    plain = compare_means(Moments.of(one), Moments.of(two))
    scaled = compare_means(Moments.of(one * factor), Moments.of(two * factor))
    assert_allclose(scaled.estimate, plain.estimate * factor)
    assert_allclose([scaled.lower, scaled.upper], [plain.lower * factor, plain.upper * factor])
    assert_allclose(scaled.p_value, plain.p_value, atol=1e-12)


def test_swapping_the_arms_turns_the_sign() -> None:
    one, two = Moments.of(draw(1, 30)), Moments.of(draw(2, 20))
    there, back = compare_means(one, two), compare_means(two, one)
    assert_allclose([there.lower, there.upper], [-back.upper, -back.lower])


def test_no_variation_gives_no_nan() -> None:
    same = compare_means(Moments(5, 2.0, 0.0), Moments(5, 2.0, 0.0))
    assert (same.lower, same.upper, same.p_value, same.proven) == (2.0 - 2.0, 0.0, 1.0, False)


def test_wilson_agrees_with_his_paper() -> None:
    # Wilson for 81 of 263 (Newcombe 1998, table I).
    share = estimate_share(81, 263)
    assert_allclose([share.lower, share.upper], [0.2553, 0.3662], atol=5e-5)


def test_shares_at_the_ends_stay_within_zero_and_one() -> None:
    none, every = estimate_share(0, 12), estimate_share(12, 12)
    assert none.lower == 0.0 and 0 < none.upper < 0.3
    assert every.upper == 1.0 and 0.7 < every.lower < 1


def test_the_mean_agrees_with_scipy() -> None:
    values = draw(3, 25)
    found = estimate_mean_of(values)
    known = stats.ttest_1samp(values, 0.0).confidence_interval()
    assert_allclose([found.lower, found.upper], [known.low, known.high])


def test_shifting_tests_against_zero_again() -> None:
    effect = compare_means(Moments(100, 5.0, 4.0), Moments(100, 0.0, 4.0))
    assert effect.proven
    assert not effect.shift(-effect.estimate).proven
    assert_allclose(effect.shift(-effect.estimate).p_value, 1.0)
