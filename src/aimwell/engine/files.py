"""Parquet files: written aside, synced and renamed, with page checksums and a SHA-256.

One flipped byte in Parquet otherwise gives wrong numbers silently.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aimwell.core.errors import NotReady
from aimwell.core.tables import Table
from aimwell.core.text import say


@dataclass(frozen=True)
class DataFile:
    """One Parquet file of a table."""

    path: str
    rows: int
    bytes: int
    sha256: str


def write_files(folder: Path, table: Table, data: pa.Table, run_id: str) -> list[DataFile]:
    """Write validated ``data`` as one file, or one per month, and return what the manifest must list."""
    target = folder / table.name
    target.mkdir(parents=True, exist_ok=True)
    return [
        _write_file(folder, target / f"{run_id}-{os.urandom(4).hex()}{suffix}.parquet", part)
        for suffix, part in _split_by_month(table, data)
    ]


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
