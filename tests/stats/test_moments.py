"""Sufficient statistics say what the raw values say, however they are cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from aimwell.core.errors import BadInput
from aimwell.stats.moments import JointMoments, Moments

VALUES = st.lists(st.floats(-1e5, 1e5, allow_nan=False), min_size=2, max_size=40)


@given(VALUES, VALUES)
def test_moments_add_up_over_chunks(one: list[float], two: list[float]) -> None:
    added = Moments.of(np.array(one)) + Moments.of(np.array(two))
    whole = Moments.of(np.array(one + two))
    assert added.n == whole.n
    assert_allclose(added.mean, whole.mean, atol=1e-6, rtol=1e-9)
    assert_allclose(added.variance, whole.variance, atol=1e-4, rtol=1e-7)


@given(VALUES, st.integers(1, 39))
def test_joint_moments_add_up_over_chunks(values: list[float], cut: int) -> None:
    y = np.array(values)
    x = np.roll(y, 1) * 0.5 + np.arange(len(y))
    cut = min(cut, len(y) - 1)
    added = JointMoments.of(y[:cut], x[:cut]) + JointMoments.of(y[cut:], x[cut:])
    whole = JointMoments.of(y, x)
    assert_allclose(added.covariance, whole.covariance, atol=1e-3, rtol=1e-7)
    assert_allclose(added.covariate_variance, whole.covariate_variance, atol=1e-3, rtol=1e-7)
    assert_allclose(added.mean, whole.mean, atol=1e-6, rtol=1e-9)


def test_nothing_and_not_a_number_are_refused_by_row() -> None:
    with pytest.raises(BadInput) as empty:
        Moments.of(np.array([]))
    assert empty.value.code == "stats.too_few"
    with pytest.raises(BadInput) as missing:
        Moments.of(np.array([1.0, np.nan]))
    assert missing.value.where == {"row": 2}
