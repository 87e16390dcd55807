"""What the service counts of itself, for Prometheus. Reads the store's ``deliveries``; writes no table.

Processes of one service count in files of a folder that they share, and each tells the sum of all. No label holds
anything personal: routes are told by their pattern.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import sqlalchemy as sa
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from aimwell.engine.ledger_tables import DELIVERIES
from aimwell.engine.store import Store
from aimwell.service.sharing import find_folder

# When a counter began is of use to nobody, and twice the text.
disable_created_metrics()  # type: ignore[no-untyped-call]
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_KEPT_SECONDS = 30.0
"""Deliveries are counted anew after so long: many scrapers must not make many counts."""


class Metrics:
    """The figures of one process, or of all that share a folder; ``depth`` tells how many events wait here."""

    def __init__(self, store: Store, depth: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "aimwell_requests", "Requests answered", ["route", "method", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "aimwell_request_seconds",
            "Time to the answer",
            ["route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._commits = Histogram(
            "aimwell_event_commit_seconds",
            "From taking events to their being durable, those who waited before them included",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._events = Counter("aimwell_events", "Events by outcome", ["status"], registry=self.registry)
        self._decisions = Counter(
            "aimwell_decisions", "Live decisions by reason", ["reason"], registry=self.registry
        )
        self._depth = depth
        self._waiting = Gauge(
            "aimwell_events_waiting",
            "Events that wait for a commit",
            multiprocess_mode="livesum",
            registry=self.registry,
        )
        self._deliveries = _Deliveries(store)
        self.registry.register(self._deliveries)
        self._folder = find_folder()
        self._children: dict[tuple[str, str, int], Counter] = {}
        self._timers: dict[str, Histogram] = {}
        self._reasons: dict[str, Counter] = {}

    def count_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """One request was answered."""
        name = (route, method, status)
        child = self._children.get(name)
        if child is None:
            child = self._children[name] = self._requests.labels(route, method, str(status))
            self._timers.setdefault(route, self._seconds.labels(route))
        child.inc()
        self._timers[route].observe(seconds)

    def count_events(self, status: str, number: int) -> None:
        """Events were accepted, known already, or rejected."""
        if number:
            self._events.labels(status).inc(number)
            self._waiting.set(self._depth())

    def count_commit(self, seconds: float) -> None:
        """Events that came together became durable after so long."""
        self._commits.observe(seconds)

    def count_decision(self, reason: str) -> None:
        """One live decision."""
        child = self._reasons.get(reason)
        if child is None:
            child = self._reasons[reason] = self._decisions.labels(reason)
        child.inc()

    def render(self) -> bytes:
        """All figures as Prometheus reads them; asks the store."""
        self._waiting.set(self._depth())
        if self._folder is None:
            return generate_latest(self.registry)
        _forget_dead(self._folder)
        together = CollectorRegistry()
        MultiProcessCollector(together, str(self._folder))  # type: ignore[no-untyped-call]
        together.register(self._deliveries)
        return generate_latest(together)


def _forget_dead(folder: Path) -> None:
    """What processes that ended have counted stays; nothing waits in them."""
    for file in folder.glob("gauge_livesum_*.db"):
        pid = int(file.stem.rpartition("_")[2])
        if not _is_alive(pid):
            mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


class _Deliveries(Collector):
    """How many deliveries stand in which state."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, str], int] = {}
        self._at = -1e9

    def describe(self) -> list[GaugeMetricFamily]:
        """What ``collect`` brings, told without asking the store."""
        return [self._make_family()]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The counts, at most half a minute old."""
        family = self._make_family()
        with self._lock:
            if time.monotonic() - self._at > _KEPT_SECONDS:
                self._counts = self._count()
                self._at = time.monotonic()
        for labels, number in self._counts.items():
            family.add_metric(labels, number)
        yield family

    @staticmethod
    def _make_family() -> GaugeMetricFamily:
        return GaugeMetricFamily(
            "aimwell_deliveries", "Deliveries by channel and state", labels=["channel", "state"]
        )

    def _count(self) -> dict[tuple[str, str], int]:
        columns = DELIVERIES.c
        query = sa.select(columns.channel, columns.state, sa.func.count()).group_by(
            columns.channel, columns.state
        )
        with self._store.snapshot() as connection:
            return {(channel, state): number for channel, state, number in connection.execute(query)}
