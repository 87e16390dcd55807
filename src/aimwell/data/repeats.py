"""Which hashes come more than once among any number of them, in bounded memory. Reads and writes temporary files.

A hash table of a hundred million entries costs far more than sorting them: hashes are sorted in runs, cut by their
first bits into files, and each file is sorted once more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aimwell.data.scratch import Scratch

Hashes = NDArray[np.uint64]
_HELD = 1 << 22
"""Hashes that wait in memory (32 MB)."""
_BITS = 6


def collect_repeated(
    scratch: Scratch, table: str, sql: str, parameters: Mapping[str, Any] | None = None
) -> int:
    """Make ``table`` of ``scratch`` the hashes (``hashed``) that ``sql``, one UBIGINT column, gives more than once.

    Their number.
    """
    batches = scratch.stream(sql, parameters, rows=1 << 19)
    scratch.execute(f"CREATE OR REPLACE TABLE {table} (hashed UBIGINT)")
    found = 0
    for repeated in find_repeated(read_hashes(batches), scratch.folder / f"{table}-hashes"):
        if len(repeated):
            found += len(repeated)
            scratch.register("repeated_hashes", pa.table({"hashed": pa.array(repeated)}))
            scratch.execute(f"INSERT INTO {table} SELECT hashed FROM repeated_hashes")
    return found


def find_repeated(batches: Iterable[Hashes], folder: Path) -> Iterator[Hashes]:
    """The hashes that come more than once, each once, in runs that ascend; ``folder`` is for what does not fit."""
    waiting: list[Hashes] = []
    held, spilled = 0, False
    for batch in batches:
        waiting.append(batch)
        held += len(batch)
        if held >= _HELD:
            _spill(np.concatenate(waiting), folder)
            waiting, held, spilled = [], 0, True
    if not spilled:
        yield _repeat(np.concatenate(waiting)) if waiting else np.empty(0, np.uint64)
        return
    if waiting:
        _spill(np.concatenate(waiting), folder)
    for number in range(1 << _BITS):
        path = folder / f"{number}.u64"
        if path.exists():
            yield _repeat(np.fromfile(path, np.uint64))
            path.unlink()


def _spill(hashes: Hashes, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    hashes.sort()
    edges = np.arange(1, 1 << _BITS, dtype=np.uint64) << np.uint64(64 - _BITS)
    for number, part in enumerate(np.split(hashes, np.searchsorted(hashes, edges))):
        with (folder / f"{number}.u64").open("ab") as stream:
            part.tofile(stream)


def _repeat(hashes: Hashes) -> Hashes:
    hashes.sort()
    return np.unique(hashes[1:][hashes[1:] == hashes[:-1]])


def read_hashes(batches: pa.RecordBatchReader) -> Iterator[Hashes]:
    """The only column of ``batches``, which must be UBIGINT without NULL."""
    for batch in batches:
        column = batch.column(0)
        # By the buffer: Arrow's own way to NumPy would import pandas.
        yield np.frombuffer(column.buffers()[1], np.uint64, len(column), offset=column.offset * 8)
