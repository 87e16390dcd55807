"""The cap on heavy spenders, fixed from the period before the experiment (winsorising).

Reads and writes no table. A cap chosen from the outcomes themselves would be a choice made after looking.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from aimwell.stats.moments import require_values

QUANTILE = 0.999


def find_cap(before: NDArray[np.float64], *, quantile: float = QUANTILE) -> float:
    """The ``quantile`` of ``before``, shape (n,): outcomes of one customer in windows as long as the
    experiment's.

    The value of a customer who was seen, never interpolated. BadInput when ``before`` is empty.
    """
    require_values(before)
    return float(np.quantile(before, quantile, method="higher"))


def cap_values(values: NDArray[np.float64], *, cap: float) -> NDArray[np.float64]:
    """``values`` with everything above ``cap`` (and below −``cap``, for returns) put at it."""
    bound = abs(cap)
    return np.clip(values, -bound, bound)
