"""How the store loses a person: rows that name a customer, hot rows, words in definitions and records, freed pages.

Reads and writes every table of the store. Inside the caller's transaction, except ``overwrite_freed``.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from aimwell.core.errors import Conflict
from aimwell.core.tables import CHANNELS, TABLES
from aimwell.core.text import say
from aimwell.data.erasing import Cut, cut_rows
from aimwell.data.person import PERSON_COLUMNS, build_patterns
from aimwell.engine.audit import empty_entries
from aimwell.engine.hot_events import forget_states
from aimwell.engine.hot_tables import HOT_BATCHES
from aimwell.engine.ledger_tables import DELIVERIES
from aimwell.engine.live_contacts import list_digests
from aimwell.engine.live_tables import LIVE_TURNS
from aimwell.engine.manifest import decode_batches, encode_batch
from aimwell.engine.seen_ids import pack_digests
from aimwell.engine.session import Session
from aimwell.engine.store import Store
from aimwell.engine.store_engine import allow_silence
from aimwell.engine.store_metadata import METADATA
from aimwell.engine.store_tables import AUDIT_LOG
from aimwell.engine.workspace import Workspace

_NO_WORDS = (
    *("table_files", "table_versions", "pending_erasures", "hot_batches", "hot_digests"),
    *("journey_visits", "journey_positions"),
)
"""Tables that hold no words, and the record of the erasure itself, which goes last."""
_CHUNK = 500
_DIGEST = 16
"""Bytes of a digest (``engine.seen_ids``)."""


def count_store(workspace: Workspace, cut: Cut) -> dict[str, tuple[int, int]]:
    """Per table of the store: rows that go or lose words, and rows that are kept under the random number."""
    counts: dict[str, tuple[int, int]] = {}
    with workspace.store.snapshot() as connection:
        for table, column in list_person_tables():
            for chunk in _split(cut):
                found = connection.execute(
                    sa.select(sa.func.count()).select_from(table).where(column.in_(chunk))
                ).scalar_one()
                kept = cut.keep_amounts and table is DELIVERIES
                erased, stayed = counts.get(table.name, (0, 0))
                counts[table.name] = (erased, stayed + found) if kept else (erased + found, stayed)
        words = sum(1 for _ in _find_words(connection, cut))
    return counts | ({"words": (words, 0)} if words else {})


def list_deliveries(workspace: Workspace, records: Iterable[str]) -> list[str]:
    """The ids of the person's deliveries: by them files for providers name the person."""
    query = sa.select(DELIVERIES.c.delivery_id).where(DELIVERIES.c.customer_id.in_(list(records)))
    with workspace.store.snapshot() as connection:
        return sorted(connection.execute(query).scalars())


def clear_store(connection: sa.Connection, workspace: Workspace, cut: Cut) -> None:
    """Everything of the person out of the store, within the transaction; Conflict when hot rows move meanwhile."""
    _clear_hot(connection, workspace, cut)
    forget_states(connection)
    if cut.keep_amounts:
        _anonymise_deliveries(connection, cut)
    for table, column in list_person_tables():
        for chunk in _split(cut):
            connection.execute(sa.delete(table).where(column.in_(chunk)))
    _overwrite_digests(connection, cut)
    emptied: dict[int, dict[str, Any]] = {}
    for table, keys, name, value in list(_find_words(connection, cut)):
        if table is AUDIT_LOG:
            emptied.setdefault(keys["entry"], {})[name] = value
            continue
        change = sa.update(table).where(*(table.c[key] == known for key, known in keys.items()))
        connection.execute(change.values({name: value}))
    # Last: who appends to the audit log keeps everybody else from it.
    empty_entries(connection, emptied)


def overwrite_freed(store: Store) -> None:
    """Give freed pages back, so that no deleted row can be read from the file any more, nor from its log."""
    if not store.is_sqlite:
        # PostgreSQL lets dead rows go; its log and its replicas keep them until they are written over.
        with store.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            allow_silence(connection)
            connection.exec_driver_sql(f"VACUUM {', '.join(table.name for table in METADATA.sorted_tables)}")
        return
    raw = store.engine.raw_connection()
    try:
        cursor = raw.cursor()
        cursor.execute("PRAGMA secure_delete = ON")
        cursor.execute("VACUUM")
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        answer = cursor.fetchone()
        busy = answer is not None and answer[0]
        cursor.close()
    finally:
        raw.close()
    if busy:
        raise Conflict(
            "data.store_in_use",
            say("Another process reads the store, so that erased rows cannot be overwritten yet."),
            remedy=say("Run the command again when it has ended: the erasure will be finished."),
        )


def list_person_tables() -> list[tuple[sa.Table, sa.Column[Any]]]:
    """The store's tables that name customers, each with the column that does."""
    return [
        (table, table.c[name])
        for table in METADATA.sorted_tables
        for name in PERSON_COLUMNS
        if name in table.c
    ]


