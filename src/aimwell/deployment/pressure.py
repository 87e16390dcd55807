"""How often people are contacted: what counts towards the caps, and which queued contacts are worth more.

The cap counts business days of contacts, rolling, over all sources: campaigns, journeys, live decisions, and what
other systems sent. A contact that is queued for the same window and worth more keeps its place: whoever comes earlier
with less waits, and takes the place only if the other does not. Reads the store's ``deliveries`` and ``live_turns``.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Literal

import sqlalchemy as sa

from aimwell.deployment.calendar import Calendar
from aimwell.deployment.tracking.preferences import read_own_caps
from aimwell.engine.ledger_tables import CONTACT_STATES, DELIVERIES
from aimwell.engine.live_contacts import LiveContacts

Purpose = Literal["marketing", "service", "test"]
"""Service messages need no marketing consent and count to no cap; tests go to whoever tests, not to the customer."""


@dataclass(frozen=True)
class Cap:
    """At most ``most`` contacts in any ``days`` consecutive business days."""

    most: int
    days: int


@dataclass(frozen=True)
class ContactRules:
    """At most ``cap`` contacts in any ``cap_days`` consecutive business days, over all sources and channels.

    ``channels``: further caps of single channels. ``calendar`` None: any hour of any day. ``lead_ms``: how long a
    reserved delivery may take to go out; the hour must still be right then.
    """

    cap: int
    cap_days: int
    channels: Mapping[str, Cap] = field(default_factory=dict)
    calendar: Calendar | None = None
    lead_ms: int = 0

    @property
    def longest(self) -> timedelta:
        """The longest window of any cap."""
        return timedelta(days=max(self.cap_days, *(cap.days for cap in self.channels.values()), 1))


@dataclass(frozen=True)
class Candidate:
    """A queued delivery that asks to be reserved; its columns in the ledger."""

    delivery_id: str
    customer_id: str
    channel: str
    contact_on: date
    reachable: bool
    prior_contacts: int
    plan_id: str = ""
    action_id: str = ""
    priority: int = 0
    purpose: Purpose = "marketing"
    content_id: str | None = None
    expires_ms: int | None = None
    fallback: Sequence[str] | None = None
    detail: Mapping[str, Any] | None = None
    zone: str | None = None
    not_before_ms: int = 0


class LiveMemory:
    """What a worker remembers of live contacts from one reservation to the next; without it they are read anew."""

    def __init__(self) -> None:
        self._known: LiveContacts | None = None

    def catch_up(self, connection: sa.Connection, first: date) -> LiveContacts:
        """All live contacts from ``first`` on, as they stand in this transaction, which holds the gate's turn."""
        if self._known is None or self._known.first > first:
            self._known = LiveContacts(first)
        self._known.catch_up(connection)
        return self._known


@dataclass(frozen=True)
class _Claim:
    """A queued contact that wants a place, too."""

    channel: str
    day: date
    priority: int
    not_before_ms: int


_LOOK_AGAIN_MS, _LOOK_LATEST_MS = 60_000, 3_600_000
"""After how long whoever waits for a more valuable contact is looked at again: at the soonest, and at the latest."""


