"""How often a key may ask: a bucket of tokens for each, in the memory of each process. Reads and writes no table."""

from __future__ import annotations

import time
from collections.abc import Callable

SECONDS = 2.0
"""So much of its rate a key may use at once."""


class Rates:
    """The buckets of all keys; there are as many as keys that were let in."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, name: str, rate: float) -> float:
        """Take a token; 0, or the seconds after which there will be one."""
        at = self._clock()
        room = max(rate * SECONDS, 1.0)
        tokens, since = self._buckets.get(name, (room, at))
        # A clock that goes back gives nothing.
        tokens = min(room, tokens + max(at - since, 0.0) * rate)
        if tokens < 1:
            self._buckets[name] = (tokens, at)
            return (1 - tokens) / rate
        self._buckets[name] = (tokens - 1, at)
        return 0.0
