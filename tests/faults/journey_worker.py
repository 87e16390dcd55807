"""A worker of journeys that a test may kill at any moment.

Its clock runs a minute whenever nothing is left to do, so that a whole month passes in seconds.
"""

from __future__ import annotations

import time

from aimwell.core.errors import Conflict, NotReady
from aimwell.deployment.journeys.advance import Advancer
from aimwell.engine.store import Store
from tests.deployment.journeys.world import MINUTE, START, People

LAST = START + 120 * MINUTE


def advance(url: str) -> None:
    """Work until the clock has run through."""
    advancer = Advancer(Store(url), People(), zone="Europe/Berlin", batch=20)
    now_ms = START
    while now_ms < LAST:
        try:
            done = advancer.step(now_ms)
        except (Conflict, NotReady):
            # Another worker was at it: again.
            continue
        if not done:
            now_ms += MINUTE
            time.sleep(0.001)
