"""What a journey must know of customers before it moves them: rules, dates, zones, addresses, consents.

It is read before the transaction, so that no query keeps others from writing; the transaction moves only those of whom
it is known. ``Facts`` answers for a batch; ``warehouse_facts`` reads the warehouse.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cached_property, lru_cache
from typing import Protocol

import sqlalchemy as sa

from aimwell.deployment.journeys.graph import (
    EVENT,
    Action,
    BestAction,
    Branch,
    Journey,
    Wait,
    WaitDate,
    WaitEvent,
    WaitUntil,
    list_targets,
)
from aimwell.deployment.journeys.graph_check import holds_time
from aimwell.engine.permissions import ConsentState
from aimwell.engine.rule import Rule
from aimwell.engine.rule_json import rule_to_json


@dataclass(frozen=True)
class Need:
    """What must be known to go on from a node until people wait again."""

    rules: Mapping[str, Rule] = field(default_factory=dict)
    dates: frozenset[str] = frozenset()
    zones: bool = False
    contacts: bool = False
    decisions: bool = False

    def join(self, other: Need) -> Need:
        """What either needs."""
        return Need(
            {**self.rules, **other.rules},
            self.dates | other.dates,
            self.zones or other.zones,
            self.contacts or other.contacts,
            self.decisions or other.decisions,
        )


@dataclass(frozen=True)
class Contact:
    """How a customer can be reached, and how often others wrote lately."""

    channels: frozenset[str]
    prior: int = 0


@dataclass
class Knowledge:
    """What is known of some customers (``customers`` None: of everybody, for nothing more is needed)."""

    zone: str
    customers: frozenset[str] | None = None
    zones: Mapping[str, str] = field(default_factory=dict)
    rules: Mapping[str, frozenset[str]] = field(default_factory=dict)
    dates: Mapping[str, Mapping[str, date]] = field(default_factory=dict)
    contacts: Mapping[str, Contact] = field(default_factory=dict)
    consents: tuple[ConsentState, ...] = ()
    costs: Mapping[str, int] = field(default_factory=dict)
    """Cents of one contact by channel."""
    answers: dict[tuple[int, str], Answer] = field(default_factory=dict)
    """(enrolment, node) → what the live decision said."""
    joined: int | None = None
    """The version of joined records as of which customers were asked about; None: it does not matter."""

    def covers(self, customer_id: str) -> bool:
        """Whether the customer was asked about."""
        return self.customers is None or customer_id in self.customers


@dataclass(frozen=True)
class Question:
    """What a live decision is asked; a request that is asked again gets the same answer."""

    request_id: str
    customer_id: str
    actions: tuple[str, ...]
    at_ms: int


@dataclass(frozen=True)
class Answer:
    """What it said: an action or none, and with which probability it was drawn."""

    action_id: str | None
    probability: float = 1.0
    request_id: str | None = None
    """Under which the action is reserved; None: it is advice only."""


class Reservations(Protocol):
    """Actions that were reserved for the people of one transaction."""

    @property
    def standing(self) -> frozenset[str]:
        """Request ids of those that still are reserved; nobody else changes them in this transaction."""
        ...

    def hand_over(self, carried: Mapping[str, str], unused: Collection[str]) -> None:
        """``carried``: request id → the delivery that settles it when it ends; what is unused is given back."""
        ...


class Decisions(Protocol):
    """The live decision: it reserves what it decides, until a delivery carries it or too much time has passed."""

    def ask(self, questions: Sequence[Question]) -> Sequence[Answer]:
        """One answer per question, in order; asked again with the same request id, the same answer."""
        ...

    def open(self, connection: sa.Connection, request_ids: Sequence[str]) -> Reservations:
        """What was answered under these ids, within the transaction that moves the people."""
        ...


@dataclass(frozen=True)
class Joined:
    """Records that were joined with others: each one's customer, as of a version of ``identities``."""

    version: int = 0
    customers: Mapping[str, str] = field(default_factory=dict)

    def find(self, record: str) -> str:
        """The customer whose record it is."""
        return self.customers.get(record, record)

    @cached_property
    def records(self) -> Mapping[str, Sequence[str]]:
        """Of each customer the records that have another id."""
        found: dict[str, list[str]] = {}
        for record, customer in self.customers.items():
            found.setdefault(customer, []).append(record)
        return found


NOBODY = Joined()
"""Every record is a customer of its own."""


class Facts(Protocol):
    """Knows customers."""

    def learn(self, need: Need, customers: frozenset[str], now_ms: int) -> Knowledge:
        """What ``need`` asks, of these customers."""
        ...


@dataclass(frozen=True)
class PlainFacts:
    """Facts where nothing is known of anybody but that they live in ``zone`` and can be reached by every channel."""

    zone: str
    channels: frozenset[str] = frozenset({"email"})
    costs: Mapping[str, int] = field(default_factory=dict)

    def learn(self, need: Need, customers: frozenset[str], now_ms: int) -> Knowledge:
        """No rule holds, no date is known; nobody has refused."""
        reach = Contact(self.channels)
        contacts = dict.fromkeys(customers, reach) if need.contacts else {}
        consents = tuple(ConsentState(one, channel, True, 1) for one in contacts for channel in self.channels)
        return Knowledge(
            self.zone,
            rules=dict.fromkeys(need.rules, frozenset[str]()),
            contacts=contacts,
            consents=consents,
            costs=self.costs,
        )


def name_rule(rule: Rule) -> str:
    """The key under which a rule's answer stands."""
    return json.dumps(rule_to_json(rule), sort_keys=True, ensure_ascii=False, default=str)


@lru_cache(maxsize=4096)
def find_need(journey: Journey, start: str) -> Need:
    """What must be known to go on from ``start``, where people wait or stand ready."""
    nodes = dict(journey.nodes)
    need = Need({name_rule(one.rule): one.rule for one in journey.exits if one.rule is not None})
    reached: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name not in nodes or name in reached:
            continue
        reached.add(name)
        node = nodes[name]
        need = need.join(_find_own(node))
        # An hour that has just come is passed at once.
        if name == start or not holds_time(node) or isinstance(node, WaitUntil):
            waiting += [target for _, target in list_targets(node) if target]
    return need


def _find_own(node: object) -> Need:
    match node:
        case Branch(cases=cases):
            return Need({name_rule(case.rule): case.rule for case in cases if case.rule is not None})
        case Action():
            return Need(contacts=True, zones=True)
        case BestAction():
            return Need(decisions=True)
        case WaitDate(of=of):
            return Need(dates=frozenset() if of.startswith(EVENT) else frozenset({of}), zones=True)
        case WaitUntil():
            return Need(zones=True)
        case Wait(span=span) | WaitEvent(span=span):
            return Need(zones=span.days > 0)
        case _:
            return Need()
