"""How alike customers of one cluster (store, region, household) are, and what it costs to draw whole clusters.

Reads and writes no table. The intraclass correlation by analysis of variance with unequal sizes (Donner 1986); the
design effect 1 + ((1 + cv²)·m − 1)·ρ, with m the mean size and cv the sizes' coefficient of variation (Eldridge,
Ashby and Kerry 2006).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aimwell.stats.moments import require_values


@dataclass(frozen=True)
class Clustering:
    """Clusters of customers: how many, how large, how alike, and by how much variance grows."""

    clusters: int
    mean_size: float
    size_variation: float
    """The standard deviation of the sizes over their mean."""
    correlation: float
    """Intraclass, in [0, 1]; a negative estimate counts as 0."""

    @property
    def design_effect(self) -> float:
        """The variance of a mean over that of as many customers drawn one by one; at least 1."""
        heavy = (1 + self.size_variation**2) * self.mean_size
        return 1 + max(heavy - 1, 0.0) * self.correlation


def measure_clustering(values: NDArray[np.float64], cluster: NDArray[np.int64]) -> Clustering:
    """Of ``values`` (n,) in clusters (codes, shape (n,)); correlation 0 where nothing varies or no cluster has two."""
    require_values(values)
    _, place = np.unique(cluster, return_inverse=True)
    sizes = np.bincount(place).astype(np.float64)
    count, n = len(sizes), len(values)
    mean_size = n / count
    variation = float(sizes.std()) / mean_size
    return Clustering(count, mean_size, variation, _find_correlation(values, place, sizes))


def _find_correlation(
    values: NDArray[np.float64], place: NDArray[np.intp], sizes: NDArray[np.float64]
) -> float:
    count, n = len(sizes), len(values)
    if count < 2 or n <= count:
        return 0.0
    means = np.bincount(place, weights=values) / sizes
    between = float(sizes @ (means - values.mean()) ** 2) / (count - 1)
    within = float(((values - means[place]) ** 2).sum()) / (n - count)
    typical = (n - float(sizes @ sizes) / n) / (count - 1)
    total = between + (typical - 1) * within
    found = (between - within) / total if total > 0 else 0.0
    return min(max(found, 0.0), 1.0) if math.isfinite(found) else 0.0
