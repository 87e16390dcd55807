"""Live membership: segments decided again for whoever has new events or orders, a moment after they came.

The last analysis is the base: ``LiveMembers`` keeps where membership is another by now, and since when. Of the
customers with new hot rows, and of those for whom a day ends a window, every segment is decided by the query that
decides everybody; tags that are plain figures are measured anew for them, tags that compare customers with each other
stay as the last analysis left them. Today's events count: the answer is that of the rules ``as_of`` tomorrow. What a
new analysis, files or joined records change is decided for everybody.
Reads hot rows, tags, segments, segment_members and the sources of figures; writes the store's ``live_members``,
``live_changes`` and ``live_followers``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import sqlalchemy as sa
from numpy.typing import NDArray

from aimwell.analysis.live_rules import Change, keep_changes
from aimwell.analysis.schedule import expand_tags, find_figures
from aimwell.analysis.segments import Segment, evaluate_customers, find_members
from aimwell.core.errors import Conflict
from aimwell.core.text import Text, say
from aimwell.core.time import business_day, now
from aimwell.engine.compile_due import compile_due
from aimwell.engine.hot_tables import HOT_BATCHES, HOT_GATE, LIVE_FOLLOWERS, LIVE_MEMBERS
from aimwell.engine.manifest import decode_batches, find_moved, list_changes, list_versions
from aimwell.engine.rule import is_attribute, list_rule_tags, walk_rule
from aimwell.engine.rule_json import rule_from_json
from aimwell.engine.rule_types import read_rule_types
from aimwell.engine.store_tables import TABLE_FILES
from aimwell.engine.workspace import Reader, Workspace

CONSUMER = "segments"
"""Under this name the changes stand in ``live_changes``, the segment as the rule."""
_STREAMED = ("events", "order_lines")
_RESTED_ON = ("segments", "tags", "identities", "products", "signals")
_CHUNK = 500

Flags = NDArray[np.bool_]


@dataclass
class _Known:
    """What the last step left: who is in which segment, by the base and by now, and up to where that is known."""

    base: str
    segments: tuple[Segment, ...]
    customers: pa.Array
    decided: Flags
    inside: Flags
    day: date
    watched: tuple[str, ...]
    versions: dict[str, int]
    position: int = 0


@dataclass(frozen=True)
class _News:
    """What the store says of the time since the last step."""

    position: int
    versions: dict[str, int]
    is_same: bool
    records: set[str] = field(default_factory=set)
    files: tuple[str, ...] = ()


class LiveMembers:
    """Follows the segments of one workspace; one process at a time is enough, and keeps the others out."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._known: _Known | None = None
        self._turn: int | None = None

    def step(self, at: datetime | None = None) -> list[Change]:
        """Bring membership up to the instant ``at`` (now); who entered and who left, durably."""
        day = business_day(at or now(), self._workspace.settings.business.zone) + timedelta(days=1)
        news = self._read_news()
        known = self._known
        if not news.versions.get("segments"):
            return []
        if known is None or not news.is_same or day < known.day:
            return self._decide_everybody(day, news)
        if not (news.records or news.files) and day == known.day:
            known.position, known.versions = news.position, news.versions
            return []
        return self._decide_some(known, day, news)

    # ------------------------------------------------------------ what is new

    def _read_news(self) -> _News:
        known = self._known
        with self._workspace.store.snapshot() as connection:
            position = int(connection.execute(sa.select(HOT_GATE.c.turn)).scalar_one())
            versions = list_versions(connection)
            if known is None:
                return _News(position, versions, is_same=False)
            for table in known.watched:
                before = known.versions.get(table, 0)
                modes = {mode for mode, _ in list_changes(connection, table, before)}
                if not modes <= ({"move", "merge"} if table in _STREAMED else {"merge"}):
                    return _News(position, versions, is_same=False)
            records: set[str] = set()
            files: list[str] = []
            for table in _STREAMED:
                new = (HOT_BATCHES.c.table_name == table, HOT_BATCHES.c.position > known.position)
                blobs = connection.execute(sa.select(HOT_BATCHES.c.data).where(*new)).scalars().all()
                if blobs:
                    records.update(pc.unique(decode_batches(blobs)["customer_id"]).to_pylist())
                before = known.versions.get(table, 0)
                if find_moved(connection, table, before) > known.position:
                    # Rows went into files before they were looked at here.
                    query = sa.select(TABLE_FILES.c.path).where(
                        TABLE_FILES.c.table_name == table, TABLE_FILES.c.added_in > before
                    )
                    files += connection.execute(query.where(TABLE_FILES.c.removed_in.is_(None))).scalars()
        return _News(position, versions, True, records, tuple(files))

    # ------------------------------------------------------------ deciding

    def _decide_some(self, known: _Known, day: date, news: _News) -> list[Change]:
        with self._workspace.read() as reader:
            customers = self._name_customers(reader, news)
            if day > known.day:
                customers |= _list_due(reader, known.segments, known.day, day)
            found = evaluate_customers(reader, known.segments, customers, as_of=day)
        places = _find_places(known.customers, found.customers)
        if places is None:
            return self._decide_everybody(day, news)
        at = now()
        before = known.inside[places]
        changes = _list_changes(known, places, before, found.inside)
        # Begun anew if the transaction fails: memory must not know more than the store.
        self._known = None
        with self._workspace.store.begin() as connection:
            self._take_turn(connection, known.base, day)
            _keep_members(connection, known, places, found.inside, at)
            keep_changes(connection, CONSUMER, changes, at)
        self._turn, self._known = (self._turn or 0) + 1, known
        known.day, known.position, known.versions = day, news.position, news.versions
        return changes

    def _decide_everybody(self, day: date, news: _News) -> list[Change]:
        with self._workspace.read() as reader:
            new = _read_base(reader, day, news)
            if new is None:
                return []
            found = find_members(reader, new.segments, read_rule_types(reader), as_of=day)
        order = pc.index_in(found.customers, value_set=new.customers).to_numpy().astype(np.int64)
        new.inside = np.zeros_like(new.decided)
        new.inside[order] = found.inside
        at = now()
        with self._workspace.store.begin() as connection:
            before, since = self._find_before(connection, new), _read_since(connection, new.base)
            self._take_turn(connection, new.base, day)
            connection.execute(sa.delete(LIVE_MEMBERS))
            everybody = np.arange(len(new.customers))
            changes = _list_changes(new, everybody, before, new.inside)
            _add_members(connection, new, everybody, before, at, since)
            keep_changes(connection, CONSUMER, changes, at)
        self._turn = (self._turn or 0) + 1
        self._known = new
        return changes

    def _find_before(self, connection: sa.Connection, new: _Known) -> Flags:
        """Membership as it was said last: that of the base, where nothing else was said."""
        before = new.decided.copy()
        places = {segment.name: place for place, segment in enumerate(new.segments)}
        old = self._known
        if old is not None:
            rows = pc.index_in(old.customers, value_set=new.customers)
            there = np.asarray(rows.is_valid().to_numpy(zero_copy_only=False), dtype=np.bool_)
            own = rows.drop_null().to_numpy().astype(np.int64)
            for place, segment in enumerate(old.segments):
                if segment.name in places:
                    before[own, places[segment.name]] = old.inside[there, place]
            return before
        kept = connection.execute(sa.select(LIVE_MEMBERS).where(LIVE_MEMBERS.c.base == new.base)).all()
        rows = pc.index_in(pa.array([row.customer_id for row in kept], pa.string()), value_set=new.customers)
        for row, place in zip(kept, rows.to_pylist(), strict=True):
            if place is not None and row.segment in places:
                before[place, places[row.segment]] = row.inside
        return before

    def _take_turn(self, connection: sa.Connection, base: str, day: date) -> None:
        """Conflict when another process has written since."""
        mine = LIVE_FOLLOWERS.c.consumer == CONSUMER
        turn = connection.execute(sa.select(LIVE_FOLLOWERS.c.turn).where(mine)).scalar()
        if self._turn is not None and turn != self._turn:
            # What this process knows is no longer what stands there: it begins anew at its next step.
            self._known = self._turn = None
            raise Conflict(
                "analysis.members_elsewhere",
                say("Another process follows the segments."),
                remedy=say("Let one process do it."),
            )
        self._turn = turn or 0
        values = {"consumer": CONSUMER, "turn": self._turn + 1, "body": {"base": base, "day": str(day)}}
        change = sa.insert(LIVE_FOLLOWERS) if turn is None else sa.update(LIVE_FOLLOWERS).where(mine)
        connection.execute(change.values(values))

    def _name_customers(self, reader: Reader, news: _News) -> set[str]:
        """The customers behind the records with new rows."""
        records = set(news.records)
        for path in news.files:
            table = pq.read_table(self._workspace.warehouse_folder / path, columns=["customer_id"])
            records.update(pc.unique(table["customer_id"]).to_pylist())
        reader.register("records_new", pa.table({"record_id": pa.array(sorted(records), pa.string())}))
        joined = reader.query(
            "SELECT COALESCE(i.customer_id, n.record_id) AS customer_id FROM records_new AS n"
            " LEFT JOIN identities AS i ON i.record_id = n.record_id"
        )
        return set(joined["customer_id"].to_pylist())


