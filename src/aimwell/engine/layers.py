"""The layers in which the files of a table lie: plain files, overlays of columns above them, a patch of rows on top.

Overlays with the same columns are one layer. A layer has all columns of those above it: the fewer columns an overlay
has, the higher it lies, whatever its files are called and whoever wrote them anew.
It reads Parquet files; it writes nothing.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from aimwell.engine.files import is_overlay, is_patch
from aimwell.engine.views import read_schema


@dataclass(frozen=True)
class Layers:
    """The files of a table; ``overlays`` from the lowest to the highest."""

    base: list[Path]
    overlays: list[list[Path]]
    patches: list[Path]


def split_layers(paths: Iterable[Path]) -> Layers:
    """Tell the layers of these files apart."""
    base: list[Path] = []
    patches: list[Path] = []
    overlays: dict[frozenset[str], list[Path]] = {}
    for path in paths:
        if is_patch(path):
            patches.append(path)
        elif is_overlay(path):
            overlays.setdefault(frozenset(read_schema([path])), []).append(path)
        else:
            base.append(path)
    ordered = sorted(overlays.items(), key=lambda item: -len(item[0]))
    return Layers(base, [files for _, files in ordered], patches)


def read_layers(
    layers: Layers, key: str, columns: Iterable[str], low: str | None = None, high: str | None = None
) -> list[pa.Table]:
    """``key`` and ``columns`` of each layer, the lowest first; a column only of the highest overlay that has it.

    The last table holds the rows of the patch, with all ``columns``, where there is one. Only rows whose key is at
    least ``low`` and less than ``high``; each layer is sorted by key if its files are, one after the other.
    """
    wanted = [name for name in dict.fromkeys(columns) if name != key]
    found = [
        _read_files(files, key, own, low, high)
        for files, own in _find_holders(layers, wanted)
        if own or files is layers.base
    ]
    if layers.patches:
        there = read_schema(layers.patches)
        found.append(_read_files(layers.patches, key, [n for n in wanted if n in there], low, high))
    return found


def read_bounds(layers: Layers, column: str) -> tuple[Any, Any] | None:
    """The smallest and the greatest value of ``column`` in what ``read_layers`` answers; None where there is none.

    They stand in the files' footers; where they do not, the column is read.
    """
    holders = [files for files, own in _find_holders(layers, [column]) if own]
    bounds = [_find_bounds(path, column) for files in (*holders, layers.patches) for path in files]
    known = [one for one in bounds if one is not None]
    return (min(low for low, _ in known), max(high for _, high in known)) if known else None


def _find_holders(layers: Layers, wanted: Sequence[str]) -> list[tuple[list[Path], list[str]]]:
    """The plain files and each overlay, the lowest first, with the columns that stand in no overlay above."""
    found: list[tuple[list[Path], list[str]]] = []
    left = list(wanted)
    for files in reversed([layers.base, *layers.overlays]):
        there = read_schema(files)
        found.insert(0, (files, [name for name in left if name in there]))
        left = [name for name in left if name not in there]
    return found


def _find_bounds(path: Path, column: str) -> tuple[Any, Any] | None:
    file = pq.ParquetFile(path, metadata=_read_footer(path))
    place = file.schema_arrow.get_field_index(column)
    groups = [file.metadata.row_group(number).column(place) for number in range(file.num_row_groups)]
    known = [group.statistics for group in groups]
    if any(one is None or not one.has_min_max for one in known):
        bounds = pc.min_max(file.read(columns=[column])[column]).as_py()
        return (bounds["min"], bounds["max"]) if bounds["min"] is not None else None
    return (min(one.min for one in known), max(one.max for one in known)) if known else None


def _read_files(
    paths: Sequence[Path], key: str, columns: Sequence[str], low: str | None, high: str | None
) -> pa.Table:
    parts: list[pa.Table] = []
    for path in paths:
        file = pq.ParquetFile(path, metadata=_read_footer(path))
        groups = [number for number in range(file.num_row_groups) if _may_hold(file, number, key, low, high)]
        if groups or not parts:
            rows = file.read_row_groups(groups, columns=[key, *columns]).select([key, *columns])
            parts.append(_cut(rows, key, low, high))
    return pa.concat_tables(parts)


@lru_cache(maxsize=1024)
def _read_footer(path: Path) -> pq.FileMetaData:
    # A file of the warehouse never changes under its name.
    return pq.read_metadata(path)


def _may_hold(file: pq.ParquetFile, number: int, key: str, low: str | None, high: str | None) -> bool:
    """Whether a row group can hold keys from ``low`` up to ``high``."""
    group = file.metadata.row_group(number)
    place = file.schema_arrow.get_field_index(key)
    known = group.column(place).statistics
    if known is None or not known.has_min_max:
        return True
    first, last = str(known.min).encode(), str(known.max).encode()
    return (low is None or last >= low.encode()) and (high is None or first < high.encode())


def _cut(rows: pa.Table, key: str, low: str | None, high: str | None) -> pa.Table:
    """The rows of a range; without copying where they are sorted (files that were merged may not be)."""
    if low is None and high is None:
        return rows
    if (
        rows.num_rows > 1
        and not pc.all(pc.less(rows[key].slice(0, len(rows) - 1), rows[key].slice(1))).as_py()
    ):
        rows = rows.sort_by([(key, "ascending")])
    names = _Bytes(rows[key])
    start = 0 if low is None else bisect_left(names, low.encode())
    end = len(names) if high is None else bisect_left(names, high.encode())
    return rows.slice(start, end - start)


class _Bytes:
    """Texts as bytes, which is how they are sorted."""

    def __init__(self, texts: pa.ChunkedArray) -> None:
        self._texts = texts

    def __len__(self) -> int:
        return len(self._texts)

    def __getitem__(self, place: int) -> bytes:
        return str(self._texts[place].as_py()).encode()
