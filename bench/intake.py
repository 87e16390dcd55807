"""Claim: events over HTTP, durable when they are answered: at least 10,000 a second in batches, and 1,700 singly.

99 of 100 are durable within 250 ms of being taken at 10,000 a second, and within 50 ms at 5,000.

One service process (``aimwell service``), and beside it ``aimwell worker``, which moves what came into files meanwhile;
the store is SQLite (WAL, synchronous=FULL) or a PostgreSQL of the bench's own, with fsync. A load generator in another
process sends batches of 1,000 as fast as they are answered, then 10 of them a second; then 25 a second of 200 events,
and 5 of 1,000, both 5,000 events a second, the first of them for 20 seconds at least, so that 99 of 100 is told by 500
commits (clients of Segment send smaller batches than that; the batches of 1,000 are told, not judged: five a second
make too small a sample); then single events on many connections. Then the service is killed (SIGKILL) while it takes
batches, and every event that was answered must be there. The peer's figure for single events is what RudderStack
publishes for two cores.
Under each load stand the seconds in which a commit was slower than it should be, with who had the processors then: a
machine that others use as well is told from a service that waits for its store. With ``--first`` all that is measured
goes before whatever else runs there.
Run it with ``python -m bench.intake [--store sqlite|postgresql] [--seconds 10] [--first]``.
"""

from __future__ import annotations

import argparse
import re
import signal
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
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
from bench.witness import Second, Witness, find_parent, go_first

BATCH, SMALLER = 1_000, 200
IN_BATCHES, SINGLY, PUBLISHED = 10_000.0, 1_700.0, 1_700.0
CALM_S, STEADY_S, NEARLY_ALL = 0.05, 0.25, 0.99
STEADY, CALM, CALM_SMALLER = 10, 5, 25
"""Batches a second."""
LONG_ENOUGH = 20.0
"""Seconds after which the sample of the smaller batches is large enough."""
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
    seconds: list[Second]

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

    def explain(self) -> list[str]:
        """The seconds that had slow commits, and who had the processors in all of them."""
        length = len(self.seconds) or 1
        others = sum(second.others for second in self.seconds) / length
        idle = sum(second.idle for second in self.seconds) / length
        waited = 1000 * sum(second.waited for second in self.seconds) / length
        slow = [f"  {second}" for second in self.seconds if second.slow]
        return [
            f"  each second the service waited {waited:.0f} ms for a processor; others used {others:.2f} CPU seconds, "
            f"{idle:.2f} were idle; {len(slow)} of {length} seconds had slow commits",
            *slow,
        ]


@contextmanager
def open_workspace(store: str) -> Iterator[tuple[Workspace, str]]:
    """A fresh one, and a key to write."""
    with tempfile.TemporaryDirectory() as folder, serve_store(store, "intake") as settings:
        workspace = Workspace.create(Path(folder) / "w", zone="UTC", settings=settings)
        yield workspace, create_key(workspace.store, "bench", ["write", "read"], rate=1_000_000)[1]
        workspace.close()


def measure_rates(
    workspace: Workspace, key: str, seconds: float, connections: int, *, first: bool = False
) -> list[Measured]:
    """Batches at full speed, steadily, and calmly; then single events. The worker moves rows beside all of them."""
    with run_service(workspace.path) as (port, service), run_worker(workspace.path) as worker:
        batches = Load(port, key, "batch", 2, seconds, size=BATCH)
        send(replace(batches, seconds=1.0, first=10_000_000))
        _wait_for_files(workspace)
        calm = replace(batches, rate=CALM, connections=4, first=2_000_000)
        longer = max(seconds, LONG_ENOUGH)
        smaller = replace(calm, rate=CALM_SMALLER, size=SMALLER, first=500_000_000, seconds=longer)
        loads = {
            f"batches of {BATCH:,}": batches,
            f"{STEADY} batches a second": replace(batches, rate=STEADY, connections=4, first=1_000_000),
            f"{CALM_SMALLER} batches of {SMALLER} a second": smaller,
            f"{CALM} batches of {BATCH:,} a second": calm,
            "single events": replace(batches, kind="track", connections=connections, first=3_000_000_000),
        }
        parts = {"service": service.pid, "worker": worker.pid, **_find_server(workspace)}
        if first:
            go_first(parts)
        return [_measure(name, load, parts, workspace) for name, load in loads.items()]


def _find_server(workspace: Workspace) -> dict[str, int]:
    """The database's process, where the store has one."""
    if workspace.store.is_sqlite:
        return {}
    with workspace.store.snapshot() as connection:
        return {"database": find_parent(connection.execute(sa.text("SELECT pg_backend_pid()")).scalar_one())}


def _wait_for_files(workspace: Workspace) -> None:
    """Until the worker, which takes seconds to begin, has moved what came first."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        with workspace.store.snapshot() as connection:
            if connection.execute(sa.select(sa.func.count()).select_from(TABLE_FILES)).scalar_one():
                return
        time.sleep(0.1)
    raise SystemExit("the worker moved nothing")


def _measure(name: str, load: Load, parts: Mapping[str, int], workspace: Workspace) -> Measured:
    used, before = (CpuSeconds(parts["service"]), CpuSeconds(parts["worker"])), _read_commits(load)

    def count() -> tuple[float, float]:
        in_50, in_250, commits = _read_commits(load)
        return commits, in_50 if load.rate and load.rate != STEADY else in_250

    with Witness(parts, count, workspace.warehouse_folder) as witness:
        told = send(load)
    after = _read_commits(load)
    commits = [late - early for early, late in zip(before, after, strict=True)]
    in_time = (commits[0] / commits[2], commits[1] / commits[2])
    taken = told.statuses.get("200", 0) * (load.size if load.kind == "batch" else 1)
    return Measured(name, taken, told, used[0].read(), used[1].read(), in_time, witness.seconds)


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
    parser.add_argument("--first", action="store_true", help="go before all else on this machine (as root)")
    given = parser.parse_args()
    with open_workspace(given.store) as (workspace, key):
        found = measure_rates(workspace, key, given.seconds, given.connections, first=given.first)
        answered, lost = count_lost(workspace, key, min(given.seconds, 3.0))
    full, steady, calm, large, single = found
    for one in found:
        print(one, *one.explain(), sep="\n")
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
        first=given.first,
        in_batches=round(full.per_second),
        p99_ms_at_full_speed=round(full.told.p99_ms, 1),
        p99_ms=round(steady.told.p99_ms, 1),
        p99_ms_at_5000=round(calm.told.p99_ms, 1),
        p99_ms_single=round(single.told.p99_ms, 1),
        service_cpu_us=[round(1e6 * one.service_cpu / max(one.events, 1), 1) for one in found],
        durable_within_250_ms=round(steady.in_time[1], 4),
        durable_within_50_ms_at_5000=round(calm.in_time[0], 4),
        the_same_in_batches_of_1000=round(large.in_time[0], 4),
        others_used_cores=round(sum(second.others for second in calm.seconds) / max(len(calm.seconds), 1), 2),
        refused=sum(one.refused for one in found),
        answered_before_kill=answered,
        lost=lost,
    )


if __name__ == "__main__":
    main()
