"""From pairs to persons: who is joined, given what every pair weighs.

A chain of likenesses must not join strangers: the strongest pairs join first, and two groups become one only
if all that is known between them speaks for it on balance. Between two tables, each record has at most one
partner. Reads and writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MOST_FOR = 8.0
MOST_AGAINST = 3.0
"""Beyond these bits a pair counts no more when groups are weighed: in dirty data one garbled record would otherwise
outvote several clear agreements, and slips in one record come together more often than the model believes."""


def find_components(size: int, left: Integers, right: Integers) -> Integers:
    """The component of each of ``size`` records, named by its smallest member."""
    graph = coo_matrix((np.ones(len(left), dtype=np.int8), (left, right)), shape=(size, size))
    _, labels = connected_components(graph, directed=False)
    first = np.full(labels.max(initial=-1) + 1, size, dtype=np.int64)
    np.minimum.at(first, labels, np.arange(size))
    return np.asarray(first[labels], dtype=np.int64)


def join_groups(
    size: int,
    left: Integers,
    right: Integers,
    weight: Floats,
    *,
    least: float,
    sides: Integers | None = None,
    forbidden: Iterable[tuple[int, int]] = (),
) -> NDArray[np.bool_]:
    """Which pairs join their records: strongest first, where the groups' pairs have a positive mean weight.

    ``weight`` is log2 of the odds; pairs below ``least`` start nothing. With ``sides`` no group holds two records of
    one side. A ``forbidden`` pair never comes into one group.
    """
    held = np.zeros(len(left), dtype=bool)
    capped = np.clip(weight, -MOST_AGAINST, MOST_FOR)
    groups = _Groups(size, left, right, capped, forbidden, sides)
    strong = np.flatnonzero(weight >= least)
    # Among pairs of one weight the smaller places go first, so that the answer depends on nothing else.
    for pair in strong[np.lexsort((right[strong], left[strong], -weight[strong]))].tolist():
        held[pair] = groups.try_join(int(left[pair]), int(right[pair]))
    return held


class _Groups:
    """Disjoint sets with, for each, the sum and number of weights towards every neighbouring set."""

    def __init__(
        self,
        size: int,
        left: Integers,
        right: Integers,
        weight: Floats,
        forbidden: Iterable[tuple[int, int]],
        sides: Integers | None,
    ) -> None:
        self._parent = list(range(size))
        self._between: dict[int, dict[int, tuple[float, int]]] = {}
        for one, other, bits in zip(left.tolist(), right.tolist(), weight.tolist(), strict=True):
            self._between.setdefault(one, {})[other] = (bits, 1)
            self._between.setdefault(other, {})[one] = (bits, 1)
        self._apart: dict[int, set[int]] = {}
        for one, other in forbidden:
            self._apart.setdefault(one, set()).add(other)
            self._apart.setdefault(other, set()).add(one)
        self._sides = None if sides is None else [{int(side)} for side in sides]

    def find(self, record: int) -> int:
        while self._parent[record] != record:
            self._parent[record] = self._parent[self._parent[record]]
            record = self._parent[record]
        return record

    def try_join(self, one: int, other: int) -> bool:
        """Join the groups of two records; True if they are in one group afterwards."""
        one, other = self.find(one), self.find(other)
        if one == other:
            return True
        if other in self._apart.get(one, ()):
            return False
        if self._sides is not None and self._sides[one] & self._sides[other]:
            return False
        total, _ = self._between.get(one, {}).get(other, (0.0, 0))
        if total <= 0:
            return False
        self._merge(one, other)
        return True

    def _merge(self, one: int, other: int) -> None:
        if len(self._between.get(one, ())) < len(self._between.get(other, ())):
            one, other = other, one
        self._parent[other] = one
        if self._sides is not None:
            self._sides[one] |= self._sides[other]
        near = self._between.setdefault(one, {})
        near.pop(other, None)
        for third, (bits, count) in self._between.pop(other, {}).items():
            if third == one:
                continue
            had, number = near.get(third, (0.0, 0))
            near[third] = (had + bits, number + count)
            theirs = self._between[third]
            theirs.pop(other, None)
            theirs[one] = near[third]
        for third in self._apart.pop(other, set()):
            self._apart.setdefault(one, set()).add(third)
            self._apart[third].discard(other)
            self._apart[third].add(one)
