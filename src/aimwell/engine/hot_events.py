"""Hot events: rows of the last minutes, durable in the store before any file holds them.

``HotRows.append`` writes a batch and remembers its message ids in one transaction; what was taken in before is
left out, so that a sender may repeat itself at will. A reader's snapshot (``engine.manifest``) has files and hot
rows of one transaction, and so sees every row exactly once; ``engine.compaction`` moves hot rows into files.

Ids are remembered for ``window`` days by the day of their arrival. A message that happened before the window is
looked up in the files instead, so that repeats are told at any age, unless a program sends one of which only its
arrival says when it happened (``data.event_intake``).
Writes the store's ``hot_batches``, ``hot_digests`` and ``hot_gate``; the statements are portable (SQLite, PostgreSQL).
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import sqlalchemy as sa
from numpy.typing import NDArray

from aimwell.core.time import now
from aimwell.engine.hot_tables import HOT_BATCHES, HOT_DIGESTS, HOT_GATE, LIVE_FOLLOWERS, LIVE_STATES
from aimwell.engine.manifest import changed_meanwhile, encode_batch
from aimwell.engine.seen_ids import SeenIds, digest_ids, find_repeats, pack_digests, unpack_digests
from aimwell.engine.store import Store
from aimwell.engine.store_tables import TABLE_VERSIONS

WINDOW = 7
"""Days for which message ids are remembered when nothing else is said."""


@dataclass(frozen=True)
class HotBatch:
    """Messages and the rows that they become: ``rows`` has, per table, the rows and the message of each row.

    ``ids`` has the id of each message, unique for all time; a message that was taken in before brings no rows.
    """

    ids: Sequence[str]
    rows: Mapping[str, tuple[pa.Table, NDArray[np.int64]]]
    known: NDArray[np.bool_] | None = field(default=None)
    """Messages that the files are known to hold already, shape (len(ids),)."""
    erasures: int | None = None
    """The version of ``erasures`` that the rows rest on: it must still be the newest."""


class HotRows:
    """The hot rows as one process sees them; may be shared by threads."""

    def __init__(self, store: Store, *, window: int = WINDOW) -> None:
        self._store = store
        self.window = window
        self._lock = threading.Lock()
        self._seen = SeenIds()
        self._position = -1
        self._first_day = date.min

    def append(self, batch: HotBatch, *, received_on: date | None = None) -> NDArray[np.bool_]:
        """Write the rows of all messages that are new, durably; says for each message whether it was new.

        When this returns, every message is in the store, now or from before; when it raises, none of the new is.
        Conflict when somebody was erased since ``batch.erasures``.
        """
        today = received_on or now().date()
        digests = digest_ids(batch.ids)
        repeated = find_repeats(digests)
        if batch.known is not None:
            repeated |= batch.known
        with self._lock:
            self._learn(today)
            # All that takes time is done before the others have to wait: as if nobody else brought these messages.
            expected = ~(repeated | self._seen.find(digests))
            rows = _encode(batch, expected)
            with self._store.begin(gated=True) as connection:
                position, erasures = take_turn(connection)
                if batch.erasures is not None and erasures != batch.erasures:
                    raise changed_meanwhile("erasures")
                fresh = expected
                if self._catch_up(connection, position):
                    fresh = ~(repeated | self._seen.find(digests))
                    rows = rows if np.array_equal(fresh, expected) else _encode(batch, fresh)
                if fresh.any():
                    _write(connection, position, rows, digests[fresh], today)
            # Only what was committed is remembered: a failed transaction leaves no trace here either. The position
            # comes last: what an interruption keeps from being remembered is read again.
            self._seen.add(digests[fresh])
            self._position = position
        return fresh

    def _learn(self, today: date) -> None:
        """At first, and when a day has passed: know the ids of the window, without keeping anybody from writing."""
        first = today - timedelta(days=self.window)
        if first <= self._first_day:
            return
        seen = SeenIds()
        with self._store.snapshot() as connection:
            position = int(connection.execute(sa.select(HOT_GATE.c.turn)).scalar_one())
            query = sa.select(HOT_DIGESTS.c.digests).where(HOT_DIGESTS.c.received_on >= first)
            seen.add(unpack_digests(b"".join(connection.execute(query).scalars())))
        self._seen, self._position, self._first_day = seen, position, first

    def _catch_up(self, connection: sa.Connection, position: int) -> bool:
        """Learn what other processes took in since this one's last turn; whether there was any."""
        if position == self._position + 1:
            return False
        query = sa.select(HOT_DIGESTS.c.digests).where(
            HOT_DIGESTS.c.position > self._position, HOT_DIGESTS.c.received_on >= self._first_day
        )
        packed = b"".join(connection.execute(query.order_by(HOT_DIGESTS.c.position)).scalars())
        self._seen.add(unpack_digests(packed))
        self._position = position - 1
        return bool(packed)


