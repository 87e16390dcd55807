"""Journeys as definitions with versions: saved, started, paused, resumed, stopped; what people walk by never changes.

A version is kept in the store's definitions (kind ``journey``) and, immutable, in ``journey_versions``. Who is in a
journey finishes the version that he or she entered, unless the new version's ``moves`` says where to go on.
Writes ``journeys``, ``journey_versions``, ``journey_enrolments``, ``hot_consumers`` and, when stopped, ``deliveries``.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import sqlalchemy as sa

from aimwell.core.errors import Conflict, NotReady
from aimwell.core.text import Text, say
from aimwell.core.time import now
from aimwell.deployment.journeys.enrolments import ENDED, READY, write_position
from aimwell.deployment.journeys.graph import WAITS, Journey
from aimwell.deployment.journeys.graph_check import Known, check_journey
from aimwell.deployment.journeys.graph_json import journey_from_json, journey_to_json
from aimwell.deployment.journeys.walk import PREFIX
from aimwell.engine.hot_tables import HOT_CONSUMERS, HOT_GATE, LIVE_CHANGES
from aimwell.engine.journey_tables import JOURNEY_ENROLMENTS, JOURNEY_VERSIONS, JOURNEY_VISITS, JOURNEYS
from aimwell.engine.ledger_tables import DELIVERIES
from aimwell.engine.manifest import read_version
from aimwell.engine.permissions import take_turn
from aimwell.engine.store import Store

KIND = "journey"
CONSUMER = "journeys"
"""Under this name the position in the stream of hot events is kept."""
SEGMENTS = "segments"
"""The position among the changes of segments; also who writes them (``analysis.live_members``)."""
LOADED = "events"
"""Up to which version of the table ``events`` loaded files were looked through."""
State = Literal["running", "paused", "stopped"]
_CHUNK = 10_000


@dataclass(frozen=True)
class Running:
    """A journey as it stands: which version people enter, and from when on."""

    name: str
    version: int
    state: State
    salt: str
    started_ms: int
    start_position: int


def save_journey(store: Store, journey: Journey, *, known: Known | None = None, actor: str = "cli") -> int:
    """Check and keep the journey; its version (the newest again, when nothing changed). Nobody enters it yet."""
    check_journey(journey, known)
    body = journey_to_json(journey)
    version = store.save_definition(KIND, journey.name, body, actor=actor)
    found = sa.select(JOURNEY_VERSIONS.c.version).where(
        JOURNEY_VERSIONS.c.journey == journey.name, JOURNEY_VERSIONS.c.version == version
    )
    with store.begin() as connection:
        if connection.execute(found).first() is None:
            connection.execute(
                sa.insert(JOURNEY_VERSIONS).values(
                    journey=journey.name, version=version, body=body, saved_at=now()
                )
            )
    return version


def load_journey(store: Store, name: str, version: int | None = None) -> Journey:
    """A version of the journey (the newest saved); NotReady when there is none."""
    if version is None:
        body = store.load_definition(KIND, name)
    else:
        with store.snapshot() as connection:
            body = _read_version(connection, name, version)
    if body is None:
        raise _no_journey(name)
    return journey_from_json(body)


def start_journey(store: Store, name: str, *, now_ms: int, actor: str | None = None) -> Running:
    """Let people enter the newest version from now on; who stands where its ``moves`` says goes over to it."""
    latest = store.load_latest(KIND, name)
    if latest is None:
        raise _no_journey(name)
    version, body = latest
    journey = journey_from_json(body)
    with store.begin() as connection:
        before = _read(connection, name)
        turn = int(connection.execute(sa.select(HOT_GATE.c.turn)).scalar_one())
        _follow_stream(connection, turn)
        values: dict[str, Any] = {"version": version, "state": "running", "changed_ms": now_ms}
        if before is None or before.state == "stopped":
            values |= {"started_ms": now_ms, "start_position": turn}
        if before is None:
            fresh = {"name": name, "salt": secrets.token_hex(16), **values}
            connection.execute(sa.insert(JOURNEYS).values(fresh))
        else:
            connection.execute(sa.update(JOURNEYS).where(JOURNEYS.c.name == name).values(values))
            _move_people(connection, journey, version, now_ms)
        running = _require(connection, name)
    store.audit("journey.started", name, {"version": version}, actor=actor)
    return running


def control_journey(
    store: Store, name: str, state: State, *, now_ms: int, actor: str | None = None
) -> Running:
    """Pause or resume: while paused nobody enters, nobody moves and nothing is sent, but goals still count."""
    with store.begin() as connection:
        before = _require(connection, name)
        if before.state == "stopped":
            raise Conflict(
                "deployment.journey_stopped",
                say("The journey {name} is stopped.", name=name),
                remedy=say("Start it anew with: aimwell journey start {name}", name=name),
                where={"value": name},
            )
        change = sa.update(JOURNEYS).where(JOURNEYS.c.name == name)
        connection.execute(change.values(state=state, changed_ms=now_ms))
        running = _require(connection, name)
    store.audit(f"journey.{state}", name, {}, actor=actor)
    return running


def stop_journey(store: Store, name: str, *, now_ms: int, actor: str | None = None) -> dict[str, int]:
    """End it for everybody, and skip what waits to be sent; how many people and messages that were."""
    with store.begin() as connection:
        _require(connection, name)
        change = sa.update(JOURNEYS).where(JOURNEYS.c.name == name)
        connection.execute(change.values(state="stopped", changed_ms=now_ms))
    ended = 0
    while True:
        with store.begin() as connection:
            found = _end_some(connection, name, now_ms)
        ended += found
        if found < _CHUNK:
            break
    with store.begin() as connection:
        take_turn(connection)
        queued = (DELIVERIES.c.plan_id == f"{PREFIX}{name}") & (DELIVERIES.c.state == "queued")
        values = {"state": "skipped", "reason": "stopped", "finished_at_ms": now_ms}
        skipped = connection.execute(sa.update(DELIVERIES).where(queued).values(values)).rowcount
        if all(one.state == "stopped" for one in list_running(connection)):
            # Nobody follows the stream any more: nothing is to wait for it.
            connection.execute(sa.delete(HOT_CONSUMERS).where(HOT_CONSUMERS.c.consumer == CONSUMER))
    store.audit("journey.stopped", name, {"ended": ended, "skipped": skipped}, actor=actor)
    return {"ended": ended, "skipped": skipped}


def list_running(connection: sa.Connection) -> list[Running]:
    """All journeys that were ever started, by name."""
    query = sa.select(*(JOURNEYS.c[name] for name in Running.__dataclass_fields__)).order_by(JOURNEYS.c.name)
    return [Running(*row) for row in connection.execute(query)]


def find_running(store: Store, name: str) -> Running | None:
    """How the journey stands; None when it was never started."""
    with store.snapshot() as connection:
        return _read(connection, name)


def forget_ended(store: Store, before_ms: int) -> int:
    """Delete enrolments that ended before ``before_ms``, with their visits; how many."""
    forgotten = 0
    old = sa.select(JOURNEY_ENROLMENTS.c.enrolment_id).where(
        JOURNEY_ENROLMENTS.c.state == ENDED, JOURNEY_ENROLMENTS.c.ended_ms < before_ms
    )
    while True:
        with store.begin() as connection:
            numbers = list(connection.execute(old.limit(_CHUNK)).scalars())
            for start in range(0, len(numbers), 500):
                part = numbers[start : start + 500]
                for table in (JOURNEY_VISITS, JOURNEY_ENROLMENTS):
                    connection.execute(sa.delete(table).where(table.c.enrolment_id.in_(part)))
        forgotten += len(numbers)
        if len(numbers) < _CHUNK:
            return forgotten


class Catalogue:
    """The versions that people walk by, each read once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], Journey] = {}

    def find(self, connection: sa.Connection, name: str, version: int) -> Journey:
        """This version of this journey."""
        key = (name, version)
        if key not in self._known:
            body = _read_version(connection, name, version)
            if body is None:
                raise _no_journey(name)
            self._known[key] = journey_from_json(body)
        return self._known[key]


