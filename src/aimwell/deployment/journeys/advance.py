"""Advances all journeys: events, segments, schedules and dates first, then everybody whose time has come.

Batches are moved in one transaction with the messages that they make (``ledger_rows.enqueue_in``): after a crash
everybody is at one place, and each message exists once. Several workers may do it at once: on PostgreSQL rows that
another one holds are passed over. The clock is the caller's: moved back, it repeats nothing.
Writes the store's ``journey_enrolments``, ``journey_visits`` and ``deliveries``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from itertools import islice
from pathlib import Path
from weakref import WeakKeyDictionary

import sqlalchemy as sa

from aimwell.core.collecting import without_collector
from aimwell.core.time import business_day, now
from aimwell.deployment.content import load_library
from aimwell.deployment.journeys.enrolments import (
    Person,
    add_visits,
    among,
    find_first_due,
    list_due,
    read_due,
    write_moves,
)
from aimwell.deployment.journeys.entering import DAY_MS
from aimwell.deployment.journeys.facts import WarehouseFacts
from aimwell.deployment.journeys.graph import Journey
from aimwell.deployment.journeys.knowledge import (
    NOBODY,
    Answer,
    Decisions,
    Joined,
    Knowledge,
    Need,
    Question,
    Reservations,
    find_need,
)
from aimwell.deployment.journeys.merging import JOINED, follow_joined, is_current
from aimwell.deployment.journeys.occasions import (
    Join,
    Register,
    find_next_look,
    follow_calendar,
    follow_segments,
    has_changes,
)
from aimwell.deployment.journeys.readdressing import follow_messages, is_behind
from aimwell.deployment.journeys.stream import follow_events, has_news
from aimwell.deployment.journeys.versions import Catalogue, Running, list_running
from aimwell.deployment.journeys.walk import Describe, Walk, Walked
from aimwell.deployment.ledger_rows import enqueue_in
from aimwell.engine.journey_tables import JOURNEY_ENROLMENTS, JOURNEY_VISITS
from aimwell.engine.manifest import read_version
from aimwell.engine.permissions import remember_consents, take_turn
from aimwell.engine.store import Store
from aimwell.engine.workspace import Workspace

BATCH = 10_000
_MOST_ASKED = 5


class Advancer:
    """Advances the journeys of one store."""

    def __init__(
        self,
        store: Store,
        facts: Register,
        *,
        zone: str,
        decisions: Decisions | None = None,
        open_contents: Callable[[], Describe] | None = None,
        join: Join = lambda: NOBODY,
        folder: Path | None = None,
        batch: int = BATCH,
    ) -> None:
        self._store = store
        self._facts = facts
        self._zone = zone
        self.decisions = decisions
        self._open_contents = open_contents
        self._describe: Describe | None = None
        self._join = join
        self._folder = folder
        self.batch = batch
        self.catalogue = Catalogue()

    def step(self, now_ms: int) -> int:
        """Everything that is to be done by ``now_ms``; how many events, changes, entries and moves that were."""
        done = self.follow(now_ms)
        return done + self.move(now_ms)

    def follow(self, now_ms: int) -> int:
        """What came in: events, changes of segments, slots and dates."""
        store, catalogue = self._store, self.catalogue
        done, joined = self.follow_records(now_ms)
        while found := follow_events(store, catalogue, now_ms=now_ms, joined=joined, folder=self._folder):
            done += found
        while found := follow_segments(store, catalogue, now_ms=now_ms, joined=joined):
            done += found
        return done + follow_calendar(
            store, catalogue, self._facts, now_ms=now_ms, zone=self._zone, join=self._join
        )

    def follow_records(self, now_ms: int) -> tuple[int, Joined]:
        """Joined records are one customer, in journeys and in what is queued; how many changed, and as of when."""
        joined = self._join()
        done = follow_joined(self._store, self.catalogue, joined, now_ms)
        return done + follow_messages(self._store, self._facts, joined, now_ms), joined

    def move(self, now_ms: int) -> int:
        """Move everybody who is due, in batches; how many moves that were."""
        with self._store.snapshot() as connection:
            running = [one for one in list_running(connection) if one.state == "running"]
        # Contents as they stand at this step.
        self._describe = self._open_contents() if self._open_contents and running else None
        moved = 0
        for one in running:
            with self._store.snapshot() as connection:
                numbers = iter(list_due(connection, one.name, now_ms))
            while some := list(islice(numbers, self.batch)):
                with without_collector():
                    moved += self._move_batch(one, some, now_ms)
        return moved

    def find_due(self) -> datetime | None:
        """When there is something to do next."""
        with self._store.snapshot() as connection:
            known = list_running(connection)
            active = [one for one in known if one.state == "running"]
            # What campaigns have queued follows joined records, too, whether there are journeys or not.
            if is_behind(connection, read_version(connection, JOINED)) or (
                any(one.state != "stopped" for one in known)
                and (has_news(connection) or has_changes(connection))
            ):
                return datetime.fromtimestamp(0, UTC)
            looks = [
                find_next_look(
                    connection, one, self.catalogue.find(connection, one.name, one.version), self._zone
                )
                for one in active
            ]
            looks.append(find_first_due(connection, [one.name for one in active]))
        first = min((look for look in looks if look is not None), default=None)
        return None if first is None else datetime.fromtimestamp(first / 1000, UTC)

    # ------------------------------------------------------------ one batch

    def _move_batch(self, running: Running, numbers: Sequence[int], now_ms: int) -> int:
        knowledge = self._learn(running, numbers, now_ms)
        with self._store.begin(gated=True) as connection:
            # As it stands in this very transaction: paused or stopped meanwhile, nobody moves.
            if not _is_running(connection, running.name):
                return 0
            if knowledge.joined is not None and not is_current(connection, knowledge.joined):
                return 0
            people = read_due(connection, numbers, now_ms, lock=True)
            known = [one for one in people if knowledge.covers(one.customer_id)]
            reservations = self._reserve(connection, known, knowledge)
            walked = [
                self._walk(connection, journey, running, group, knowledge, now_ms)
                for journey, group in self._group(connection, known)
            ]
            for done in walked:
                write_moves(connection, done.moved)
                add_visits(connection, done.visits)
            intended = [item for done in walked for item in done.intended]
            if intended:
                enqueue_in(connection, intended, now_ms)
            if reservations is not None:
                carried = {name: delivery for done in walked for name, delivery in done.carried.items()}
                reservations.hand_over(carried, reservations.standing - carried.keys())
        return sum(len(done.moved) for done in walked)

    def _reserve(
        self, connection: sa.Connection, people: Sequence[Person], knowledge: Knowledge
    ) -> Reservations | None:
        """What was decided for these people, as far as it still is reserved: the rest is no answer."""
        numbers = {one.enrolment_id for one in people}
        asked = {
            key: answer.request_id
            for key, answer in knowledge.answers.items()
            if key[0] in numbers and answer.request_id is not None
        }
        if not asked or self.decisions is None:
            return None
        found = self.decisions.open(connection, list(asked.values()))
        for key, request_id in asked.items():
            if request_id not in found.standing:
                knowledge.answers[key] = Answer(None)
        return found

    def _group(
        self, connection: sa.Connection, people: Sequence[Person]
    ) -> list[tuple[Journey, list[Person]]]:
        """By version."""
        groups: dict[int, list[Person]] = defaultdict(list)
        for one in people:
            groups[one.version].append(one)
        return [
            (self.catalogue.find(connection, group[0].journey, version), group)
            for version, group in groups.items()
        ]

    def _walk(
        self,
        connection: sa.Connection,
        journey: Journey,
        running: Running,
        people: Sequence[Person],
        knowledge: Knowledge,
        now_ms: int,
    ) -> Walked:
        sent = None
        if journey.cap is not None:
            sent = read_sent(connection, journey, [one.customer_id for one in people], now_ms, self._zone)
        walk = Walk(
            journey,
            salt=running.salt,
            knowledge=knowledge,
            now_ms=now_ms,
            business_zone=self._zone,
            sent=sent,
            describe=self._describe,
        )
        return walk.go(people)

    def _learn(self, running: Running, numbers: Sequence[int], now_ms: int) -> Knowledge:
        """What the batch needs, read before anybody is kept waiting."""
        with self._store.snapshot() as connection:
            if not self._needs_anything(connection, running):
                return Knowledge(self._zone)
            people = read_due(connection, numbers, now_ms, lock=False)
            groups = self._group(connection, people)
        need = Need()
        for journey, group in groups:
            for node in {one.node for one in group}:
                need = need.join(find_need(journey, node))
        knowledge = self._facts.learn(need, frozenset(one.customer_id for one in people), now_ms)
        knowledge.joined = self._join().version
        if knowledge.consents:
            # Policy asks the store when a message is sent: what the warehouse knows must stand there by then.
            with self._store.begin() as connection:
                take_turn(connection)
                remember_consents(connection, knowledge.consents)
        if need.decisions:
            self._ask(running, groups, knowledge, now_ms)
        return knowledge

    def _needs_anything(self, connection: sa.Connection, running: Running) -> bool:
        """Whether some version needs more than the business's zone."""
        columns = JOURNEY_ENROLMENTS.c
        oldest = running.version
        if running.version > 1:
            first = sa.select(sa.func.min(columns.version)).where(
                columns.journey == running.name, columns.due_ms.is_not(None)
            )
            oldest = connection.execute(first).scalar() or running.version
        journeys = [
            self.catalogue.find(connection, running.name, version)
            for version in range(oldest, running.version + 1)
        ]
        plain = (Need(),) if self._facts.has_zones() else (Need(), Need(zones=True))
        return any(find_need(one, name) not in plain for one in journeys for name, _ in one.nodes)

    def _ask(
        self,
        running: Running,
        groups: Sequence[tuple[Journey, Sequence[Person]]],
        knowledge: Knowledge,
        now_ms: int,
    ) -> None:
        """Ask the live decision for those who come to it, before the transaction: it has one of its own."""
        for journey, people in groups:
            asking = [(one, one.step) for one in people]
            for _ in range(_MOST_ASKED):
                # A walk on paper: only whom it leads to a decision is asked about.
                copies = [_copy(one) for one, _ in asking]
                walk = Walk(
                    journey, salt=running.salt, knowledge=knowledge, now_ms=now_ms, business_zone=self._zone
                )
                asked = walk.go(copies).asked
                if not asked:
                    break
                questions = [
                    Question(
                        f"journey:{one.enrolment_id}:{name}:{one.step}",
                        one.customer_id,
                        tuple(action for action, _ in node.choices),
                        now_ms,
                    )
                    for one, name, node in asked
                ]
                answers = self.decisions.ask(questions) if self.decisions else [Answer(None)] * len(questions)
                for (one, name, _), answer in zip(asked, answers, strict=True):
                    knowledge.answers[one.enrolment_id, name] = answer


