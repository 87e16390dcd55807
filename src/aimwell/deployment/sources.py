"""Which sources may send now, and how fast: the kill switch, paused and stopped campaigns and journeys, rates.

Reads and writes the store's ``campaigns``, reads ``journeys`` and ``contact_gate``, inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from aimwell.deployment.policy import Candidate
from aimwell.deployment.ramp import Meter, Pace
from aimwell.engine.journey_tables import JOURNEYS
from aimwell.engine.ledger_tables import CAMPAIGNS, CONTACT_GATE, DELIVERIES

HALTED = "halted"
JOURNEY = "journey:"
"""How the name of a source begins that is a journey."""
SPECIAL_SOURCES = (JOURNEY, "live:", "test:")
"""Beginnings of the names of sources that are no campaigns."""
_LAUNCHED = ("pilot", "decision", "rollout")
_RECENT_MS = 86_400_000
"""A stopped campaign has nothing queued any more, soon after."""


def is_campaign(source: str) -> bool:
    """Whether it is a plan's wave, whose deliveries are one for each customer and action."""
    return not source.startswith(SPECIAL_SOURCES)


@dataclass(frozen=True)
class Sources:
    """``held``: source → paused or stopped; ``meters``: source → where its rates stand."""

    halted: bool
    held: Mapping[str, str]
    meters: Mapping[str, Meter]

    def find_hold(self, source: str | None) -> str | None:
        """Why nothing may be reserved (of the source); None: it may."""
        if self.halted:
            return HALTED
        return None if source is None else self.held.get(source)

    def list_closed(self, now_ms: int) -> set[str]:
        """Sources of which nothing may be reserved right now."""
        return set(self.held) | {
            name for name, meter in self.meters.items() if meter.count_places(now_ms) == 0
        }

    def cut(self, rows: Sequence[Candidate], now_ms: int) -> list[Candidate]:
        """``rows`` without those for which the rates of their source have no place yet."""
        places = {name: meter.count_places(now_ms) for name, meter in self.meters.items()}
        kept = []
        for row in rows:
            left = places.get(row.plan_id)
            if left is None or left > 0:
                kept.append(row)
                if left is not None:
                    places[row.plan_id] = left - 1
        return kept

    def find_next(self, source: str | None, now_ms: int) -> int | None:
        """When the rates have a place again (ms); None where they have one now."""
        meters = self.meters.values() if source is None else filter(None, [self.meters.get(source)])
        waits = [meter.find_next(now_ms) for meter in meters if meter.count_places(now_ms) == 0]
        return min(waits, default=None)


def read_sources(connection: sa.Connection, now_ms: int) -> Sources:
    """As they stand in this transaction."""
    columns = CAMPAIGNS.c
    recent = columns.changed_at_ms > now_ms - _RECENT_MS
    held = (columns.control == "paused") | ((columns.control == "stopped") & recent)
    paced = columns.pace.is_not(None) & columns.state.in_(_LAUNCHED)
    query = sa.select(
        columns.plan_id,
        columns.control,
        columns.pace,
        columns.launched_at_ms,
        columns.minute_ms,
        columns.hour_ms,
    ).where(held | paced)
    stopped: dict[str, str] = {}
    meters: dict[str, Meter] = {}
    for row in connection.execute(query):
        if row.control != "running":
            stopped[row.plan_id] = row.control
        elif (pace := Pace.from_json(row.pace)).limits:
            meters[row.plan_id] = Meter(pace, row.launched_at_ms or 0, row.minute_ms, row.hour_ms)
    resting = sa.select(JOURNEYS.c.name, JOURNEYS.c.state).where(JOURNEYS.c.state != "running")
    stopped |= {JOURNEY + row.name: row.state for row in connection.execute(resting)}
    return Sources(is_halted(connection), stopped, meters)


def write_meters(
    connection: sa.Connection, sources: Sources, granted: Sequence[Candidate], now_ms: int
) -> None:
    """Remember what was reserved of campaigns that have rates."""
    for name, meter in sources.meters.items():
        taken = sum(row.plan_id == name for row in granted)
        if taken:
            after = meter.take(taken, now_ms)
            values = {"minute_ms": after.minute_ms, "hour_ms": after.hour_ms}
            connection.execute(sa.update(CAMPAIGNS).where(CAMPAIGNS.c.plan_id == name).values(**values))


def is_halted(connection: sa.Connection) -> bool:
    """Whether the kill switch is on."""
    query = sa.select(CONTACT_GATE.c.gate).where(CONTACT_GATE.c.halted_at_ms.is_not(None))
    return connection.execute(query).first() is not None


def may_speak() -> sa.ColumnElement[bool]:
    """Of a row of ``deliveries``: its source is neither paused nor stopped, and the kill switch is off."""
    held = sa.select(CAMPAIGNS.c.plan_id).where(CAMPAIGNS.c.control != "running")
    journeys = sa.select(sa.literal(JOURNEY) + JOURNEYS.c.name).where(JOURNEYS.c.state != "running")
    halted = sa.select(CONTACT_GATE.c.gate).where(CONTACT_GATE.c.halted_at_ms.is_not(None))
    return DELIVERIES.c.plan_id.not_in(held) & DELIVERIES.c.plan_id.not_in(journeys) & ~sa.exists(halted)
