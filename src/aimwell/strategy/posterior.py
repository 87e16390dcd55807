"""What is believed of each customer's effects once their noise is taken into account: joint posteriors.

Reads and writes no tables. Estimates of one customer's actions share causes (the customer's size, a liking for one
offer), so each of them says something about the others. Their distribution over customers is learnt from the
estimates themselves (empirical Bayes): a mixture of normal distributions over all actions jointly, so that
sizes may be skewed and customers may be of different kinds. Fitted by extreme deconvolution, an EM
that knows each estimate's own standard error (Bovy, Hogg & Roweis 2011); mixtures of covariances
for many effects at once are due to Urbut, Wang, Carbonetto & Stephens (2019, "mash").

An optimum over posterior means has no winner's curse as far as the distribution is right: what is expected of a
pair given all estimates does not change because the pair was chosen by those estimates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from aimwell.core.seeds import generator
from aimwell.stats.shrinkage import shrink_effects
from aimwell.strategy.inputs import refuse_effects
from aimwell.strategy.problem import Reals

FITTED = 1500
"""Customers from whom the distribution is learnt; more change it little and cost time in proportion."""
SIZES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Customers differ in size, and effects on money with them: the same distribution, so many times as large."""
ROUNDS = 12
CHUNK = 4_000
UNKNOWN = 1e6
"""Times the spread of the estimates: the noise of an effect of which nothing is known."""
LEAST_SPREAD = 0.01
"""Of the largest spread: less than that EM could not leave again."""
LEAST_ROOT = 1e-3
"""Of a correlation matrix's eigenvalues."""
LEAST_NOISE = 1e-4
"""Times the spread: below it an estimate is as good as known, and matrices would become singular."""


@dataclass(frozen=True)
class EffectPrior:
    """How true effects are distributed over customers: a mixture over sizes s of N(base + s·slope, s²·covariance)."""

    weights: Reals
    """Sizes: their shares of the customers; the sizes are ``SIZES``."""
    base: Reals
    """Actions; the unit of the estimates."""
    slope: Reals
    """Actions."""
    covariance: Reals
    """Actions × actions, at size 1."""

    @property
    def means(self) -> Reals:
        """Sizes × actions."""
        return self.base + np.asarray(SIZES)[:, None] * self.slope


@dataclass(frozen=True)
class Posterior:
    """Posterior means and standard deviations, customers × actions, in the unit of the estimates."""

    mean: Reals
    deviation: Reals

    def lower(self, caution: float) -> Reals:
        """The mean less ``caution`` ≥ 0 deviations: what a careful plan counts on."""
        return self.mean - caution * self.deviation


def fit_prior(estimate: Reals, standard_error: Reals, *, seed: int = 0) -> EffectPrior:
    """Learn the distribution of true effects; both customers × actions, NaN estimates: not known.

    ``seed`` draws the customers from whom it is learnt, when there are many. Raises BadInput when nothing is known
    or an error is negative or not finite.
    """
    chosen = _sample(len(estimate), seed)
    values, noise, scale, centre = _standardise(estimate, standard_error)
    values, noise = values[chosen], noise[chosen]
    prior = _start(values, noise, -centre / scale)
    for _ in range(ROUNDS):
        prior = _improve(prior, values, noise)
    prior = replace(prior, covariance=_shrink_covariance(prior.covariance, noise))
    outer = scale[:, None] * scale[None, :]
    return EffectPrior(
        prior.weights, centre + prior.base * scale, prior.slope * scale, prior.covariance * outer
    )


