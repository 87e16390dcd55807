"""The interval of a window's end holds it about as often as it says, on series whose future is known."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from aimwell.stats.forecast import EndForecast, Paths, forecast_end

SERIES = 70
WEEK: np.ndarray = np.array([1.0, 0.9, 0.9, 1.0, 1.2, 1.6, 1.4])
Draw = Callable[[np.random.Generator, int], np.ndarray]


def draw_counts(random: np.random.Generator, days: int) -> np.ndarray:
    return np.asarray(random.poisson(50 * WEEK[np.arange(days) % 7]), dtype=np.float64)


def draw_trend(random: np.random.Generator, days: int) -> np.ndarray:
    day = np.arange(days)
    return 100 * WEEK[day % 7] * (1 + 0.002 * day) * random.lognormal(0, 0.15, days)


def draw_persistent(random: np.random.Generator, days: int) -> np.ndarray:
    level = np.zeros(days)
    for day in range(1, days):
        level[day] = 0.9 * level[day - 1] + random.normal(0, 0.05)
    return 100 * WEEK[np.arange(days) % 7] * np.exp(level) * random.lognormal(0, 0.1, days)


def draw_wandering(random: np.random.Generator, days: int) -> np.ndarray:
    level = np.cumsum(random.normal(0, 0.01, days))
    return 100 * WEEK[np.arange(days) % 7] * np.exp(level) * random.lognormal(0, 0.1, days)


def cut(values: np.ndarray, start: int, days: int, today: int) -> tuple[Paths, list[float]]:
    """Past windows on the start's weekday, and what is known of the window itself."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    starts = [day for day in range(start % 7, start, 7) if day + days <= today]
    paths = np.array([total[day : day + days + 1] - total[day] for day in starts]).reshape(-1, days + 1)
    return Paths(np.array(starts, dtype=np.int64), paths), (total[start : today + 1] - total[start]).tolist()


def foretell(values: np.ndarray, days: int, elapsed: int) -> tuple[EndForecast | None, float]:
    start = len(values) - days
    paths, so_far = cut(values, start, days, start + elapsed)
    return forecast_end(paths, so_far, start), float(values[start:].sum())


@pytest.mark.parametrize("draw", [draw_counts, draw_trend, draw_persistent, draw_wandering])
@pytest.mark.parametrize(("days", "elapsed", "history"), [(28, 0, 350), (28, 10, 350), (91, 60, 350)])
def test_the_interval_holds_the_end(draw: Draw, days: int, elapsed: int, history: int) -> None:
    held = 0
    for seed in range(SERIES):
        found, truth = foretell(draw(np.random.default_rng(seed), history), days, elapsed)
        assert found is not None
        held += found.to_estimate().covers(truth)
    # 95 % of 70, less two standard errors of that share.
    assert held / SERIES >= 0.9


def test_weekdays_are_in_the_path_and_no_straight_line() -> None:
    values = np.tile(WEEK, 60) * 100
    found, truth = foretell(values, 28, 10)
    assert found is not None
    assert found.estimate == pytest.approx(truth)
    paths, _ = cut(values, len(values) - 28, 28, len(values) - 18)
    profile = paths.profile()
    assert profile is not None
    assert profile[7] == pytest.approx(0.25)
    assert profile[4] == pytest.approx(WEEK[(len(values) - 28 + np.arange(4)) % 7].sum() / (4 * WEEK.sum()))


def test_a_season_that_was_seen_is_foreseen() -> None:
    random = np.random.default_rng(5)
    day = np.arange(364 * 3)
    values = (
        100 * WEEK[day % 7] * (1 + 0.5 * np.sin(2 * np.pi * day / 364)) * random.lognormal(0, 0.05, len(day))
    )
    found, truth = foretell(values, 91, 30)
    assert found is not None
    assert found.method == "as 52 weeks ago"
    assert abs(found.estimate / truth - 1) < 0.05


def test_few_windows_make_a_wide_interval_and_none_makes_none() -> None:
    values = draw_counts(np.random.default_rng(1), 28 * 3)
    few, _ = foretell(values, 28, 14)
    many, _ = foretell(draw_counts(np.random.default_rng(1), 28 * 20), 28, 14)
    assert few is not None
    assert many is not None
    assert few.error * 2 > many.error
    assert few.degrees < many.degrees
    assert forecast_end(Paths(np.zeros(0, dtype=np.int64), np.zeros((0, 29))), [0.0, 1.0], 100) is None
    single = forecast_end(Paths(np.array([0]), np.arange(29.0)[None]), [0.0, 1.0], 28)
    assert single is not None
    assert math.isinf(single.error)
    assert single.chance_of(5.0) is None


def test_what_has_ended_is_certain() -> None:
    values = draw_counts(np.random.default_rng(2), 280)
    found, truth = foretell(values, 28, 28)
    assert found is not None
    assert (found.estimate, found.error) == (truth, 0.0)
    assert (found.chance_of(truth), found.chance_of(truth + 1)) == (1.0, 0.0)


def test_the_chance_is_a_half_at_the_estimate_and_falls() -> None:
    found, _ = foretell(draw_counts(np.random.default_rng(3), 350), 28, 10)
    assert found is not None
    assert found.chance_of(found.estimate) == pytest.approx(0.5)
    chances = [found.chance_of(found.estimate * factor) for factor in (0.97, 0.99, 1.01, 1.03)]
    assert chances == sorted(chances, key=lambda chance: -(chance or 0.0))
    assert found.chance_of(found.least) == 1.0


def test_a_business_without_sales_ends_at_nothing() -> None:
    found, _ = foretell(np.zeros(200), 28, 10)
    assert found is not None
    assert found.estimate == 0.0
    assert found.to_estimate().upper == pytest.approx(0.0, abs=1e-9)
