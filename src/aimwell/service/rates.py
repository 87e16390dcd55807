"""How often a key may ask: a bucket of tokens for each. Reads and writes no table.

The only process of a service has the buckets in its memory. Several of one machine have them in a file that they all
map into theirs, so that a key may ask all of them together as often as one: whoever's connections all went to one
process may still use the whole rate there, and whoever asks several has no more of it.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Protocol

from aimwell.service.sharing import find_folder

SECONDS = 2.0
"""So much of its rate a key may use at once."""
_BUCKET = struct.Struct("=Qdd")
"""Whose it is, its tokens, and since when it has them."""
_TOGETHER, _GROUPS = 8, 1_024
_GROUP = _TOGETHER * _BUCKET.size


class Limits(Protocol):
    """What lets a key in so often."""

    def take(self, name: str, rate: float) -> float:
        """Take a token; 0, or the seconds after which there will be one."""
        ...


class Rates:
    """The buckets of one process; there are as many as keys that were let in."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, name: str, rate: float) -> float:
        """Take a token; 0, or the seconds after which there will be one."""
        at = self._clock()
        found, wait = _draw(self._buckets.get(name), rate, at)
        self._buckets[name] = found, at
        return wait


class SharedRates:
    """The buckets of all processes that open the same file.

    A key's bucket stands in the group that its name leads to, where it may take the place of one that has filled up
    again: that one says no more than none. Where there is no place it shares the first, and may ask less often.
    """

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        # One machine has one monotonic clock.
        self._clock = clock
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._file, _GROUPS * _GROUP)
        self._map = mmap.mmap(self._file, _GROUPS * _GROUP)

    def take(self, name: str, rate: float) -> float:
        """Take a token; 0, or the seconds after which there will be one."""
        owner = int.from_bytes(blake2b(name.encode(), digest_size=8).digest()) or 1
        group = owner % _GROUPS * _GROUP
        with self._held(group):
            at = self._clock()
            place, bucket = self._find(group, owner, at)
            found, wait = _draw(bucket, rate, at)
            _BUCKET.pack_into(self._map, place, owner, found, at)
        return wait

    def close(self) -> None:
        """Let go of the file."""
        self._map.close()
        os.close(self._file)

    def _find(self, group: int, owner: int, at: float) -> tuple[int, tuple[float, float] | None]:
        """The place of the owner's bucket, and what is in it."""
        places = range(group, group + _GROUP, _BUCKET.size)
        buckets = [_BUCKET.unpack_from(self._map, place) for place in places]
        for place, (known, tokens, since) in zip(places, buckets, strict=True):
            if known == owner:
                return place, (tokens, since)
        for place, (known, _, since) in zip(places, buckets, strict=True):
            if not known or at - since > SECONDS:
                return place, None
        return group, buckets[0][1:]

    @contextmanager
    def _held(self, group: int) -> Iterator[None]:
        # The lock of a process that is killed goes with it.
        fcntl.lockf(self._file, fcntl.LOCK_EX, _GROUP, group)
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, _GROUP, group)


def open_rates() -> Limits:
    """The buckets of this process, or those that it shares."""
    folder = find_folder()
    return Rates() if folder is None else SharedRates(folder / "rates")


def _draw(bucket: tuple[float, float] | None, rate: float, at: float) -> tuple[float, float]:
    """What is left in a bucket (tokens, and since when) after a token was taken, and the seconds to wait for one."""
    room = max(rate * SECONDS, 1.0)
    tokens, since = bucket or (room, at)
    # A clock that goes back gives nothing.
    tokens = min(room, tokens + max(at - since, 0.0) * rate)
    return (tokens, (1 - tokens) / rate) if tokens < 1 else (tokens - 1, 0.0)
