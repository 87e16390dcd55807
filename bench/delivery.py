"""Deliveries that survive ``kill -9``: three workers, SQLite and PostgreSQL, a real SMTP server; and the plain rate.

    python -m bench.delivery [--scale full]

small: 6 kills a store, 1,500 mails for the rate; full: 50 kills a store, 20,000 mails. The peer of the kills is the
usual way, marking a mail as sent after it was: 145 silent duplicates in 50 kills (measured beforehand); of the rate,
the same path without a skeleton for the mails: 534 a second.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from aimwell.deployment.channels.mime import identify_mail
from aimwell.deployment.channels.smtp import Server, SmtpChannel
from aimwell.deployment.ledger import Ledger, Terms
from aimwell.deployment.ledger_rows import Intended
from aimwell.deployment.policy import ContactRules
from aimwell.deployment.sending import work
from aimwell.engine.store import Store
from bench.result import emit, measure, read_scale
from bench.running import AS_DEPLOYED
from tests.deployment.mails import SENDER, compose
from tests.deployment.scene import DAY, count
from tests.faults.sender import TERMS
from tests.postgres import find_programs, serve_durably

SCRIPT = Path(__file__).parents[1] / "tests" / "faults" / "sender.py"
WORKERS, CONNECTIONS, MANY = 3, 8, 64
PEER_RATE, PEER_DOUBLES = 534.0, 145.0


@dataclass(frozen=True)
class Killed:
    """What came of a wave whose workers were killed."""

    store: str
    kills: int
    mails: int
    lost: int
    doubled: int
    unrecorded: int
    in_doubt: int
    most_doubt: int
    sums_up: bool

    @property
    def holds(self) -> bool:
        """Nothing lost, nothing doubled in silence, no more in doubt than were in flight."""
        silent = self.lost or self.doubled or self.unrecorded
        return not silent and self.in_doubt <= self.most_doubt and self.sums_up


@contextmanager
def open_sink(folder: Path) -> Iterator[tuple[int, Path]]:
    """A mail server in a process of its own: its port, and the file with the Message-IDs of what it took."""
    file = folder / f"taken-{time.monotonic_ns()}"
    command = [sys.executable, "-m", "bench.smtp_sink", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline()), file
        finally:
            process.terminate()


def open_ledger(address: str, terms: Terms) -> Ledger:
    """A ledger on a store that is brought up to date."""
    store = Store(address)
    store.migrate()
    return Ledger(store, rules=ContactRules(2, 28), terms=terms)


def fill(ledger: Ledger, mails: int, first: int = 0) -> None:
    """Consents and deliveries, from the ``first`` on."""
    names = [f"c{number:06d}" for number in range(first, mails)]
    ledger.remember_consents([(name, "email", True, 1) for name in names])
    ledger.enqueue(
        [
            Intended("p1", name, "offer", "email", DAY, 1, True, priority=number % 7)
            for number, name in enumerate(names)
        ]
    )


def kill_workers(address: str, name: str, folder: Path, kills: int) -> Killed:
    """Three workers; one after the other is killed at a random moment and replaced."""
    mails, chance = 80 * kills, random.Random(name)
    ledger = open_ledger(address, TERMS)
    fill(ledger, mails)
    done = 0
    with open_sink(folder) as (port, taken):
        command = [sys.executable, str(SCRIPT), address, str(port), "C", str(folder), str(CONNECTIONS)]
        workers = [_start(command) for _ in range(WORKERS)]
        while done < kills:
            place = chance.randrange(WORKERS)
            _wait_until_ready(workers[place])
            time.sleep(chance.random() * 0.2)
            done += workers[place].poll() is None
            workers[place].kill()
            workers[place].wait()
            workers[place] = _start(command)
            if count(ledger).get("queued", 0) < 10 * WORKERS * CONNECTIONS:
                # More to do, so that every kill falls into work.
                mails += 2_000
                fill(ledger, mails, mails - 2_000)
        # One more: the others may have come to an end before the last mails were queued.
        for worker in [*workers, _start(command)]:
            worker.wait(600)
        arrived = Counter(taken.read_text(encoding="ascii").split())
    rows = ledger.read_rows("p1")
    ids = {row["delivery_id"]: identify_mail(row["delivery_id"], SENDER) for row in rows}
    sent = {ids[row["delivery_id"]] for row in rows if row["state"] == "sent"}
    doubt = {ids[row["delivery_id"]] for row in rows if row["state"] == "in_doubt"}
    return Killed(
        store=name,
        kills=done,
        mails=mails,
        lost=len(sent - set(arrived)),
        doubled=sum(times - 1 for times in arrived.values()),
        unrecorded=len(set(arrived) - sent - doubt),
        in_doubt=len(doubt),
        most_doubt=done * CONNECTIONS,
        sums_up=len(rows) == mails == len(sent) + len(doubt),
    )


def measure_rate(address: str, folder: Path, mails: int, connections: int) -> tuple[float, float]:
    """Mails a second of one worker with full safety, and per CPU second of its process."""
    ledger = open_ledger(address, Terms())
    fill(ledger, mails)
    with open_sink(folder) as (port, _):
        channel = SmtpChannel(Server("127.0.0.1", port, SENDER), connections=connections)
        worked, cost = measure(
            lambda: work(ledger, plan_id=None, channel_name="email", channel=channel, compose=compose)
        )
    assert worked.sent == mails, worked
    return mails / cost.elapsed, mails / cost.cpu


@contextmanager
def open_postgres() -> Iterator[str | None]:
    """A server of our own that writes durably, as the pattern of its addresses; None where it is not installed."""
    if find_programs() is None:
        yield None
        return
    with serve_durably(*AS_DEPLOYED) as server:
        server.run("CREATE DATABASE bench_kill", "CREATE DATABASE bench_rate")
        yield server.address("{}")


def main() -> None:
    """Kills on both stores, then rates."""
    scale = read_scale(__doc__ or "")
    kills, mails = (50, 20_000) if scale == "full" else (6, 1_500)
    found: list[Killed] = []
    rates: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as place, open_postgres() as postgres:
        folder = Path(place)
        stores = {"sqlite": f"sqlite:///{folder}/{{}}.sqlite"} | ({"postgres": postgres} if postgres else {})
        for name, address in stores.items():
            found.append(kill_workers(address.format("bench_kill"), name, folder, kills))
            print(json.dumps(asdict(found[-1])), flush=True)
        for name, address in stores.items():
            for connections in (CONNECTIONS, MANY):
                rate, per_cpu = measure_rate(address.format("bench_rate"), folder, mails, connections)
                rates |= {
                    f"{name}_{connections}": round(rate),
                    f"{name}_{connections}_per_cpu": round(per_cpu),
                }
                print(json.dumps(rates), flush=True)
                _clear(address.format("bench_rate"))
    few, many = ([rates[f"{name}_{number}"] for name in stores] for number in (CONNECTIONS, MANY))
    emit(
        claim="killed workers lose and double nothing; one worker sends 500 mails a second on 8 connections and 2,000 "
        "on 64, with full safety",
        ours=rates[f"sqlite_{CONNECTIONS}"],
        peer=PEER_RATE,
        unit="mails a second",
        holds=all(one.holds for one in found) and min(few) >= 500 and min(many) >= 2_000,
        kills=[asdict(one) for one in found],
        rates=rates,
        silent_duplicates_of_marking_after_sending=PEER_DOUBLES,
    )


def _start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _wait_until_ready(worker: subprocess.Popen[str]) -> None:
    assert worker.stdout is not None
    worker.stdout.readline()


def _clear(address: str) -> None:
    from sqlalchemy import delete

    from aimwell.engine.ledger_tables import DELIVERIES

    store = Store(address)
    with store.begin() as connection:
        connection.execute(delete(DELIVERIES))
    store.close()


if __name__ == "__main__":
    main()
