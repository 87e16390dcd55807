"""How the errors of effects move together: what customers and actions share, and what is each pair's own.

Effects of all customers are learnt from the same few coefficients, so their errors do not cancel in a sum. A model can
say how they move together (``JointErrors``): in each cell (an action, and a group of customers whose effects are alike)
a pair's error is its standard error × (loading · common factors + an own part). Where no model says it, errors of one
action are taken to move all together, those of different actions to be independent. Reads and writes no tables.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aimwell.strategy.problem import Integers, Reals


@dataclass(frozen=True, eq=False)
class JointErrors:
    """Which cell a pair is in, and what a cell shares with the others."""

    group: Integers
    """Customers × actions: the pair's group, from 0; the cell is action × groups + group."""
    loading: Reals
    """Cells × factors; the squares of a row add up to at most 1, and the rest is the pair's own."""

    @property
    def groups(self) -> int:
        """Groups of each action."""
        return len(self.loading) // max(int(self.group.shape[1]), 1)

    def find_cells(self, customer: Integers, action: Integers) -> Integers:
        """The cell of each pair."""
        return np.asarray(action * self.groups + self.group[customer, action], dtype=np.int64)


@dataclass(frozen=True, eq=False)
class SummedErrors:
    """The error of a sum of effects; money. Its variance is ``common`` · ``common`` + ``own``."""

    common: Reals
    """By factor: what moves together, with its sign."""
    own: float
    """Variance of what belongs to single pairs."""

    @property
    def spread(self) -> float:
        """Standard error of the sum."""
        return float(np.sqrt(self.common @ self.common + self.own))


def sum_errors(
    joint: JointErrors | None, error: Reals, customer: Integers, action: Integers, actions: int
) -> SummedErrors:
    """The error of the sum over pairs whose standard errors are ``error``; ``actions``: how many there are."""
    if joint is None:
        return SummedErrors(np.bincount(action, error, actions).astype(np.float64), 0.0)
    cells = joint.find_cells(customer, action)
    common = np.bincount(cells, error, len(joint.loading)) @ joint.loading
    return SummedErrors(np.asarray(common), float(np.sum(error**2 * find_own_shares(joint, cells))))


def find_own_shares(joint: JointErrors, cells: Integers) -> Reals:
    """Share of each pair's error variance that no other pair has."""
    return np.asarray(np.maximum(1 - np.sum(joint.loading**2, axis=1), 0.0)[cells])
