"""Parquet files: written aside, synced and renamed, with page checksums and a SHA-256.

One flipped byte in Parquet otherwise gives wrong numbers silently.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aimwell.core.errors import NotReady
from aimwell.core.tables import Table, Type
from aimwell.core.text import say

_PATCH = "-patch.parquet"
_TRIED = 20_000
"""Rows by which it is told whether a column repeats its values."""
_REPEATED = 0.5
_OVERLAY = "-overlay.parquet"


@dataclass(frozen=True)
class DataFile:
    """One Parquet file of a table."""

    path: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class _Coding:
    """How columns are written: the columns that get a dictionary, those whose minima and maxima are noted, and those
    of which each value is written as its difference to the one before."""

    compression: str
    dictionary: list[str]
    statistics: list[str] | bool
    differences: list[str] = field(default_factory=list)


def write_files(folder: Path, table: Table, data: pa.Table, run_id: str) -> list[DataFile]:
    """Write validated ``data`` as one file, or one per month, and return what the manifest must list."""
    target = folder / table.name
    target.mkdir(parents=True, exist_ok=True)
    return [
        _write_file(folder, table, target / f"{run_id}-{os.urandom(4).hex()}{suffix}.parquet", part)
        for suffix, part in _split_by_month(table, data)
    ]


def write_patch(folder: Path, table: Table, data: pa.Table, run_id: str) -> DataFile:
    """Write validated ``data`` as a file that readers lay over the others: see ``is_patch``."""
    target = folder / table.name
    target.mkdir(parents=True, exist_ok=True)
    return _write_file(folder, table, target / f"{run_id}-{os.urandom(4).hex()}{_PATCH}", data)


def is_patch(path: Path | str) -> bool:
    """Whether the rows of this file stand in place of those with the same key in the table's other files."""
    return str(path).endswith(_PATCH)


def write_overlay(folder: Path, table: Table, data: pa.Table, run_id: str) -> DataFile:
    """Write some columns of all rows as a file that readers lay over the others: see ``is_overlay``.

    It is written anew every day, and read whole: coded quickly rather than as small as can be.
    """
    target = folder / table.name
    target.mkdir(parents=True, exist_ok=True)
    path = target / f"{run_id}-{os.urandom(4).hex()}{_OVERLAY}"
    texts = [one.name for one in data.schema if one.type == pa.string() and one.name not in table.key]
    # Most columns are counts and ages of days, which take half the time so, and a quarter of the place.
    numbers = [one.name for one in data.schema if one.type == pa.int64()]
    declared = [column.name for column in table.columns if column.name in data.column_names]
    return _write_file(folder, table, path, data, _Coding("lz4", texts, declared, numbers))


def is_overlay(path: Path | str) -> bool:
    """Whether the columns of this file stand, by key, in place of those in the table's files other than patches."""
    return str(path).endswith(_OVERLAY)


def write_stream(
    folder: Path, table: Table, batches: Iterable[pa.RecordBatch], run_id: str
) -> list[DataFile]:
    """Write ``batches`` of any size as one file, or one per month, holding few of their rows in memory.

    The rows of a month need not come together. Keys are the caller's duty; all else is validated. What was written
    is removed again when ``batches`` or the validation fails.
    """
    writer = _StreamWriter(folder, table, run_id)
    try:
        for batch in batches:
            writer.add(batch)
        return writer.finish()
    except BaseException:
        writer.discard()
        raise


