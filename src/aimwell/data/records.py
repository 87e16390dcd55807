"""Lines → records, with every line accounted for: taken, blank, or at fault with its number and reason.

Lines without quotes go to Arrow's reader in one piece; lines with quotes are read one by one, strictly. A quote
that is never closed costs its own line only, never the lines after it. Reads lines; writes Arrow batches of
text columns ``c0``, ``c1``, … with ``row_number`` (the header is line 1).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.csv as pa_csv

from aimwell.data.dialect import BLANKS, Dialect, split_line

_LONGEST_RECORD = 2000
"""Lines that one quoted value may span; more means that a quote was never closed."""


@dataclass(frozen=True)
class Fault:
    """A line that is no record: its number, a stable reason, the line itself."""

    row_number: int
    reason: str
    text: str


@dataclass
class Counts:
    """What became of the lines so far."""

    blank: int = 0
    spanning: int = 0
    faults: list[Fault] = field(default_factory=list)


def name_fields(width: int) -> list[str]:
    """The staged names of ``width`` columns."""
    return [f"c{position}" for position in range(width)]


def stage_schema(width: int) -> pa.Schema:
    """``row_number`` and ``width`` text columns."""
    return pa.schema([("row_number", pa.int64()), *((name, pa.string()) for name in name_fields(width))])


def split_lines(pieces: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Pieces of a file → lists of whole lines, without their ends."""
    rest, classic = b"", None
    for piece in pieces:
        if classic is None and piece:
            classic = b"\n" not in piece and b"\r" in piece
        if classic:
            piece = piece.replace(b"\r", b"\n")
        rest += piece
        lines = rest.split(b"\n")
        rest = lines.pop()
        if lines:
            yield [line[:-1] if line.endswith(b"\r") else line for line in lines]
    if rest:
        yield [rest.rstrip(b"\r")]


class Reader:
    """Reads the records of one file; ``counts`` tells what happened to the lines."""

    def __init__(self, dialect: Dialect, width: int, *, first_line: int, damaged: bool = False) -> None:
        self.dialect = dialect
        self.width = width
        self.counts = Counts()
        self._line = first_line
        self._damaged = damaged
        self._delimiter = dialect.delimiter.encode()
        self._plain: list[bytes] = []
        self._plain_numbers: list[int] = []
        self._quoted: list[list[str]] = []
        self._quoted_numbers: list[int] = []

    def read(self, batches: Iterable[list[bytes]]) -> Iterator[pa.RecordBatch]:
        """Batches of staged records; an open quote is carried over to the next batch of lines."""
        carried: list[bytes] = []
        for lines in batches:
            carried = self._take(carried + lines, last=False)
            yield from self._flush()
        self._take(carried, last=True)
        yield from self._flush()

    def _take(self, lines: list[bytes], *, last: bool) -> list[bytes]:
        position, total, wanted, delimiter = 0, len(lines), self.width - 1, self._delimiter
        simple = self.dialect.quotes and not self._damaged
        start = self._line
        while position < total:
            line = lines[position]
            if (
                simple
                and b'"' not in line
                and b"\r" not in line
                and line.count(delimiter) == wanted
                and line.strip()
            ):
                self._plain.append(line)
                self._plain_numbers.append(start + position)
                position += 1
                continue
            taken = self._take_odd(lines, position, start + position, last=last)
            if taken == 0:
                break
            position += taken
        self._line = start + position
        return lines[position:]

    def _take_odd(self, lines: list[bytes], position: int, number: int, *, last: bool) -> int:
        """How many lines the record at ``position`` took; 0 when its end has not been read yet."""
        line = lines[position]
        if not line.strip():
            self.counts.blank += 1
            return 1
        text = line.decode("utf-8", "replace")
        if self._damaged and "\ufffd" in text:
            return self._blame(number, "bad_encoding", text)
        if not self.dialect.quotes:
            return self._take_blanks(text, number)
        try:
            cells = split_line(text, self.dialect.delimiter)
        except csv.Error as error:
            if "unexpected end" not in str(error):
                return self._blame(number, "bad_quote", text)
            return self._take_spanning(lines, position, number, last=last)
        return self._keep(cells, number, text)

    def _take_blanks(self, text: str, number: int) -> int:
        cells = text.split()
        if len(cells) != self.width:
            return self._blame_width(number, len(cells), text)
        self._plain.append(BLANKS.join(cells).encode())
        self._plain_numbers.append(number)
        return 1

    def _take_spanning(self, lines: list[bytes], position: int, number: int, *, last: bool) -> int:
        end = min(len(lines), position + _LONGEST_RECORD)
        gathered = lines[position].decode("utf-8", "replace")
        for following in range(position + 1, end):
            gathered += "\n" + lines[following].decode("utf-8", "replace")
            if gathered.count('"') % 2:
                continue
            cells = self._split_spanning(gathered)
            if cells is None or len(cells) != self.width:
                break
            self.counts.spanning += 1
            self._quoted.append(cells)
            self._quoted_numbers.append(number)
            return following - position + 1
        else:
            if not last and end == len(lines):
                return 0
        return self._blame(number, "bad_quote", lines[position].decode("utf-8", "replace"))

    def _split_spanning(self, text: str) -> list[str] | None:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=self.dialect.delimiter, strict=True)
        try:
            records = list(reader)
        except csv.Error:
            return None
        return records[0] if len(records) == 1 else None

    def _keep(self, cells: list[str], number: int, text: str) -> int:
        if len(cells) != self.width:
            return self._blame_width(number, len(cells), text)
        self._quoted.append(cells)
        self._quoted_numbers.append(number)
        return 1

    def _blame_width(self, number: int, found: int, text: str) -> int:
        return self._blame(number, "too_few_columns" if found < self.width else "too_many_columns", text)

    def _blame(self, number: int, reason: str, text: str) -> int:
        self.counts.faults.append(Fault(number, reason, text))
        return 1

    def _flush(self) -> Iterator[pa.RecordBatch]:
        if self._plain:
            yield from _parse_plain(self._plain, self._plain_numbers, self.width, self.dialect.delimiter)
        if self._quoted:
            columns = [pa.array(cells, pa.string()) for cells in zip(*self._quoted, strict=True)]
            yield pa.RecordBatch.from_arrays(
                [pa.array(self._quoted_numbers, pa.int64()), *columns], schema=stage_schema(self.width)
            )
        self._plain, self._plain_numbers, self._quoted, self._quoted_numbers = [], [], [], []


def _parse_plain(
    lines: list[bytes], numbers: list[int], width: int, delimiter: str
) -> Iterator[pa.RecordBatch]:
    text = b"\n".join(lines) + b"\n"
    names = name_fields(width)
    table = pa_csv.read_csv(
        pa.py_buffer(text),
        read_options=pa_csv.ReadOptions(column_names=names, use_threads=False, block_size=len(text) + 1),
        parse_options=pa_csv.ParseOptions(
            delimiter=delimiter, quote_char=False, double_quote=False, ignore_empty_lines=False
        ),
        convert_options=pa_csv.ConvertOptions(
            column_types={name: pa.string() for name in names}, strings_can_be_null=False
        ),
    )
    assert table.num_rows == len(numbers), "a line was cut or joined while reading"
    yield from table.add_column(0, "row_number", pa.array(numbers, pa.int64())).to_batches()
