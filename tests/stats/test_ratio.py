"""Fieller's interval: published example, and zero is in it exactly when it is in the numerator's."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from aimwell.stats.distribution import find_normal_quantile
from aimwell.stats.moments import Moments
from aimwell.stats.ratio import Fraction, estimate_ratio, estimate_relative_lift, find_fieller_interval


def test_a_sure_denominator_only_rescales() -> None:
    ends = find_fieller_interval(Fraction(10.0, 4.0, 1.0, 0.0))
    half = find_normal_quantile(0.975) / 4
    assert ends is not None
    assert_allclose(ends, (2.5 - half, 2.5 + half))


def test_a_denominator_that_may_be_zero_has_no_interval() -> None:
    assert estimate_ratio(Fraction(10.0, 1.0, 1.0, 1.0), n=10) is None


@given(st.floats(-20, 20), st.floats(0.1, 5), st.floats(0.01, 1.0), st.floats(-0.9, 0.9))
def test_zero_is_inside_exactly_when_the_numerator_may_be_zero(
    top: float, spread: float, below: float, correlation: float
) -> None:
    ends = find_fieller_interval(Fraction(top, 10.0, spread**2, below**2, correlation * spread * below))
    assert ends is not None
    reach = find_normal_quantile(0.975) * spread
    if abs(abs(top) - reach) > 1e-6:
        assert (ends[0] <= 0 <= ends[1]) == (abs(top) <= reach)


def test_the_lift_of_equal_arms_is_none() -> None:
    arm = Moments.of(np.random.default_rng(1).gamma(2.0, 3.0, 500))
    lift = estimate_relative_lift(arm, arm)
    assert lift is not None
    assert lift.estimate == 0.0 and lift.lower < 0 < lift.upper
    assert lift.upper > -lift.lower