def find_posterior(prior: EffectPrior, estimate: Reals, standard_error: Reals) -> Posterior:
    """Posteriors of every pair given all estimates of its customer, whose errors are independent of each other."""
    peak = max(SIZES) * np.sqrt(np.diag(prior.covariance))
    peak = np.where(peak > 0, peak, 1.0)
    known = np.isfinite(estimate)
    values = np.where(known, estimate, prior.weights @ prior.means)
    noise = np.where(known, np.maximum(standard_error, LEAST_NOISE * peak), UNKNOWN * peak) ** 2
    mean, variance = np.empty_like(values), np.empty_like(values)
    for begin in range(0, len(values), CHUNK):
        part = slice(begin, begin + CHUNK)
        given = _condition(prior, values[part], noise[part])
        mean[part] = np.einsum("kn,kna->na", given.weights, given.means)
        second = np.einsum("kn,kna->na", given.weights, given.variances + given.means**2)
        variance[part] = np.maximum(second - mean[part] ** 2, 0.0)
    return Posterior(mean, np.sqrt(variance))


def _sample(customers: int, seed: int) -> NDArray[np.int64]:
    if customers <= FITTED:
        return np.arange(customers)
    return np.sort(generator(seed, "strategy", "posterior").choice(customers, FITTED, replace=False))


def _standardise(estimate: Reals, standard_error: Reals) -> tuple[Reals, Reals, Reals, Reals]:
    """Estimates and noise variances in units of each action's spread, and that unit and centre."""
    known = np.isfinite(estimate)
    if not np.any(known):
        raise refuse_effects("estimate")
    if not np.all(np.isfinite(standard_error[known])) or np.any(standard_error[known] < 0):
        raise refuse_effects("standard_error")
    count = np.maximum(known.sum(axis=0), 1)
    centre = np.where(known, estimate, 0.0).sum(axis=0) / count
    scale = np.sqrt((np.where(known, estimate - centre, 0.0) ** 2).sum(axis=0) / count)
    scale = np.where(scale > 0, scale, 1.0)
    values = np.where(known, (estimate - centre) / scale, 0.0)
    noise = np.where(known, np.maximum(standard_error / scale, LEAST_NOISE), UNKNOWN)
    return values, noise**2, scale, centre


def _start(values: Reals, noise: Reals, zero: Reals) -> EffectPrior:
    """By moments: what is spread beyond the noise, as far as may be by customers' sizes; ``zero``: no effect."""
    weight = 1 / (1 + noise)
    mean = (weight * values).sum(axis=0) / weight.sum(axis=0)
    centred = weight * (values - mean)
    spread = centred.T @ centred / (weight.T @ weight)
    spread -= np.diag((weight**2 * noise).sum(axis=0) / (weight**2).sum(axis=0))
    spread = _keep_positive(spread, LEAST_SPREAD * max(float(np.diag(spread).max()), LEAST_SPREAD))
    sizes = np.asarray(SIZES)
    weights = np.exp(-(np.log(sizes) ** 2))
    weights /= weights.sum()
    average, square = float(weights @ sizes), float(weights @ sizes**2)
    # Sizes must not be thought to spread the effects more than they are spread.
    most = np.sqrt(np.diag(spread) / (2 * (square - average**2)))
    slope = np.clip((mean - zero) / average, -most, most)
    rest = spread - (square - average**2) * np.outer(slope, slope)
    rest = _keep_positive(rest, LEAST_SPREAD * float(np.diag(spread).max()))
    return EffectPrior(weights, mean - average * slope, slope, rest / square)


def _keep_positive(matrix: Reals, least: float) -> Reals:
    """The nearest symmetric matrix whose eigenvalues are at least ``least``."""
    roots, vectors = np.linalg.eigh(matrix)
    return np.asarray((vectors * np.maximum(roots, least)) @ vectors.T)


@dataclass(frozen=True)
class _Given:
    """What is believed given the estimates, inside each size."""

    weights: Reals
    """Sizes × customers: the chance of each size."""
    means: Reals
    variances: Reals
    """Both sizes × customers × actions."""
    spreads: Reals
    """Sizes × actions × actions: the posterior covariances, summed over customers by their chance."""


