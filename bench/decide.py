"""Claim: live decisions over HTTP: at least 5,000 a second on one core, durable; p99 of at most 10 ms at half of it.

One service process (``aimwell service``; SQLite with WAL and synchronous=FULL, or a PostgreSQL of the bench's own with
fsync) decides by a day with five limits, shadow prices, a cap, consents, a holdout and exploration; each request reads
its customer's profile from the store. A load generator in another process asks on many connections. The peer's figure
is what Adobe publishes for a whole organisation: 500 a second. CPU seconds are those of the service's process.
Run it with ``python -m bench.decide [--store sqlite|postgresql] [--seconds 10]``.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
import sqlalchemy as sa

from aimwell.engine.live_tables import LIVE_DECISIONS, LIVE_TURNS
from aimwell.engine.settings import Settings
from aimwell.engine.workspace import Workspace
from aimwell.service.keys import create_key
from aimwell.strategy.live.plan import open_plan
from bench.http_load import Load, Told, send
from bench.live import Day, give_consents, guard, make_day, make_plan
from bench.result import emit
from bench.running import CpuSeconds, run_service, serve_store

LEAST, MOST_MS, PUBLISHED = 5_000.0, 10.0, 500.0
CUSTOMERS = 20_000
_CHUNK = 1_000


def prepare(folder: Path, settings: Settings | None = None) -> tuple[Workspace, str]:
    """A workspace whose live day is today, with everybody's profile; and a key."""
    workspace = Workspace.create(folder, zone="UTC", settings=settings)
    day = make_day(CUSTOMERS, 5, seed=1)
    now_ms = int(time.time() * 1000)
    starts = now_ms - now_ms % 86_400_000
    plan = guard(make_plan(day, "bench", day.limits))
    today = date.fromtimestamp(starts / 1000)
    plan = replace(plan, day=today, starts_ms=starts, ends_ms=starts + 86_400_000, hold_ms=900_000)
    open_plan(workspace.store, plan, _list_profiles(day, plan.actions))
    give_consents(workspace.store, CUSTOMERS)
    return workspace, create_key(workspace.store, "bench", ["decide"], rate=1_000_000)[1]


def _list_profiles(day: Day, actions: tuple[str, ...]) -> list[list[dict[str, object]]]:
    rows = [
        {
            "plan_id": "bench",
            "customer_id": customer,
            "segment": context.segment,
            "prior_contacts": 0,
            "pairs": {
                action: [round(float(value), 6), 0.1, int(cost), 0.0]
                for action, value, cost in zip(actions, context.values, context.costs, strict=True)
                if value > -np.inf
            },
        }
        for customer, context in day.requests
    ]
    return [rows[start : start + _CHUNK] for start in range(0, len(rows), _CHUNK)]


@dataclass(frozen=True)
class Measured:
    """One load: what came back, what it cost, and in how many transactions it was decided."""

    told: Told
    cpu: float
    turns: int

    @property
    def answered(self) -> int:
        """Requests that were answered with a decision."""
        return self.told.statuses.get("200", 0)

    @property
    def per_cpu_second(self) -> float:
        """Decisions for each CPU second of the service."""
        return self.answered / self.cpu

    def describe(self) -> str:
        """One line."""
        told = self.told
        return (
            f"{self.answered / told.seconds:,.0f} a second, {self.per_cpu_second:,.0f} a CPU second of the service, "
            f"{self.answered / max(self.turns, 1):.0f} a transaction; p50 {told.p50_ms:.1f}, p99 {told.p99_ms:.1f} ms"
        )


def count(workspace: Workspace, table: sa.Table) -> int:
    """The rows of a table."""
    with workspace.store.snapshot() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one())


def measure(workspace: Workspace, process: int, load: Load) -> Measured:
    """Send ``load`` to the service."""
    cpu, turns = CpuSeconds(process), count(workspace, LIVE_TURNS)
    told = send(load)
    return Measured(told, cpu.read(), count(workspace, LIVE_TURNS) - turns)


def main() -> None:
    """Print both loads, and at the end one line for programs."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("--store", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--connections", type=int, default=512)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, serve_store(given.store, "decide") as settings:
        workspace, key = prepare(Path(folder) / "w", settings)
        with run_service(workspace.path) as (port, process):
            load = Load(port, key, "decide", given.connections, given.seconds, people=CUSTOMERS)
            send(replace(load, seconds=1.0))
            full = measure(workspace, process.pid, replace(load, first=1_000_000))
            half = measure(workspace, process.pid, replace(load, first=2_000_000, rate=LEAST / 2))
        logged = count(workspace, LIVE_DECISIONS)
        workspace.close()
    refused = sum(n for one in (full, half) for status, n in one.told.statuses.items() if status != "200")
    print(f"full load: {full.describe()}", flush=True)
    print(f"{LEAST / 2:,.0f} a second due: {half.describe()}; {logged} logged, {refused} refused", flush=True)
    is_quick = full.per_cpu_second >= LEAST and half.told.p99_ms <= MOST_MS
    emit(
        claim="live decisions over HTTP: >= 5,000 a second on one core, durable; p99 <= 10 ms at half of it",
        ours=full.per_cpu_second,
        peer=PUBLISHED,
        unit="decisions per CPU second of one process",
        holds=is_quick and not refused and logged >= full.answered + half.answered,
        store=given.store,
        decisions_per_second=round(full.answered / full.told.seconds),
        per_cpu_second_at_half_load=round(half.per_cpu_second),
        p99_ms_at_half_load=round(half.told.p99_ms, 2),
        p50_ms_at_half_load=round(half.told.p50_ms, 2),
        customers=CUSTOMERS,
    )


if __name__ == "__main__":
    main()
