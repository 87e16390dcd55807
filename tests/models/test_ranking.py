"""Ranking measures against hand-made and scikit-learn's figures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from aimwell.models.ranking import (
    measure_auc,
    measure_average_precision,
    measure_calibration,
    measure_lift,
    trace_calibration,
    trace_lift,
)


@given(st.integers(0, 10_000))
def test_auc_and_precision_equal_scikit_learns(seed: int) -> None:
    random = np.random.default_rng(seed)
    truth = random.random(60) < 0.4
    truth[0], truth[1] = True, False
    score = np.round(random.random(60) + 0.3 * truth.astype(np.float64), 1).astype(np.float64)
    assert measure_auc(score, truth) == pytest.approx(roc_auc_score(truth, score))
    assert measure_average_precision(score, truth) == pytest.approx(average_precision_score(truth, score))


def test_lift_and_calibration_by_hand() -> None:
    score = np.array([0.9, 0.8, 0.2, 0.1])
    truth = np.array([True, False, True, False])
    assert measure_lift(score, truth, 0.25) == pytest.approx(2.0)
    assert measure_calibration(score, truth) == pytest.approx(1.0)
    assert trace_lift(score, truth, 4)[-1] == [1.0, 1.0]
    assert trace_calibration(score, truth, 2) == [
        [pytest.approx(0.15), 0.5, 2.0],
        [pytest.approx(0.85), 0.5, 2.0],
    ]


def test_one_sided_truth_has_no_figure() -> None:
    never = np.zeros(5, dtype=bool)
    assert np.isnan(measure_auc(np.arange(5.0), never))
    assert np.isnan(measure_lift(np.arange(5.0), never))
    assert trace_lift(np.arange(5.0), never) == []
