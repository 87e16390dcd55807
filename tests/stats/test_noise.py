"""The interval of an outcome's noise covers the truth for money with zeros and long tails, at every size."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimwell.stats.noise import find_noise_ends


def draw_money(random: np.random.Generator, size: int, tail: float) -> np.ndarray:
    """Three in five buy nothing; the others spend lognormally."""
    return np.where(random.random(size) < 0.4, random.lognormal(3.0, tail, size), 0.0)


def find_truth(tail: float) -> float:
    mean = 0.4 * math.exp(3 + tail**2 / 2)
    return math.sqrt(0.4 * math.exp(6 + 2 * tail**2) - mean**2)


@pytest.mark.parametrize("tail", [0.7, 1.0])
@pytest.mark.parametrize(("size", "samples"), [(500, 200), (2000, 150), (10_000, 120)])
def test_the_interval_covers_the_truth(size: int, samples: int, tail: float) -> None:
    random, truth, covered = np.random.default_rng(20), find_truth(tail), 0
    for _ in range(samples):
        values = draw_money(random, size, tail)
        low, high = find_noise_ends(values - values.mean())
        assert 0 < low <= 1 <= high < math.inf
        covered += low <= truth / values.std(ddof=1) <= high
    assert covered / samples >= 0.93


def test_of_even_values_it_is_as_narrow_as_theory_allows() -> None:
    random, covered = np.random.default_rng(21), 0
    for _ in range(100):
        values = random.normal(0, 3, 2000)
        low, high = find_noise_ends(values - values.mean())
        covered += low <= 3 / values.std(ddof=1) <= high
    assert covered / 100 >= 0.95
    # A normal's standard deviation is known to 1/√(2n); the tails taken ask for 2.6 of them.
    assert high - 1 < 4 / math.sqrt(2 * 2000)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-1e9, 1e9), max_size=40))
def test_whatever_was_seen_the_ends_are_on_both_sides(seen: list[float]) -> None:
    values = np.array(seen, dtype=float)
    low, high = find_noise_ends(values - values.mean() if len(values) else values)
    assert 0 <= low <= 1 <= high
    assert find_noise_ends(np.zeros(5)) == (1.0, 1.0)


def test_the_same_data_give_the_same_interval() -> None:
    values = draw_money(np.random.default_rng(22), 5000, 1.0)
    assert find_noise_ends(values - values.mean()) == find_noise_ends(values - values.mean())
