"""Bayesian linear regression whose coefficients come in blocks, each block with a prior variance of its own.

Blocks that carry no signal get a prior variance near zero and their coefficients shrink away; blocks that do
keep them. The variances are not plugged in but integrated out by Gibbs sampling: a plug-in of zero would claim
certainty that the data do not give, and the intervals would be too short.

Sources: Gelman (2006), "Prior distributions for variance parameters in hierarchical models" (the half-Cauchy);
Makalic and Schmidt (2016), "A simple sampler for the horseshoe estimator" (its inverse-gamma mixture).
Pure: reads and writes no table.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

Floats = NDArray[np.float64]

THIN = 3


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
    states = _walk(gram, moment, blocks, random, burn + draws)
    total, count = np.zeros_like(gram), 0
    means, sds = np.zeros((draws, len(moment))), np.zeros((draws, len(blocks)))
    for step, state in enumerate(states):
        if step < burn:
            continue
        means[step - burn], sds[step - burn] = state.mean, np.sqrt(state.variances)
        if step % THIN == 0:
            # The conditional covariance changes slowly from state to state, and inverting is what costs.
            total, count = total + _invert(state.factor), count + 1
    covariance = total / max(count, 1) + np.cov(means, rowvar=False).reshape(gram.shape)
    averages = {block.name: float(sds[:, place].mean()) for place, block in enumerate(blocks)}
    return Posterior(means.mean(axis=0), covariance, averages)


def average_posterior(
    gram: Floats,
    moment: Floats,
    *,
    blocks: tuple[Block, ...],
    random: np.random.Generator,
    draws: int = 150,
    burn: int = 50,
) -> Floats:
    """Only the mean (p) of ``sample_posterior``, at a third of its cost."""
    states = list(_walk(gram, moment, blocks, random, burn + draws))[burn:]
    return np.asarray(np.mean([state.mean for state in states], axis=0))


@dataclass(frozen=True)
class _State:
    mean: Floats
    factor: Floats
    variances: Floats


def _walk(
    gram: Floats, moment: Floats, blocks: tuple[Block, ...], random: np.random.Generator, steps: int
) -> Iterator[_State]:
    """The chain: coefficients given variances, variances given coefficients, again and again."""
    width = len(moment)
    variances = np.array([block.scale**2 for block in blocks])
    mixers = variances.copy()
    sizes = [block.stop - block.start for block in blocks]
    diagonal = np.diag_indices(width)
    for _ in range(steps):
        precision = gram.copy()
        precision[diagonal] += 1 / np.repeat(variances, sizes)
        factor, fault = lapack.dpotrf(precision, lower=1)
        if fault:
            raise np.linalg.LinAlgError("the precision is not positive definite")
        mean = lapack.dpotrs(factor, moment, lower=1)[0]
        yield _State(mean, factor, variances.copy())
        beta = mean + lapack.dtrtrs(factor, random.standard_normal(width), lower=1, trans=1)[0]
        _renew(variances, mixers, beta, blocks, random)


def _invert(factor: Floats) -> Floats:
    lower = np.tril(lapack.dpotri(factor, lower=1)[0])
    return np.asarray(lower + np.tril(lower, -1).T)


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
