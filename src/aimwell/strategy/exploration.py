"""Thompson sampling with exact probabilities: each action as often as it may be the best. Reads and writes no tables.

Thompson (1933) draws effects from their posteriors and takes the largest. Which action is drawn how often is an
integral over one number, so it is computed here and the action is then drawn from those very probabilities: what is
logged is what was done, to the last digit, and any other policy can be valued from it.
"""

from __future__ import annotations

import numpy as np
from scipy.special import log_ndtr

from aimwell.strategy.problem import Flags, Integers, Reals

POINTS, WEIGHTS = np.polynomial.legendre.leggauss(96)
REACH = 8.0
"""Posterior deviations beyond which nothing is looked for."""
LEAST = 0.01
"""Share that every near-best action has at least, together: weights of a valuation stay bounded."""
CHUNK = 20_000


def find_best_chances(mean: Reals, deviation: Reals, candidate: Flags) -> Reals:
    """Customers × actions: the chance that each candidate is the best of its customer; rows add up to 1.

    Posteriors are independent normal ones; each candidate keeps at least ``LEAST`` ÷ candidates. A row
    without a candidate is all 0.
    """
    chances = np.zeros(mean.shape)
    for begin in range(0, len(mean), CHUNK):
        part = slice(begin, begin + CHUNK)
        chances[part] = _integrate(mean[part], deviation[part], candidate[part])
    count = candidate.sum(axis=1, keepdims=True)
    even = candidate / np.maximum(count, 1)
    return np.asarray((1 - LEAST) * chances + LEAST * even)


def _integrate(mean: Reals, deviation: Reals, candidate: Flags) -> Reals:
    some = candidate.any(axis=1)
    if not np.any(some):
        return np.zeros(mean.shape)
    # An effect that is known exactly still needs a width to be compared with others.
    scale = np.where(candidate, deviation, 0.0).max(axis=1, keepdims=True)
    width = np.maximum(deviation, np.where(scale > 0, 1e-3 * scale, 1.0))
    low = np.where(candidate, mean - REACH * width, -np.inf).max(axis=1)
    high = np.where(candidate, mean + REACH * width, -np.inf).max(axis=1)
    low, high = np.where(some, low, 0.0), np.where(some, high, 1.0)
    # The best is below ``low`` next to never: some candidate lies above it almost surely.
    total = np.zeros(mean.shape)
    for point, weight in zip(POINTS, WEIGHTS, strict=True):
        level = (low + high) / 2 + point * (high - low) / 2
        away = (level[:, None] - mean) / width
        below = np.where(candidate, log_ndtr(away), 0.0)
        density = np.exp(below.sum(axis=1, keepdims=True) - below - away**2 / 2) / width
        total += weight * np.where(candidate, density, 0.0)
    sums = total.sum(axis=1, keepdims=True)
    even = candidate / np.maximum(candidate.sum(axis=1, keepdims=True), 1)
    return np.asarray(np.where(sums > 0, total / np.where(sums > 0, sums, 1.0), even))


def draw_by_chance(chances: Reals, uniforms: Reals) -> Integers:
    """One action for each customer, with exactly its probability; ``uniforms`` in [0, 1), one a customer."""
    edges = np.cumsum(chances, axis=1)
    drawn = np.argmax(edges > (uniforms * edges[:, -1])[:, None], axis=1)
    return np.asarray(drawn, dtype=np.int64)