def _improve(prior: EffectPrior, values: Reals, noise: Reals) -> EffectPrior:
    """One round of EM."""
    given = _condition(prior, values, noise, whole=False)
    sizes, share = np.asarray(SIZES), given.weights.sum(axis=1)
    sums = np.einsum("kn,kna->ka", given.weights, given.means)
    # Least squares of the believed effects on the size, in which a size's errors grow with it.
    pull = share / sizes**2
    matrix = np.array([[pull.sum(), pull @ sizes], [pull @ sizes, share.sum()]])
    target = np.stack([(sums / sizes[:, None] ** 2).sum(axis=0), (sums / sizes[:, None]).sum(axis=0)])
    base, slope = np.linalg.lstsq(matrix, target, rcond=1e-9)[0]
    away = given.means - (base + sizes[:, None] * slope)[:, None, :]
    away *= np.sqrt(given.weights)[:, :, None] / sizes[:, None, None]
    flat = away.reshape(-1, values.shape[1])
    total = flat.T @ flat + np.einsum("kab,k->ab", given.spreads, 1 / sizes**2)
    return EffectPrior(share / len(values), base, slope, total / len(values))


def _shrink_covariance(covariance: Reals, noise: Reals) -> Reals:
    """Draw the spreads, and the correlations, to their means as far as their own noise says: hundreds from few."""
    actions, deviation = len(covariance), np.sqrt(np.diag(covariance))
    if actions < 3 or not np.all(deviation > 0):
        return covariance
    pairs = np.triu_indices(actions, 1)
    correlation = np.clip((covariance / np.outer(deviation, deviation))[pairs], -1, 1)
    # A correlation of estimates has the error 1 ÷ √n; dividing by their reliability makes it one of true effects.
    trust = np.mean(1 / (1 + noise / np.diag(covariance)), axis=0)
    error = (1 - correlation**2 / 2) / np.sqrt(len(noise) * trust[pairs[0]] * trust[pairs[1]])
    shrunken = np.eye(actions)
    shrunken[pairs] = shrink_effects(correlation, error).means
    shrunken = _keep_positive(shrunken + shrunken.T - np.eye(actions), LEAST_ROOT)
    spread = shrink_effects(np.log(deviation), 1 / (np.sqrt(2 * len(noise)) * trust))
    return np.asarray(shrunken * np.exp(spread.means[:, None] + spread.means[None, :]))


def _condition(prior: EffectPrior, values: Reals, noise: Reals, *, whole: bool = True) -> _Given:
    # Customers with the same noise need one matrix.
    patterns, place = np.unique(noise, axis=0, return_inverse=True)
    place = place.ravel()
    actions = values.shape[1]
    shape = (len(SIZES), *values.shape)
    means, variances, log = np.empty(shape), np.zeros(shape), np.empty(shape[:2])
    inverses = []
    several = len(patterns) > 1
    for k, (size, centre) in enumerate(zip(SIZES, prior.means, strict=True)):
        spread = size**2 * prior.covariance
        total = spread + patterns[:, :, None] * np.eye(actions)
        inverse = np.linalg.inv(total)
        inverses.append(inverse)
        away = values - centre
        pulled = np.matmul(inverse[place], away[:, :, None])[:, :, 0] if several else away @ inverse[0]
        means[k] = centre + pulled @ spread
        if whole:
            gained = ((spread @ inverse) * spread).sum(axis=2)
            variances[k] = (np.diag(spread) - gained)[place]
        level = np.linalg.slogdet(total)[1][place]
        log[k] = np.log(max(float(prior.weights[k]), 1e-300)) - 0.5 * (
            level + np.einsum("na,na->n", away, pulled)
        )
    weights = np.exp(log - log.max(axis=0))
    weights /= weights.sum(axis=0)
    spreads = np.empty((len(SIZES), actions, actions))
    for k, size in enumerate(SIZES):
        spread = size**2 * prior.covariance
        mass = np.bincount(place, weights[k], len(patterns))
        summed = np.tensordot(mass, inverses[k], axes=1)
        spreads[k] = weights[k].sum() * spread - spread @ summed @ spread
    return _Given(weights, means, variances, spreads)
