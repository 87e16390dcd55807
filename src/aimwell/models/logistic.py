"""Ridge logistic regression by Newton's method: a dozen small solves instead of a general optimiser.

Pure: reads and writes no table.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

STEPS = 25
TOLERANCE = 1e-7


def fit_logistic(rows: Floats, truth: Flags, *, penalty: float, offset: Floats | float = 0.0) -> Floats:
    """Coefficients (1 + k, the constant first and unpenalised) for n × k ``rows`` of scaled features.

    ``penalty`` is half the ridge weight of the sum of squares; ``offset`` (n) is added to the log-odds.
    """
    design = np.column_stack([np.ones(len(rows)), rows])
    weights = np.full(design.shape[1], penalty)
    weights[0] = 1e-6
    found = np.zeros(design.shape[1])
    for _ in range(STEPS):
        share = expit(offset + design @ found)
        slope = design.T @ (truth - share) - weights * found
        # Bounding the curvature from below keeps Newton's step finite where everybody is certain.
        curvature = (design * np.maximum(share * (1 - share), 1e-6)[:, None]).T @ design
        curvature[np.diag_indices_from(curvature)] += weights
        step = np.linalg.solve(curvature, slope)
        found += np.clip(step, -4.0, 4.0)
        if float(np.abs(step).max()) < TOLERANCE:
            break
    return found


def predict_logistic(rows: Floats, coefficients: Floats) -> Floats:
    """P(true) for n × k ``rows``."""
    return np.asarray(expit(coefficients[0] + rows @ coefficients[1:]))
