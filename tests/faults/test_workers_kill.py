"""Three workers on one ledger, killed at random, on both databases; and clocks that are moved by an hour."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from aimwell.deployment.channels.channel import Channel, Message, Outcome, Promise, Receipt
from aimwell.deployment.channels.mime import identify_mail
from aimwell.deployment.ledger import Ledger, Terms
from aimwell.deployment.sending import work
from aimwell.deployment.sink import Sink
from aimwell.engine.store import Store
from tests.deployment.scene import SENDER, compose, count, fill, open_ledger, open_store
from tests.deployment.stores import BOTH, find_address
from tests.faults.sender import TERMS, send
from tests.faults.victims import PATIENCE, count_kills, kill, sleep_at_random, start
from tests.postgres import postgres  # noqa: F401 (a fixture)

MAILS, WORKERS, KILLS, CONNECTIONS = 400, 3, count_kills(8), 4


def begin(address: str, port: int, kind: str, folder: Path) -> Any:
    return start(send, address, port, kind, folder, CONNECTIONS)


def count_waiting(ledger: Ledger) -> int:
    states = count(ledger)
    return states.get("queued", 0) + states.get("leased", 0)


def kill_some(address: str, port: int, kind: str, folder: Path, ledger: Ledger, chance: random.Random) -> int:
    """Keep three workers at it; kill one after the other while mails are left. How many were killed."""
    workers = [begin(address, port, kind, folder) for _ in range(WORKERS)]
    killed = 0
    try:
        while not killed or (killed < KILLS and count_waiting(ledger) > 60):
            place = chance.randrange(WORKERS)
            sleep_at_random(chance, 0.25)
            killed += kill(workers[place])
            workers[place] = begin(address, port, kind, folder)
        for worker in workers:
            worker.join(PATIENCE)
        assert [worker.exitcode for worker in workers] == [0] * WORKERS
    finally:
        for worker in workers:
            kill(worker)
    return killed


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("promise", ["C", "B"])
def test_three_workers_lose_and_double_nothing(
    tmp_path: Path, kind: str, promise: str, request: pytest.FixtureRequest
) -> None:
    address = find_address(kind, tmp_path, request)
    folder = tmp_path / "out"
    folder.mkdir()
    ledger = open_ledger(Store(address), terms=TERMS)
    half = MAILS // 2
    fill(ledger, [f"c{number}" for number in range(half)], plan="p1", priority=5)
    fill(ledger, [f"d{number}" for number in range(half)], plan="p1", priority=9)
    with Sink(folder) as sink:
        killed = kill_some(address, sink.port, promise, folder, ledger, random.Random(kind + promise))
        arrived = Counter(sink.message_ids)
    rows = ledger.read_rows()
    by_state = {state: {identify_mail(row["delivery_id"], SENDER) for row in rows if row["state"] == state}
                for state in ("sent", "in_doubt")}  # fmt: skip
    sent, doubt = by_state["sent"], by_state["in_doubt"]
    print(f"{killed} kills, class {promise}, {kind}: {len(doubt)} in doubt")
    assert len(sent) + len(doubt) == len(rows) == MAILS, "the sum of states is the audience"
    assert max(arrived.values()) == 1, "silent duplicates"
    assert sent <= set(arrived), "silent loss"
    assert set(arrived) <= sent | doubt, "arrived without a record"
    assert len(doubt) <= (CONNECTIONS * killed if promise == "C" else 0)


class Moved(Channel):
    """Moves the clock in the middle of a wave."""

    promise = Promise.BLIND
    window = 5

    def __init__(self, by: float) -> None:
        self.by, self.now, self.taken = by, 1_772_000_000.0, list[str]()

    def __call__(self) -> float:
        return self.now

    def deliver(self, message: Message) -> Receipt:
        raise AssertionError

    def deliver_batch(self, messages: Sequence[Message]) -> list[Receipt]:
        self.taken += [message.delivery_id for message in messages]
        if len(self.taken) == 15:
            self.now += self.by
        self.now += 0.01
        return [Receipt(Outcome.SENT) for _ in messages]


@pytest.mark.parametrize("by", [3600.0, -3600.0])
def test_a_clock_that_is_moved_by_an_hour_loses_and_doubles_nothing(tmp_path: Path, by: float) -> None:
    way = Moved(by)
    ledger = open_ledger(open_store(tmp_path), terms=Terms(), clock=way)
    fill(ledger, [f"c{number}" for number in range(60)])
    work(ledger, plan_id="p1", channel_name="email", channel=way, compose=compose, wait=False)
    # What the moved clock left held comes free as soon as its lease has run out by the new one.
    way.now += Terms().lease * 3
    work(ledger, plan_id="p1", channel_name="email", channel=way, compose=compose, wait=False)
    assert count(ledger) == {"sent": 60}
    assert sorted(way.taken) == sorted(set(way.taken)) and len(way.taken) == 60
