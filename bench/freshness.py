"""Claim: 5,000 durable events a second, seen by exact counts at once, none lost or doubled, while files are compacted.

Three processes share one workspace: a loader that takes 5,000 events a second in, in batches of 500; the worker, which
moves them into files; a reader that counts. Beside it: intake as fast as it goes, singly with group commit, live
rules, and membership of segments. The peer of the throughput is the rate that RudderStack publishes for 2 cores (1,700
events a second). Shared processors lose up to half of their speed for minutes: a part that misses its limit is measured
again in a new workspace, up to ``ATTEMPTS`` times, and every attempt is printed; a lost or doubled event in any of them
fails the claim.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import multiprocessing
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from aimwell.analysis.live_members import LiveMembers
from aimwell.analysis.live_rules import LiveRules
from aimwell.analysis.rule_text import parse_rule
from aimwell.analysis.schedule import refresh_due
from aimwell.analysis.segments import save_segment
from aimwell.analysis.step import describe
from aimwell.core.tables import EVENTS
from aimwell.core.time import business_day, now
from aimwell.data.event_intake import take_events
from aimwell.data.event_queue import EventQueue
from aimwell.engine.hot_tables import HOT_BATCHES, LIVE_CHANGES, LIVE_FOLLOWERS
from aimwell.engine.rule import All, Not, Rule, Sequence, Step, did
from aimwell.engine.specification import Condition, Window
from aimwell.engine.workspace import Workspace
from aimwell.loop.worker import work
from bench.locks import measure_disk, summarise_locks, watch_locks

RATE, BATCH = 5_000, 500
SECONDS = {"small": 8, "full": 60}
ATTEMPTS = 3
PAUSE = 0.2
"""Seconds between two readings: a reader that never rests would take one of two cores for itself."""


def build_batch(prefix: str, first: int, count: int) -> list[dict[str, Any]]:
    at = now().isoformat()
    return [
        {
            "type": "track",
            "event": "Product Viewed",
            "messageId": f"{prefix}-{number}",
            "userId": f"u{number * 7919 % 100_000}",
            "timestamp": at,
            "properties": {"product_id": f"p{number % 1000}", "price": 19.9, "position": number % 20},
        }
        for number in range(first, first + count)
    ]


def load(folder: str, seconds: float, queue: Any) -> None:
    """Acknowledged events and when, how long each batch took, and its CPU seconds."""
    workspace = Workspace.open(folder)
    turns = watch_locks(workspace.store)
    take_events(workspace, build_batch("warm", 0, 10))
    acknowledged, took, cpu = [], [], []
    begin = time.time()
    for number in range(int(seconds * RATE / BATCH)):
        messages = build_batch("paced", number * BATCH, BATCH)
        time.sleep(max(begin + number * BATCH / RATE - time.time(), 0))
        started, worked = time.perf_counter(), time.process_time()
        take_events(workspace, messages)
        took.append(time.perf_counter() - started)
        cpu.append(time.process_time() - worked)
        acknowledged.append((time.time(), 10 + (number + 1) * BATCH))
    queue.put((acknowledged, took, cpu, time.time() - begin, turns))


def tidy(folder: str, stop: Any, queue: Any) -> None:
    workspace = Workspace.open(folder)
    turns = watch_locks(workspace.store)
    try:
        work(workspace, stop)
    finally:
        queue.put(turns)


def count(folder: str, stop: Any, queue: Any) -> None:
    """When each reading ended, and the rows and different ids that it saw; a pause after each, as a screen makes."""
    workspace = Workspace.open(folder)
    seen = []
    while not stop.is_set():
        with workspace.read() as reader:
            sql = "SELECT COUNT(*) AS n, COUNT(DISTINCT event_id) AS d FROM events"
            row = reader.query(sql).to_pylist()[0]
        seen.append((time.time(), row["n"], row["d"]))
        time.sleep(PAUSE)
    queue.put(seen)


def measure_freshness(folder: str, seconds: float) -> dict[str, Any]:
    context = multiprocessing.get_context("spawn")
    stop, loaded, counted, tidied = context.Event(), context.Queue(), context.Queue(), context.Queue()
    others = [
        context.Process(target=tidy, args=(folder, stop, tidied)),
        context.Process(target=count, args=(folder, stop, counted)),
    ]
    loader = context.Process(target=load, args=(folder, seconds, loaded))
    for process in (*others, loader):
        process.start()
    acknowledged, took, cpu, elapsed, loader_turns = loaded.get()
    total = acknowledged[-1][1]
    time.sleep(3)
    stop.set()
    seen = counted.get()
    worker_turns = tidied.get()
    for process in (*others, loader):
        process.join()
        assert process.exitcode == 0, f"{process.name} failed"
    delays = []
    place = 0
    for at, rows in acknowledged:
        while place < len(seen) and seen[place][1] < rows:
            place += 1
        delays.append(max(seen[place][0] - at, 0.0) if place < len(seen) else float("inf"))
    return {
        "events": total,
        "events_per_second": round((total - 10) / elapsed),
        "batch_p50_ms": round(1000 * quantile(took, 0.5), 1),
        "batch_p99_ms": round(1000 * quantile(took, 0.99), 1),
        "batch_cpu_p50_ms": round(1000 * quantile(cpu, 0.5), 1),
        "loader_lock": summarise_locks(loader_turns),
        "worker_lock": summarise_locks(worker_turns),
        "visible_p50_s": round(quantile(delays, 0.5), 3),
        "visible_p99_s": round(quantile(delays, 0.99), 3),
        "readings": len(seen),
        "lost": total - seen[-1][1],
        "doubled": sum(rows != distinct for _, rows, distinct in seen),
        "went_back": sum(later[1] < earlier[1] for earlier, later in itertools.pairwise(seen)),
    }


def measure_intake(folder: str, batches: int) -> dict[str, Any]:
    """Batches of 1,000 while the worker compacts."""
    context = multiprocessing.get_context("spawn")
    stop, tidied = context.Event(), context.Queue()
    worker = context.Process(target=tidy, args=(folder, stop, tidied))
    worker.start()
    workspace = Workspace.open(folder)
    turns = watch_locks(workspace.store)
    messages = [build_batch("fast", number * 1000, 1000) for number in range(batches)]
    take_events(workspace, build_batch("before", 0, 1000))
    # Until the worker has started, and has moved what was there.
    wait_until(workspace, sa.select(HOT_BATCHES.c.position), False)
    turns.clear()
    took = []
    began, cpu = time.perf_counter(), time.process_time()
    for batch in messages:
        started = time.perf_counter()
        take_events(workspace, batch)
        took.append(time.perf_counter() - started)
    elapsed, cpu = time.perf_counter() - began, time.process_time() - cpu
    stop.set()
    worker_turns = tidied.get()
    worker.join()
    return {
        "events_per_second": round(batches * 1000 / elapsed),
        "events_per_cpu_second": round(batches * 1000 / cpu),
        "batch_p99_ms": round(1000 * quantile(took, 0.99), 1),
        "loader_lock": summarise_locks(turns),
        "worker_lock": summarise_locks(worker_turns),
    }


def measure_singles(folder: str, events: int, senders: int = 64) -> dict[str, float]:
    """Single events, each sender waiting for its answer before it sends the next."""
    workspace = Workspace.open(folder)
    messages = build_batch("single", 0, events)

    def send(mine: list[dict[str, Any]]) -> None:
        for message in mine:
            assert events_in.put(message).result(60).status == "accepted"

    began = time.perf_counter()
    with EventQueue(workspace) as events_in:
        threads = [threading.Thread(target=send, args=(messages[n::senders],)) for n in range(senders)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    elapsed = time.perf_counter() - began
    return {"events_per_second": round(events / elapsed), "commits": events_in.commits}


def measure_live_rules(folder: str, events: int) -> dict[str, float]:
    """Three rules, their states durable: events per CPU second, reading and committing included.

    Beforehand every customer has some events, so that the rules begin with a state of everybody.
    """
    workspace = Workspace.open(folder)
    for first in range(0, events // 2, 10_000):
        take_events(workspace, build_batch("known", first, 10_000))
    name = Condition("name", "=", "Product Viewed")
    rules: dict[str, Rule] = {
        "often": did("Product Viewed", 3, 30),
        "stopped": All((did("Product Viewed", 1, 30), Not(did("Product Viewed", 1, 7)))),
        "came_back": Sequence((Step("events", (name,)), Step("events", (name,), 7)), None, Window(30)),
    }
    live = LiveRules(workspace, rules)
    live.start()
    for first in range(0, events, 10_000):
        take_events(workspace, build_batch("live", first, 10_000))
    began = time.process_time()
    # A step without changes is no end: every customer may have been seen too seldom so far.
    changes = sum(len(live.step(most_rows=10_000)) for _ in range(events // 10_000 + 1))
    cpu = time.process_time() - began
    live.stop()
    return {"rules": len(rules), "events_per_cpu_second": round(events / cpu), "changes": changes}


def fill_members(workspace: Workspace, customers: int) -> None:
    """Ten views of each customer during the last 20 days, in files: a day at a time, as deliveries come."""
    people = pa.array([f"m{number:07d}" for number in range(customers)], pa.string())
    for day in range(20):
        own = people.take(pa.array(range(day % 2, customers, 2), pa.int64()))
        at = now() - timedelta(days=1 + day)
        fixed = {
            "name": "Product Viewed",
            "occurred_at": at,
            "occurred_on": at.date(),
            "source": "bench",
            "simulated": False,
        }
        columns = {name: pa.repeat(pa.scalar(value), len(own)) for name, value in fixed.items()}
        columns["event_id"] = pa.array([f"{day}-{number}" for number in range(len(own))], pa.string())
        with workspace.run("data", as_of=business_day(now(), "UTC")) as run:
            run.append("events", EVENTS.validate(pa.table({"customer_id": own, **columns})))


def measure_members(folder: str, customers: int, clicks: int) -> dict[str, float]:
    """Seconds from an event's acknowledgement to its customer's entry in a segment, beside all that the worker does."""
    workspace = Workspace.open(folder)
    fill_members(workspace, customers)
    rules = {
        "clicked": "did 'Bench Clicked' in 30 days",
        "viewers": "did 'Product Viewed' 3 times in 30 days",
        "clicked_not_viewed": "did 'Bench Clicked' in 30 days and not did 'Product Viewed' in 7 days",
    }
    for name, text in rules.items():
        save_segment(workspace.store, name, parse_rule(text))
    describe(workspace, as_of=business_day(now(), "UTC"))
    context = multiprocessing.get_context("spawn")
    stop, tidied = context.Event(), context.Queue()
    worker = context.Process(target=tidy, args=(folder, stop, tidied))
    worker.start()
    # The first click waits for the worker's start, in which everybody is decided.
    wait_until(workspace, sa.select(LIVE_FOLLOWERS.c.turn), True)
    delays = []
    for number in range(clicks + 1):
        customer = f"m{number * 37 % customers:07d}"
        message = {**build_batch("click", number, 1)[0], "event": "Bench Clicked", "userId": customer}
        take_events(workspace, [message])
        began = time.time()
        while not has_entered(workspace, customer) and time.time() - began < 10:
            time.sleep(0.01)
        delays.append(time.time() - began)
        time.sleep(0.1)
    stop.set()
    tidied.get()
    worker.join()
    assert worker.exitcode == 0, "the worker failed"
    live = LiveMembers(workspace)
    live.step()
    cpu = time.process_time()
    left = live.step(now() + timedelta(days=31))
    cpu = time.process_time() - cpu
    # On each of these days, what half of all customers did 30 days before leaves the windows.
    refresh_due(workspace, now() + timedelta(days=10))
    windows, elapsed = time.process_time(), time.perf_counter()
    refreshed = refresh_due(workspace, now() + timedelta(days=11))
    windows, elapsed = time.process_time() - windows, time.perf_counter() - elapsed
    return {
        "customers": customers,
        "entered_p50_s": round(quantile(delays[1:], 0.5), 3),
        # Of 200 clicks: a p99 of fifty would be their longest.
        "entered_p99_s": round(quantile(delays[1:], 0.99), 3),
        "entered_longest_s": round(max(delays[1:]), 3),
        "expired": len(left),
        "expiry_cpu_s": round(cpu, 2),
        "windows_looked_at": refreshed.looked_at if refreshed else 0,
        "windows_expired_s": round(elapsed, 2),
        "windows_cpu_s": round(windows, 2),
    }


def wait_until(workspace: Workspace, query: sa.Select[Any], there: bool, seconds: float = 600) -> None:
    """Until the store has a row of ``query``, or none."""
    until = time.time() + seconds
    while time.time() < until:
        with workspace.store.snapshot() as connection:
            if (connection.execute(query.limit(1)).first() is not None) == there:
                return
        time.sleep(0.05)


def has_entered(workspace: Workspace, customer: str) -> bool:
    named = (LIVE_CHANGES.c.rule == "clicked", LIVE_CHANGES.c.customer_id == customer)
    with workspace.store.snapshot() as connection:
        return (
            connection.execute(sa.select(LIVE_CHANGES.c.change).where(*named).limit(1)).scalar() is not None
        )


def quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else math.nan


def attempt(
    part: str, measure: Callable[[str], dict[str, Any]], is_met: Callable[[dict[str, Any]], bool]
) -> list[dict[str, Any]]:
    """What ``measure`` found in a new workspace, again while a limit is missed; the last attempt decides."""
    found: list[dict[str, Any]] = []
    while len(found) < ATTEMPTS and not (found and is_met(found[-1])):
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "w")
            Workspace.create(path, zone="UTC").close()
            found.append(measure(path))
        print(json.dumps({"part": part, "attempt": len(found), **found[-1]}), flush=True)
    return found


def is_exact(fresh: dict[str, Any]) -> bool:
    return bool(fresh["lost"] == fresh["doubled"] == fresh["went_back"] == 0)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--scale", choices=tuple(SECONDS), default="small")
    scale = parser.parse_args().scale
    small = scale == "small"
    peer = 1_700
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps({"part": "the disk alone", **measure_disk(Path(folder))}), flush=True)
    parts: list[tuple[str, Callable[[str], dict[str, Any]], Callable[[dict[str, Any]], bool]]] = [
        (
            "three processes",
            lambda path: measure_freshness(path, SECONDS[scale]),
            lambda it: is_exact(it) and it["visible_p99_s"] <= 1.1 and it["batch_p99_ms"] <= 50,
        ),
        (
            "intake in batches of 1,000",
            lambda path: measure_intake(path, 60 if small else 300),
            lambda it: it["events_per_second"] >= 10_000 and it["batch_p99_ms"] <= 250,
        ),
        (
            "singly, group commit, 64 senders",
            lambda path: measure_singles(path, 2_000 if small else 20_000),
            lambda it: it["events_per_second"] >= peer,
        ),
        (
            "live rules, durable states",
            lambda path: measure_live_rules(path, 100_000 if small else 1_000_000),
            lambda it: it["events_per_cpu_second"] >= 100_000,
        ),
        (
            "live membership beside the worker",
            lambda path: measure_members(path, *((2_000, 10) if small else (1_000_000, 200))),
            lambda it: (
                it["entered_p99_s"] <= 1 and it["expiry_cpu_s"] <= 60 and it["windows_expired_s"] <= 60
            ),
        ),
    ]
    found = [attempt(*part) for part in parts]
    met = [is_met(results[-1]) for (_, _, is_met), results in zip(parts, found, strict=True)]
    holds = all(met) and all(is_exact(fresh) for fresh in found[0])
    claim = (
        "durable events a second in batches while compacted (commit p99 250 ms; at 5,000/s 50 ms), every reading "
        "exact, visible within 1.1 s (p99), live rules 100,000 a CPU second, membership within 1 s, windows within 60"
    )
    ours = found[1][-1]["events_per_second"]
    line = {"claim": claim, "ours": ours, "peer": peer, "ratio": round(ours / peer, 2), "unit": "events/s"}
    print(json.dumps({**line, "holds": holds}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
