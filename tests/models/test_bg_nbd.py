"""BG/NBD against the published parameters of CDNOW, and against itself by simulation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimwell.core.errors import NotReady
from aimwell.models.bg_nbd import BgNbd, PurchaseHistory, compute_log_likelihood, fit_bg_nbd

CDNOW = Path(__file__).parents[2] / "../shared/data/cdnow/cdnow_customers_summary.csv"
KNOWN = BgNbd(0.243, 4.414, 0.793, 2.426, 0.0, np.eye(4) * 1e-4)


def load_cdnow() -> PurchaseHistory:
    if not CDNOW.exists():
        pytest.skip("CDNOW is not beside the repository")
    rows = np.loadtxt(CDNOW, delimiter=",", skiprows=1)
    return PurchaseHistory(rows[:, 1], rows[:, 2], rows[:, 3])


def test_parameters_of_cdnow_are_the_published_ones() -> None:
    model = fit_bg_nbd(load_cdnow())
    assert model.r == pytest.approx(0.2426, abs=5e-4)
    assert model.alpha == pytest.approx(4.4135, abs=5e-3)
    assert model.a == pytest.approx(0.7929, abs=5e-3)
    assert model.b == pytest.approx(2.4258, abs=1e-2)
    assert model.log_likelihood == pytest.approx(-9582.43, abs=0.01)


def test_expected_purchases_equal_the_papers_example() -> None:
    # Fader, Hardie and Lee (2005), page 281: x = 2, t_x = 30.43, T = 38.86 over the next 39 weeks.
    history = PurchaseHistory(np.array([2.0]), np.array([30.43]), np.array([38.86]))
    assert KNOWN.predict_purchases(history, 39.0)[0] == pytest.approx(1.226, abs=2e-3)


def test_gradient_is_that_of_the_likelihood() -> None:
    random = np.random.default_rng(3)
    T = random.uniform(5, 50, 40)
    x = random.poisson(2, 40).astype(float)
    rows, counts, _ = PurchaseHistory(x, np.where(x > 0, T * random.random(40), 0.0), T).compress()
    point = np.array([0.1, 1.0, 0.2, 0.5])
    _, gradient = compute_log_likelihood(point, rows, counts)
    for place in range(4):
        step = np.zeros(4)
        step[place] = 1e-6
        upper = compute_log_likelihood(point + step, rows, counts)[0]
        lower = compute_log_likelihood(point - step, rows, counts)[0]
        assert gradient[place] == pytest.approx((upper - lower) / 2e-6, rel=1e-5)


def test_drawn_futures_average_to_the_expectation() -> None:
    history = PurchaseHistory(np.array([2.0, 0.0, 8.0]), np.array([30.0, 0.0, 38.0]), np.array([38.86] * 3))
    random = np.random.default_rng(0)
    draws = np.mean([KNOWN.draw_purchases(history, 39.0, random) for _ in range(8000)], axis=0)
    np.testing.assert_allclose(draws, KNOWN.predict_purchases(history, 39.0), rtol=0.05)


@given(
    x=st.integers(0, 200),
    share=st.floats(0.01, 1.0),
    T=st.floats(0.5, 300.0),
    a=st.floats(0.05, 5.0) | st.just(1.0),
)
def test_predictions_stay_within_reason(x: int, share: float, T: float, a: float) -> None:
    model = BgNbd(0.5, 5.0, a, 2.0, 0.0, np.eye(4))
    history = PurchaseHistory(np.array([float(x)]), np.array([T * share if x else 0.0]), np.array([T]))
    alive = model.predict_alive(history)[0]
    soon, later = model.predict_purchases(history, 4.0)[0], model.predict_purchases(history, 40.0)[0]
    assert 0 <= alive <= 1
    assert 0 <= soon <= later + 1e-9


def test_histories_without_information_are_refused() -> None:
    nobody = PurchaseHistory(np.zeros(300), np.zeros(300), np.full(300, 30.0))
    with pytest.raises(NotReady):
        fit_bg_nbd(nobody)


def test_customers_who_never_leave_are_an_answer_not_a_failure() -> None:
    random = np.random.default_rng(4)
    rate = random.gamma(1.5, 0.3, 1500)
    T = np.full(1500, 40.0)
    x = random.poisson(rate * T).astype(float)
    # The last of x uniform purchase times.
    t_x = np.where(x > 0, T * random.random(1500) ** (1 / np.maximum(x, 1)), 0.0)
    history = PurchaseHistory(x, t_x, T)
    model = fit_bg_nbd(history)
    assert model.predict_alive(history).mean() > 0.97
    assert model.predict_purchases(history, 10.0).sum() == pytest.approx(rate.sum() * 10, rel=0.05)
