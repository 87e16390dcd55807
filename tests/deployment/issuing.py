"""A process that issues coupons, gives some back and redeems some: ``python issuing.py STORE SEED TURNS``."""

from __future__ import annotations

import random
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[2] / "src")]

# ruff: noqa: E402 (the paths above must stand first)
from datetime import date

import sqlalchemy as sa

from aimwell.deployment.coupons import POOL_KEY, issue_reserved, read_issued, redeem, take_back
from aimwell.deployment.policy import Candidate
from aimwell.engine.store import Store

DELIVERIES = 400
POOLS = ("one", "two")


class ChangeOfMind(Exception):
    """The transaction is rolled back."""


def name(number: int) -> str:
    """The delivery ``number``."""
    return f"delivery {number}"


def describe(number: int) -> Candidate:
    """As the ledger reserves it; even ones need a code of one pool, odd ones of the other."""
    detail = {POOL_KEY: POOLS[number % 2]}
    return Candidate(name(number), f"c{number % 97}", "email", date(2030, 1, 1), True, 0, detail=detail)


def turn(connection: sa.Connection, chance: random.Random) -> None:
    """Some deliveries are reserved; of some the sending failed; some customers redeem."""
    numbers = chance.sample(range(DELIVERIES), chance.randint(1, 30))
    rows = [describe(number) for number in numbers]
    issue_reserved(connection, rows, 1_000)
    codes = read_issued(connection, [row.delivery_id for row in rows])
    if chance.random() < 0.3:
        take_back(connection, chance.sample([row.delivery_id for row in rows], len(rows) // 3))
    elif codes and chance.random() < 0.3:
        delivery, code = chance.choice(sorted(codes.items()))
        # Unlike the ledger, nothing here keeps others from this delivery: one of them may have been first.
        redeem(connection, code, 2_000, by=delivery)
    if chance.random() < 0.2:
        raise ChangeOfMind


def main(address: str, seed: str, turns: str) -> None:
    """So many turns; gated, so that on PostgreSQL they really run at once."""
    store, chance = Store(address), random.Random(seed)
    print("ready", flush=True)
    for _ in range(int(turns)):
        try:
            with store.begin(gated=True) as connection:
                turn(connection, chance)
        except ChangeOfMind:
            continue


if __name__ == "__main__":
    main(*sys.argv[1:])