def title_state(state: str) -> Text:
    """The state of a journey for people."""
    titles = {"running": say("running"), "paused": say("paused"), "stopped": say("stopped")}
    return titles[state]


def _read(connection: sa.Connection, name: str) -> Running | None:
    return next((one for one in list_running(connection) if one.name == name), None)


def _require(connection: sa.Connection, name: str) -> Running:
    found = _read(connection, name)
    if found is None:
        raise NotReady(
            "deployment.journey_not_started",
            say("The journey {name} was never started.", name=name),
            remedy=say("Start it with: aimwell journey start {name}", name=name),
            where={"value": name},
        )
    return found


def _read_version(connection: sa.Connection, name: str, version: int) -> dict[str, Any] | None:
    query = sa.select(JOURNEY_VERSIONS.c.body).where(
        JOURNEY_VERSIONS.c.journey == name, JOURNEY_VERSIONS.c.version == version
    )
    return cast("dict[str, Any] | None", connection.execute(query).scalar())


def _follow_stream(connection: sa.Connection, turn: int) -> None:
    """From here on what was not read keeps its place in the stream."""
    mine = sa.select(HOT_CONSUMERS.c.position).where(HOT_CONSUMERS.c.consumer == CONSUMER)
    if connection.execute(mine).scalar() is None:
        values = {"consumer": CONSUMER, "position": turn, "changed_at": now()}
        connection.execute(sa.insert(HOT_CONSUMERS).values(values))
        newest = connection.execute(sa.select(sa.func.max(LIVE_CHANGES.c.change))).scalar()
        write_position(connection, SEGMENTS, int(newest or 0))
        write_position(connection, LOADED, read_version(connection, "events"))


