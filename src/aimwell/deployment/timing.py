"""When a plan's deliveries may go out: lead time, validity and time slot of their action, the plan's window, waves.

A plan whose window does not hold today is replayed (past data, simulation): then the clock of today says nothing, and
only the business day of the contact follows the action. Reads and writes no tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta

from aimwell.core.time import business_day, zone
from aimwell.deployment.audience import Addressee, Plan
from aimwell.deployment.ramp import Pace


@dataclass(frozen=True)
class Span:
    """The business day of the contact, and from and until when (ms) it may go out."""

    contact_on: date
    not_before_ms: int = 0
    expires_ms: int | None = None


@dataclass(frozen=True)
class Timing:
    """``day``: of the launch. ``now``: the instant of the launch."""

    plan: Plan
    day: date
    now: datetime
    zone_name: str
    pace: Pace
    fallbacks: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Channel → what is tried next."""

    @property
    def replayed(self) -> bool:
        """Whether the plan's window does not hold today."""
        today = business_day(self.now, self.zone_name)
        return not self.plan.as_of <= today < self.plan.as_of + timedelta(days=self.plan.days)

    def find_span(self, item: Addressee, delivery_id: str) -> Span:
        """When the delivery may go out."""
        ready = self.plan.as_of + timedelta(days=item.lead_days)
        contact_on = max(self.day, ready, item.valid_from or ready)
        if self.replayed:
            return Span(contact_on)
        late = self.plan.as_of + timedelta(days=self.plan.days)
        if item.valid_to is not None:
            late = min(late, item.valid_to + timedelta(days=1))
        begin = self._find_midnight(contact_on) if contact_on > self.day else 0
        wave = self.pace.place_wave(delivery_id)
        begin = max(begin, int(self.now.timestamp() * 1000) + wave if wave else 0)
        return Span(contact_on, begin, self._find_midnight(late))

    def _find_midnight(self, day: date) -> int:
        return int(datetime.combine(day, time(), zone(self.zone_name)).timestamp() * 1000)


def find_detail(item: Addressee) -> Mapping[str, str]:
    """What the ledger keeps of the action for the hour of its messages."""
    return {"slot": item.slot} if item.slot else {}
