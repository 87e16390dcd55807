"""How the errors of predicted effects move together, small enough to be kept: factors by action and group of customers.

All effects come from the same coefficients, so the error of a sum is φ · coefficients' error with φ added up over who
is chosen. Who will be chosen is for strategy to say, which does not know φ; so customers are grouped, for each action,
by their estimate (what a plan chooses by), and each group keeps the mean of its scaled errors over factors of the
coefficients' covariance. Pure: reads and writes no table.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from aimwell.models.effect_design import CustomerFeatures
from aimwell.models.effects import EffectModel, Prediction, take_root

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

GROUPS = 4
FACTORS = 16


def summarise_errors(
    model: EffectModel, features: CustomerFeatures, found: Prediction, places: list[int]
) -> dict[str, Any]:
    """For JSON: ``actions`` (A), ``edges`` (A × GROUPS − 1; of the estimate), ``loading`` (A × GROUPS × factors)."""
    scaled = model.design.scale(features)
    root = take_root(model.posterior.covariance)
    edges = np.quantile(found.estimate[:, places], np.arange(1, GROUPS) / GROUPS, axis=0).T
    sums = np.zeros((len(places), GROUPS, root.shape[1]))
    for row, place in enumerate(places):
        errors = model.design.build(scaled, np.full(len(features), place, dtype=np.int64)) @ root
        group = np.searchsorted(edges[row], found.estimate[:, place])
        for number in range(GROUPS):
            mine = group == number
            total = float(found.standard_error[mine, place].sum())
            sums[row, number] = errors[mine].sum(axis=0) / total if total > 0 else 0.0
    loading = _keep_largest(sums.reshape(len(places) * GROUPS, -1)).reshape(len(places), GROUPS, -1)
    ids = model.design.actions.ids
    return {
        "actions": [ids[place] for place in places],
        "edges": edges.tolist(),
        "loading": np.round(loading, 6).tolist(),
    }


def _keep_largest(rows: Floats) -> Floats:
    """The same rows over fewer factors: what they share among them stays as far as the largest factors hold it."""
    left, sizes, _ = np.linalg.svd(rows, full_matrices=False)
    return np.asarray((left * sizes)[:, :FACTORS])
