"""Regression adjustment with covariates from before the experiment (Lin 2013).

Reads and writes no table. Lin's estimator with interactions equals a difference of means of outcome − X β̃,
where β̃ = share of control × slopes among the treated + share of treated × slopes among the controls. It
never loses precision in large samples. With a small arm its slopes are mostly noise, and one slope for both
arms (ANCOVA) is used.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aimwell.stats.cuped import find_variance_removed
from aimwell.stats.distribution import LEVEL
from aimwell.stats.effect import Effect
from aimwell.stats.weighting import compare_strata, find_group_moments

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
LEAST_PER_SLOPE = 40
"""Customers in the smaller arm for each slope before slopes may differ between arms."""


@dataclass(frozen=True)
class Adjustment:
    """The adjusted effect on the treated and the plain one; ``residuals`` (n,) are outcome − X β̃."""

    effect: Effect
    plain: Effect
    residuals: Array
    covariates: int

    @property
    def variance_removed(self) -> float:
        """Share of the plain estimate's variance that adjusting took away."""
        return find_variance_removed(self.effect, self.plain)


def compare_with_covariates(
    outcome: Array,
    treated: Flags,
    covariates: Array,
    *,
    groups: NDArray[np.int64] | None = None,
    level: float = LEVEL,
) -> Adjustment:
    """The effect on the treated, adjusted for ``covariates`` (n, p).

    ``groups`` (n,) are codes of customers with the same probability of treatment; one group when omitted.
    Slopes are fitted within groups. BadInput when no group has both arms. A covariate that is constant or
    repeats others is dropped.
    """
    groups = np.zeros(len(outcome), dtype=np.int64) if groups is None else groups
    plain = compare_strata(find_group_moments(outcome, treated, groups), level=level)
    kept = drop_repeated(demean(covariates, groups))
    smaller = min(int(treated.sum()), int((~treated).sum()))
    kept = kept[:, : max(0, (len(outcome) - 4) // 3)]
    slopes, method = _fit_slopes(outcome, treated, kept, groups, smaller)
    residuals = outcome - kept @ slopes
    moments = find_group_moments(residuals, treated, groups)
    effect = compare_strata(moments, level=level, method=method)
    return Adjustment(_widen(effect, level, smaller, kept.shape[1]), plain, residuals, kept.shape[1])


def demean(values: Array, groups: NDArray[np.int64]) -> Array:
    """``values``, shape (n, p), less the mean of each group."""
    codes, inverse = np.unique(groups, return_inverse=True)
    counts = np.bincount(inverse, minlength=len(codes)).astype(np.float64)
    means = (
        np.column_stack(
            [np.bincount(inverse, weights=column, minlength=len(codes)) / counts for column in values.T]
        )
        if values.shape[1]
        else np.zeros((len(codes), 0))
    )
    centred: Array = values - means[inverse]
    return centred


def drop_repeated(values: Array, *, tolerance: float = 1e-6) -> Array:
    """The columns, scaled to unit variance, that are not constant and not a combination of earlier ones."""
    kept: list[Array] = []
    for column in values.T:
        size = float(np.sqrt((column * column).mean())) if len(column) else 0.0
        if size <= 1e-12 * max(1.0, float(np.abs(column).max(initial=0.0))) or size == 0.0:
            continue
        scaled = column / size
        rest = scaled
        if kept:
            basis = np.column_stack(kept)
            rest = scaled - basis @ np.linalg.lstsq(basis, scaled, rcond=None)[0]
        if float((rest * rest).mean()) > tolerance:
            kept.append(scaled)
    return np.column_stack(kept) if kept else np.zeros((len(values), 0))


def _fit_slopes(
    outcome: Array, treated: Flags, covariates: Array, groups: NDArray[np.int64], smaller: int
) -> tuple[Array, str]:
    p = covariates.shape[1]
    if p == 0:
        return np.zeros(0), "welch t, no covariate"
    if smaller < LEAST_PER_SLOPE * (p + 1):
        cells = groups * 2 + treated
        return _fit_within(outcome, covariates, cells), "regression-adjusted (one slope), welch t"
    one, two = (_fit_within(outcome[rows], covariates[rows], groups[rows]) for rows in (treated, ~treated))
    share = float(treated.mean())
    return (1 - share) * one + share * two, "regression-adjusted (Lin), welch t"


def _fit_within(outcome: Array, covariates: Array, cells: NDArray[np.int64]) -> Array:
    centred = demean(outcome[:, None], cells)[:, 0]
    return np.asarray(np.linalg.lstsq(demean(covariates, cells), centred, rcond=None)[0], dtype=np.float64)


def _widen(effect: Effect, level: float, smaller: int, p: int) -> Effect:
    # Residuals are smaller than errors where slopes were fitted: the smaller arm pays for all of them.
    if p == 0 or smaller <= p + 1:
        return effect
    return Effect.from_t(
        effect.estimate,
        standard_error=effect.standard_error * float(np.sqrt((smaller - 1) / (smaller - 1 - p))),
        degrees=max(1.0, effect.degrees - p),
        n_treatment=effect.n_treatment,
        n_control=effect.n_control,
        method=effect.method,
        level=level,
    )
