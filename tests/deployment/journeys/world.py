"""What the tests of journeys stand on: stores, people, events as hot batches, a clock that is a number."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import sqlalchemy as sa

from aimwell.core.tables import EVENTS
from aimwell.deployment.journeys.advance import Advancer
from aimwell.deployment.journeys.graph import Action, EventEntry, EventIs, Journey, Span, Wait
from aimwell.deployment.journeys.knowledge import (
    NOBODY,
    Answer,
    Contact,
    Decisions,
    Joined,
    Knowledge,
    Need,
    Question,
    Reservations,
)
from aimwell.deployment.journeys.versions import save_journey, start_journey
from aimwell.engine.hot_events import HotBatch, HotRows
from aimwell.engine.journey_tables import JOURNEY_ENROLMENTS, JOURNEY_VISITS
from aimwell.engine.ledger_tables import DELIVERIES
from aimwell.engine.permissions import ConsentState
from aimwell.engine.rule import Rule
from aimwell.engine.store import Store

MINUTE = 60_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
START = int(datetime(2026, 3, 2, 8, 0, tzinfo=UTC).timestamp() * 1000)
"""A Monday, nine o'clock in Berlin."""
BERLIN = "Europe/Berlin"


@dataclass
class People:
    """Facts that a test sets: zones, dates, whom a rule holds for."""

    zone: str = BERLIN
    zones: dict[str, str] = field(default_factory=dict)
    holders: dict[str, set[str]] = field(default_factory=dict)
    dates: dict[str, dict[str, date]] = field(default_factory=dict)
    version: int = 1

    def learn(self, need: Need, customers: frozenset[str], now_ms: int) -> Knowledge:
        """What the test set."""
        reach = Contact(frozenset({"email", "sms"}))
        return Knowledge(
            self.zone,
            customers,
            zones={name: self.zones[name] for name in customers if name in self.zones},
            rules={key: frozenset(self.holders.get(key, ())) for key in need.rules},
            dates={of: self.dates.get(of, {}) for of in need.dates},
            contacts=dict.fromkeys(customers, reach) if need.contacts else {},
            consents=tuple(ConsentState(one, "email", True, 1) for one in customers) if need.contacts else (),
            costs={"email": 1, "sms": 5},
        )

    def list_holders(self, rule: Rule, now_ms: int) -> list[str]:
        """Everybody of whom a rule holds."""
        return sorted(set().union(*self.holders.values()))

    def list_dated(self, of: str, first: date, last: date, *, yearly: bool) -> list[tuple[str, date, str]]:
        """All dates: the caller looks at each."""
        return [(name, day, self.zones.get(name, self.zone)) for name, day in self.dates.get(of, {}).items()]

    def has_zones(self) -> bool:
        """Whether the test set any."""
        return bool(self.zones)

    def find_version(self, of: str) -> int:
        """Raised by the test when dates changed."""
        return self.version


@dataclass
class Advice:
    """Live decisions that a test makes up: nothing is reserved."""

    say: Callable[[Question], Answer]
    asked: list[Question] = field(default_factory=list)

    def ask(self, questions: Sequence[Question]) -> list[Answer]:
        """What the test says."""
        self.asked.extend(questions)
        return [self.say(one) for one in questions]

    def open(self, connection: sa.Connection, request_ids: Sequence[str]) -> Reservations:
        """Nobody asks for what was not reserved."""
        raise AssertionError(request_ids)


@dataclass
class World:
    """A store with one advancer."""

    store: Store
    people: People = field(default_factory=People)
    decisions: Decisions | None = None
    joined: Joined = NOBODY
    sent: int = 0

    def __post_init__(self) -> None:
        self.hot = HotRows(self.store)
        self.advancer = self.open()

    def open(self) -> Advancer:
        """An advancer that remembers nothing, as after a start."""
        return Advancer(
            self.store, self.people, zone=self.people.zone, decisions=self.decisions, join=lambda: self.joined
        )

    def start(self, journey: Journey, now_ms: int = START) -> None:
        """Save and start."""
        save_journey(self.store, journey)
        start_journey(self.store, journey.name, now_ms=now_ms)

    def post(self, *events: tuple[str, str] | tuple[str, str, Mapping[str, Any]], at_ms: int = START) -> None:
        """Events (customer, name, properties) that came in at an instant, in one hot batch."""
        rows = []
        for customer, name, *rest in events:
            self.sent += 1
            rows.append(build_event(f"e{self.sent}", customer, name, at_ms, rest[0] if rest else {}))
        post_events(self.hot, rows)

    def step(self, now_ms: int) -> int:
        """Advance to this instant."""
        return self.advancer.step(now_ms)

    def places(self, journey: str | None = None) -> dict[str, tuple[str, str]]:
        """Customer → (state or outcome, node)."""
        columns = JOURNEY_ENROLMENTS.c
        query = sa.select(columns.customer_id, columns.state, columns.outcome, columns.node)
        query = query.where(columns.journey == journey) if journey else query
        with self.store.begin() as connection:
            rows = connection.execute(query.order_by(columns.enrolment_id)).all()
        return {customer: (outcome or state, node) for customer, state, outcome, node in rows}

    def rows(self) -> list[dict[str, Any]]:
        """All enrolments."""
        with self.store.begin() as connection:
            query = sa.select(JOURNEY_ENROLMENTS).order_by(JOURNEY_ENROLMENTS.c.enrolment_id)
            return [dict(row._mapping) for row in connection.execute(query)]

    def visits(self, enrolment: int | None = None) -> list[dict[str, Any]]:
        """The log, in order."""
        columns = JOURNEY_VISITS.c
        query = sa.select(JOURNEY_VISITS).order_by(columns.enrolment_id, columns.step)
        query = query.where(columns.enrolment_id == enrolment) if enrolment else query
        with self.store.begin() as connection:
            return [dict(row._mapping) for row in connection.execute(query)]

    def deliveries(self) -> list[dict[str, Any]]:
        """The ledger."""
        with self.store.begin() as connection:
            query = sa.select(DELIVERIES).order_by(DELIVERIES.c.customer_id, DELIVERIES.c.action_id)
            return [dict(row._mapping) for row in connection.execute(query)]


def build_event(
    event_id: str, customer: str, name: str, at_ms: int, properties: Mapping[str, Any]
) -> dict[str, Any]:
    """A row of ``events``."""
    at = datetime.fromtimestamp(at_ms / 1000, UTC)
    return {
        "event_id": event_id,
        "customer_id": customer,
        "name": name,
        "occurred_at": at,
        "occurred_on": at.date(),
        "properties": json.dumps(dict(properties), ensure_ascii=False) if properties else None,
        "received_at": at,
        "source": "test",
        "simulated": False,
    }


def post_events(hot: HotRows, rows: list[dict[str, Any]]) -> None:
    """The rows as one hot batch."""
    ids = [f"message:{row['event_id']}" for row in rows]
    hot.append(HotBatch(ids, {"events": (EVENTS.build(rows), np.arange(len(rows)))}))


def welcome(**changes: Any) -> Journey:
    """Sign-up → a mail → a day → another mail."""
    values: dict[str, Any] = {
        "name": "welcome",
        "title": "Welcome",
        "entries": (EventEntry("hello", EventIs("Signed Up")),),
        "nodes": (
            ("hello", Action("email", next="pause")),
            ("pause", Wait(Span(days=1), next="again")),
            ("again", Action("email")),
        ),
        **changes,
    }
    return Journey(**values)
