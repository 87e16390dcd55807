"""A journey as a typed graph: who enters, what happens at each step, what counts as success, who leaves early.

Small frozen trees; kept as JSON (``graph_json``), checked before they run (``graph_check``). Read and write no table.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

from aimwell.engine.rule import Rule
from aimwell.engine.specification import Operator, Value

Purpose = Literal["marketing", "service"]
END = "end"
"""The name under which numbers show whoever came to the end without goal or exit."""


@dataclass(frozen=True)
class PropertyIs:
    """A property of an event compares so with a value; false when the event has no such property."""

    name: str
    operator: Operator
    value: Value


@dataclass(frozen=True)
class EventIs:
    """An event of this name with such properties (all of them)."""

    event: str
    where: tuple[PropertyIs, ...] = ()


@dataclass(frozen=True)
class Span:
    """A length of time. Days are those of the customer's calendar; hours run on when clocks are changed."""

    days: int = 0
    hours: int = 0
    minutes: int = 0


# ------------------------------------------------------------ entries


@dataclass(frozen=True)
class EventEntry:
    """Whoever does this enters. An event that is older than ``within_hours`` when it comes in starts nothing."""

    to: str
    event: EventIs
    within_hours: int = 24


@dataclass(frozen=True)
class SegmentEntry:
    """Whoever enters (or leaves) the segment."""

    to: str
    segment: str
    moment: Literal["enters", "leaves"] = "enters"


@dataclass(frozen=True)
class ScheduleEntry:
    """Everybody with ``rule`` at a time of the business's day: every day, week (``day`` 1 = Monday), month, or once.

    ``day`` of a month that is shorter is its last; ``date`` (YYYY-MM-DD) is the day of ``once``.
    """

    to: str
    at: str
    every: Literal["day", "week", "month", "once"]
    rule: Rule
    day: int | None = None
    date: str | None = None


@dataclass(frozen=True)
class DateEntry:
    """``days`` days from a date of the customer (negative: before it), at ``at`` in the customer's zone.

    ``of`` is an attribute (``customers.birthday``) or a tag. ``year``: its day and month count, every year; 29
    February is 28 February in other years. Who becomes known up to ``grace_days`` too late still enters. Messages may
    show the date as ``date``.
    """

    to: str
    of: str
    days: int
    at: str
    every: Literal["year", "once"] = "once"
    grace_days: int = 1


Entry: TypeAlias = EventEntry | SegmentEntry | ScheduleEntry | DateEntry

# ------------------------------------------------------------ nodes; ``next`` and targets may be None: the end


@dataclass(frozen=True)
class Wait:
    """Wait for a length of time."""

    span: Span
    next: str | None = None


@dataclass(frozen=True)
class WaitUntil:
    """Wait until the next ``at`` (hh:mm) in the customer's zone, on one of ``weekdays`` (1 = Monday; none: any day).

    Whoever enters, or whose wait is over, in just that minute goes on at once; but an hour ends one such wait only. Who
    came from another one in the same minute waits for the next day, and so does whom an event brought.
    """

    at: str
    weekdays: tuple[int, ...] = ()
    next: str | None = None


@dataclass(frozen=True)
class WaitDate:
    """Wait until ``days`` days from a date (negative: before it), at ``at`` in the customer's zone.

    ``of`` is an attribute (``customers.policy_ends_on``), a tag, or a property that an event brought
    (``event.expires_on``). A date that changes meanwhile moves the end of the wait. Who comes later goes on at once;
    who has no date goes ``otherwise``.
    """

    of: str
    days: int
    at: str
    next: str | None = None
    otherwise: str | None = None


@dataclass(frozen=True)
class WaitEvent:
    """Wait until the customer does this, then go ``then``; or until ``span`` is over, then go ``timeout``."""

    event: EventIs
    span: Span
    then: str | None = None
    timeout: str | None = None


@dataclass(frozen=True)
class Case:
    """One way of a branch: for whom the rule on tags holds, and the conditions on what events brought."""

    to: str | None = None
    rule: Rule | None = None
    where: tuple[PropertyIs, ...] = ()


@dataclass(frozen=True)
class Branch:
    """The first case that holds."""

    cases: tuple[Case, ...]
    otherwise: str | None = None


@dataclass(frozen=True)
class Way:
    """One way of a split, and its share."""

    to: str | None
    share: float


