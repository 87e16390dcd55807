"""Claim: events over HTTP, durable when they are answered: at least 10,000 a second in batches, and 1,700 singly.

One service process (``aimwell service``, SQLite, WAL, synchronous=FULL), and beside it ``aimwell worker``, which moves
what came into files meanwhile. A load generator in another process sends batches of 1,000 as fast as they are
answered, then 5 batches a second, then single events on many connections; then the service is killed (SIGKILL) while
it takes batches, and every event that was answered must be there. The peer's figure for single events is what
RudderStack publishes for two cores. Run it with ``python -m bench.intake [--seconds 10]``.
"""

from __future__ import annotations

import argparse
import signal
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from aimwell.engine.workspace import Workspace
from aimwell.service.keys import create_key
from bench.http_load import Load, Told, send
from bench.result import emit
from bench.running import run_service, run_worker

BATCH = 1_000
IN_BATCHES, SINGLY, PUBLISHED = 10_000.0, 1_700.0, 1_700.0
MOST_MS, MOST_CALM_MS = 250.0, 50.0
CALM = 5
"""Batches a second."""


@contextmanager
def open_workspace() -> Iterator[tuple[Workspace, str]]:
    """A fresh one, and a key to write."""
    with tempfile.TemporaryDirectory() as folder:
        workspace = Workspace.create(Path(folder) / "w", zone="UTC")
        yield workspace, create_key(workspace.store, "bench", ["write"], rate=1_000_000)[1]
        workspace.close()


def measure_rates(
    workspace: Workspace, key: str, seconds: float, connections: int
) -> tuple[Told, Told, Told]:
    """Batches at full speed, batches calmly, single events; the worker runs beside all of them."""
    with run_service(workspace.path) as (port, _), run_worker(workspace.path):
        load = Load(port, key, "batch", 2, seconds, size=BATCH)
        send(replace(load, seconds=1.0, first=10_000_000))
        full = send(load)
        calm = send(replace(load, rate=CALM, connections=4, first=1_000_000))
        single = send(replace(load, kind="track", connections=connections, first=2_000_000_000))
    return full, calm, single


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
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--connections", type=int, default=256)
    given = parser.parse_args()
    with open_workspace() as (workspace, key):
        full, calm, single = measure_rates(workspace, key, given.seconds, given.connections)
        answered, lost = count_lost(workspace, key, min(given.seconds, 3.0))
    batches, singles = full.statuses.get("200", 0), single.statuses.get("200", 0)
    per_second, one_by_one = batches * BATCH / full.seconds, singles / single.seconds
    refused = sum(
        n for told in (full, calm, single) for status, n in told.statuses.items() if status != "200"
    )
    print(
        f"batches of {BATCH:,}: {per_second:,.0f} events a second; p50 {full.p50_ms:.0f}, p99 {full.p99_ms:.0f} ms"
    )
    print(f"{CALM * BATCH:,} events a second: p50 {calm.p50_ms:.0f}, p99 {calm.p99_ms:.0f} ms")
    print(f"single events: {one_by_one:,.0f} a second; p50 {single.p50_ms:.0f}, p99 {single.p99_ms:.0f} ms")
    print(
        f"killed: {answered:,} events answered, {lost} of them lost; {refused} requests refused", flush=True
    )
    holds = (
        per_second >= IN_BATCHES
        and one_by_one >= SINGLY
        and full.p99_ms <= MOST_MS
        and calm.p99_ms <= MOST_CALM_MS
        and not lost
        and answered > 0
        and not refused
    )
    emit(
        claim="events over HTTP: >= 10,000 a second in batches while files are written (p99 <= 250 ms; <= 50 ms at "
        "5,000), >= 1,700 singly; none that was answered is lost by kill -9",
        ours=one_by_one,
        peer=PUBLISHED,
        unit="single events a second",
        holds=bool(holds),
        in_batches=round(per_second),
        p99_ms=round(full.p99_ms, 1),
        p99_ms_at_5000=round(calm.p99_ms, 1),
        p99_ms_single=round(single.p99_ms, 1),
        answered_before_kill=answered,
        lost=lost,
    )


if __name__ == "__main__":
    main()
