"""Events as they come in: goals reached, waits that end, exits, entries; each event counts once.

What hot batches hold after the consumer's position, and what loaded files bring, is matched with those who are in a
journey, and the new position is committed in the same transaction. An event counts for somebody when it happened since
he or she entered and comes in while the journey waits for it.
Reads the store's ``hot_batches`` and the files of ``events``; writes ``hot_consumers``, ``journey_enrolments`` and
``journey_positions``.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import sqlalchemy as sa

from aimwell.core.collecting import without_collector
from aimwell.core.time import now
from aimwell.deployment.journeys.enrolments import (
    READY,
    WAITING,
    Entering,
    Person,
    read_active,
    read_position,
    write_moves,
    write_position,
)
from aimwell.deployment.journeys.entering import enter
from aimwell.deployment.journeys.graph import (
    EventEntry,
    EventIs,
    Journey,
    Node,
    WaitEvent,
    list_events,
    list_kept,
)
from aimwell.deployment.journeys.knowledge import NOBODY, Joined
from aimwell.deployment.journeys.merging import is_current
from aimwell.deployment.journeys.versions import CONSUMER, LOADED, Catalogue, Running, list_running
from aimwell.deployment.journeys.walk import matches
from aimwell.engine.hot_tables import HOT_BATCHES, HOT_CONSUMERS, HOT_GATE
from aimwell.engine.journey_tables import JOURNEY_ENROLMENTS
from aimwell.engine.manifest import decode_batches, read_version
from aimwell.engine.store import Store
from aimwell.engine.store_tables import RUNS, TABLE_FILES, TABLE_VERSIONS

MOST_ROWS = 50_000
_COLUMNS = (
    "event_id",
    "customer_id",
    "name",
    "occurred_at",
    "product_id",
    "campaign_id",
    "channel",
    "properties",
)
_MOST_ROUNDS = 200
"""So many events of one customer in one batch are looked at: more come from no person."""
_MOST_PROPERTIES = 50
_MOST_TEXT = 500
_HOUR_MS = 3_600_000


class Event(NamedTuple):
    """One event that some journey listens to."""

    event_id: str
    customer_id: str
    name: str
    occurred_ms: int
    properties: dict[str, Any]
    position: int


@dataclass(frozen=True)
class _Version:
    """A version of a journey, with what is asked of it for each event."""

    journey: Journey
    nodes: dict[str, Node]
    kept: frozenset[str] | None

    @classmethod
    def read(cls, journey: Journey) -> _Version:
        return cls(journey, dict(journey.nodes), list_kept(journey))

    def choose(self, properties: dict[str, Any]) -> dict[str, Any]:
        """The properties to remember."""
        kept = self.kept
        return properties if kept is None else {k: v for k, v in properties.items() if k in kept}


@dataclass(frozen=True)
class _Listening:
    """The journeys as they stand, and the names of events that any of their versions listens to."""

    running: list[Running]
    versions: dict[tuple[str, int], _Version] = field(default_factory=dict)
    names: frozenset[str] = frozenset()

    def find(self, person: Person) -> _Version | None:
        return self.versions.get((person.journey, person.version))


@dataclass(frozen=True)
class _News:
    """What came in: events in their order, and up to where."""

    events: list[Event]
    before: int
    position: int
    version: int


def follow_events(
    store: Store,
    catalogue: Catalogue,
    *,
    now_ms: int,
    joined: Joined = NOBODY,
    folder: Path | None = None,
    most_rows: int = MOST_ROWS,
) -> int:
    """Match what came in since the last time, at most about ``most_rows`` events; how many events that was.

    ``joined`` tells which records are one customer; ``folder`` is the warehouse's, whose loaded files count, too.
    """
    with without_collector():
        with store.snapshot() as connection:
            news, listening = _read_news(connection, catalogue, folder, most_rows)
        if news is None:
            return 0
        events = _find_customers(news.events, joined)
        with store.begin() as connection:
            if not is_current(connection, joined.version) or not _take_position(connection, news):
                return 0
            for some in _split_rounds(events):
                _match(connection, listening, some, now_ms)
        return max(len(events), 1)


def apply_events(store: Store, catalogue: Catalogue, events: Sequence[Event], *, now_ms: int) -> None:
    """Match these events, wherever they come from (a simulation)."""
    with store.snapshot() as connection:
        listening = _listen(connection, catalogue)
    with store.begin() as connection:
        for some in _split_rounds([one for one in events if one.name in listening.names]):
            _match(connection, listening, some, now_ms)


def has_news(connection: sa.Connection) -> bool:
    """Whether batches or files came in that were not looked through."""
    position = _read_consumer(connection)
    if position is None:
        return False
    turn = int(connection.execute(sa.select(HOT_GATE.c.turn)).scalar_one())
    return turn > position or read_version(connection, "events") > (read_position(connection, LOADED) or 0)


# ------------------------------------------------------------ reading


def _read_news(
    connection: sa.Connection, catalogue: Catalogue, folder: Path | None, most_rows: int
) -> tuple[_News | None, _Listening]:
    listening = _listen(connection, catalogue)
    before = _read_consumer(connection)
    if before is None or not listening.running:
        return None, listening
    seen = read_position(connection, LOADED)
    newest = read_version(connection, "events")
    events: list[Event] = []
    if folder is not None and seen is not None and newest > seen:
        for table in _read_loaded(connection, folder, seen, before):
            events += choose_events(table, listening.names, before + 1)
    position = before
    batches, position = _read_batches(connection, before, most_rows)
    for at, data in batches:
        events += choose_events(decode_batches([data]), listening.names, at)
    if position == before and newest == seen:
        return None, listening
    return _News(events, before, position, newest), listening


def _listen(connection: sa.Connection, catalogue: Catalogue) -> _Listening:
    running = [one for one in list_running(connection) if one.state != "stopped"]
    columns = JOURNEY_ENROLMENTS.c
    versions: dict[tuple[str, int], _Version] = {}
    for one in running:
        # Older versions are walked as long as anybody is in them: all up to the newest are listened to.
        oldest = connection.execute(
            sa.select(sa.func.min(columns.version)).where(columns.journey == one.name, columns.due_ms.is_not(None))
        ).scalar() if one.version > 1 else 1  # fmt: skip
        for version in range(oldest or one.version, one.version + 1):
            versions[one.name, version] = _Version.read(catalogue.find(connection, one.name, version))
    names = frozenset(event.event for one in versions.values() for event in list_events(one.journey))
    return _Listening(running, versions, names)


def _read_consumer(connection: sa.Connection, *, lock: bool = False) -> int | None:
    mine = sa.select(HOT_CONSUMERS.c.position).where(HOT_CONSUMERS.c.consumer == CONSUMER)
    found = connection.execute(mine.with_for_update() if lock else mine).scalar()
    return None if found is None else int(found)


def _read_batches(
    connection: sa.Connection, before: int, most_rows: int
) -> tuple[list[tuple[int, bytes]], int]:
    mine = (HOT_BATCHES.c.table_name == "events", HOT_BATCHES.c.position > before)
    sizes = sa.select(HOT_BATCHES.c.position, HOT_BATCHES.c.rows).where(*mine)
    last, rows = before, 0
    for position, count in connection.execute(sizes.order_by(HOT_BATCHES.c.position)):
        if rows and rows + count > most_rows:
            break
        last, rows = position, rows + count
    if last == before:
        return [], max(int(connection.execute(sa.select(HOT_GATE.c.turn)).scalar_one()), before)
    found = (
        sa.select(HOT_BATCHES.c.position, HOT_BATCHES.c.data)
        .where(*mine, HOT_BATCHES.c.position <= last)
        .order_by(HOT_BATCHES.c.position)
    )
    return [(int(at), data) for at, data in connection.execute(found)], last


def _read_loaded(connection: sa.Connection, folder: Path, seen: int, before: int) -> Iterable[pa.Table]:
    """The rows of files that came otherwise than from batches that were read: loaded, or moved unread."""
    query = (
        sa.select(TABLE_FILES.c.path, TABLE_VERSIONS.c.mode, RUNS.c.parameters, RUNS.c.step)
        .join(
            TABLE_VERSIONS,
            (TABLE_VERSIONS.c.table_name == TABLE_FILES.c.table_name)
            & (TABLE_VERSIONS.c.version == TABLE_FILES.c.added_in),
        )
        .join(RUNS, RUNS.c.run_id == TABLE_VERSIONS.c.run_id)
        .where(
            TABLE_FILES.c.table_name == "events",
            TABLE_FILES.c.added_in > seen,
            TABLE_FILES.c.removed_in.is_(None),
        )
        .order_by(TABLE_FILES.c.added_in, TABLE_FILES.c.path)
    )
    for path, mode, parameters, step in connection.execute(query).all():
        unread = mode == "move" and int(parameters.get("position", 0)) > before
        # What deployment itself writes (Message Sent) are no news.
        if (mode == "append" and step != "deployment") or unread:
            yield pq.read_table(folder / path, columns=list(_COLUMNS))


def choose_events(table: pa.Table, names: frozenset[str], position: int) -> list[Event]:
    """The rows that somebody listens to."""
    wanted = table.filter(pc.is_in(table["name"], value_set=pa.array(sorted(names), pa.string())))
    if not wanted.num_rows:
        return []
    at = pc.cast(pc.cast(wanted["occurred_at"], pa.timestamp("ms", "UTC"), safe=False), pa.int64())
    columns = [wanted[name].to_pylist() for name in _COLUMNS if name != "occurred_at"]
    return [
        Event(event, customer, name, occurred, _read_properties(product, campaign, channel, packed), position)
        for occurred, event, customer, name, product, campaign, channel, packed in zip(
            at.to_pylist(), *columns, strict=True
        )
    ]


def _read_properties(
    product: str | None, campaign: str | None, channel: str | None, packed: str | None
) -> dict[str, Any]:
    """What an event brings, without what is nested in it (context, traits)."""
    found: dict[str, Any] = {}
    if packed:
        given = json.loads(packed)
        for name, value in given.items() if isinstance(given, dict) else ():
            if isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= _MOST_TEXT):
                found[name] = value
                if len(found) == _MOST_PROPERTIES:
                    break
    for name, own in (("product_id", product), ("campaign_id", campaign), ("channel", channel)):
        if own is not None:
            found[name] = own
    return found


def _find_customers(events: list[Event], joined: Joined) -> list[Event]:
    if not joined.customers:
        return events
    return [one._replace(customer_id=joined.find(one.customer_id)) for one in events]


def _split_rounds(events: Sequence[Event]) -> list[list[Event]]:
    """The events in rounds: the first of each customer, the second of each, … so that each sees what came before."""
    rounds: list[list[Event]] = []
    met: dict[str, int] = defaultdict(int)
    for event in events:
        place = met[event.customer_id]
        if place == _MOST_ROUNDS:
            continue
        met[event.customer_id] = place + 1
        if place == len(rounds):
            rounds.append([])
        rounds[place].append(event)
    return rounds


# ------------------------------------------------------------ matching


def _take_position(connection: sa.Connection, news: _News) -> bool:
    """Commit with what follows that all this was read; False when another worker did so meanwhile."""
    if _read_consumer(connection, lock=True) != news.before:
        return False
    mine = sa.update(HOT_CONSUMERS).where(HOT_CONSUMERS.c.consumer == CONSUMER)
    connection.execute(mine.values(position=news.position, changed_at=now()))
    write_position(connection, LOADED, news.version)
    return True


def _match(connection: sa.Connection, listening: _Listening, events: Sequence[Event], now_ms: int) -> None:
    """One event of each customer: first what it means to those who are in, then whom it lets in."""
    names = [one.name for one in listening.running]
    by_customer = {one.customer_id: one for one in events}
    moved = []
    for person in read_active(connection, names, sorted(by_customer)):
        event = by_customer[person.customer_id]
        version = listening.find(person)
        if version is None or event.occurred_ms < person.entered_ms:
            continue
        if _meet(person, version, event, now_ms):
            moved.append(person)
    write_moves(connection, moved)
    for running in listening.running:
        if running.state == "running":
            version = listening.versions[running.name, running.version]
            entering = _list_entering(running, version, events, now_ms)
            enter(connection, running, version.journey, entering, now_ms)


def _meet(person: Person, version: _Version, event: Event, now_ms: int) -> bool:
    """Whether the event moves the person."""
    journey = version.journey
    if journey.goal is not None and _is(event, journey.goal):
        person.end("goal", now_ms)
        return True
    if any(one.event is not None and _is(event, one.event) for one in journey.exits):
        person.end("exit", now_ms)
        return True
    node = version.nodes.get(person.node)
    if person.state != WAITING or not isinstance(node, WaitEvent) or not _is(event, node.event):
        return False
    person.bring(version.choose(event.properties))
    if node.then is None:
        person.end("end", now_ms)
    else:
        person.node, person.state, person.due_ms = node.then, READY, now_ms
        person.edge, person.probability = "then", 1.0
    return True


def _is(event: Event, wanted: EventIs) -> bool:
    if event.name != wanted.event:
        return False
    return not wanted.where or all(matches(one, event.properties) for one in wanted.where)


def _list_entering(
    running: Running, version: _Version, events: Sequence[Event], now_ms: int
) -> list[Entering]:
    entries = [entry for entry in version.journey.entries if isinstance(entry, EventEntry)]
    found = []
    for event in events if entries else ():
        if event.position <= running.start_position:
            continue
        for entry in entries:
            is_fresh = event.occurred_ms > now_ms - entry.within_hours * _HOUR_MS
            if is_fresh and _is(event, entry.event):
                context = version.choose(event.properties)
                occasion = "event:" + sha256(event.event_id.encode()).hexdigest()[:32]
                found.append(
                    Entering(event.customer_id, occasion, entry.to, event.occurred_ms, context or None)
                )
                break
    return found
