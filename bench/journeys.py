"""Claim: journeys move tens of thousands of waiting people a second, durably, on SQLite and on PostgreSQL.

People wait in a journey of several waits; all are due at once. Measured are *steps* (a wait ends, the next node
is reached: the enrolment's row is changed and the visit logged, in batches of 10,000, each one transaction, SQLite with
synchronous=FULL and NORMAL, PostgreSQL with fsync) and *matching*: live events come in hot batches of 10,000 and end
the waits of a tenth of all who wait for them. PostgreSQL is started for the bench where its programs are installed.

Peers, measured on the same kind of machine before: DBOS 33–224 steps a second, procrastinate 171 jobs a second.
Run it with ``python -m bench.journeys [--waiting 1000000]``.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import sqlalchemy as sa

from aimwell.core.tables import EVENTS
from aimwell.deployment.journeys.advance import Advancer
from aimwell.deployment.journeys.graph import EventEntry, EventIs, Journey, Span, Wait, WaitEvent
from aimwell.deployment.journeys.knowledge import PlainFacts
from aimwell.deployment.journeys.stream import follow_events
from aimwell.deployment.journeys.versions import save_journey, start_journey
from aimwell.engine.hot_events import HotBatch, HotRows
from aimwell.engine.journey_tables import JOURNEY_ENROLMENTS, JOURNEY_VISITS
from aimwell.engine.rule import Rule
from aimwell.engine.store import Store
from bench.result import Cost, emit, measure
from bench.running import AS_DEPLOYED

NOW = 1_767_225_600_000
HOUR = 3_600_000
CHUNK = 10_000
LEAST = {"sqlite full": 23_000, "sqlite normal": 39_000, "postgresql": 18_000}
LEAST_EVENTS = {"sqlite full": 15_000, "sqlite normal": 15_000, "postgresql": 26_000}
BEST_PEER = 224.0

JOURNEY = Journey(
    name="bench",
    title="Bench",
    entries=(EventEntry("first", EventIs("Signed Up")),),
    nodes=(
        ("first", Wait(Span(hours=1), next="second")),
        ("second", Wait(Span(hours=24), next="buys")),
        ("buys", WaitEvent(EventIs("Order Completed"), Span(days=7), then="rest")),
        ("rest", Wait(Span(days=30))),
    ),
)


def fill(store: Store, waiting: int, node: str) -> None:
    """Everybody waits at ``node`` until NOW; customers in random order."""
    order = np.random.default_rng(7).permutation(waiting).tolist()
    for start in range(0, waiting, CHUNK):
        rows = [
            {
                "journey": JOURNEY.name,
                "version": 1,
                "customer_id": f"customer {who:09d}",
                "occasion": "event:bench",
                "arm": "treatment",
                "node": node,
                "state": "waiting",
                "edge": "entry",
                "probability": 1.0,
                "due_ms": NOW if node == "first" else NOW + 1_000 * HOUR,
                "step": 1,
                "entered_ms": NOW - HOUR,
            }
            for who in order[start : start + CHUNK]
        ]
        with store.begin() as connection:
            connection.execute(sa.insert(JOURNEY_ENROLMENTS), rows)


def count_visits(store: Store) -> int:
    """How many moves were logged."""
    with store.snapshot() as connection:
        return int(connection.execute(sa.select(sa.func.count()).select_from(JOURNEY_VISITS)).scalar_one())


def measure_steps(store: Store, waiting: int) -> tuple[float, Cost]:
    """Steps per second: everybody goes from one wait to the next."""
    save_journey(store, JOURNEY)
    start_journey(store, JOURNEY.name, now_ms=NOW)
    fill(store, waiting, "first")
    advancer = Advancer(store, NoRegister("UTC"), zone="UTC")
    moved, cost = measure(lambda: advancer.move(NOW))
    if moved != waiting or count_visits(store) != waiting:
        raise SystemExit(f"{moved} moves and {count_visits(store)} visits of {waiting}")
    return moved / cost.elapsed, cost


def measure_matching(store: Store, waiting: int) -> tuple[float, Cost]:
    """Events a second, each of which ends somebody's wait."""
    with store.begin() as connection:
        there = sa.update(JOURNEY_ENROLMENTS)
        connection.execute(there.values(node="buys", state="waiting", due_ms=NOW + 1_000 * HOUR))
    if store.engine.dialect.name == "postgresql":
        # As the server does by itself, some time after such a change of everything.
        with store.engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
            connection.execute(sa.text("VACUUM ANALYZE journey_enrolments"))
    hot = HotRows(store)
    events = waiting // 10
    people = np.random.default_rng(8).permutation(waiting)[:events].tolist()
    for start in range(0, events, CHUNK):
        some = people[start : start + CHUNK]
        ids = [f"message:{who}" for who in some]
        hot.append(HotBatch(ids, {"events": (build_events(some), np.arange(len(some)))}))
    advancer = Advancer(store, NoRegister("UTC"), zone="UTC")

    def match() -> int:
        done = 0
        while found := follow_events(store, advancer.catalogue, now_ms=NOW, most_rows=CHUNK):
            done += found
        return done

    matched, cost = measure(match)
    ready = sa.select(sa.func.count()).where(JOURNEY_ENROLMENTS.c.state == "ready")
    with store.snapshot() as connection:
        found = connection.execute(ready).scalar_one()
    if matched != events or found != events:
        raise SystemExit(f"{matched} events and {found} waits ended of {events}")
    return matched / cost.elapsed, cost


