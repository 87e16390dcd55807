"""Live rules: state machines that follow the stream of hot events, and say at once who enters and who leaves.

A ``LiveRules`` reads the batches after its position, brings the states of their customers up to date, and commits
states, changes and its new position in one transaction: after a crash it goes on where it had got to, and every event
counts once. Batches that it has not read stay hot (``engine.compaction``), unless nothing was heard of it for
``events.consumer_hours``. It begins with what the warehouse holds, and begins anew when that changed otherwise than by
the stream: files that were loaded, joined records, an erasure, events that it was too late for; ``notice`` says why.
Today's events count: the answer is that of the rule ``as_of`` tomorrow.
Reads hot events, events and identities; writes the store's ``live_followers``, ``live_states``, ``live_changes`` and
``hot_consumers``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import repeat
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from numpy.typing import NDArray

from aimwell.analysis.live_machine import COLUMNS, NEVER, Machine
from aimwell.analysis.live_state import Counts, Deeds, Run, Whole, list_distinct, read_run
from aimwell.core.errors import Conflict
from aimwell.core.text import Text, say
from aimwell.core.time import business_day, now
from aimwell.engine.hot_tables import (
    HOT_BATCHES,
    HOT_CONSUMERS,
    HOT_GATE,
    LIVE_CHANGES,
    LIVE_FOLLOWERS,
    LIVE_STATES,
)
from aimwell.engine.manifest import decode_batches, encode_batch, find_moved, list_changes, list_versions
from aimwell.engine.rule import Rule
from aimwell.engine.rule_json import rule_to_json
from aimwell.engine.store_tables import Instant
from aimwell.engine.workspace import Workspace

MOST_ROWS = 100_000
PART_ROWS = 250_000
"""Rows of a state that stand together in the store."""
_FORM = 1
_FIRST = date(1970, 1, 1)
_READ = ("customer_id", "occurred_at", "occurred_on", *COLUMNS)


class Change(NamedTuple):
    """A customer entered (``inside``) or left the group of a rule."""

    rule: str
    customer_id: str
    inside: bool


@dataclass(frozen=True)
class _Next:
    """What a step found, before it is committed: the runs of the state, and answers for the customers with news."""

    runs: list[Run]
    customers: Whole
    inside: NDArray[np.bool_]
    due: NDArray[np.int32]


class LiveRules:
    """Some rules that follow the stream under the name ``consumer``; one process at a time may."""

    def __init__(self, workspace: Workspace, rules: Mapping[str, Rule], *, consumer: str = "live") -> None:
        self._workspace = workspace
        self.machine = Machine(rules)
        self.consumer = consumer
        body = [_FORM, {name: rule_to_json(rule) for name, rule in rules.items()}]
        self._fingerprint = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
        self._stranger = self.machine.decide_stranger()
        self._places = {name: place for place, name in enumerate(self.machine.names)}
        self.notice: Text | None = None
        """Why it last began anew; None when it never had to."""
        self._heard = now()
        self._clear()

    def start(self, *, as_of: date | None = None) -> int:
        """Take up the stream where it was left, or begin with all events there are; returns the position."""
        with self._workspace.store.snapshot() as connection:
            follower = self._read_follower(connection)
        if follower is None or follower[1].get("fingerprint") != self._fingerprint:
            self._begin(self._find_day(as_of))
        else:
            self._load()
        return self._position

    def stop(self) -> None:
        """Leave the stream for good: states are forgotten, and nothing waits for this consumer any more."""
        with self._workspace.store.begin() as connection:
            for table in (LIVE_STATES, LIVE_FOLLOWERS, HOT_CONSUMERS):
                connection.execute(sa.delete(table).where(table.c.consumer == self.consumer))

    def step(self, *, as_of: date | None = None, most_rows: int = MOST_ROWS) -> list[Change]:
        """Read what is new, and let time pass up to ``as_of`` (tomorrow); who entered and who left, durably."""
        day = max(self._find_day(as_of), self._day)
        with self._workspace.store.snapshot() as connection:
            if not self._is_same(connection):
                events, position = None, -1
            else:
                events, position = self._read_batches(connection, most_rows)
        if position < 0:
            return self._begin(day)
        due = np.flatnonzero(self._due[: len(self._names)] <= day)
        if position == self._position and not len(due):
            self._tell_alive()
            return []
        return self._commit(self._advance(events, day, due), position, day)

    def holds(self, rule: str, customer_id: str) -> bool:
        """Whether ``rule`` holds now; for somebody never seen, what it says of who did nothing."""
        code = self._codes.get(customer_id)
        row = self._stranger if code is None else self._inside[code]
        return bool(row[self._places[rule]])

    # ------------------------------------------------------------ beginning

    def _clear(self) -> None:
        self._names: list[str] = []
        self._codes: dict[str, int] = {}
        self._runs: list[Run] = []
        self._stored: set[int] = set()
        self._inside = np.zeros((0, len(self.machine.names)), np.bool_)
        self._due = np.zeros(0, np.int32)
        self._records: dict[str, str] = {}
        self._versions: dict[str, int] = {}
        self._position = self._turn = self._day = 0

    def _begin(self, day: int) -> list[Change]:
        """The states of all events that there are, in place of whatever states there were."""
        self._clear()
        self._day = day
        with self._workspace.store.begin() as connection:
            turn = connection.execute(sa.select(HOT_GATE.c.turn)).scalar_one()
            follows = sa.select(HOT_CONSUMERS.c.position).where(HOT_CONSUMERS.c.consumer == self.consumer)
            # From here on nothing that this consumer has not read leaves the hot rows.
            if connection.execute(follows).scalar() is None:
                place = {"consumer": self.consumer, "position": turn, "changed_at": now()}
                connection.execute(sa.insert(HOT_CONSUMERS).values(place))
            else:
                connection.execute(self._update_consumer().values(changed_at=now()))
            follower = self._read_follower(connection)
            self._turn = 1 if follower is None else follower[0] + 1
            values = {"consumer": self.consumer, "turn": self._turn, "body": {}}
            change = sa.insert(LIVE_FOLLOWERS) if follower is None else self._update_follower()
            connection.execute(change.values(values))
            connection.execute(sa.delete(LIVE_STATES).where(LIVE_STATES.c.consumer == self.consumer))
            # Before the rows are read: what comes in between is noticed at the next step.
            self._versions = list_versions(connection)
            said = self._read_changes(connection)
        events, position = self._read_warehouse(day)
        for customer in said:
            self._number([customer])
        for customer, answers in said.items():
            for rule, inside in answers.items():
                self._inside[self._codes[customer], self._places[rule]] = inside
        found = self._advance(events, day, np.arange(len(self._names)))
        return self._commit(found, position, day)

    def _read_warehouse(self, day: int) -> tuple[pa.Table, int]:
        horizon = self.machine.horizon
        since = "" if horizon is None else " WHERE occurred_on >= $since"
        bound = {} if horizon is None else {"since": _FIRST + timedelta(days=max(day - horizon, 0))}
        with self._workspace.read() as reader:
            joined = reader.query("SELECT record_id, customer_id FROM identities").to_pylist()
            self._records = {row["record_id"]: row["customer_id"] for row in joined}
            return reader.query(f"SELECT {', '.join(_READ)} FROM events{since}", bound), reader.position

    def _load(self) -> None:
        """The states that were committed."""
        self._clear()
        mine = sa.select(HOT_CONSUMERS.c.position).where(HOT_CONSUMERS.c.consumer == self.consumer)
        states = sa.select(LIVE_STATES).where(LIVE_STATES.c.consumer == self.consumer)
        with self._workspace.store.snapshot() as connection:
            follower = self._read_follower(connection)
            assert follower is not None
            self._turn, body = follower
            self._position = int(connection.execute(mine).scalar_one())
            parts: dict[int, list[bytes]] = {}
            for row in connection.execute(states.order_by(LIVE_STATES.c.run, LIVE_STATES.c.part)):
                parts.setdefault(row.run, []).append(row.data)
        self._day, self._versions = body["day"], body["versions"]
        with self._workspace.read() as reader:
            joined = reader.query("SELECT record_id, customer_id FROM identities").to_pylist()
        self._records = {row["record_id"]: row["customer_id"] for row in joined}
        for number, blobs in parts.items():
            rows = decode_batches(blobs)
            self._runs.append(read_run(number, rows, self._number_column(rows["customer"].cast(pa.string()))))
        self._stored = set(parts)
        everybody = np.arange(len(self._names))
        self._inside, self._due = self._decide(self._runs, everybody, self._day)

    def _read_follower(self, connection: sa.Connection) -> tuple[int, dict[str, Any]] | None:
        query = sa.select(LIVE_FOLLOWERS.c.turn, LIVE_FOLLOWERS.c.body)
        row = connection.execute(query.where(LIVE_FOLLOWERS.c.consumer == self.consumer)).one_or_none()
        return None if row is None else (int(row.turn), row.body)

    def _update_follower(self) -> sa.Update:
        return sa.update(LIVE_FOLLOWERS).where(LIVE_FOLLOWERS.c.consumer == self.consumer)

    def _read_changes(self, connection: sa.Connection) -> dict[str, dict[str, bool]]:
        """What was said last of each customer and rule."""
        columns = LIVE_CHANGES.c
        query = sa.select(columns.rule, columns.customer_id, columns.inside).where(
            columns.consumer == self.consumer
        )
        said: dict[str, dict[str, bool]] = {}
        for rule, customer, inside in connection.execute(query.order_by(columns.change)):
            if rule in self._places:
                said.setdefault(customer, {})[rule] = inside
        return said

    # ------------------------------------------------------------ following

    def _find_day(self, as_of: date | None) -> int:
        if as_of is None:
            as_of = business_day(now(), self._workspace.settings.business.zone) + timedelta(days=1)
        return (as_of - _FIRST).days

    def _is_same(self, connection: sa.Connection) -> bool:
        """Whether the states rest on what the warehouse holds; Conflict when somebody else follows."""
        follower = self._read_follower(connection)
        if follower is None or follower[0] != self._turn:
            if follower is not None and not follower[1]:
                self.notice = say("Somebody was erased: the live rules begin anew from all events.")
                return False
            raise _follows_elsewhere()
        known = self._versions.get("events", 0)
        events = list_changes(connection, "events", known)
        if any(mode not in ("move", "merge") for mode, _ in events) or list_changes(
            connection, "identities", self._versions.get("identities", 0)
        ):
            self.notice = say(
                "Events were loaded or records joined: the live rules begin anew from all events."
            )
            return False
        if find_moved(connection, "events", known) > self._position:
            self.notice = say(
                "The live rules had not read the stream for so long that events went into files without them: "
                "they begin anew from all events."
            )
            return False
        return True

    def _tell_alive(self) -> None:
        """Say that this consumer lives, though it has read everything: seldom, for it costs a commit."""
        hours = self._workspace.settings.events.consumer_hours
        if now() - self._heard > timedelta(hours=hours / 24):
            self._heard = now()
            with self._workspace.store.begin() as connection:
                connection.execute(self._update_consumer().values(changed_at=self._heard))

    def _update_consumer(self) -> sa.Update:
        return sa.update(HOT_CONSUMERS).where(HOT_CONSUMERS.c.consumer == self.consumer)

    def _read_batches(self, connection: sa.Connection, most_rows: int) -> tuple[pa.Table | None, int]:
        mine = (HOT_BATCHES.c.table_name == "events", HOT_BATCHES.c.position > self._position)
        sizes = sa.select(HOT_BATCHES.c.position, HOT_BATCHES.c.rows).where(*mine)
        last, rows = self._position, 0
        for position, count in connection.execute(sizes.order_by(HOT_BATCHES.c.position)):
            if rows and rows + count > most_rows:
                break
            last, rows = position, rows + count
        if not rows:
            # Batches of other tables only, or none.
            return None, int(connection.execute(sa.select(HOT_GATE.c.turn)).scalar_one())
        parts = connection.execute(
            sa.select(HOT_BATCHES.c.data)
            .where(*mine, HOT_BATCHES.c.position <= last)
            .order_by(HOT_BATCHES.c.position)
        )
        return decode_batches(list(parts.scalars())), last

    def _advance(self, events: pa.Table | None, day: int, due: NDArray[np.intp]) -> _Next:
        """New states of the customers with news, and what follows; nothing that is in force is changed yet."""
        counts, deeds = Counts.join([]), Deeds.join([])
        if events is not None and events.num_rows:
            days = pc.cast(events["occurred_on"], pa.int32()).cast(pa.int64())
            customers = self._number_column(events["customer_id"])
            counts, deeds = self.machine.consume(events.append_column("day", days), customers)
            counts, deeds = self.machine.forget(counts, deeds, day)
        runs = list(self._runs)
        if len(counts) or len(deeds):
            runs.append(Run(self._find_number(runs), counts, deeds))
        touched = list_distinct(np.concatenate([counts.customer, deeds.customer, due]).astype(np.int64))
        inside, answers_due = self._decide(runs, touched, day)
        while len(runs) > 1 and len(runs[-2]) < 2 * len(runs[-1]):
            later, earlier = runs.pop(), runs.pop()
            rows = (
                Counts.join([earlier.counts, later.counts]),
                Deeds.join([earlier.deeds, later.deeds]),
            )
            runs.append(Run(later.number, *self.machine.forget(*rows, day)))
        return _Next(runs, touched, inside, answers_due)

    def _find_number(self, runs: Sequence[Run]) -> int:
        return max((*self._stored, *(run.number for run in runs)), default=0) + 1

    def _decide(
        self, runs: Sequence[Run], customers: Whole, day: int
    ) -> tuple[NDArray[np.bool_], NDArray[np.int32]]:
        counts = Counts.join([run.counts.choose(customers) for run in runs])
        deeds = Deeds.join([run.deeds.choose(customers) for run in runs])
        return self.machine.decide(counts, deeds, customers, day)

    def _number_column(self, customers: pa.ChunkedArray) -> Whole:
        """The number of each row's customer: records that were joined are the person."""
        encoded = customers.combine_chunks().dictionary_encode()
        if isinstance(encoded, pa.ChunkedArray):
            encoded = encoded.combine_chunks()
        people = encoded.dictionary.to_pylist()
        if self._records:
            people = [self._records.get(one, one) for one in people]
        return self._number(people)[encoded.indices.to_numpy()] if people else np.zeros(0, np.int64)

    def _number(self, people: Sequence[str]) -> Whole:
        """Numbers of customers, new ones for those who have none; these are where strangers are."""
        codes = self._codes
        numbers = np.empty(len(people), np.int64)
        for place, one in enumerate(people):
            code = codes.get(one)
            if code is None:
                code = codes[one] = len(codes)
                self._names.append(one)
            numbers[place] = code
        grown = len(codes) - len(self._due)
        if grown > 0:
            # Room for twice as many, so that growing costs a constant for each.
            room = max(grown, len(self._due))
            self._inside = np.concatenate([self._inside, np.tile(self._stranger, (room, 1))])
            self._due = np.concatenate([self._due, np.full(room, NEVER, np.int32)])
        return numbers

    def _commit(self, found: _Next, position: int, day: int) -> list[Change]:
        changes = self._find_changes(found)
        kept = {run.number for run in found.runs}
        by_number = {run.number: run for run in self._runs}
        written = [run for run in found.runs if by_number.get(run.number) is not run]
        parts = [row for run in written for row in self._pack(run)]
        gone = (self._stored - kept) | (self._stored & {run.number for run in written})
        at = now()
        with self._workspace.store.begin() as connection:
            versions = self._find_versions(connection)
            body = {"fingerprint": self._fingerprint, "day": day, "versions": versions}
            mine = self._update_follower().where(LIVE_FOLLOWERS.c.turn == self._turn)
            if connection.execute(mine.values(turn=self._turn + 1, body=body)).rowcount != 1:
                raise _follows_elsewhere()
            connection.execute(self._update_consumer().values(position=position, changed_at=at))
            old = (LIVE_STATES.c.consumer == self.consumer, LIVE_STATES.c.run.in_(sorted(gone)))
            connection.execute(sa.delete(LIVE_STATES).where(*old))
            if parts:
                connection.execute(sa.insert(LIVE_STATES), parts)
            keep_changes(connection, self.consumer, changes, at)
        self._turn, self._position, self._day, self._versions = self._turn + 1, position, day, versions
        self._heard = at
        self._runs, self._stored = found.runs, kept
        self._inside[found.customers], self._due[found.customers] = found.inside, found.due
        return changes

    def _find_changes(self, found: _Next) -> list[Change]:
        rows, rules = np.nonzero(found.inside != self._inside[found.customers])
        names, people = self.machine.names, self._names
        return [
            Change(names[rule], people[customer], inside)
            for rule, customer, inside in zip(
                rules.tolist(),
                found.customers[rows].tolist(),
                found.inside[rows, rules].tolist(),
                strict=True,
            )
        ]

    def _find_versions(self, connection: sa.Connection) -> dict[str, int]:
        """The versions up to which nothing but moves and merges happened."""
        newest = list_versions(connection)
        kept = {name: self._versions.get(name, 0) for name in ("events", "identities")}
        modes = {mode for mode, _ in list_changes(connection, "events", kept["events"])}
        if modes <= {"move", "merge"}:
            kept["events"] = newest.get("events", 0)
        return kept

    def _pack(self, run: Run) -> list[dict[str, Any]]:
        table = run.to_table(self._names)
        return [
            {
                "consumer": self.consumer,
                "run": run.number,
                "part": part,
                "data": encode_batch(table.slice(start, PART_ROWS)),
            }
            for part, start in enumerate(range(0, table.num_rows, PART_ROWS))
        ]


def keep_changes(connection: sa.Connection, consumer: str, changes: Sequence[Change], at: datetime) -> None:
    """Write down who entered and who left at the instant ``at``."""
    if not changes:
        return
    shared = {"consumer": consumer, "at": at}
    insert = sa.insert(LIVE_CHANGES)
    if connection.dialect.name != "sqlite":
        connection.execute(insert, [{**change._asdict(), **shared} for change in changes])
        return
    # Of a hundred thousand changes, most of the time would go into naming the same five parameters.
    names = [*Change._fields, *shared]
    statement = insert.compile(dialect=connection.dialect, column_keys=names)
    shown = {**shared, "at": Instant().process_bind_param(at, connection.dialect)}
    columns: list[Iterable[Any]] = [
        repeat(shown[name], len(changes)) if name in shown else [getattr(change, name) for change in changes]
        for name in statement.positiontup or ()
    ]
    connection.exec_driver_sql(str(statement), list(zip(*columns, strict=True)))


def _follows_elsewhere() -> Conflict:
    return Conflict(
        "analysis.live_elsewhere",
        say("Another process follows the live rules."),
        remedy=say("Let one process do it."),
    )