def _split(cut: Cut) -> Iterator[list[str]]:
    records = list(cut.person.records)
    return (records[start : start + _CHUNK] for start in range(0, len(records), _CHUNK))


def _anonymise_deliveries(connection: sa.Connection, cut: Cut) -> None:
    """The ledger keeps its sums; what still waits will not go out."""
    columns = DELIVERIES.c
    query = sa.select(columns.delivery_id, columns.plan_id, columns.action_id, columns.state)
    for chunk in _split(cut):
        for row in connection.execute(query.where(columns.customer_id.in_(chunk))).all():
            # As deployment names a delivery: launching again finds this row.
            key = "\x1f".join((row.plan_id, cut.stand_in, row.action_id))
            values: dict[str, Any] = {
                "delivery_id": hashlib.sha256(key.encode()).hexdigest(),
                "customer_id": cut.stand_in,
                "provider_id": None,
                "reachable": False,
                "detail": None,
                "zone": None,
            }
            if row.state in ("queued", "leased"):
                values |= {"state": "skipped", "reason": "erased", "owner": None, "lease_until_ms": None}
            connection.execute(
                sa.update(DELIVERIES).where(columns.delivery_id == row.delivery_id).values(values)
            )


def _overwrite_digests(connection: sa.Connection, cut: Cut) -> None:
    """Random bytes in the place of the person's digests among live contacts: they count for nobody any more."""
    columns = LIVE_TURNS.c
    own = {pack_digests(digest) for record in cut.person.records for digest in list_digests(record, CHANNELS)}
    for row in connection.execute(sa.select(columns.batch, columns.contacts, columns.released)).all():
        values = {}
        for name, packed in (("contacts", row.contacts), ("released", row.released)):
            parts = [packed[start : start + _DIGEST] for start in range(0, len(packed), _DIGEST)]
            if own.intersection(parts):
                values[name] = b"".join(os.urandom(_DIGEST) if part in own else part for part in parts)
        if values:
            connection.execute(sa.update(LIVE_TURNS).where(columns.batch == row.batch).values(values))


def _clear_hot(connection: sa.Connection, workspace: Workspace, cut: Cut) -> None:
    batches = HOT_BATCHES.c
    session = Session(workspace.settings.engine, workspace.warehouse_folder, {})
    try:
        keys = connection.execute(sa.select(batches.position, batches.table_name)).all()
        for position, name in keys:
            which = (batches.position == position, batches.table_name == name)
            data = connection.execute(sa.select(batches.data).where(*which)).scalar_one()
            hot = decode_batches([data])
            rows = cut_rows(session, TABLES[name], hot, cut) if name in TABLES else _cut_profiles(hot, cut)
            if rows is None:
                continue
            # An empty batch keeps its place: readers of the stream count positions.
            values = {"rows": rows.num_rows, "data": encode_batch(rows)}
            connection.execute(sa.update(HOT_BATCHES).where(*which).values(values))
    finally:
        session.close()


def _cut_profiles(rows: pa.Table, cut: Cut) -> pa.Table | None:
    """What messages said about people and waits for ``data.event_profiles``; None when nothing is of the person."""
    own = pc.is_in(rows["record_id"], value_set=pa.array(list(cut.person.records), pa.string()))
    return rows.filter(pc.invert(own)) if pc.any(own).as_py() else None


def _find_words(connection: sa.Connection, cut: Cut) -> Iterator[tuple[sa.Table, dict[str, Any], str, Any]]:
    """(table, key, column, new value) of every text or JSON in which the person is named."""
    patterns = [(re.compile(pattern), put) for pattern, put in build_patterns(cut.person)]
    for table in METADATA.sorted_tables:
        if table.name in _NO_WORDS or any(name in table.c for name in PERSON_COLUMNS):
            continue
        keys = [column.name for column in table.primary_key]
        wordy = [
            column
            for column in table.columns
            if isinstance(column.type, sa.JSON | sa.String | sa.Text) and column.name not in keys
        ]
        if not wordy:
            continue
        for row in connection.execute(sa.select(table)).mappings():
            for column in wordy:
                value = row[column.name]
                changed = _empty_words(value, patterns)
                if changed != value:
                    yield table, {name: row[name] for name in keys}, column.name, changed


def _empty_words(value: Any, patterns: list[tuple[re.Pattern[str], str]]) -> Any:
    """``value`` with what names the person replaced, in whatever depth of JSON."""
    if value is None or isinstance(value, bool | int | float):
        return value
    packed = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = packed
    for pattern, put in patterns:
        text = pattern.sub(put, pattern.sub(put, text))
    if text == packed:
        return value
    return text if isinstance(value, str) else json.loads(text)