def build_events(people: list[int]) -> pa.Table:
    """'Order Completed' of each."""
    at = pa.array([NOW * 1_000] * len(people), pa.timestamp("us", "UTC"))
    rows = [
        {
            "event_id": f"e{who}",
            "customer_id": f"customer {who:09d}",
            "name": "Order Completed",
            "occurred_at": at[0].as_py(),
            "occurred_on": at[0].as_py().date(),
            "source": "bench",
            "simulated": True,
        }
        for who in people
    ]
    return EVENTS.build(rows)


class NoRegister(PlainFacts):
    """Facts of people of whom nothing is asked."""

    def list_holders(self, rule: Rule, now_ms: int) -> list[str]:
        """Nobody."""
        return []

    def list_dated(self, of: str, first: date, last: date, *, yearly: bool) -> list[tuple[str, date, str]]:
        """Nobody."""
        return []

    def has_zones(self) -> bool:
        """All live in one."""
        return False

    def find_version(self, of: str) -> int:
        """Nothing ever changes."""
        return 0


@contextmanager
def open_sqlite(synchronous: str) -> Iterator[Store]:
    """A new file."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store.open_file(Path(folder) / "store.sqlite")

        @sa.event.listens_for(store.engine, "connect")
        def _connect(connection: object, _: object) -> None:
            connection.execute(f"PRAGMA synchronous={synchronous}")  # type: ignore[attr-defined]

        store.engine.dispose()
        yield store
        store.close()


@contextmanager
def open_postgres() -> Iterator[Store | None]:
    """A server of its own, with fsync; None where its programs are not installed."""
    from tests.postgres import find_programs, serve_durably

    if find_programs() is None:
        yield None
        return
    with serve_durably(*AS_DEPLOYED) as server:
        server.run("CREATE DATABASE journeys")
        store = Store(server.address("journeys"))
        store.migrate()
        yield store
        store.close()


def main() -> None:
    """Print each measurement, and at the end one line for programs."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("--waiting", type=int, default=100_000)
    parser.add_argument("--store", choices=list(LEAST), help="only this one")
    given = parser.parse_args()
    waiting = given.waiting
    steps: dict[str, float] = {}
    events: dict[str, float] = {}
    for name in [given.store] if given.store else LEAST:
        opened = open_postgres() if name == "postgresql" else open_sqlite(name.split()[1].upper())
        with opened as store:
            if store is None:
                print(f"{name}: the server's programs are not installed", flush=True)
                continue
            steps[name], cost = measure_steps(store, waiting)
            print(f"{name}: {steps[name]:,.0f} steps a second ({cost.cpu:.1f} CPU s here)", flush=True)
            events[name], cost = measure_matching(store, waiting)
            print(f"{name}: {events[name]:,.0f} events a second ({cost.cpu:.1f} CPU s here)", flush=True)
    holds = all(steps[name] >= LEAST[name] and events[name] >= LEAST_EVENTS[name] for name in steps)
    emit(
        claim="journeys: >= 23,000 steps a second (SQLite FULL), >= 39,000 (NORMAL), >= 18,000 (PostgreSQL)",
        ours=min(steps.values()),
        peer=BEST_PEER,
        unit="steps a second",
        holds=holds,
        steps={name: round(value) for name, value in steps.items()},
        events={name: round(value) for name, value in events.items()},
        waiting=waiting,
    )


if __name__ == "__main__":
    main()
