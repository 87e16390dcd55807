"""A piece of a delivery: records as text, and what became of the other lines. Reads and writes nothing.

Every kind of source (text, workbook, JSON, Parquet, database) is read as a row of pieces that fit into memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.compute as pc

from aimwell.core.text import Text

LONGEST_CELL = 1_000_000
"""Characters of one cell; more is an unclosed quote or a document, not a value."""
_BLANKS = tuple(bytes([code]) for code in (*range(9, 14), *range(28, 33)))
ROWS = 50_000
"""Rows of a piece where a source gives rows one by one."""


@dataclass(frozen=True)
class Fault:
    """A line that is no record: its number, a stable reason, the line itself."""

    row_number: int
    reason: str
    text: str


@dataclass(frozen=True)
class Mark:
    """How far a source was read: ``offset`` bytes of its text; ``line`` is the number of the next line."""

    offset: int
    line: int


@dataclass(frozen=True)
class Piece:
    """``records``: ``row_number`` and the columns ``c0``, ``c1``, …; ``mark``: where the next piece begins."""

    records: pa.Table
    mark: Mark
    faults: list[Fault] = field(default_factory=list)
    blank: int = 0
    spanning: int = 0
    padded: frozenset[str] | None = None
    """Columns with blanks around some value; None: not known."""
    columns: tuple[str, ...] | None = None
    """All names known by now, where they are only found while reading."""


@dataclass(frozen=True)
class Delivery:
    """A source that was opened: its columns, and ``read``, which gives its pieces from a mark on.

    ``size`` is what ``Mark.offset`` will reach, where that is known; ``resumable``: reading may begin at any mark.
    """

    file: str
    columns: tuple[str, ...]
    encoding: str
    delimiter: str
    read: Callable[[Mark], Iterator[Piece]]
    start: Mark = Mark(0, 2)
    size: int | None = None
    resumable: bool = False
    notices: tuple[Text, ...] = ()


def name_fields(width: int) -> list[str]:
    """The staged names of ``width`` columns."""
    return [f"c{position}" for position in range(width)]


def stage_schema(width: int) -> pa.Schema:
    """``row_number`` and ``width`` text columns."""
    return pa.schema([("row_number", pa.int64()), *((name, pa.string()) for name in name_fields(width))])


def find_padded(records: pa.Table) -> frozenset[str]:
    """The text columns in which some value has blanks around it."""
    return frozenset(name for name in records.column_names[1:] if _is_padded(records[name]))


def build_records(numbers: list[int], rows: list[list[str]], width: int) -> pa.Table:
    """Rows of cells, all of ``width``, as staged columns."""
    columns = zip(*rows, strict=True) if rows else ([] for _ in range(width))
    arrays = [pa.array(cells, pa.string()) for cells in columns]
    return pa.Table.from_arrays([pa.array(numbers, pa.int64()), *arrays], schema=stage_schema(width))


def cut_rows(rows: Iterable[tuple[int, list[str]]], width: int) -> Iterator[Piece]:
    """Numbered rows → pieces; cells beyond ``LONGEST_CELL`` and blank rows are told apart."""
    numbers: list[int] = []
    kept: list[list[str]] = []
    faults: list[Fault] = []
    blank = number = 0
    for number, cells in rows:
        if not any(cell.strip() for cell in cells):
            blank += 1
        elif max(map(len, cells)) > LONGEST_CELL:
            faults.append(Fault(number, "cell_too_long", shorten(",".join(cells))))
        else:
            numbers.append(number)
            kept.append(cells)
        if len(numbers) >= ROWS:
            yield Piece(build_records(numbers, kept, width), Mark(number, number + 1), faults, blank)
            numbers, kept, faults, blank = [], [], [], 0
    yield Piece(build_records(numbers, kept, width), Mark(number, number + 1), faults, blank)


def _holds_blanks(values: pa.Array) -> bool:
    """Whether there may be a blank anywhere: most columns have none, and need not be trimmed to see it."""
    text = values.buffers()[2]
    if text is None:
        return False
    held = text.to_pybytes()
    return not held.isascii() or any(mark in held for mark in _BLANKS)


def shorten(text: str) -> str:
    """At most 10,000 characters of a line that is kept for repair."""
    return text if len(text) <= 10_000 else text[:10_000] + "…"


def _is_padded(values: pa.ChunkedArray) -> bool:
    if not any(_holds_blanks(chunk) for chunk in values.chunks):
        return False
    trimmed = pc.sum(pc.binary_length(pc.utf8_trim_whitespace(values))).as_py()
    return bool(trimmed != pc.sum(pc.binary_length(values)).as_py())
