"""A process that reserves and settles whatever is due, of all sources: ``python reserving.py STORE SEED``."""

from __future__ import annotations

import random
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[2] / "src")]

# ruff: noqa: E402 (the paths above must stand first)
import time

from aimwell.deployment.channels.channel import Outcome, Receipt
from aimwell.deployment.ledger import Ledger, Terms
from aimwell.deployment.policy import ContactRules
from aimwell.engine.store import Store


def main(address: str, seed: str) -> None:
    """Until nothing is due for a while."""
    chance = random.Random(seed)
    ledger = Ledger(Store(address), rules=ContactRules(2, 28), terms=Terms())
    idle = 0
    while idle < 10:
        taken = ledger.reserve(None, "email", limit=chance.randint(1, 30))
        idle = 0 if taken.examined else idle + 1
        ids = [row.delivery_id for row in taken.rows]
        if ids:
            held = ledger.advance(taken.fence, intended=ids)
            ledger.advance(taken.fence, settled=[(delivery, Receipt(Outcome.SENT)) for delivery in held])
        else:
            time.sleep(0.05)


if __name__ == "__main__":
    main(*sys.argv[1:])
