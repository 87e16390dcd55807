"""A journey played through with a clock of its own, in a store in memory: how many come to each node, and when.

Events are those that customers really did (the warehouse's) or that a caller makes up; nothing is sent, and policy
(consent, caps, quiet hours) is not asked: so many would be asked for. Everything is labelled simulated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import sqlalchemy as sa

from aimwell.core.seeds import draw_uniform
from aimwell.deployment.journeys.advance import Advancer
from aimwell.deployment.journeys.facts import WarehouseFacts
from aimwell.deployment.journeys.figures import count_journey
from aimwell.deployment.journeys.graph import EventEntry, Journey, PropertyIs, WaitEvent, list_events
from aimwell.deployment.journeys.local_time import find_instant
from aimwell.deployment.journeys.occasions import Register
from aimwell.deployment.journeys.stream import Event, apply_events, choose_events
from aimwell.deployment.journeys.versions import save_journey, start_journey
from aimwell.engine.journey_tables import JOURNEY_ENROLMENTS, JOURNEY_VISITS
from aimwell.engine.store import Store
from aimwell.engine.workspace import Workspace

TICK_MS = 15 * 60_000
_MOST_EVENTS = 5_000_000


@dataclass(frozen=True)
class Simulated:
    """What came out: figures by node with the first, median and last instant, and the messages asked for."""

    journey: str
    start_ms: int
    end_ms: int
    events: int
    figures: dict[str, Any]
    times: dict[str, tuple[int, int, int]]

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        times = {
            node: {"first": _show(first), "median": _show(median), "last": _show(last)}
            for node, (first, median, last) in self.times.items()
        }
        return {
            "simulated": True,
            "start": _show(self.start_ms),
            "end": _show(self.end_ms),
            "events": self.events,
            **self.figures,
            "times": times,
        }


def simulate(
    journey: Journey,
    events: Sequence[Event],
    facts: Register,
    *,
    start_ms: int,
    days: int,
    zone: str,
    tick_ms: int = TICK_MS,
) -> Simulated:
    """Play ``journey`` for ``days`` days from ``start_ms`` with these events (in order of time)."""
    store = Store("sqlite://")
    store.migrate()
    end_ms = start_ms + days * 86_400_000
    try:
        save_journey(store, journey)
        start_journey(store, journey.name, now_ms=start_ms, actor="simulation")
        advancer = Advancer(store, facts, zone=zone)
        place = 0
        for now_ms in _list_ticks(advancer, events, start_ms, end_ms, tick_ms):
            before = place
            while place < len(events) and events[place].occurred_ms <= now_ms:
                place += 1
            if place > before:
                apply_events(store, advancer.catalogue, events[before:place], now_ms=now_ms)
            advancer.step(now_ms)
        with store.snapshot() as connection:
            figures = count_journey(connection, journey)
            times = _read_times(connection)
        return Simulated(journey.name, start_ms, end_ms, place, figures, times)
    finally:
        store.close()


def simulate_history(workspace: Workspace, journey: Journey, *, start: date, days: int) -> Simulated:
    """What the journey would have done with what customers really did from ``start`` on.

    Tags and attributes are as they are known today: what they were then is not kept.
    """
    zone = workspace.settings.business.zone
    names = frozenset(event.event for event in list_events(journey))
    events: list[Event] = []
    sql = (
        "SELECT event_id, customer_id, name, occurred_at, product_id, campaign_id, channel, properties FROM events"
        " WHERE occurred_on BETWEEN $first AND $last ORDER BY occurred_at, event_id"
    )
    with workspace.read() as reader:
        rows = reader.query(sql, {"first": start, "last": start + timedelta(days=days)})
        events = choose_events(rows, names, 1)[:_MOST_EVENTS]
    return simulate(
        journey, events, WarehouseFacts(workspace), start_ms=find_start(start, zone), days=days, zone=zone
    )


def find_start(day: date, zone: str) -> int:
    """When the business's day begins."""
    return find_instant(day, time(), zone)


def make_events(
    journey: Journey, *, customers: int, start_ms: int, days: int, seed: int, answers: float = 0.3
) -> list[Event]:
    """Made-up customers: each does what lets people in, once; of what is waited for, each does ``answers``."""
    entries = [entry.event for entry in journey.entries if isinstance(entry, EventEntry)]
    awaited = [node.event for _, node in journey.nodes if isinstance(node, WaitEvent)]
    awaited += [journey.goal] if journey.goal is not None else []
    length = days * 86_400_000
    made: list[Event] = []
    for number in range(customers if entries else 0):
        name = f"simulated-{number}"
        entry = entries[number % len(entries)]
        at = start_ms + int(draw_uniform(f"{seed} entry", name) * length / 2)
        made.append(Event(f"{name}-entry", name, entry.event, at, _fill(entry.where), 1))
        for place, event in enumerate(awaited):
            if draw_uniform(f"{seed} answers {place}", name) < answers:
                later = at + int(draw_uniform(f"{seed} later {place}", name) * length / 2)
                made.append(Event(f"{name}-{place}", name, event.event, later, _fill(event.where), 1))
    return sorted(made, key=lambda event: (event.occurred_ms, event.event_id))


def _fill(where: Sequence[PropertyIs]) -> dict[str, Any]:
    """Properties that satisfy the conditions where that is easily said."""
    return {one.name: one.value for one in where if one.operator in ("=", "<=", ">=")}


def _list_ticks(
    advancer: Advancer, events: Sequence[Event], start_ms: int, end_ms: int, tick_ms: int
) -> Iterator[int]:
    """The instants at which something may happen, each on a tick; idle time is passed over."""
    now_ms, place = start_ms, 0
    while now_ms <= end_ms:
        yield now_ms
        while place < len(events) and events[place].occurred_ms <= now_ms:
            place += 1
        due = advancer.find_due()
        nexts = [] if due is None else [int(due.timestamp() * 1000)]
        nexts += [events[place].occurred_ms] if place < len(events) else []
        if not nexts:
            return
        ahead = max(min(nexts) - now_ms, 1)
        now_ms += -(-ahead // tick_ms) * tick_ms


def _read_times(connection: sa.Connection) -> dict[str, tuple[int, int, int]]:
    """Node → first, median and last instant at which somebody came."""
    visits = JOURNEY_VISITS.c
    query = (
        sa.select(visits.node, visits.at_ms)
        .join(JOURNEY_ENROLMENTS, JOURNEY_ENROLMENTS.c.enrolment_id == visits.enrolment_id)
        .order_by(visits.node, visits.at_ms)
    )
    found: dict[str, list[int]] = {}
    for node, at_ms in connection.execute(query):
        found.setdefault(node, []).append(at_ms)
    return {node: (at[0], at[len(at) // 2], at[-1]) for node, at in found.items()}


def _show(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="minutes")
