"""Order rates like the history's: right on the whole, drawn to the mean, and right in the time that follows."""

from __future__ import annotations

import numpy as np

from aimwell.strategy.simulator.calibration import shrink_rates


def test_rates_add_up_to_the_history_and_forecast_better_than_the_counts() -> None:
    random = np.random.default_rng(1)
    truth = random.gamma(1.5, 0.02, 4_000)
    count = random.poisson(truth * 60).astype(float)
    later = random.poisson(truth * 60)
    rate = shrink_rates(count, 60.0)
    assert abs(rate.sum() * 60 / count.sum() - 1) < 1e-6
    assert rate.min() > 0
    assert np.mean((rate * 60 - later) ** 2) < 0.9 * np.mean((count - later) ** 2)


def test_alike_customers_get_the_same_rate() -> None:
    rate = shrink_rates(np.random.default_rng(2).poisson(4.0, 5_000).astype(float), 100.0)
    assert np.std(rate) < 0.15 * np.mean(rate)
