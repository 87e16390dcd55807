"""Bayesian linear regression whose coefficients come in blocks, each block with a prior variance of its own.

Blocks that carry no signal get a prior variance near zero and their coefficients shrink away; blocks that do
keep them. The variances are not plugged in but integrated out by Gibbs sampling: a plug-in of zero would claim
certainty that the data do not give, and the intervals would be too short.

Sources: Gelman (2006), "Prior distributions for variance parameters in hierarchical models" (the half-Cauchy);
Makalic and Schmidt (2016), "A simple sampler for the horseshoe estimator" (its inverse-gamma mixture).
Pure: reads and writes no table.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_solve, solve_triangular

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Block:
    """Coefficients ``start`` to ``stop`` (exclusive) that share a prior N(0, sd²).

    ``scale`` is the scale of the half-Cauchy prior of the sd; with ``fixed`` the sd is ``scale`` itself.
    """

    name: str
    start: int
    stop: int
    scale: float
    fixed: bool = False


@dataclass(frozen=True)
class Posterior:
    """What is known of the coefficients: ``mean`` (p), ``covariance`` (p × p), each block's expected sd."""

    mean: Floats
    covariance: Floats
    sds: dict[str, float]


def sample_posterior(
    gram: Floats,
    moment: Floats,
    *,
    blocks: tuple[Block, ...],
    random: np.random.Generator,
    draws: int = 300,
    burn: int = 100,
) -> Posterior:
    """The posterior of β in y ~ N(Zβ, I), from ``gram`` = ZᵀZ (p × p) and ``moment`` = Zᵀy (p).

    Rows must be scaled to unit noise beforehand. Mean and covariance are averages of the exact conditional
    ones over ``draws`` states of the variances, after ``burn`` states that are thrown away.
    """
    width = len(moment)
    variances = np.array([block.scale**2 for block in blocks])
    mixers = variances.copy()
    total, means = np.zeros((width, width)), np.zeros((draws, width))
    kept_sds = np.zeros((draws, len(blocks)))
    for step in range(burn + draws):
        mean, factor = _condition(gram, moment, _spread(variances, blocks, width))
        if step >= burn:
            total += cho_solve((factor, True), np.eye(width))
            means[step - burn], kept_sds[step - burn] = mean, np.sqrt(variances)
        beta = mean + solve_triangular(factor.T, random.standard_normal(width), lower=False)
        _renew(variances, mixers, beta, blocks, random)
    covariance = total / draws + np.cov(means, rowvar=False).reshape(width, width)
    sds = {block.name: float(kept_sds[:, place].mean()) for place, block in enumerate(blocks)}
    return Posterior(means.mean(axis=0), covariance, sds)


def _spread(variances: Floats, blocks: tuple[Block, ...], width: int) -> Floats:
    spread = np.empty(width)
    for variance, block in zip(variances, blocks, strict=True):
        spread[block.start : block.stop] = variance
    return spread


def _condition(gram: Floats, moment: Floats, spread: Floats) -> tuple[Floats, Floats]:
    precision = gram.copy()
    precision[np.diag_indices_from(precision)] += 1 / spread
    factor = np.linalg.cholesky(precision)
    return cho_solve((factor, True), moment), factor


def _renew(
    variances: Floats, mixers: Floats, beta: Floats, blocks: tuple[Block, ...], random: np.random.Generator
) -> None:
    for place, block in enumerate(blocks):
        if block.fixed:
            continue
        part = beta[block.start : block.stop]
        rate = float(part @ part) / 2 + 1 / mixers[place]
        variances[place] = rate / random.gamma((len(part) + 1) / 2)
        # A floor keeps the precision finite where a block has no signal at all.
        variances[place] = max(variances[place], (1e-4 * block.scale) ** 2)
        mixers[place] = (1 / variances[place] + 1 / block.scale**2) / random.gamma(1.0)
