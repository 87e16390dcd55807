"""Test markets: pairs that fit, tests that hold their error, and a power by placebo that later tests have."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimwell.core.errors import NotReady
from aimwell.strategy.experiment.markets import (
    LEAST_PAIRS,
    Panel,
    design_markets,
    draw_treated,
    find_flip_p_values,
    find_windows,
    make_flips,
    match_markets,
)

WINDOW = 14


def make_sales(markets: int, days: int, seed: int) -> np.ndarray:
    """Markets of different sizes with a common season, own slow drifts, and noise by day."""
    random = np.random.default_rng(seed)
    level = random.lognormal(4, 0.6, (markets, 1))
    season = 1 + 0.2 * np.sin(np.arange(days) / 20)
    drift = np.exp(random.normal(0, 0.004, (markets, days)).cumsum(axis=1))
    sales: np.ndarray = level * season * drift * random.gamma(20, 1 / 20, (markets, days))
    return sales


def test_the_power_found_in_the_past_is_the_power_of_tests_to_come() -> None:
    hits, false, tests = 0, 0, 60
    for seed in range(tests):
        sales = make_sales(20, 196, seed)
        random = np.random.default_rng(1000 + seed)
        past = Panel(tuple(f"m{n}" for n in range(20)), sales[:, :-WINDOW])
        found = design_markets(past, window=WINDOW, salt=str(seed), generator=random)
        after, before = sales[:, -WINDOW:].sum(axis=1), sales[:, -2 * WINDOW : -WINDOW].sum(axis=1)
        change = after - found.slope * before
        gaps = change[found.treated] - change[found.control]
        flips = make_flips(len(gaps), random)
        lifted = gaps + found.smallest * after[found.treated]
        hits += bool(find_flip_p_values(lifted[None, :], flips)[0] <= 0.05)
        false += bool(find_flip_p_values(gaps[None, :], flips)[0] <= 0.05)
        assert found.false_alarms < 0.09
    # Few tests: 80 % and 5 % within four standard errors.
    assert abs(hits / tests - 0.8) < 4 * np.sqrt(0.16 / tests)
    assert false / tests < 0.05 + 4 * np.sqrt(0.05 * 0.95 / tests)


def test_flipping_pairs_holds_its_error_whatever_sales_are_like() -> None:
    random = np.random.default_rng(1)
    for count in (6, 9, 25):
        gaps = np.where(random.random((1500, count)) < 0.5, 1, -1) * random.pareto(1.1, count)
        alarms = (find_flip_p_values(gaps, make_flips(count, random)) <= 0.05).mean()
        assert alarms < 0.05 + 4 * np.sqrt(0.05 * 0.95 / 1500)


def test_fewer_than_six_pairs_can_never_show_anything() -> None:
    random = np.random.default_rng(2)
    assert find_flip_p_values(np.ones((1, 5)), make_flips(5, random))[0] > 0.05
    assert find_flip_p_values(np.ones((1, LEAST_PAIRS)), make_flips(LEAST_PAIRS, random))[0] < 0.05


def test_twins_find_each_other() -> None:
    sales = make_sales(20, 140, 3)
    twins = np.concatenate([sales, sales * np.random.default_rng(4).normal(1, 0.001, sales.shape)])
    pairs = match_markets(twins)
    assert {tuple(sorted(pair)) for pair in pairs.tolist()} == {(n, n + 20) for n in range(20)}


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 15), st.integers(0, 1000))
def test_everybody_is_in_one_pair_at_most(count: int, seed: int) -> None:
    sales = np.random.default_rng(seed).integers(0, 4, (count, 21)).astype(float)
    pairs = match_markets(sales)
    assert len(pairs) == count // 2
    assert len(set(pairs.ravel().tolist())) == 2 * (count // 2)


def test_each_of_a_pair_is_treated_half_of_the_time_and_it_can_be_repeated() -> None:
    pairs = np.array([[0, 1], [2, 3]])
    drawn = np.array([draw_treated("abcd", pairs, salt=str(salt)) for salt in range(2000)])
    assert np.all(np.abs((drawn == pairs[:, 0]).mean(axis=0) - 0.5) < 4 * np.sqrt(0.25 / 2000))
    assert np.array_equal(draw_treated("abcd", pairs, salt="7"), drawn[7])


def test_a_past_that_is_too_short_is_refused() -> None:
    with pytest.raises(NotReady) as refused:
        design_markets(
            Panel(tuple("abcdefghijkl"), make_sales(12, 40, 5)),
            window=WINDOW,
            salt="s",
            generator=np.random.default_rng(0),
        )
    assert refused.value.code == "strategy.short_past"
    assert find_windows(100, 28) == [30, 37, 44, 51, 58, 65, 72]
