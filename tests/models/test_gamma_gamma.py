"""Gamma–Gamma against the published parameters of CDNOW, and the limits of its prediction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from aimwell.core.errors import NotReady
from aimwell.models.gamma_gamma import fit_gamma_gamma

CDNOW = Path(__file__).parents[2] / "../shared/data/cdnow/cdnow_customers_summary_with_transactions.csv"


def test_parameters_of_cdnow_are_the_published_ones() -> None:
    if not CDNOW.exists():
        pytest.skip("CDNOW is not beside the repository")
    rows = np.loadtxt(CDNOW, delimiter=",", skiprows=1)
    model = fit_gamma_gamma(rows[:, 1], rows[:, 4])
    assert model.p == pytest.approx(6.25, abs=0.02)
    assert model.q == pytest.approx(3.74, abs=0.02)
    assert model.gamma == pytest.approx(15.44, abs=0.05)


def test_planted_parameters_come_back_and_values_lie_between_own_and_average() -> None:
    random = np.random.default_rng(1)
    orders = random.integers(1, 12, 4000).astype(float)
    rate = random.gamma(4.0, 1 / 60.0, 4000)
    mean_value = random.gamma(5.0 * orders) / rate / orders
    model = fit_gamma_gamma(orders, mean_value)
    average = model.predict_value(np.zeros(1), np.zeros(1))[0]
    assert average == pytest.approx(5.0 * 60.0 / 3.0, rel=0.05)
    predicted = model.predict_value(orders, mean_value)
    between = (predicted - mean_value) * (predicted - average) <= 1e-9
    assert between.all()


def test_values_without_any_buyer_are_refused() -> None:
    with pytest.raises(NotReady):
        fit_gamma_gamma(np.zeros(50), np.zeros(50))
