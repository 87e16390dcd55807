"""Clusters: the correlation that was planted is found, and the design effect is the growth of the variance."""

from __future__ import annotations

import numpy as np
import pytest

from aimwell.stats.clustering import measure_clustering


def draw(random: np.random.Generator, correlation: float, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    cluster = np.repeat(np.arange(len(sizes)), sizes)
    shared = random.normal(0, np.sqrt(correlation), len(sizes))[cluster]
    return shared + random.normal(0, np.sqrt(1 - correlation), len(cluster)), cluster


def test_the_planted_correlation_is_found_with_unequal_clusters() -> None:
    random = np.random.default_rng(1)
    sizes = random.integers(2, 40, 150)
    found = [measure_clustering(*draw(random, 0.1, sizes)).correlation for _ in range(60)]
    assert np.mean(found) == pytest.approx(0.1, abs=0.006)


def test_the_design_effect_is_how_much_the_variance_of_an_arm_grows() -> None:
    random = np.random.default_rng(2)
    sizes = np.concatenate([np.full(40, 5), np.full(20, 40)])
    means, effects = [], []
    for _ in range(1500):
        values, cluster = draw(random, 0.05, sizes)
        means.append(values.mean())
        effects.append(measure_clustering(values, cluster).design_effect)
    assert np.var(means) * sizes.sum() == pytest.approx(np.mean(effects), rel=0.15)


def test_clusters_of_one_and_outcomes_that_do_not_vary_cost_nothing() -> None:
    values = np.arange(10.0)
    assert measure_clustering(values, np.arange(10)).design_effect == 1.0
    assert measure_clustering(np.ones(10), np.arange(10) // 5).design_effect == 1.0
    assert measure_clustering(values, np.zeros(10, dtype=np.int64)).clusters == 1