def read_live_members(workspace: Workspace, reader: Reader, segment: str) -> list[str]:
    """Who is in the segment by now, sorted: the members of the last analysis, and what was found since."""
    rows = reader.query(
        "SELECT customer_id FROM segment_members WHERE segment = $segment AND left_on IS NULL",
        {"segment": segment},
    )
    base = _read_base_name(reader)
    members = set(rows["customer_id"].to_pylist())
    query = sa.select(LIVE_MEMBERS.c.customer_id, LIVE_MEMBERS.c.inside).where(
        LIVE_MEMBERS.c.segment == segment, LIVE_MEMBERS.c.base == base
    )
    with workspace.store.snapshot() as connection:
        for customer, inside in connection.execute(query):
            (members.add if inside else members.discard)(customer)
    return sorted(members)


def _read_base_name(reader: Reader) -> str | None:
    name: str | None = reader.query("SELECT MAX(run_id) AS run_id FROM segments")["run_id"][0].as_py()
    return name


def _read_base(reader: Reader, day: date, news: _News) -> _Known | None:
    """The segments of the last analysis and their members."""
    rows = reader.query("SELECT segment, rule FROM segments ORDER BY segment").to_pylist()
    base = _read_base_name(reader)
    if not rows or base is None:
        return None
    figures = find_figures(reader)
    rules = {row["segment"]: rule_from_json(json.loads(row["rule"])) for row in rows}
    segments = tuple(
        Segment(name, Text(name), expand_tags(rule, figures), built_in=False) for name, rule in rules.items()
    )
    named = {tag for one in segments for part, _ in walk_rule(one.rule) for tag in list_rule_tags(part)}
    watched = [*_STREAMED, *_RESTED_ON, *(["customers"] if any(map(is_attribute, named)) else [])]
    customers = reader.query("SELECT customer_id FROM tags ORDER BY customer_id")["customer_id"]
    ids = customers.combine_chunks()
    decided = np.zeros((len(ids), len(segments)), np.bool_)
    for place, segment in enumerate(segments):
        found = reader.query(
            "SELECT customer_id FROM segment_members WHERE segment = $segment AND left_on IS NULL",
            {"segment": segment.name},
        )
        own = pc.index_in(found["customer_id"], value_set=ids).drop_null()
        decided[own.to_numpy().astype(np.int64), place] = True
    inside = decided.copy()
    return _Known(base, segments, ids, decided, inside, day, tuple(watched), news.versions, news.position)


