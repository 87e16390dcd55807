"""Claim: events over HTTP, durable when they are answered: at least 10,000 a second in batches, and 1,700 singly.

99 of 100 are durable within 250 ms of being taken at 10,000 a second, and within 50 ms at 5,000.

One service process (``aimwell service``), and beside it ``aimwell worker``, which moves what came into files meanwhile;
the store is SQLite (WAL, synchronous=FULL) or a PostgreSQL of the bench's own, with fsync. A load generator in another
process sends batches of 1,000 as fast as they are answered, then 10 and 5 of them a second, then single events on many
connections; then the service is killed (SIGKILL) while it takes batches, and every event that was answered must be
there. The peer's figure for single events is what RudderStack publishes for two cores.
Run it with ``python -m bench.intake [--store sqlite|postgresql] [--seconds 10]``.
"""

from __future__ import annotations

import argparse
import re
import signal
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import sqlalchemy as sa

from aimwell.engine.store_tables import TABLE_FILES
from aimwell.engine.workspace import Workspace
from aimwell.service.keys import create_key
from bench.http_load import Load, Told, send
from bench.result import emit
from bench.running import CpuSeconds, run_service, run_worker, serve_store

BATCH = 1_000
IN_BATCHES, SINGLY, PUBLISHED = 10_000.0, 1_700.0, 1_700.0
CALM_S, STEADY_S, NEARLY_ALL = 0.05, 0.25, 0.99
STEADY, CALM = 10, 5
"""Batches a second."""
PATIENCE = 60.0


@dataclass(frozen=True)
class Measured:
    """What one load met, and what it cost.

    ``in_time``: which share was durable within ``CALM_S`` and within ``STEADY_S`` after it was taken.
    """

    name: str
    events: int
    told: Told
    service_cpu: float
    worker_cpu: float
    in_time: tuple[float, float]

    @property
    def per_second(self) -> float:
        """Events that were taken a second."""
        return self.events / self.told.seconds

    @property
    def refused(self) -> int:
        """Requests that were not."""
        return sum(number for status, number in self.told.statuses.items() if status != "200")

    def __str__(self) -> str:
        service, worker = (1e6 * cpu / max(self.events, 1) for cpu in (self.service_cpu, self.worker_cpu))
        return (
            f"{self.name}: {self.per_second:,.0f} events a second; p50 {self.told.p50_ms:.0f}, "
            f"p99 {self.told.p99_ms:.0f} ms; durable within 50 ms {self.in_time[0]:.1%}, 250 ms {self.in_time[1]:.1%}; "
            f"CPU of an event: service {service:.0f}, worker {worker:.0f} µs"
        )


@contextmanager
def open_workspace(store: str) -> Iterator[tuple[Workspace, str]]:
    """A fresh one, and a key to write."""
    with tempfile.TemporaryDirectory() as folder, serve_store(store, "intake") as settings:
        workspace = Workspace.create(Path(folder) / "w", zone="UTC", settings=settings)
        yield workspace, create_key(workspace.store, "bench", ["write", "read"], rate=1_000_000)[1]
        workspace.close()


def measure_rates(workspace: Workspace, key: str, seconds: float, connections: int) -> list[Measured]:
    """Batches at full speed, steadily, and calmly; then single events. The worker moves rows beside all of them."""
    with run_service(workspace.path) as (port, service), run_worker(workspace.path) as worker:
        batches = Load(port, key, "batch", 2, seconds, size=BATCH)
        send(replace(batches, seconds=1.0, first=10_000_000))
        _wait_for_files(workspace)
        loads = {
            f"batches of {BATCH:,}": batches,
            f"{STEADY} batches a second": replace(batches, rate=STEADY, connections=4, first=1_000_000),
            f"{CALM} batches a second": replace(batches, rate=CALM, connections=4, first=2_000_000),
            "single events": replace(batches, kind="track", connections=connections, first=3_000_000_000),
        }
        return [_measure(name, load, service.pid, worker.pid) for name, load in loads.items()]


