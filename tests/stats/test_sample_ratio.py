"""Sample ratio mismatch: alarms when arms lost customers, and only then."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from aimwell.core.errors import BadInput
from aimwell.stats.sample_ratio import Stratum, check_sample_ratio

HALVES = {"treatment": 0.5, "control": 0.5}


def test_one_stratum_is_the_chi_square_test() -> None:
    found = check_sample_ratio([Stratum({"treatment": 520, "control": 480}, HALVES)])
    assert_allclose(found.p_value, stats.chisquare([520, 480]).pvalue)
    assert found.ok


def test_lost_customers_raise_the_alarm() -> None:
    found = check_sample_ratio([Stratum({"treatment": 5200, "control": 4700}, HALVES)])
    assert not found.ok
    assert found.expected == {"treatment": 4950.0, "control": 4950.0}


def test_strata_keep_their_own_probabilities() -> None:
    strata = [
        Stratum({"treatment": 800, "control": 200}, {"treatment": 0.8, "control": 0.2}),
        Stratum({"treatment": 200, "control": 800}, {"treatment": 0.2, "control": 0.8}),
    ]
    assert check_sample_ratio(strata).p_value == pytest.approx(1.0)
    swapped = [Stratum(stratum.observed, strata[1 - i].probabilities) for i, stratum in enumerate(strata)]
    assert not check_sample_ratio(swapped).ok


def test_tiny_strata_are_added_up_and_two_tiny_arms_are_tested_exactly() -> None:
    tiny = [Stratum({"treatment": 3, "control": 0}, HALVES)] * 40
    assert not check_sample_ratio(tiny).ok
    assert check_sample_ratio([Stratum({"treatment": 2, "control": 1}, HALVES)]).p_value == 1.0


def test_false_alarms_are_rare() -> None:
    random = np.random.default_rng(3)
    alarms = 0
    for _ in range(2000):
        strata = [
            Stratum({"treatment": int(t), "control": 300 - int(t)}, {"treatment": 0.75, "control": 0.25})
            for t in random.binomial(300, 0.75, 4)
        ]
        alarms += not check_sample_ratio(strata).ok
    assert alarms <= 8


def test_impossible_probabilities_are_refused() -> None:
    with pytest.raises(BadInput):
        check_sample_ratio([Stratum({"treatment": 1, "control": 1}, {"treatment": 0.0, "control": 0.0})])
