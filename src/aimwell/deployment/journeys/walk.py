"""Moves people through a journey until they wait or leave: whole groups at a time, by what is known of them.

Nothing is read or written here: the same people, knowledge and instant give the same moves, visits and messages, so
that a transaction that failed can be done again. Draws are salted SHA-256 (``core.seeds``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, TypeAlias

from aimwell.core.seeds import draw_uniform
from aimwell.core.time import business_day
from aimwell.deployment.journeys.enrolments import HOLDOUT, READY, WAITING, Person, Visit
from aimwell.deployment.journeys.graph import (
    EVENT,
    Action,
    BestAction,
    Branch,
    Case,
    Exit,
    Goal,
    Journey,
    Node,
    PropertyIs,
    Span,
    Split,
    Wait,
    WaitDate,
    WaitEvent,
    WaitUntil,
)
from aimwell.deployment.journeys.knowledge import Knowledge, name_rule
from aimwell.deployment.journeys.local_time import add_span, find_instant, find_next, read_clock, read_date
from aimwell.deployment.ledger_rows import DECISION_KEY, Intended

PREFIX = "journey:"
"""What the name of a delivery's source begins with."""
Describe: TypeAlias = Callable[[str, str], Mapping[str, Any]]
"""Content, customer → what a delivery must remember: version, variant and its probability, coupon pool."""
_MINUTE = 60_000
_MOST_ROUNDS = 10_000


@dataclass(frozen=True)
class Walked:
    """What a walk made: who moved, where they came, what is to be sent, and who must be asked about first."""

    moved: list[Person] = field(default_factory=list)
    visits: list[Visit] = field(default_factory=list)
    intended: list[Intended] = field(default_factory=list)
    carried: dict[str, str] = field(default_factory=dict)
    """Request id of a live decision → the delivery of its message."""
    asked: list[tuple[Person, str, BestAction]] = field(default_factory=list)


