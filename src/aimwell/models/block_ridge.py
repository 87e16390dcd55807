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
            total, count = total + lapack.dpotri(state.factor, lower=1)[0], count + 1
    covariance = _mirror(total) / max(count, 1) + np.cov(means, rowvar=False).reshape(gram.shape)
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
    means = [state.mean for state in _walk(gram, moment, blocks, random, burn + draws)]
    return np.asarray(np.mean(means[burn:], axis=0))


@dataclass(frozen=True)
class _State:
    mean: Floats
    factor: Floats
    """The Cholesky factor of the precision in the lower triangle; the upper one means nothing."""
    variances: Floats


def _walk(
    gram: Floats, moment: Floats, blocks: tuple[Block, ...], random: np.random.Generator, steps: int
) -> Iterator[_State]:
    """The chain: coefficients given variances, variances given coefficients, again and again."""
    width = len(moment)
    scales = np.array([block.scale for block in blocks])
    variances = scales**2
    mixers = variances.copy()
    sizes = np.array([block.stop - block.start for block in blocks])
    owner = np.repeat(np.arange(len(blocks)), sizes)
    free = np.flatnonzero([not block.fixed for block in blocks])
    # For each free block the shape of its variance, then that of its mixer.
    shapes = np.column_stack([(sizes[free] + 1) / 2, np.ones(len(free))])
    diagonal = np.diag_indices(width)
    # LAPACK's own order of cells: it would turn every matrix round and back, which costs as much as its work.
    gram = np.asfortranarray(gram)
    for _ in range(steps):
        precision = gram.copy(order="F")
        precision[diagonal] += 1 / variances[owner]
        factor, fault = lapack.dpotrf(precision, lower=1, clean=0, overwrite_a=1)
        if fault:
            raise np.linalg.LinAlgError("the precision is not positive definite")
        mean = lapack.dpotrs(factor, moment, lower=1)[0]
        yield _State(mean, factor, variances.copy())
        beta = mean + lapack.dtrtrs(factor, random.standard_normal(width), lower=1, trans=1)[0]
        squares = np.bincount(owner, weights=beta * beta, minlength=len(blocks))
        drawn = random.gamma(shapes)
        # A floor keeps the precision finite where a block has no signal at all.
        found = np.maximum((squares / 2 + 1 / mixers)[free] / drawn[:, 0], (1e-4 * scales[free]) ** 2)
        variances[free] = found
        mixers[free] = (1 / found + 1 / scales[free] ** 2) / drawn[:, 1]


def _mirror(lower: Floats) -> Floats:
    """The symmetric matrix of which ``lower`` has the lower triangle."""
    return np.asarray(np.tril(lower) + np.tril(lower, -1).T)