def _move_people(connection: sa.Connection, journey: Journey, version: int, now_ms: int) -> None:
    """Who stands at a node that the new version names goes on there; a wait goes on waiting as long as it had to."""
    columns = JOURNEY_ENROLMENTS.c
    names: Sequence[tuple[str, str]] = journey.moves
    for old, new in names:
        there = (
            (columns.journey == journey.name)
            & (columns.version < version)
            & (columns.node == old)
            & (columns.state != ENDED)
        )
        values: dict[str, Any] = {"version": version, "node": new, "edge": "moved", "probability": 1.0}
        if not isinstance(journey.find(new), WAITS):
            values |= {"state": READY, "due_ms": now_ms}
        connection.execute(sa.update(JOURNEY_ENROLMENTS).where(there).values(values))


def _end_some(connection: sa.Connection, name: str, now_ms: int) -> int:
    columns = JOURNEY_ENROLMENTS.c
    there = (
        sa.select(columns.enrolment_id)
        .where(columns.journey == name, columns.state != ENDED)
        .order_by(columns.enrolment_id)
        .limit(_CHUNK)
    )
    numbers = list(connection.execute(there.with_for_update()).scalars())
    values = {"state": ENDED, "outcome": "stopped", "ended_ms": now_ms, "due_ms": None}
    for start in range(0, len(numbers), 500):
        part = columns.enrolment_id.in_(numbers[start : start + 500])
        connection.execute(sa.update(JOURNEY_ENROLMENTS).where(part).values(values))
    return len(numbers)


def _no_journey(name: str) -> NotReady:
    return NotReady(
        "deployment.no_journey",
        say("There is no journey {name}.", name=name),
        remedy=say(
            "See what there is with: aimwell journey list; bring one in with: aimwell journey import FILE"
        ),
        where={"value": name},
    )
