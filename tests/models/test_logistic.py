"""The logistic regression finds planted coefficients, and survives data that separate perfectly."""

from __future__ import annotations

import numpy as np

from aimwell.models.logistic import fit_logistic, predict_logistic


def test_planted_coefficients_come_back() -> None:
    random = np.random.default_rng(0)
    rows = random.normal(size=(20_000, 2))
    truth = random.random(20_000) < predict_logistic(rows, np.array([-1.0, 0.8, -0.4]))
    found = fit_logistic(rows, truth, penalty=1.0)
    np.testing.assert_allclose(found, [-1.0, 0.8, -0.4], atol=0.06)


def test_perfect_separation_stays_finite() -> None:
    rows = np.linspace(-1, 1, 100)[:, None]
    found = fit_logistic(rows, rows[:, 0] > 0, penalty=0.1)
    assert np.isfinite(found).all()
    assert found[1] > 0