class Walk:
    """One batch of one version of a journey at one instant.

    ``sent`` has, for journeys with a cap, the days on which each customer got a message of this journey.
    """

    def __init__(
        self,
        journey: Journey,
        *,
        salt: str,
        knowledge: Knowledge,
        now_ms: int,
        business_zone: str,
        sent: Mapping[str, Sequence[date]] | None = None,
        describe: Describe | None = None,
    ) -> None:
        self._journey = journey
        self._nodes = dict(journey.nodes)
        self._salt = salt
        self._known = knowledge
        self._now = now_ms
        self._describe = describe
        self._today = business_day(_instant(now_ms), business_zone)
        self._sent = {customer: list(days) for customer, days in (sent or {}).items()}
        self.done = Walked()
        self._groups: dict[str, list[Person]] = {}
        self._reserved: dict[int, str] = {}
        """Enrolment → the request id of a decision that led here and has no message yet."""
        self._past: set[int] = set()
        """Enrolments for which the hour that it is by now is past: the next one is another day's."""

    def go(self, people: Iterable[Person]) -> Walked:
        """Move all of them as far as they go."""
        for person in people:
            self._begin(person)
        rounds = 0
        while self._groups:
            rounds += 1
            if rounds > _MOST_ROUNDS:
                raise AssertionError("a circle without a wait passed the check")
            name = next(iter(self._groups))
            self._visit(name, self._groups.pop(name))
        return self.done

    # ------------------------------------------------------------ where they are

    def _begin(self, person: Person) -> None:
        node = self._nodes.get(person.node)
        if self._leaves(person) or node is None:
            person.end("exit", self._now)
            self.done.moved.append(person)
        elif person.state == READY:
            if person.step:
                # An event ended their wait, perhaps in the minute in which they passed the hour.
                self._past.add(person.enrolment_id)
            self._groups.setdefault(person.node, []).append(person)
        else:
            self._resume(person, node)

    def _leaves(self, person: Person) -> bool:
        return any(
            person.customer_id in self._known.rules[name_rule(one.rule)]
            for one in self._journey.exits
            if one.rule is not None
        )

    def _resume(self, person: Person, node: Node) -> None:
        """The wait is over."""
        match node:
            case WaitEvent(timeout=timeout):
                self._send(person, timeout, "timeout")
            case WaitDate(next=next, otherwise=otherwise):
                due = self._find_date(person, node)
                if due is None:
                    self._send(person, otherwise, "otherwise")
                elif due > self._now:
                    # The date was put off meanwhile.
                    self._park(person, due)
                else:
                    self._send(person, next, "next")
            case Wait(next=next):
                self._send(person, next, "next")
            case WaitUntil(next=next):
                self._past.add(person.enrolment_id)
                self._send(person, next, "next")
            case _:
                self._groups.setdefault(person.node, []).append(person)

    def _send(self, person: Person, to: str | None, edge: str, probability: float = 1.0) -> None:
        """On to the next node; None is the end."""
        person.edge, person.probability, person.state = edge, probability, READY
        if to is None:
            person.end("end", self._now)
            self.done.moved.append(person)
            return
        person.node = to
        self._groups.setdefault(to, []).append(person)

    def _park(self, person: Person, due_ms: int) -> None:
        person.state, person.due_ms = WAITING, due_ms
        self.done.moved.append(person)

    # ------------------------------------------------------------ what happens there

    def _visit(self, name: str, people: list[Person]) -> None:
        node = self._nodes[name]
        if isinstance(node, BestAction):
            people = [one for one in people if self._has_answer(one, name, node)]
        results = self._act(name, node, people) if isinstance(node, Action) else None
        now, visits = self._now, self.done.visits
        for place, one in enumerate(people):
            one.step += 1
            result = None if results is None else results[place]
            visits.append(Visit(one.enrolment_id, one.step, name, now, one.edge, one.probability, result))
        match node:
            case Wait(span=span) | WaitEvent(span=span):
                self._wait(people, span)
            case WaitUntil():
                for one in people:
                    self._wait_until(one, node)
            case WaitDate():
                for one in people:
                    self._wait_date(one, node)
            case Action(next=next):
                for one in people:
                    self._send(one, next, "next")
            case Branch():
                self._branch(people, node)
            case Split():
                for one in people:
                    self._split(one, name, node)
            case BestAction():
                for one in people:
                    self._choose(one, name, node)
            case Goal() | Exit():
                for one in people:
                    one.end("goal" if isinstance(node, Goal) else "exit", now)
                self.done.moved.extend(people)

    def _wait(self, people: Sequence[Person], span: Span) -> None:
        dues: dict[str, int] = {}
        for one in people:
            zone = self._find_zone(one)
            if zone not in dues:
                dues[zone] = add_span(self._now, span, zone)
            self._park(one, dues[zone])

    def _wait_until(self, person: Person, node: WaitUntil) -> None:
        clock, zone = read_clock(node.at), self._find_zone(person)
        assert clock is not None
        # As of when their wait was over: a worker that is late keeps nobody for a day.
        minute = min(person.due_ms or self._now, self._now) // _MINUTE
        if person.enrolment_id not in self._past and self._is_then(minute, clock, node.weekdays, zone):
            self._past.add(person.enrolment_id)
            self._send(person, node.next, "next")
        else:
            self._park(person, find_next(self._now // _MINUTE, clock, node.weekdays, zone))

    @staticmethod
    def _is_then(minute: int, clock: time, weekdays: tuple[int, ...], zone: str) -> bool:
        return find_next(minute - 1, clock, weekdays, zone) == minute * _MINUTE

    def _wait_date(self, person: Person, node: WaitDate) -> None:
        due = self._find_date(person, node)
        if due is None:
            self._send(person, node.otherwise, "otherwise")
        elif due <= self._now:
            self._send(person, node.next, "next")
        else:
            self._park(person, due)

    def _find_date(self, person: Person, node: WaitDate) -> int | None:
        return find_date(node, person, self._known)

    def _branch(self, people: Sequence[Person], node: Branch) -> None:
        cases = [(case, name_rule(case.rule) if case.rule else None) for case in node.cases]
        for one in people:
            for number, (case, key) in enumerate(cases, 1):
                if self._holds(one, case, key):
                    self._send(one, case.to, f"case {number}")
                    break
            else:
                self._send(one, node.otherwise, "otherwise")

    def _holds(self, person: Person, case: Case, key: str | None) -> bool:
        if key is not None and person.customer_id not in self._known.rules[key]:
            return False
        return all(matches(condition, person.context or {}) for condition in case.where)

    def _split(self, person: Person, name: str, node: Split) -> None:
        key = f"{person.customer_id}\x1f{person.occasion}\x1f{person.step}"
        drawn, reached = draw_uniform(f"{self._salt}\x1f{name}", key), 0.0
        ways = [(number, way) for number, way in enumerate(node.ways, 1) if way.share > 0]
        for number, way in ways:
            reached += way.share
            # The last takes what rounding leaves.
            if drawn < reached or number == ways[-1][0]:
                self._send(person, way.to, f"way {number}", way.share)
                return

    def _has_answer(self, person: Person, name: str, node: BestAction) -> bool:
        # Who is held out takes nothing of any limit: nothing is decided for them.
        if person.arm == HOLDOUT or (person.enrolment_id, name) in self._known.answers:
            return True
        self.done.asked.append((person, name, node))
        return False

    def _choose(self, person: Person, name: str, node: BestAction) -> None:
        answer = self._known.answers.get((person.enrolment_id, name))
        targets = dict(node.choices)
        if person.arm == HOLDOUT or answer is None or answer.action_id not in targets:
            self._send(person, node.otherwise, "otherwise", answer.probability if answer else 1.0)
        else:
            if answer.request_id is not None:
                self._reserved[person.enrolment_id] = answer.request_id
            self._send(person, targets[answer.action_id], answer.action_id[:64], answer.probability)

    # ------------------------------------------------------------ messages

    def _act(self, name: str, node: Action, people: Sequence[Person]) -> list[str]:
        """Queue the message of each, before the visits are counted; what became of it."""
        results = []
        for one in people:
            decided = self._reserved.pop(one.enrolment_id, None)
            if self._is_capped(one.customer_id):
                results.append("capped")
                continue
            if self._journey.cap is not None:
                self._sent.setdefault(one.customer_id, []).append(self._today)
            if one.arm == HOLDOUT:
                results.append("withheld")
                continue
            intended = self._intend(one, name, node, decided)
            self.done.intended.append(intended)
            if decided is not None:
                self.done.carried[decided] = intended.delivery_id
            results.append("queued")
        return results

    def _is_capped(self, customer_id: str) -> bool:
        cap = self._journey.cap
        if cap is None:
            return False
        first = self._today - timedelta(days=cap.days)
        return sum(day > first for day in self._sent.get(customer_id, ())) >= cap.messages

    def _intend(self, person: Person, name: str, node: Action, decided: str | None) -> Intended:
        contact = self._known.contacts.get(person.customer_id)
        reached = frozenset[str]() if contact is None else contact.channels
        expires = None
        if node.expires is not None:
            expires = add_span(self._now, node.expires, self._find_zone(person))
        described = dict(self._describe(node.content, person.customer_id)) if self._describe else {}
        if decided is not None:
            described[DECISION_KEY] = decided
        return Intended(
            f"{PREFIX}{self._journey.name}",
            person.customer_id,
            f"{name}@{person.enrolment_id}.{person.step + 1}",
            node.channel,
            contact_on=self._today,
            unit_cost_cents=self._known.costs.get(node.channel, 0),
            reachable=node.channel in reached,
            prior_contacts=0 if contact is None else contact.prior,
            priority=node.priority_cents,
            purpose=node.purpose,
            content_id=node.content,
            expires_ms=expires,
            fallback=tuple(one for one in node.fallback if one in reached),
            detail={"node": name, "enrolment": person.enrolment_id, **described},
            zone=self._known.zones.get(person.customer_id),
        )

    def _find_zone(self, person: Person) -> str:
        return self._known.zones.get(person.customer_id, self._known.zone)


def find_date(node: WaitDate, person: Person, known: Knowledge) -> int | None:
    """When the wait for a date ends; None: there is no date."""
    if node.of.startswith(EVENT):
        day = read_date((person.context or {}).get(node.of.removeprefix(EVENT)))
    else:
        day = known.dates.get(node.of, {}).get(person.customer_id)
    at = read_clock(node.at)
    if day is None or at is None:
        return None
    try:
        return find_instant(
            day + timedelta(days=node.days), at, known.zones.get(person.customer_id, known.zone)
        )
    except OverflowError:
        return None


def matches(condition: PropertyIs, properties: Mapping[str, Any]) -> bool:
    """Whether the property compares so; a missing one, or one of another kind, does not."""
    value, against = properties.get(condition.name), condition.value
    if isinstance(value, str) and isinstance(against, int | float) and not isinstance(against, bool):
        value = _read_number(value)
    if isinstance(value, bool) != isinstance(against, bool) or value is None:
        return False
    if isinstance(value, str) != isinstance(against, str) or isinstance(value, dict | list):
        return False
    match condition.operator:
        case "=":
            return bool(value == against)
        case "!=":
            return bool(value != against)
        case "<":
            return bool(value < against)
        case "<=":
            return bool(value <= against)
        case ">":
            return bool(value > against)
        case ">=":
            return bool(value >= against)


def _read_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _instant(at_ms: int) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC)