class Pressure:
    """The contacts and claims of some customers; follows what is granted and skipped."""

    def __init__(self, rules: ContactRules) -> None:
        self._rules = rules
        self._contacts: dict[str, Counter[tuple[date, str]]] = defaultdict(Counter)
        self._claims: dict[str, dict[str, _Claim]] = defaultdict(dict)
        self._own: dict[str, Cap] = {}

    def add_contact(self, customer: str, day: date, channel: str, number: int = 1) -> None:
        """Count contacts; one whose channel is not known, or has no cap, may have none."""
        self._contacts[customer][day, channel] += number

    def add_claim(self, customer: str, delivery_id: str, claim: _Claim) -> None:
        """Note a queued contact."""
        self._claims[customer][delivery_id] = claim

    def limit(self, customer: str, cap: Cap) -> None:
        """A limit that the customer has set."""
        self._own[customer] = cap

    def note(self, candidate: Candidate, reason: str | None, *, waits: bool) -> None:
        """What became of a candidate: granted, skipped, or still waiting."""
        if candidate.purpose != "marketing" or waits:
            return
        self._claims[candidate.customer_id].pop(candidate.delivery_id, None)
        if reason is None:
            self.add_contact(candidate.customer_id, candidate.contact_on, candidate.channel)

    def is_full(self, candidate: Candidate) -> bool:
        """Whether a cap leaves no place."""
        return any(places <= 0 for places, _, _ in self._count_places(candidate))

    def find_claim(self, candidate: Candidate, now_ms: int) -> int | None:
        """Until when to wait for contacts that are worth more and would take what places there are; None: go."""
        for places, channel, days in self._count_places(candidate):
            above = [claim for claim in self._claims[candidate.customer_id].values()
                     if claim.priority > candidate.priority
                     and (channel is None or claim.channel == channel)
                     and abs((claim.day - candidate.contact_on).days) < days]  # fmt: skip
            if above and len(above) >= places:
                soonest = max(now_ms + _LOOK_AGAIN_MS, min(claim.not_before_ms for claim in above))
                return min(soonest, now_ms + _LOOK_LATEST_MS)
        return None

    def _count_places(self, candidate: Candidate) -> list[tuple[int, str | None, int]]:
        """(places left, of which channel, days) of each cap."""
        rules = self._rules
        used = self._count_near(candidate, None, rules.cap_days) + candidate.prior_contacts
        counts: list[tuple[int, str | None, int]] = [(rules.cap - used, None, rules.cap_days)]
        own = self._own.get(candidate.customer_id)
        if own is not None:
            counts.append((own.most - self._count_near(candidate, None, own.days), None, own.days))
        cap = rules.channels.get(candidate.channel)
        if cap is not None:
            near = self._count_near(candidate, candidate.channel, cap.days)
            counts.append((cap.most - near, candidate.channel, cap.days))
        return counts

    def _count_near(self, candidate: Candidate, channel: str | None, days: int) -> int:
        # Both sides: a plan for an earlier day that is launched late must not overfill a window that ends later.
        return sum(
            number
            for (day, way), number in self._contacts[candidate.customer_id].items()
            if (channel is None or way == channel) and abs((day - candidate.contact_on).days) < days
        )


def read_pressure(
    connection: sa.Connection,
    candidates: Sequence[Candidate],
    rules: ContactRules,
    now_ms: int,
    *,
    held: Collection[str] = (),
    live: LiveMemory | None = None,
) -> Pressure:
    """What stands in the store; the caller holds the gate's turn."""
    pressure = Pressure(rules)
    if not candidates:
        return pressure
    own = read_own_caps(connection, list_customers(candidates))
    for customer, cap in own.items():
        pressure.limit(customer, Cap(cap.cap, cap.days))
    longest = max(rules.longest, *(timedelta(days=cap.days) for cap in own.values()), timedelta())
    for row in connection.execute(_select_near(candidates, longest)):
        if row.state != "queued":
            pressure.add_contact(row.customer_id, row.contact_on, row.channel)
        elif row.plan_id not in held and (row.expires_ms is None or row.expires_ms > now_ms):
            claim = _Claim(row.channel, row.contact_on, row.priority, row.not_before_ms)
            pressure.add_claim(row.customer_id, row.delivery_id, claim)
    first = min(candidate.contact_on for candidate in candidates) - longest
    decided = (live or LiveMemory()).catch_up(connection, first)
    for day, customer, channel, number in decided.count(list_customers(candidates), sorted(rules.channels)):
        pressure.add_contact(customer, day, channel or "", number)
    return pressure


def list_customers(candidates: Sequence[Candidate]) -> list[str]:
    """Whom they want to reach, each once."""
    return sorted({candidate.customer_id for candidate in candidates})


def _select_near(candidates: Sequence[Candidate], longest: timedelta) -> sa.Select[Any]:
    days = [candidate.contact_on for candidate in candidates]
    columns = DELIVERIES.c
    return sa.select(
        columns.delivery_id,
        columns.customer_id,
        columns.plan_id,
        columns.contact_on,
        columns.channel,
        columns.state,
        columns.priority,
        columns.not_before_ms,
        columns.expires_ms,
    ).where(
        columns.customer_id.in_(list_customers(candidates)),
        columns.contact_on > min(days) - longest,
        columns.contact_on < max(days) + longest,
        columns.state.in_((*CONTACT_STATES, "queued")),
        columns.purpose == "marketing",
    )
