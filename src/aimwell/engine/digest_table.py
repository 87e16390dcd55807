"""Whole numbers by digest, in memory: which requests were decided, how often a customer was contacted on a day.

Random ids in an index of the database would write a page each; here they are 16 bytes in a table of open addressing
(Knuth 1973, 6.4), filled from a log that is read once at the start and then as far as others have written. Reads and
writes no tables.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numba import njit
from numpy.typing import NDArray

from aimwell.engine.seen_ids import Digests

Integers: TypeAlias = NDArray[np.int64]

_compile = njit(cache=True, nogil=True)
_SMALLEST = 1 << 10
_FULL = 0.6
"""Share of places taken above which the table doubles: more, and searches grow long."""
ABSENT = -1


class DigestTable:
    """Whole numbers by digest, never ``ABSENT``; 24 bytes a place, at most three fifths of them taken."""

    def __init__(self) -> None:
        self._keys = np.zeros((_SMALLEST, 2), dtype=np.uint64)
        self._numbers = np.full(_SMALLEST, ABSENT, dtype=np.int64)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def find(self, digests: Digests) -> Integers:
        """The number of each digest, shape (n,); ``ABSENT`` where there is none."""
        found = np.empty(len(digests), dtype=np.int64)
        _find(self._keys, self._numbers, digests, found)
        return found

    def put(self, digests: Digests, numbers: Integers) -> None:
        """Remember a number for each digest, in place of an earlier one."""
        self._make_room(len(digests))
        self._count += _put(self._keys, self._numbers, digests, numbers, False)

    def add(self, digests: Digests, amount: int = 1) -> None:
        """Add ``amount`` to each digest's number, which begins at 0."""
        self._make_room(len(digests))
        amounts = np.full(len(digests), amount, dtype=np.int64)
        self._count += _put(self._keys, self._numbers, digests, amounts, True)

    def _make_room(self, more: int) -> None:
        size = len(self._numbers)
        if self._count + more <= _FULL * size:
            return
        while self._count + more > _FULL * size:
            size *= 2
        keys, numbers = self._keys, self._numbers
        taken = numbers != ABSENT
        self._keys = np.zeros((size, 2), dtype=np.uint64)
        self._numbers = np.full(size, ABSENT, dtype=np.int64)
        _put(self._keys, self._numbers, keys[taken], numbers[taken], False)


@_compile
def _find(keys, numbers, digests, found) -> None:  # type: ignore[no-untyped-def]
    mask = np.uint64(numbers.shape[0] - 1)
    for i in range(digests.shape[0]):
        place = digests[i, 0] & mask
        while numbers[place] != ABSENT and (
            keys[place, 0] != digests[i, 0] or keys[place, 1] != digests[i, 1]
        ):
            place = (place + np.uint64(1)) & mask
        found[i] = numbers[place]


@_compile
def _put(keys, numbers, digests, values, add) -> int:  # type: ignore[no-untyped-def]
    """How many digests are new."""
    mask, new = np.uint64(numbers.shape[0] - 1), 0
    for i in range(digests.shape[0]):
        place = digests[i, 0] & mask
        while numbers[place] != ABSENT and (
            keys[place, 0] != digests[i, 0] or keys[place, 1] != digests[i, 1]
        ):
            place = (place + np.uint64(1)) & mask
        if numbers[place] == ABSENT:
            keys[place, 0], keys[place, 1] = digests[i, 0], digests[i, 1]
            numbers[place] = values[i]
            new += 1
        elif add:
            numbers[place] += values[i]
        else:
            numbers[place] = values[i]
    return new
