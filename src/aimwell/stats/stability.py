"""Has a distribution changed between two deliveries? The population stability index with its sampling distribution.

PSI = Σ (q − p) ln(q / p) over bins. Where nothing changed, PSI · n·m/(n + m) is χ² with bins − 1 degrees
(Yurdakul 2018), which the usual limits of 0.1 and 0.25 ignore: with few rows they alarm by chance, with many they are
the only ones that matter. A change must be both unlikely by chance and large. Reads and writes no table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log

from aimwell.stats.distribution import find_chi_square_p_value

MODERATE = 0.1
LARGE = 0.25


@dataclass(frozen=True)
class Shift:
    """The index, how likely it is by chance, and where the share changed most (a bin and its change)."""

    index: float
    p_value: float
    place: int
    change: float


def find_shift(before: Sequence[int], after: Sequence[int]) -> Shift:
    """Compare counts by bin (as many of both); bins empty in both are left out, half a row is added to each."""
    kept = [number for number in range(len(before)) if before[number] + after[number]]
    if len(kept) < 2 or not sum(before) or not sum(after):
        return Shift(0.0, 1.0, 0, 0.0)
    n, m = sum(before), sum(after)
    index, place, change = 0.0, kept[0], 0.0
    for number in kept:
        p = (before[number] + 0.5) / (n + 0.5 * len(kept))
        q = (after[number] + 0.5) / (m + 0.5 * len(kept))
        index += (q - p) * log(q / p)
        if abs(q - p) > abs(change):
            place, change = number, q - p
    return Shift(index, find_chi_square_p_value(index * n * m / (n + m), len(kept) - 1), place, change)


def find_vanished(share: float, rows: int) -> float:
    """How likely it is by chance that a category of ``share`` is not once among ``rows`` rows."""
    return exp(-share * rows)