@dataclass(frozen=True)
class Split:
    """One way at random: drawn once for each customer and occasion, and logged with its probability."""

    ways: tuple[Way, ...]


@dataclass(frozen=True)
class BestAction:
    """Where the live decision leads: action id and target. Without an action, or without a live day: ``otherwise``."""

    choices: tuple[tuple[str, str | None], ...]
    otherwise: str | None = None


@dataclass(frozen=True)
class Action:
    """A message: queued in the ledger, which asks policy when it is sent.

    ``fallback`` are the channels tried next. ``expires`` is how long it makes sense (None: for ever).
    """

    channel: str
    content: str = "default"
    fallback: tuple[str, ...] = ()
    purpose: Purpose = "marketing"
    priority_cents: int = 0
    expires: Span | None = None
    next: str | None = None


@dataclass(frozen=True)
class Goal:
    """Success: the journey ends here."""


@dataclass(frozen=True)
class Exit:
    """The journey ends here, without success."""


Node: TypeAlias = Wait | WaitUntil | WaitDate | WaitEvent | Branch | Split | BestAction | Action | Goal | Exit
WAITS = (Wait, WaitUntil, WaitDate, WaitEvent)

# ------------------------------------------------------------ the journey


@dataclass(frozen=True)
class ExitRule:
    """Leaves from wherever it stands who does this, leaves this segment, or has this rule when moved."""

    event: EventIs | None = None
    left_segment: str | None = None
    rule: Rule | None = None


@dataclass(frozen=True)
class Reentry:
    """Whether who was in it enters again: never, always, or ``days`` after the last time; how often at once."""

    again: Literal["never", "after", "always"] = "never"
    days: int = 0
    at_once: int = 1


@dataclass(frozen=True)
class MessageCap:
    """At most so many messages of this journey to a customer in any ``days`` days, beside the cap on everything."""

    messages: int
    days: int


@dataclass(frozen=True)
class Journey:
    """The whole. ``moves``: who stands at these nodes of an earlier version goes on at those of this one."""

    name: str
    title: str
    entries: tuple[Entry, ...]
    nodes: tuple[tuple[str, Node], ...]
    goal: EventIs | None = None
    exits: tuple[ExitRule, ...] = ()
    reentry: Reentry = Reentry()
    holdout: float = 0.0
    cap: MessageCap | None = None
    moves: tuple[tuple[str, str], ...] = ()

    def find(self, name: str) -> Node | None:
        """The node of this name."""
        return dict(self.nodes).get(name)


def list_targets(node: Node) -> list[tuple[str, str | None]]:
    """The ways out of ``node``: their names and where they lead (None: the end)."""
    match node:
        case Wait(next=next) | WaitUntil(next=next) | Action(next=next):
            return [("next", next)]
        case WaitDate(next=next, otherwise=otherwise):
            return [("next", next), ("otherwise", otherwise)]
        case WaitEvent(then=then, timeout=timeout):
            return [("then", then), ("timeout", timeout)]
        case Branch(cases=cases, otherwise=otherwise):
            named = [(f"case {number}", case.to) for number, case in enumerate(cases, 1)]
            return [*named, ("otherwise", otherwise)]
        case Split(ways=ways):
            return [(f"way {number}", way.to) for number, way in enumerate(ways, 1)]
        case BestAction(choices=choices, otherwise=otherwise):
            return [*choices, ("otherwise", otherwise)]
        case _:
            return []


def list_events(journey: Journey) -> Iterator[EventIs]:
    """Every event that the journey listens to."""
    yield from (entry.event for entry in journey.entries if isinstance(entry, EventEntry))
    yield from (node.event for _, node in journey.nodes if isinstance(node, WaitEvent))
    yield from (rule.event for rule in journey.exits if rule.event is not None)
    if journey.goal is not None:
        yield journey.goal


def list_kept(journey: Journey) -> frozenset[str] | None:
    """The properties of events to remember; None: all, because contents may ask for any."""
    if any(isinstance(node, Action) for _, node in journey.nodes):
        return None
    named = {
        condition.name
        for _, node in journey.nodes
        if isinstance(node, Branch)
        for case in node.cases
        for condition in case.where
    }
    dates = [node.of for _, node in journey.nodes if isinstance(node, WaitDate)]
    return frozenset(named | {of.removeprefix(EVENT) for of in dates if of.startswith(EVENT)})


EVENT = "event."
"""What the name of a property begins with, where a date is asked for."""