def _encode(batch: HotBatch, fresh: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """The rows of the messages that are ``fresh``, as they stand in ``hot_batches``."""
    everything = bool(fresh.all())
    rows = []
    for name, (table, parents) in batch.rows.items():
        kept = table if everything else table.filter(pa.array(fresh[parents]))
        if kept.num_rows:
            data = encode_batch(kept.combine_chunks())
            rows.append({"table_name": name, "rows": kept.num_rows, "data": data})
    return rows


def _write(
    connection: sa.Connection,
    position: int,
    rows: Sequence[Mapping[str, Any]],
    digests: NDArray[np.uint64],
    today: date,
) -> None:
    if rows:
        connection.execute(sa.insert(HOT_BATCHES), [{"position": position, **row} for row in rows])
    packed = pack_digests(digests)
    connection.execute(
        sa.insert(HOT_DIGESTS), {"position": position, "received_on": today, "digests": packed}
    )


def take_turn(connection: sa.Connection) -> tuple[int, int]:
    """The next position, and the newest version of ``erasures``: one question, for each is a way to the server.

    The row's lock is held until the end, so that batches commit in the order of positions. Nobody is erased meanwhile:
    an erasure takes the store's lock for itself, and this transaction shares it already.
    """
    row = connection.execute(_TAKEN).one()
    return int(row[0]), int(row[1] or 0)


def merge_digests(store: Store, *, window: int = WINDOW) -> None:
    """Forget digests older than ``window`` days and a spare day, and keep those of each other day in few rows.

    Nobody is kept from writing while there is nothing to do. Conflict when another process does it meanwhile.
    """
    before = now().date() - timedelta(days=window + 1)
    many = (
        sa.select(HOT_DIGESTS.c.received_on)
        .where(sa.func.length(HOT_DIGESTS.c.digests) < _SMALL)
        .group_by(HOT_DIGESTS.c.received_on)
        .having(sa.func.count() >= _MANY)
    )
    with store.snapshot() as connection:
        oldest = connection.execute(sa.select(sa.func.min(HOT_DIGESTS.c.received_on))).scalar()
        days = [day for day in connection.execute(many).scalars() if day >= before]
    if oldest is not None and oldest < before:
        with store.begin() as connection:
            connection.execute(sa.delete(HOT_DIGESTS).where(HOT_DIGESTS.c.received_on < before))
    for day in days:
        _merge_day(store, day)


def _merge_day(store: Store, day: date) -> None:
    small = (HOT_DIGESTS.c.received_on == day, sa.func.length(HOT_DIGESTS.c.digests) < _SMALL)
    query = sa.select(HOT_DIGESTS.c.position, HOT_DIGESTS.c.digests).where(*small)
    with store.snapshot() as connection:
        found = connection.execute(query.order_by(HOT_DIGESTS.c.position)).all()
    if len(found) < _MANY:
        return
    first, last = found[0].position, found[-1].position
    # Under the newest position: a process that has not read all of them yet reads them again, which is harmless.
    merged = {"position": last, "received_on": day, "digests": b"".join(row.digests for row in found)}
    with store.begin() as connection:
        those = HOT_DIGESTS.c.position.between(first, last)
        gone = connection.execute(sa.delete(HOT_DIGESTS).where(*small, those))
        if gone.rowcount != len(found):
            raise changed_meanwhile("hot_digests")
        connection.execute(sa.insert(HOT_DIGESTS), merged)


def forget_states(connection: sa.Connection) -> None:
    """Throw away what live rules remember, of everybody: each follower begins anew at its next step (an erasure)."""
    connection.execute(sa.delete(LIVE_STATES))
    connection.execute(sa.update(LIVE_FOLLOWERS).values(turn=LIVE_FOLLOWERS.c.turn + 1, body={}))


_SMALL = 1 << 17
_MANY = 64
"""Rows of under 128 KB are put together when there are so many: a transaction of a few megabytes."""
_NEWEST = sa.select(sa.func.max(TABLE_VERSIONS.c.version)).where(TABLE_VERSIONS.c.table_name == "erasures")
_TAKEN = (
    sa.update(HOT_GATE).values(turn=HOT_GATE.c.turn + 1).returning(HOT_GATE.c.turn, _NEWEST.scalar_subquery())
)