def _wait_for_files(workspace: Workspace) -> None:
    """Until the worker, which takes seconds to begin, has moved what came first."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        with workspace.store.snapshot() as connection:
            if connection.execute(sa.select(sa.func.count()).select_from(TABLE_FILES)).scalar_one():
                return
        time.sleep(0.1)
    raise SystemExit("the worker moved nothing")


def _measure(name: str, load: Load, service: int, worker: int) -> Measured:
    used, before = (CpuSeconds(service), CpuSeconds(worker)), _read_commits(load)
    told = send(load)
    after = _read_commits(load)
    commits = [late - early for early, late in zip(before, after, strict=True)]
    in_time = (commits[0] / commits[2], commits[1] / commits[2])
    taken = told.statuses.get("200", 0) * (BATCH if load.kind == "batch" else 1)
    return Measured(name, taken, told, used[0].read(), used[1].read(), in_time)


def _read_commits(load: Load) -> tuple[float, float, float]:
    """How often events became durable within ``CALM_S``, within ``STEADY_S``, and at all, as the service tells it."""
    asked = urllib.request.Request(
        f"http://127.0.0.1:{load.port}/metrics", headers={"Authorization": f"Bearer {load.key}"}
    )
    with urllib.request.urlopen(asked) as answer:
        text = answer.read().decode()
    found = dict(
        re.findall(r'^aimwell_event_commit_seconds_bucket\{le="([^"]+)"\} (\S+)$', text, re.MULTILINE)
    )
    return float(found[str(CALM_S)]), float(found[str(STEADY_S)]), float(found["+Inf"])


def count_lost(workspace: Workspace, key: str, seconds: float) -> tuple[int, int]:
    """Kill the service while it takes batches; how many events were answered, and how many of them are not there."""
    log = workspace.path / "answered.txt"
    with run_service(workspace.path) as (port, process):
        timer = threading.Timer(seconds, process.send_signal, (signal.SIGKILL,))
        timer.start()
        send(Load(port, key, "batch", 4, seconds + 5, size=100, first=50_000_000, log=str(log)))
        timer.join()
    numbers = [int(line) for line in log.read_text().split()]
    answered = {f"m{number * 100 + one}" for number in numbers for one in range(100)}
    with workspace.read() as reader:
        kept = set(reader.query("SELECT event_id FROM events")["event_id"].to_pylist())
    return len(answered), len(answered - kept)


def main() -> None:
    """Print each measurement, and at the end one line for programs."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("--store", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--connections", type=int, default=256)
    given = parser.parse_args()
    with open_workspace(given.store) as (workspace, key):
        found = measure_rates(workspace, key, given.seconds, given.connections)
        answered, lost = count_lost(workspace, key, min(given.seconds, 3.0))
    full, steady, calm, single = found
    print(*found, sep="\n")
    print(f"killed: {answered:,} events answered, {lost} of them lost", flush=True)
    holds = (
        full.per_second >= IN_BATCHES
        and single.per_second >= SINGLY
        and steady.in_time[1] >= NEARLY_ALL
        and calm.in_time[0] >= NEARLY_ALL
        and not lost
        and answered > 0
        and not any(one.refused for one in found)
    )
    emit(
        claim="events over HTTP: >= 10,000 a second in batches while files are written (99 % durable within 250 ms; "
        "within 50 ms at 5,000), >= 1,700 singly; none that was answered is lost by kill -9",
        ours=single.per_second,
        peer=PUBLISHED,
        unit="single events a second",
        holds=bool(holds),
        store=given.store,
        in_batches=round(full.per_second),
        p99_ms_at_full_speed=round(full.told.p99_ms, 1),
        p99_ms=round(steady.told.p99_ms, 1),
        p99_ms_at_5000=round(calm.told.p99_ms, 1),
        p99_ms_single=round(single.told.p99_ms, 1),
        service_cpu_us=[round(1e6 * one.service_cpu / max(one.events, 1), 1) for one in found],
        durable_within_250_ms=round(steady.in_time[1], 4),
        durable_within_50_ms_at_5000=round(calm.in_time[0], 4),
        refused=sum(one.refused for one in found),
        answered_before_kill=answered,
        lost=lost,
    )


if __name__ == "__main__":
    main()
