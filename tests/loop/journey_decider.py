"""A worker of journeys that ask for live decisions, which a test may kill: ``python journey_decider.py WORKSPACE``."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from aimwell.core.errors import Conflict, NotReady
from aimwell.engine.workspace import Workspace
from aimwell.loop.outward import move_journeys, settle_decisions


def main(path: str) -> None:
    """Move, settle, again."""
    workspace = Workspace.open(Path(path))
    while True:
        try:
            done = move_journeys(workspace) + settle_decisions(workspace)
        except (Conflict, NotReady):
            continue
        if not done:
            time.sleep(0.001)


if __name__ == "__main__":
    main(*sys.argv[1:])
