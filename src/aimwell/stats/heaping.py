"""Numbers that people round or invent: too many at round values, against the smooth neighbourhood of those values.

A smooth density has as many values at 30 as a cubic through its neighbours 28, 29, 31 and 32 says, wherever it
rises or falls: E = (−n₋₂ + 4 n₋₁ + 4 n₊₁ − n₊₂) / 6. Summed over all round values, observed less expected has under
smoothness the variance of Poisson counts, E + (n₋₂ + 16 n₋₁ + 16 n₊₁ + n₊₂) / 36. The same comparison serves repeated
digits (777, 8888). Reads and writes no table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from aimwell.stats.distribution import (
    find_binomial_p_value,
    find_chi_square_p_value,
    find_normal_probability,
)

LEAST_EXPECTED = 5.0


@dataclass(frozen=True)
class Heap:
    """How many values stand at the round ones, how many should, and how likely that excess is by chance."""

    observed: int
    expected: float
    p_value: float

    @property
    def excess(self) -> int:
        """Values too many, at least 0."""
        return max(0, round(self.observed - self.expected))


def find_heap(at: int, neighbours: Sequence[int]) -> Heap:
    """``at``: values at round numbers; ``neighbours``: those 2 below, 1 below, 1 above, 2 above. One-sided.

    Where fewer than ``LEAST_EXPECTED`` are expected the count of the neighbours says too little, and p is 1 unless
    the neighbours together are many.
    """
    far_below, below, above, far_above = neighbours
    expected = max((-far_below + 4 * below + 4 * above - far_above) / 6, 0.0)
    variance = expected + (far_below + 16 * below + 16 * above + far_above) / 36
    if sum(neighbours) < 4 * LEAST_EXPECTED or variance <= 0:
        return Heap(at, expected, 1.0)
    smooth = find_normal_probability(-(at - expected - 0.5) / sqrt(variance))
    # Small counts are skewed, so that the normal tail is too thin: one of five equal places, exactly, is the floor.
    exact = find_binomial_p_value(at, at + sum(neighbours), 0.2) if at > expected else 1.0
    return Heap(at, expected, max(smooth, exact))


def find_digit_p_value(counts: Sequence[int]) -> float:
    """χ² of ten last digits against equal shares: only for numbers that spread over many tens; 1 for too few."""
    total = sum(counts)
    expected = total / len(counts)
    if expected < LEAST_EXPECTED:
        return 1.0
    statistic = sum((count - expected) ** 2 / expected for count in counts)
    return find_chi_square_p_value(statistic, len(counts) - 1)
