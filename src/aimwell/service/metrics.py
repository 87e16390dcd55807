"""What the service counts of itself, for Prometheus. Reads the store's ``deliveries``; writes no table.

Each process counts for itself. No label holds anything personal: routes are told by their pattern.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

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
from prometheus_client.registry import Collector

from aimwell.engine.ledger_tables import DELIVERIES
from aimwell.engine.store import Store

# When a counter began is of use to nobody, and twice the text.
disable_created_metrics()  # type: ignore[no-untyped-call]
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
_KEPT_SECONDS = 30.0
"""Deliveries are counted anew after so long: many scrapers must not make many counts."""


class Metrics:
    """One process's figures; ``depth`` tells how many events wait."""

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
        self._events = Counter("aimwell_events", "Events by outcome", ["status"], registry=self.registry)
        self._decisions = Counter(
            "aimwell_decisions", "Live decisions by reason", ["reason"], registry=self.registry
        )
        Gauge("aimwell_events_waiting", "Events that wait for a commit", registry=self.registry).set_function(
            depth
        )
        self.registry.register(_Deliveries(store))
        self._children: dict[tuple[str, str, int], Counter] = {}
        self._timers: dict[str, Histogram] = {}

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

    def count_decision(self, reason: str) -> None:
        """One live decision."""
        self._decisions.labels(reason).inc()

    def render(self) -> bytes:
        """All figures as Prometheus reads them; asks the store."""
        return generate_latest(self.registry)


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