def read_sent(
    connection: sa.Connection, journey: Journey, customers: Sequence[str], now_ms: int, zone: str
) -> Mapping[str, Sequence[date]]:
    """On which business days the customers got (or, held out, would have got) messages of the journey."""
    assert journey.cap is not None
    enrolments, visits = JOURNEY_ENROLMENTS.c, JOURNEY_VISITS.c
    query = (
        sa.select(enrolments.customer_id, visits.at_ms)
        .join(JOURNEY_VISITS, visits.enrolment_id == enrolments.enrolment_id)
        .where(
            among(connection, enrolments.customer_id, customers),
            enrolments.journey == journey.name,
            visits.at_ms > now_ms - (journey.cap.days + 1) * DAY_MS,
            visits.result.in_(("queued", "withheld")),
        )
    )
    found: dict[str, list[date]] = defaultdict(list)
    for customer, at_ms in connection.execute(query):
        found[customer].append(business_day(datetime.fromtimestamp(at_ms / 1000, UTC), zone))
    return found


def _copy(person: Person) -> Person:
    names = (
        "enrolment_id", "journey", "version", "customer_id", "occasion", "arm", "node", "state", "edge",
        "probability", "due_ms", "step", "entered_ms", "context",
    )  # fmt: skip
    return Person(*(getattr(person, name) for name in names))