def _list_due(reader: Reader, segments: Iterable[Segment], after: date, until: date) -> set[str]:
    rules = {segment.name: segment.rule for segment in segments}
    query = compile_due(rules, after=after, until=until, segments=rules)
    if query is None:
        return set()
    return set(reader.query(query.sql, query.parameters)["customer_id"].to_pylist())


def _find_places(customers: pa.Array, asked: pa.Array) -> NDArray[np.int64] | None:
    """Where those asked for stand among all customers; None when one is not there.

    The few are looked for in the many the other way round: a table of a million names would take longer than all else.
    """
    found = pc.index_in(customers, value_set=asked)
    (rows,) = np.nonzero(found.is_valid().to_numpy(zero_copy_only=False))
    if len(rows) != len(asked):
        return None
    places = np.empty(len(asked), np.int64)
    places[found.drop_null().to_numpy()] = rows
    return places


def _list_changes(known: _Known, places: NDArray[np.int64], before: Flags, after: Flags) -> list[Change]:
    rows, segments = np.nonzero(before != after)
    people = known.customers.take(pa.array(places[rows])).to_pylist()
    names = [segment.name for segment in known.segments]
    inside = after[rows, segments].tolist()
    return [
        Change(names[segment], customer, is_inside)
        for segment, customer, is_inside in zip(segments.tolist(), people, inside, strict=True)
    ]


def _keep_members(
    connection: sa.Connection, known: _Known, places: NDArray[np.int64], inside: Flags, at: datetime
) -> None:
    """What stands there of customers whose membership changed is replaced; all else keeps its instant."""
    before = known.inside[places]
    changed = (inside != before).any(axis=1)
    people = known.customers.take(pa.array(places[changed])).to_pylist()
    since: dict[tuple[str, str], datetime] = {}
    for start in range(0, len(people), _CHUNK):
        mine = LIVE_MEMBERS.c.customer_id.in_(people[start : start + _CHUNK])
        since |= _read_since(connection, known.base, mine)
        connection.execute(sa.delete(LIVE_MEMBERS).where(mine))
    known.inside[places] = inside
    _add_members(connection, known, places[changed], before[changed], at, since)


def _read_since(
    connection: sa.Connection, base: str, *which: sa.ColumnElement[bool]
) -> dict[tuple[str, str], datetime]:
    query = sa.select(LIVE_MEMBERS).where(LIVE_MEMBERS.c.base == base, *which)
    return {(row.segment, row.customer_id): row.since for row in connection.execute(query)}


def _add_members(
    connection: sa.Connection,
    known: _Known,
    places: NDArray[np.int64],
    before: Flags,
    at: datetime,
    since: Mapping[tuple[str, str], datetime],
) -> None:
    """Where membership is another than the base's; whoever was there ``before`` keeps the instant."""
    inside = known.inside[places]
    rows = []
    for row, place in np.argwhere(inside != known.decided[places]).tolist():
        key = (known.segments[place].name, known.customers[int(places[row])].as_py())
        stays = before[row, place] == inside[row, place]
        rows.append(
            {
                "segment": key[0],
                "customer_id": key[1],
                "inside": bool(inside[row, place]),
                "since": since.get(key, at) if stays else at,
                "base": known.base,
            }
        )
    if rows:
        connection.execute(sa.insert(LIVE_MEMBERS), rows)
