"""Many p-values at once: Holm (1979) for declared metrics, Benjamini–Hochberg (1995) for exploration.

Reads and writes no table.

>>> [round(float(p), 3) for p in adjust_holm([0.01, 0.04, 0.03])]
[0.03, 0.06, 0.06]
>>> [round(float(p), 3) for p in adjust_benjamini_hochberg([0.01, 0.04, 0.03])]
[0.03, 0.04, 0.04]
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def adjust_holm(p_values: Sequence[float]) -> NDArray[np.float64]:
    """Adjusted p-values in the given order: below α controls the chance of any false claim at α."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return _put_back(np.minimum(stepped, 1.0), order)


def adjust_benjamini_hochberg(p_values: Sequence[float]) -> NDArray[np.float64]:
    """Adjusted p-values in the given order: below q keeps the expected share of false finds at q."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    ranked = p[order] * len(p) / np.arange(1, len(p) + 1)
    stepped = np.minimum.accumulate(ranked[::-1])[::-1]
    return _put_back(np.minimum(stepped, 1.0), order)


def _put_back(sorted_values: NDArray[np.float64], order: NDArray[np.intp]) -> NDArray[np.float64]:
    values = np.empty_like(sorted_values)
    values[order] = sorted_values
    return values