class _StreamWriter:
    """One open file per month. Rows wait until there are enough for a row group, the fullest months first."""

    WAITING = 384 * 1024
    """Rows of all months that may wait in memory."""
    GROUP = 128 * 1024
    """Rows of one month that are written at once."""

    def __init__(self, folder: Path, table: Table, run_id: str) -> None:
        self._folder = folder
        self._table = table
        self._stem = f"{run_id}-{os.urandom(4).hex()}"
        self._open: dict[str, tuple[Path, pq.ParquetWriter]] = {}
        self._waiting: dict[str, list[pa.Table]] = {}
        self._rows: dict[str, int] = {}

    def add(self, batch: pa.RecordBatch) -> None:
        if batch.num_rows == 0:
            return
        data = self._table.conform(pa.Table.from_batches([batch]))
        for suffix, part in _split_by_month(self._table, data, by_customer=False):
            self._waiting.setdefault(suffix, []).append(part)
            self._rows[suffix] = self._rows.get(suffix, 0) + part.num_rows
            if self._rows[suffix] >= self.GROUP:
                self._flush(suffix)
        while sum(self._rows.values()) > self.WAITING:
            self._flush(max(self._rows, key=lambda name: self._rows[name]))

    def finish(self) -> list[DataFile]:
        for suffix in sorted(self._rows):
            self._flush(suffix)
        files = []
        for aside, writer in self._open.values():
            writer.close()
            files.append(_publish(self._folder, aside))
        return files

    def discard(self) -> None:
        for aside, writer in self._open.values():
            writer.close()
            aside.unlink(missing_ok=True)
            aside.with_suffix(".parquet").unlink(missing_ok=True)

    def _flush(self, suffix: str) -> None:
        data = pa.concat_tables(self._waiting.pop(suffix))
        del self._rows[suffix]
        if suffix not in self._open:
            path = self._folder / self._table.name / f"{self._stem}{suffix}.writing"
            path.parent.mkdir(parents=True, exist_ok=True)
            self._open[suffix] = (
                path,
                pq.ParquetWriter(
                    path,
                    data.schema,
                    compression="zstd",
                    write_page_checksum=True,
                    use_dictionary=_list_repeated(self._table, data),
                ),
            )
        self._open[suffix][1].write_table(data, row_group_size=self.GROUP)


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


def _split_by_month(table: Table, data: pa.Table, *, by_customer: bool = True) -> list[tuple[str, pa.Table]]:
    if table.month_column is None or data.num_rows == 0:
        return [("", data)]
    if not _is_sorted(data[table.month_column]):
        data = data.sort_by([(table.month_column, "ascending")])
    ends: dict[str, int] = {}
    runs = pc.run_end_encode(data[table.month_column].combine_chunks())
    # Few days stand for many rows: naming the month of every row would be the dearest part of writing.
    for end, day in zip(runs.run_ends.to_pylist(), runs.values.to_pylist(), strict=True):
        ends[f"{day:%Y-%m}"] = end
    parts, start = [], 0
    for month, end in ends.items():
        part = data.slice(start, end - start)
        parts.append((f"-{month}", _sort_by_customer(table, part) if by_customer else part))
        start = end
    return parts


def _sort_by_customer(table: Table, data: pa.Table) -> pa.Table:
    """Customer, then time: whoever asks about some customers reads few row groups of each month."""
    instants = [column.name for column in table.columns if column.type is Type.INSTANT][:1]
    names = [name for name in ("customer_id", table.month_column, *instants) if name in data.column_names]
    return data.sort_by([(name, "ascending") for name in names])


def _list_repeated(table: Table, data: pa.Table) -> list[str]:
    """The columns for which a dictionary pays: not a key, whose values are all different, nor what is nearly so."""
    unique = table.key if len(table.key) == 1 else ()
    first = data.slice(0, _TRIED)
    return [
        name
        for name in data.column_names
        if name not in unique and pc.count_distinct(first[name]).as_py() <= _REPEATED * first.num_rows
    ]


def _is_sorted(values: pa.ChunkedArray) -> bool:
    ahead, behind = values.slice(1), values.slice(0, len(values) - 1)
    return bool(pc.all(pc.greater_equal(ahead, behind)).as_py())


def _write_file(
    folder: Path,
    table: Table,
    path: Path,
    data: pa.Table,
    coding: _Coding | None = None,
) -> DataFile:
    coding = coding or _Coding("zstd", _list_repeated(table, data), True)
    aside = path.with_suffix(".writing")
    pq.write_table(
        data,
        aside,
        # Differences are small already: to compress them takes a third of the time, and wins nothing.
        compression={
            name: "none" if name in coding.differences else coding.compression for name in data.column_names
        },
        write_statistics=coding.statistics,
        write_page_checksum=True,
        row_group_size=128 * 1024,
        use_dictionary=coding.dictionary,
        column_encoding=dict.fromkeys(coding.differences, "DELTA_BINARY_PACKED") or None,
    )
    return _publish(folder, aside)


def _publish(folder: Path, aside: Path) -> DataFile:
    """Give a file that was written aside its name, once it is safe on disk."""
    with aside.open("rb") as stream:
        os.fsync(stream.fileno())
    sha256, path = _hash_file(aside), aside.with_suffix(".parquet")
    rows = pq.read_metadata(aside).num_rows
    aside.replace(path)
    sync_folder(path.parent)
    return DataFile(path.relative_to(folder).as_posix(), rows, path.stat().st_size, sha256)


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
