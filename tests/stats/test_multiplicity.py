"""Corrections for many looks, against their definitions."""

from __future__ import annotations

import doctest

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from scipy.stats import false_discovery_control

from aimwell.stats import difference, mean, multiplicity, power
from aimwell.stats.multiplicity import adjust_benjamini_hochberg, adjust_holm
from aimwell.stats.shrinkage import shrink_effects

P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=20)


@given(P_VALUES)
def test_benjamini_hochberg_agrees_with_scipy(p: list[float]) -> None:
    assert_allclose(adjust_benjamini_hochberg(p), false_discovery_control(p))


@given(P_VALUES)
def test_holm_lies_between_the_raw_and_bonferroni(p: list[float]) -> None:
    adjusted = adjust_holm(p)
    assert (adjusted >= np.array(p) - 1e-12).all()
    assert (adjusted <= np.minimum(1, np.array(p) * len(p)) + 1e-12).all()
    assert (np.diff(adjusted[np.argsort(p, kind="stable")]) >= 0).all()


def test_no_p_values_need_no_correction() -> None:
    assert len(adjust_holm([])) == 0
    assert len(adjust_benjamini_hochberg([])) == 0


def test_the_examples_in_the_docstrings_are_true() -> None:
    for module in (multiplicity, power, difference, mean):
        found = doctest.testmod(module)
        assert found.attempted > 0 and found.failed == 0


def test_equal_effects_are_pulled_together_and_distinct_ones_are_left() -> None:
    alike = shrink_effects(np.array([1.0, 1.2, 0.8]), np.array([1.0, 1.0, 1.0]))
    assert_allclose(alike.means, [1.0, 1.0, 1.0])
    apart = shrink_effects(np.array([-10.0, 0.0, 10.0]), np.array([0.1, 0.1, 0.1]))
    assert_allclose(apart.means, [-10.0, 0.0, 10.0], atol=0.01)
    assert apart.find_chance_above(2) > 0.999 > 0.001 > apart.find_chance_above(0)


def test_shrinkage_is_nearer_to_the_truth() -> None:
    random = np.random.default_rng(6)
    truth = random.normal(1.0, 0.5, (300, 12))
    seen = truth + random.normal(0, 1.0, truth.shape)
    errors = np.ones(12)
    shrunken = np.array([shrink_effects(row, errors).means for row in seen])
    assert np.mean((shrunken - truth) ** 2) < 0.45 * np.mean((seen - truth) ** 2)
