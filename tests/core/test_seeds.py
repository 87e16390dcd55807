"""Assignment is deterministic, uniform, and independent between experiments."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from aimwell.core.seeds import derive_seed, draw_uniform, draw_uniforms, generator

CUSTOMERS = [str(number) for number in range(20_000)]
SALTS = [f"plan-{number}" for number in range(8)]


@given(st.text(), st.text())
def test_a_draw_depends_on_salt_and_key_only(salt: str, key: str) -> None:
    drawn = draw_uniform(salt, key)
    assert drawn == draw_uniform(salt, key)
    assert 0 <= drawn < 1


@given(st.text(), st.lists(st.text(), max_size=20))
def test_many_draws_are_the_single_ones(salt: str, keys: list[str]) -> None:
    assert draw_uniforms(salt, iter(keys)).tolist() == [draw_uniform(salt, key) for key in keys]


def test_a_draw_is_the_same_on_every_machine_and_in_every_release() -> None:
    # First 53 bits of SHA-256("salt\x1fkey"): a change would redraw the arms of running experiments.
    assert draw_uniform("salt", "key") == 0.3862986793205848


def test_small_integers_are_drawn_uniformly() -> None:
    for salt in SALTS:
        assert stats.kstest(draw_uniforms(salt, CUSTOMERS), "uniform").pvalue > 1e-4


def test_the_arms_of_different_experiments_are_independent() -> None:
    """All 28 pairs of eight experiments; weaker hashes correlated every one of them."""
    arms = {salt: draw_uniforms(salt, CUSTOMERS) < 0.5 for salt in SALTS}
    p_values = []
    for one, other in combinations(SALTS, 2):
        table = np.histogram2d(arms[one], arms[other], bins=2)[0]
        p_values.append(stats.chi2_contingency(table).pvalue)
    assert len(p_values) == 28
    assert min(p_values) > 0.01 / 28
    assert stats.kstest(p_values, "uniform").pvalue > 1e-3


def test_the_draws_of_different_experiments_are_uncorrelated() -> None:
    draws = np.array([draw_uniforms(salt, CUSTOMERS) for salt in SALTS])
    correlations = np.corrcoef(draws)[np.triu_indices(len(SALTS), 1)]
    assert np.abs(correlations).max() < 4 / np.sqrt(len(CUSTOMERS))


def test_salt_and_key_cannot_run_into_each_other() -> None:
    assert draw_uniform("a", "bc") != draw_uniform("ab", "c")
    assert derive_seed(1, "ab", "c") != derive_seed(1, "a", "bc")
    assert derive_seed(1, 2) != derive_seed(12)


@given(st.integers(0, 2**63 - 1), st.lists(st.text() | st.integers(), max_size=3))
def test_generators_repeat_themselves(seed: int, names: list[str | int]) -> None:
    assert 0 <= derive_seed(seed, *names) < 2**63
    first = generator(seed, *names).random(3)
    assert np.array_equal(first, generator(seed, *names).random(3))


def test_generators_of_different_purposes_are_uncorrelated() -> None:
    one, other = generator(7, "strategy").random(50_000), generator(7, "market").random(50_000)
    assert abs(float(np.corrcoef(one, other)[0, 1])) < 4 / np.sqrt(50_000)
