"""Claim: live decisions over HTTP: at least 5,000 a second on one core, durable; p99 of at most 10 ms at half of it.

One service process (``aimwell service``, SQLite, WAL, synchronous=FULL) decides by a day with five limits, shadow
prices, a cap, consents, a holdout and exploration; each request reads its customer's profile from the store. A load
generator in another process asks on many connections. The peer's figure is what Adobe publishes for a whole
organisation: 500 a second. Run it with ``python -m bench.decide [--seconds 10]``.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import sqlalchemy as sa

from aimwell.engine.live_tables import LIVE_DECISIONS
from aimwell.engine.workspace import Workspace
from aimwell.service.keys import create_key
from aimwell.strategy.live.plan import open_plan
from bench.http_load import Load, send
from bench.live import Day, give_consents, guard, make_day, make_plan
from bench.result import emit
from bench.running import CpuSeconds, run_service

LEAST, MOST_MS, PUBLISHED = 5_000.0, 10.0, 500.0
CUSTOMERS = 20_000
_CHUNK = 1_000


def prepare(folder: Path) -> tuple[Workspace, str]:
    """A workspace whose live day is today, with everybody's profile; and a key."""
    workspace = Workspace.create(folder, zone="UTC")
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


def main() -> None:
    """Print both loads, and at the end one line for programs."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--connections", type=int, default=512)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        workspace, key = prepare(Path(folder) / "w")
        with run_service(workspace.path) as (port, process):
            load = Load(port, key, "decide", given.connections, given.seconds, people=CUSTOMERS)
            send(replace(load, seconds=1.0))
            cpu = CpuSeconds(process.pid)
            full = send(replace(load, first=1_000_000))
            per_cpu = full.statuses.get("200", 0) / cpu.read()
            half = send(replace(load, first=2_000_000, rate=LEAST / 2))
        with workspace.store.snapshot() as connection:
            logged = connection.execute(sa.select(sa.func.count()).select_from(LIVE_DECISIONS)).scalar_one()
        workspace.close()
    per_second = full.statuses.get("200", 0) / full.seconds
    others = sum(n for told in (full, half) for status, n in told.statuses.items() if status != "200")
    print(f"full load: {per_second:,.0f} a second, {per_cpu:,.0f} a CPU second of the service; p50 {full.p50_ms:.1f}, "
          f"p99 {full.p99_ms:.1f} ms", flush=True)  # fmt: skip
    print(f"{LEAST / 2:,.0f} a second: p50 {half.p50_ms:.1f}, p99 {half.p99_ms:.1f} ms; {logged} logged, "
          f"{others} refused", flush=True)  # fmt: skip
    answered = full.statuses.get("200", 0) + half.statuses.get("200", 0)
    emit(
        claim="live decisions over HTTP: >= 5,000 a second on one core, durable; p99 <= 10 ms at half of it",
        ours=per_cpu,
        peer=PUBLISHED,
        unit="decisions per CPU second of one process",
        holds=bool(per_cpu >= LEAST and half.p99_ms <= MOST_MS and not others and logged >= answered),
        decisions_per_second=round(per_second),
        p99_ms_at_half_load=round(half.p99_ms, 2),
        p50_ms_at_half_load=round(half.p50_ms, 2),
        customers=CUSTOMERS,
    )


if __name__ == "__main__":
    main()
