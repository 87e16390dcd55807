"""Ordinary least squares with errors that hold: classical, HC2, HC3, and clustered CR1 and CR2.

Reads and writes no table. HC2/HC3: MacKinnon and White (1985). CR2 with Satterthwaite's degrees of freedom:
Bell and McCaffrey (2002), Pustejovsky and Tipton (2018): right also for few and unequal clusters, where CR1
is too narrow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from aimwell.core.errors import BadInput
from aimwell.core.text import say
from aimwell.stats.distribution import LEVEL
from aimwell.stats.effect import Effect
from aimwell.stats.moments import require_values

Array = NDArray[np.float64]
Kind = Literal["classical", "HC2", "HC3"]
ClusterKind = Literal["CR1", "CR2"]


@dataclass(frozen=True)
class Fit:
    """A least-squares fit: coefficients (p,), residuals (n,), the design (n, p) and (X'X)⁻¹ (p, p)."""

    coefficients: Array
    residuals: Array
    design: Array
    bread: Array

    @property
    def degrees(self) -> int:
        """n − p."""
        return len(self.residuals) - len(self.coefficients)

    @property
    def leverages(self) -> Array:
        """The diagonal of the hat matrix, shape (n,)."""
        hat: Array = np.einsum("ij,jk,ik->i", self.design, self.bread, self.design)
        return np.clip(hat, 0.0, 1.0)


@dataclass(frozen=True)
class Coefficient:
    """One coefficient with its standard error and degrees of freedom."""

    estimate: float
    standard_error: float
    degrees: float


def fit_least_squares(outcome: Array, design: Array) -> Fit:
    """Fit ``outcome`` (n,) on ``design`` (n, p); BadInput when n ≤ p or a column repeats the others."""
    require_values(outcome, design.shape[1] + 1)
    # Columns are brought to one scale first, so that money beside shares does not look like a repeated
    # column.
    scale = np.sqrt((design * design).sum(axis=0))
    scaled = design / np.where(scale > 0, scale, 1.0)
    if np.linalg.matrix_rank(scaled) < design.shape[1]:
        raise BadInput(
            "stats.collinear",
            say("A column of the regression is constant or repeats the others."),
            remedy=say("Leave that column out."),
        )
    inverse = np.linalg.inv(scaled.T @ scaled)
    coefficients = inverse @ (scaled.T @ outcome) / scale
    return Fit(coefficients, outcome - design @ coefficients, design, inverse / np.outer(scale, scale))


def find_covariance(fit: Fit, kind: Kind = "HC2") -> Array:
    """The coefficients' covariance, shape (p, p), without clustering."""
    if kind == "classical":
        return fit.bread * float(fit.residuals @ fit.residuals) / fit.degrees
    power = 1.0 if kind == "HC2" else 2.0
    weights = fit.residuals**2 / np.maximum(1 - fit.leverages, 1e-10) ** power
    return fit.bread @ ((fit.design * weights[:, None]).T @ fit.design) @ fit.bread


def read_coefficient(fit: Fit, index: int, kind: Kind = "HC2") -> Coefficient:
    """Coefficient number ``index`` with n − p degrees of freedom."""
    variance = float(find_covariance(fit, kind)[index, index])
    return Coefficient(float(fit.coefficients[index]), math.sqrt(max(0.0, variance)), float(fit.degrees))


def read_clustered_coefficient(
    fit: Fit, index: int, clusters: NDArray[np.int64], kind: ClusterKind = "CR2"
) -> Coefficient:
    """Coefficient number ``index`` with errors free to correlate within ``clusters`` (codes, shape (n,)).

    BadInput with fewer than two clusters.
    """
    order = np.argsort(clusters, kind="stable")
    starts = np.flatnonzero(np.diff(clusters[order], prepend=clusters[order][0] - 1))
    groups = np.split(order, starts[1:])
    if len(groups) < 2:
        raise BadInput(
            "stats.one_cluster",
            say("All rows are in one cluster, so nothing can be said about variation between clusters."),
            remedy=say("Choose a column with at least two values, or leave the clusters out."),
        )
    if kind == "CR1":
        return _read_cr1(fit, index, groups)
    return _read_cr2(fit, index, groups)


def compare_by_regression(
    outcome: Array, treated: NDArray[np.bool_], *, kind: Kind = "classical", level: float = LEVEL
) -> Effect:
    """The difference of two arms as a regression on the arm; ``classical`` is Student's pooled interval."""
    coefficient = read_coefficient(_fit_arms(outcome, treated), 1, kind)
    return _make_effect(coefficient, treated, f"ols, {kind}", level)


def compare_by_clusters(
    outcome: Array,
    treated: NDArray[np.bool_],
    clusters: NDArray[np.int64],
    *,
    kind: ClusterKind = "CR2",
    level: float = LEVEL,
) -> Effect:
    """The same difference with errors clustered, for arms drawn by village, store or team."""
    coefficient = read_clustered_coefficient(_fit_arms(outcome, treated), 1, clusters, kind)
    return _make_effect(coefficient, treated, f"ols, clustered {kind}", level)


def _fit_arms(outcome: Array, treated: NDArray[np.bool_]) -> Fit:
    return fit_least_squares(outcome, np.column_stack([np.ones(len(outcome)), treated.astype(np.float64)]))


def _make_effect(coefficient: Coefficient, treated: NDArray[np.bool_], method: str, level: float) -> Effect:
    count = int(treated.sum())
    return Effect.from_t(
        coefficient.estimate,
        standard_error=coefficient.standard_error,
        degrees=coefficient.degrees,
        n_treatment=count,
        n_control=len(treated) - count,
        method=method,
        level=level,
    )


def _read_cr1(fit: Fit, index: int, groups: list[NDArray[np.intp]]) -> Coefficient:
    direction = fit.bread[index]
    sums = np.array([direction @ fit.design[rows].T @ fit.residuals[rows] for rows in groups])
    n, p = fit.design.shape
    count = len(groups)
    factor = count / (count - 1) * (n - 1) / (n - p)
    error = math.sqrt(factor * float(sums @ sums))
    return Coefficient(float(fit.coefficients[index]), error, float(count - 1))


def _read_cr2(fit: Fit, index: int, groups: list[NDArray[np.intp]]) -> Coefficient:
    adjusted = [_adjust_cluster(fit.design[rows], fit.bread) @ fit.bread[index] for rows in groups]
    sums = np.array([a @ fit.residuals[rows] for a, rows in zip(adjusted, groups, strict=True)])
    # Under independent errors the estimator is Σ (p_g'ε)², with p_g'p_h as below: hence its degrees of
    # freedom.
    crossed = np.array([a @ fit.design[rows] for a, rows in zip(adjusted, groups, strict=True)])
    gamma = np.diag([float(a @ a) for a in adjusted]) - crossed @ fit.bread @ crossed.T
    degrees = float(np.trace(gamma) ** 2 / (gamma * gamma).sum()) if gamma.any() else math.inf
    return Coefficient(float(fit.coefficients[index]), math.sqrt(float(sums @ sums)), degrees)


def _adjust_cluster(rows: Array, bread: Array) -> Array:
    # (I − H_gg)^(−1/2) X_g by way of a p × p matrix: X_g = QR, H_gg = Q S Q' with S = R bread R'.
    q, r = np.linalg.qr(rows)
    values, vectors = np.linalg.eigh(r @ bread @ r.T)
    # A cluster that alone decides a coefficient has an eigenvalue of 1: the pseudo-inverse leaves it out.
    left = 1 - values
    roots = np.where(left > 1e-10, 1 / np.sqrt(np.maximum(left, 1e-10)), 0.0)
    adjusted: Array = q @ (vectors * roots) @ vectors.T @ r
    return adjusted
