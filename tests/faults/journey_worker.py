"""A worker of journeys that a test may kill at any moment: ``python journey_worker.py URL``.

Its clock runs a minute whenever nothing is left to do, so that a whole month passes in seconds.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[2] / "src")]

# ruff: noqa: E402 (the paths above must stand first)
from aimwell.core.errors import Conflict, NotReady
from aimwell.deployment.journeys.advance import Advancer
from aimwell.engine.store import Store
from tests.deployment.journeys.world import MINUTE, START, People

LAST = START + 120 * MINUTE


def main(url: str) -> None:
    """Work until the clock has run through."""
    advancer = Advancer(Store(url), People(), zone="Europe/Berlin", batch=20)
    print("ready", flush=True)
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


if __name__ == "__main__":
    main(*sys.argv[1:])
