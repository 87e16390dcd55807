"""Which message ids were taken in during the last days: sorted digests in memory, backed by ``hot_digests``.

An index of random ids in the database would dirty a page per id, which at millions of ids costs most of the
throughput. Here the database only ever appends a batch's digests, and every process keeps them sorted in memory in
a few runs whose lengths grow geometrically (O'Neil et al. 1996, the log-structured merge tree): 16 bytes an id.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

Digests = NDArray[np.uint64]
"""Shape (n, 2): the two halves of each digest."""


def digest_ids(ids: Sequence[str]) -> Digests:
    """128 bits of each id, shape (n, 2)."""
    packed = b"".join([blake2b(text.encode(), digest_size=16).digest() for text in ids])
    return unpack_digests(packed)


def unpack_digests(packed: bytes) -> Digests:
    """Digests as the database keeps them, shape (n, 2)."""
    return np.frombuffer(packed, dtype="<u8").reshape(-1, 2).astype(np.uint64, copy=False)


def pack_digests(digests: Digests) -> bytes:
    """The form in which the database keeps digests."""
    return np.ascontiguousarray(digests, dtype="<u8").tobytes()


class SeenIds:
    """A set of digests that only grows."""

    def __init__(self) -> None:
        self._runs: list[Digests] = []

    def __len__(self) -> int:
        return sum(len(run) for run in self._runs)

    def add(self, digests: Digests) -> None:
        """Take digests in; what is there already may come again."""
        if not len(digests):
            return
        self._runs.append(digests[np.argsort(digests[:, 0], kind="stable")])
        while len(self._runs) > 1 and len(self._runs[-2]) < 2 * len(self._runs[-1]):
            merged = np.concatenate([self._runs.pop(), self._runs.pop()])
            self._runs.append(merged[np.argsort(merged[:, 0], kind="stable")])

    def find(self, digests: Digests) -> NDArray[np.bool_]:
        """For each digest whether it is in the set, shape (n,)."""
        found = np.zeros(len(digests), dtype=np.bool_)
        for run in self._runs:
            start = np.searchsorted(run[:, 0], digests[:, 0])
            for row in np.flatnonzero(run[np.minimum(start, len(run) - 1), 0] == digests[:, 0]):
                found[row] |= _is_among(run, int(start[row]), digests[row])
        return found


def find_repeats(digests: Digests) -> NDArray[np.bool_]:
    """For each digest whether an equal one stands before it, shape (n,)."""
    repeated = np.zeros(len(digests), dtype=np.bool_)
    order = np.lexsort((digests[:, 1], digests[:, 0]))
    arranged = digests[order]
    repeated[order[1:]] = (arranged[1:] == arranged[:-1]).all(axis=1)
    return repeated


def _is_among(run: Digests, place: int, digest: Digests) -> bool:
    # Two ids that share their first 64 bits stand beside each other in the run.
    while place < len(run) and run[place, 0] == digest[0]:
        if run[place, 1] == digest[1]:
            return True
        place += 1
    return False
