"""Looking several times: limits as published, and error, power and estimates against simulated tests."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimwell.core.errors import BadInput
from aimwell.stats.sequential import (
    estimate_drift,
    find_crossing,
    find_limits,
    find_needed_drift,
    space_looks,
    spend_error,
)


def walk(times: tuple[float, ...], drift: float, tests: int, seed: int) -> np.ndarray:
    """z at each look of simulated tests, tests × looks."""
    steps = np.diff([0.0, *times])
    moves = np.random.default_rng(seed).normal(drift * steps, np.sqrt(steps), (tests, len(times)))
    return moves.cumsum(axis=1) / np.sqrt(times)


def test_limits_are_those_of_the_literature() -> None:
    # Five equal looks, 5 % two-sided: ldbounds, and Jennison and Turnbull (2000).
    assert find_limits(space_looks(5)) == pytest.approx([4.8769, 3.3569, 2.6803, 2.2898, 2.0310], abs=5e-4)
    pocock = find_limits(space_looks(5), shape="pocock")
    assert pocock == pytest.approx([2.4380, 2.4268, 2.4101, 2.3966, 2.3860], abs=5e-4)
    assert find_limits([1.0]) == pytest.approx([1.959964], abs=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.floats(0.05, 1), min_size=1, max_size=6, unique=True),
    st.sampled_from(["obrien_fleming", "pocock"]),
)
def test_the_error_spent_is_the_error_allowed(shares: list[float], shape: str) -> None:
    times = [
        time
        for before, time in zip([0.0, *sorted(shares)], sorted(shares), strict=False)
        if time - before > 0.01
    ]
    limits = find_limits(times, shape=shape)  # type: ignore[arg-type]
    allowed = spend_error(times[-1], shape=shape)  # type: ignore[arg-type]
    assert find_crossing(times, limits).stopped == pytest.approx(allowed, abs=1e-6)


@pytest.mark.parametrize("looks", [4, 28])
def test_error_and_power_are_those_of_simulated_tests(looks: int) -> None:
    times, tests = space_looks(looks), 40_000
    limits = np.array(find_limits(times))
    stopped = (np.abs(walk(times, 0.0, tests, 1)) > limits).any(axis=1).mean()
    assert abs(stopped - 0.05) < 4 * math.sqrt(0.05 * 0.95 / tests)
    drift = find_needed_drift(times, limits.tolist())
    z = walk(times, drift, tests, 2)
    crossed = np.abs(z) > limits
    first = np.argmax(crossed, axis=1)
    shown = crossed.any(axis=1) & (z[np.arange(tests), first] > 0)
    assert abs(shown.mean() - 0.8) < 4 * math.sqrt(0.16 / tests)
    used = np.where(crossed.any(axis=1), np.array(times)[first], 1.0).mean()
    expected = find_crossing(times, limits.tolist(), drift=drift).find_expected_share(times)
    assert abs(used - expected) < 0.005


def test_daily_looks_cost_what_the_targets_allow() -> None:
    # 28 looks: at most 5 % error, and the power of one look (80 %) falls by less than three points.
    times = space_looks(28)
    crossing = find_crossing(times, find_limits(times), drift=2.8016)
    assert sum(crossing.above) > 0.77


def test_customers_who_spend_alike_in_every_week_do_not_raise_the_error() -> None:
    # The same customers watched for longer, spending correlated over weeks: increments are not independent.
    random, weeks, tests, size = np.random.default_rng(3), 4, 3000, 400
    limits = np.array(find_limits(space_looks(weeks)))
    alarms = 0
    for _ in range(tests):
        habit = random.gamma(0.5, 2.0, (size, 1))
        spent = random.poisson(habit, (size, weeks)).cumsum(axis=1).astype(float)
        arms = spent[: size // 2], spent[size // 2 :]
        error = np.sqrt(sum(arm.var(axis=0, ddof=1) / len(arm) for arm in arms))
        z = (arms[0].mean(axis=0) - arms[1].mean(axis=0)) / error
        alarms += bool((np.abs(z) > limits).any())
    assert alarms / tests < 0.05 + 3 * math.sqrt(0.05 * 0.95 / tests)


def test_estimates_after_stopping_are_not_too_large_as_often_as_too_small() -> None:
    times, drift, tests = space_looks(3), 2.5, 200
    limits = find_limits(times)
    z = walk(times, drift, tests, 4)
    crossed = np.abs(z) > np.array(limits)
    look = np.where(crossed.any(axis=1), np.argmax(crossed, axis=1), 2)
    found = np.array([estimate_drift(times, limits, int(k), float(z[row, k])) for row, k in enumerate(look)])
    naive = z[np.arange(tests), look] / np.sqrt(np.array(times)[look])
    assert abs((found[:, 0] > drift).mean() - 0.5) < 4 * math.sqrt(0.25 / tests)
    assert (naive > drift).mean() > (found[:, 0] > drift).mean()
    covered = ((found[:, 1] <= drift) & (drift <= found[:, 2])).mean()
    assert abs(covered - 0.95) < 4 * math.sqrt(0.05 * 0.95 / tests)


def test_one_look_gives_the_usual_interval() -> None:
    assert estimate_drift([1.0], find_limits([1.0]), 0, 2.5) == pytest.approx(
        (2.5, 0.540036, 4.459964), abs=1e-4
    )


@pytest.mark.parametrize("times", [[], [0.5, 0.5], [0.5, 1.2], [0.0, 1.0], [float("nan")]])
def test_looks_that_cannot_be_are_refused(times: list[float]) -> None:
    with pytest.raises(BadInput):
        find_limits(times)
