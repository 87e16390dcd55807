"""The warehouse's manifest, which lives in the store: which files are the newest version of each table.

A version of a table is the set of files that were added up to it and not removed before it. Files exist for readers
only once the manifest says so, in the transaction that ends the run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import pyarrow as pa
import sqlalchemy as sa

from aimwell.core.errors import Conflict
from aimwell.core.text import say
from aimwell.core.time import now
from aimwell.engine.files import DataFile
from aimwell.engine.hot_tables import HOT_BATCHES, HOT_GATE
from aimwell.engine.store_tables import RUNS, TABLE_FILES, TABLE_VERSIONS

# A batch is compressed in less time than it takes to hand it to threads.
_COMPRESSED = pa.ipc.IpcWriteOptions(compression="lz4", use_threads=False)
_MOST_NAMES = 500

Mode: TypeAlias = Literal["replace", "append", "rewrite", "move", "merge"]
"""How a version came to be: all rows new; rows added; some files' rows changed; and, with the rows unchanged, hot
rows moved into files; files merged into fewer."""


@dataclass(frozen=True)
class Snapshot:
    """One state of the warehouse: each table is the rows of its files and its hot rows, each row in one of them."""

    files: dict[str, list[str]]
    versions: dict[str, int]
    hashes: dict[str, str]
    batches: dict[str, list[bytes]] = field(default_factory=dict)
    position: int = 0
    """The newest batch that was there, hot or not."""

    def read_hot(self) -> dict[str, pa.Table]:
        """The rows that no file holds yet, by table."""
        return {name: decode_batches(parts) for name, parts in self.batches.items()}


def read_snapshot(connection: sa.Connection) -> Snapshot:
    """Everything in one transaction, so that a row that moves from hot to a file is seen once."""
    query = sa.select(HOT_BATCHES.c.table_name, HOT_BATCHES.c.data).order_by(HOT_BATCHES.c.position)
    batches: dict[str, list[bytes]] = {}
    for table, data in connection.execute(query):
        batches.setdefault(table, []).append(data)
    position = int(connection.execute(sa.select(HOT_GATE.c.turn)).scalar_one())
    return Snapshot(
        list_files(connection), list_versions(connection), list_hashes(connection), batches, position
    )


def encode_batch(rows: pa.Table) -> bytes:
    """Rows as an Arrow stream, LZ4 inside, which says its own schema."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema, options=_COMPRESSED) as writer:
        writer.write_table(rows)
    return bytes(sink.getvalue())


def decode_batches(parts: Sequence[bytes]) -> pa.Table:
    """The rows of several batches in their order; columns that older ones lack are empty."""
    return pa.concat_tables(
        [pa.ipc.open_stream(part).read_all() for part in parts], promote_options="default"
    )


def write_version(
    connection: sa.Connection,
    table: str,
    mode: Mode,
    written: Sequence[DataFile],
    *,
    run_id: str,
    removed: Sequence[str] = (),
) -> int:
    """Add the table's next version: ``written`` comes, ``removed`` goes (with ``replace``: all there was).

    Conflict when a file of ``removed`` went meanwhile: two who rewrite the same file cannot both be right.
    """
    version = read_version(connection, table) + 1
    connection.execute(
        sa.insert(TABLE_VERSIONS).values(
            table_name=table,
            version=version,
            run_id=run_id,
            mode=mode,
            rows=sum(file.rows for file in written),
            created_at=now(),
        )
    )
    there = sa.update(TABLE_FILES).where(
        TABLE_FILES.c.table_name == table, TABLE_FILES.c.removed_in.is_(None)
    )
    if mode == "replace":
        connection.execute(there.values(removed_in=version))
    for start in range(0, len(removed), _MOST_NAMES):
        part = removed[start : start + _MOST_NAMES]
        gone = connection.execute(there.where(TABLE_FILES.c.path.in_(part)).values(removed_in=version))
        if gone.rowcount != len(part):
            raise changed_meanwhile(table)
    if written:
        rows = [
            {
                "path": file.path,
                "table_name": table,
                "added_in": version,
                "rows": file.rows,
                "bytes": file.bytes,
                "sha256": file.sha256,
            }
            for file in written
        ]
        connection.execute(sa.insert(TABLE_FILES), rows)
    return version


def read_version(connection: sa.Connection, table: str) -> int:
    """The newest version of ``table``; 0 when it was never written."""
    newest = sa.select(sa.func.max(TABLE_VERSIONS.c.version)).where(TABLE_VERSIONS.c.table_name == table)
    return int(connection.execute(newest).scalar() or 0)


def changed_meanwhile(table: str) -> Conflict:
    """The error of a run that rests on a state of ``table`` that is no longer the newest."""
    return Conflict(
        "engine.changed_meanwhile",
        say("The table {table} was changed by another run meanwhile.", table=table),
        remedy=say("Run the step again."),
    )


def list_changes(connection: sa.Connection, table: str, after: int) -> list[tuple[str, str]]:
    """Mode and step of every version of ``table`` after version ``after``, in their order."""
    query = (
        sa.select(TABLE_VERSIONS.c.mode, RUNS.c.step)
        .join(RUNS, RUNS.c.run_id == TABLE_VERSIONS.c.run_id)
        .where(TABLE_VERSIONS.c.table_name == table, TABLE_VERSIONS.c.version > after)
        .order_by(TABLE_VERSIONS.c.version)
    )
    return [(mode, step) for mode, step in connection.execute(query)]


def find_moved(connection: sa.Connection, table: str, after: int) -> int:
    """The newest hot position whose rows of ``table`` were moved into files after version ``after``; 0 if none."""
    query = (
        sa.select(RUNS.c.parameters)
        .join(TABLE_VERSIONS, RUNS.c.run_id == TABLE_VERSIONS.c.run_id)
        .where(
            TABLE_VERSIONS.c.table_name == table,
            TABLE_VERSIONS.c.version > after,
            TABLE_VERSIONS.c.mode == "move",
        )
    )
    return max((int(found["position"]) for found in connection.execute(query).scalars()), default=0)


def list_files(connection: sa.Connection) -> dict[str, list[str]]:
    """The files of the newest version of every table, after checking nothing: see ``verify_files``."""
    query = (
        sa.select(TABLE_FILES.c.table_name, TABLE_FILES.c.path)
        .where(TABLE_FILES.c.removed_in.is_(None))
        .order_by(TABLE_FILES.c.table_name, TABLE_FILES.c.added_in, TABLE_FILES.c.path)
    )
    files: dict[str, list[str]] = {}
    for row in connection.execute(query):
        files.setdefault(row.table_name, []).append(row.path)
    return files


def list_versions(connection: sa.Connection) -> dict[str, int]:
    """The newest version of every table that was ever written."""
    query = sa.select(TABLE_VERSIONS.c.table_name, sa.func.max(TABLE_VERSIONS.c.version)).group_by(
        TABLE_VERSIONS.c.table_name
    )
    return {name: int(version) for name, version in connection.execute(query)}


def list_hashes(connection: sa.Connection) -> dict[str, str]:
    """The SHA-256 of every file of the newest versions, by path."""
    query = sa.select(TABLE_FILES.c.path, TABLE_FILES.c.sha256).where(TABLE_FILES.c.removed_in.is_(None))
    return {path: sha256 for path, sha256 in connection.execute(query)}
