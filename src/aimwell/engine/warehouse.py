"""The warehouse: Parquet files listed in a manifest that lives in the store, queried by DuckDB.

A version of a table is the set of files that were added up to it and not removed before it. Files are written
aside, synced and renamed; they exist for readers only once the manifest says so, in the transaction that ends
the run. Every file carries page checksums and its SHA-256 stands in the manifest: one flipped byte in Parquet
otherwise gives wrong numbers silently.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import sqlalchemy as sa

from aimwell.core.errors import AimwellError, NotReady
from aimwell.core.tables import ALL_TABLES, Table, Type
from aimwell.core.text import say
from aimwell.engine.settings import EngineSettings
from aimwell.engine.store_tables import TABLE_FILES, TABLE_VERSIONS

_DUCKDB_TYPES = {
    Type.TEXT: "VARCHAR",
    Type.INTEGER: "BIGINT",
    Type.REAL: "DOUBLE",
    Type.MONEY: "DECIMAL(18,2)",
    Type.BOOLEAN: "BOOLEAN",
    Type.DATE: "DATE",
    Type.INSTANT: "TIMESTAMPTZ",
    Type.JSON: "VARCHAR",
    Type.MESSAGE: "VARCHAR",
}


class Queryable(Protocol):
    """What can answer a query: a run in progress, or a read-only snapshot."""

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """The rows of ``sql``; values are bound as ``$name``."""
        ...


@dataclass(frozen=True)
class DataFile:
    """One Parquet file of a table."""

    path: str
    rows: int
    bytes: int
    sha256: str


class Session:
    """A DuckDB connection in which every table of ``core.tables`` is a view of one snapshot."""

    def __init__(self, settings: EngineSettings, folder: Path, files: Mapping[str, list[str]]) -> None:
        self._folder = folder
        self._connection = duckdb.connect(
            ":memory:",
            config={
                "memory_limit": settings.memory_limit,
                "threads": settings.threads,
                "temp_directory": str(folder / "temporary"),
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            },
        )
        self._connection.execute("SET TimeZone = 'UTC'")
        for table in ALL_TABLES:
            self.show(table, files.get(table.name, []))

    def show(self, table: Table, paths: Iterable[str]) -> None:
        """Make the view of ``table`` read these files (none: an empty table of the declared columns)."""
        found = [str(self._folder / path) for path in paths]
        self._connection.execute(f"CREATE OR REPLACE TEMP VIEW {table.name} AS {_select_files(table, found)}")

    def register(self, name: str, data: pa.Table) -> None:
        """Make ``data`` a view called ``name``."""
        self._connection.register(name, data)

    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement that answers nothing (temporary tables)."""
        try:
            self._connection.execute(sql, dict(parameters) if parameters else None)
        except duckdb.OutOfMemoryException as error:
            raise _out_of_memory() from error

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """The rows of ``sql``; values are bound as ``$name``."""
        try:
            # ``sql`` rather than ``execute``: the latter would copy the rows once more.
            return self._connection.sql(sql, params=dict(parameters) if parameters else None).to_arrow_table()
        except duckdb.OutOfMemoryException as error:
            raise _out_of_memory() from error

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


def write_files(folder: Path, table: Table, data: pa.Table, run_id: str) -> list[DataFile]:
    """Write validated ``data`` as one file, or one per month, and return what the manifest must list."""
    target = folder / table.name
    target.mkdir(parents=True, exist_ok=True)
    return [
        _write_file(folder, target / f"{run_id}-{os.urandom(4).hex()}{suffix}.parquet", part)
        for suffix, part in _split_by_month(table, data)
    ]


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


class FileVerifier:
    """Checks each file against its SHA-256 the first time a process opens it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: set[str] = set()

    def trust(self, file: DataFile) -> None:
        """Remember a file that this process wrote itself."""
        self._seen.add(file.path)

    def verify(self, hashes: Mapping[str, str]) -> None:
        """NotReady when a file of the manifest (path → SHA-256) is missing or was altered."""
        for path, expected in hashes.items():
            if path not in self._seen:
                self._verify_file(path, expected)
                self._seen.add(path)

    def _verify_file(self, path: str, expected: str) -> None:
        full = self._folder / path
        if full.exists() and _hash_file(full) == expected:
            return
        raise NotReady(
            "engine.file_damaged",
            say("The warehouse file {file} is missing or was altered.", file=path),
            remedy=say("Restore it from a backup, or load its source again into a new workspace."),
            where={"file": path},
        )


def _select_files(table: Table, paths: list[str]) -> str:
    if not paths:
        columns = ", ".join(f"CAST(NULL AS {_DUCKDB_TYPES[c.type]}) AS {c.name}" for c in table.columns)
        return f"SELECT {columns} WHERE false"
    names = ", ".join("'" + path.replace("'", "''") + "'" for path in paths)
    return f"SELECT * FROM read_parquet([{names}], union_by_name = true, hive_partitioning = false)"


def _split_by_month(table: Table, data: pa.Table) -> list[tuple[str, pa.Table]]:
    if table.month_column is None or data.num_rows == 0:
        return [("", data)]
    order = [(name, "ascending") for name in (table.month_column, "customer_id") if name in data.column_names]
    data = data.sort_by(order)
    months = pc.strftime(pc.cast(data[table.month_column], pa.timestamp("s")), format="%Y-%m")
    runs = pc.run_end_encode(months.combine_chunks())
    parts, start = [], 0
    for end, month in zip(runs.run_ends.to_pylist(), runs.values.to_pylist(), strict=True):
        parts.append((f"-{month}", data.slice(start, end - start)))
        start = end
    return parts


def _write_file(folder: Path, path: Path, data: pa.Table) -> DataFile:
    aside = path.with_suffix(".writing")
    pq.write_table(data, aside, compression="zstd", write_page_checksum=True, row_group_size=128 * 1024)
    with aside.open("rb") as stream:
        os.fsync(stream.fileno())
    sha256 = _hash_file(aside)
    aside.replace(path)
    sync_folder(path.parent)
    return DataFile(path.relative_to(folder).as_posix(), data.num_rows, path.stat().st_size, sha256)


def sync_folder(folder: Path) -> None:
    """Make a rename inside ``folder`` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _hash_file(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _out_of_memory() -> AimwellError:
    return NotReady(
        "engine.out_of_memory",
        say("The query needs more memory than the workspace allows."),
        remedy=say("Raise engine.memory_limit in aimwell.toml, or free disk space for temporary files."),
    )