def _is_running(connection: sa.Connection, name: str) -> bool:
    return any(one.name == name and one.state == "running" for one in list_running(connection))


# ------------------------------------------------------------ a workspace's journeys

_ADVANCERS: WeakKeyDictionary[Workspace, Advancer] = WeakKeyDictionary()


def open_advancer(workspace: Workspace) -> Advancer:
    """The advancer of a workspace; it remembers what does not change."""
    found = _ADVANCERS.get(workspace)
    if found is None:
        facts = WarehouseFacts(workspace)
        found = _ADVANCERS[workspace] = Advancer(
            workspace.store,
            facts,
            zone=workspace.settings.business.zone,
            open_contents=lambda: load_library(workspace).describe,
            join=facts.read_joined,
            folder=workspace.warehouse_folder,
        )
    return found


def advance(
    workspace: Workspace,
    now_ms: int | None = None,
    *,
    batch: int = BATCH,
    decisions: Decisions | None = None,
) -> int:
    """Everything that the workspace's journeys have to do by ``now_ms`` (now); how much that was."""
    advancer = open_advancer(workspace)
    advancer.batch, advancer.decisions = batch, decisions
    return advancer.step(int(now().timestamp() * 1000) if now_ms is None else now_ms)


def find_due(workspace: Workspace) -> datetime | None:
    """When the workspace's journeys have something to do next; None: nothing is known yet."""
    return open_advancer(workspace).find_due()
