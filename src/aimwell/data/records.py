"""Text → records, with every line accounted for: taken, blank, or at fault with its number and reason.

A chunk of whole lines goes to Arrow's or DuckDB's reader in one piece; where anything but a line's width is odd, it is
read line by line, strictly. A quote that is never closed costs its own line only, never the lines after
it. Reads bytes; writes pieces (``data.pieces``); the header is line 1.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
from numpy.typing import NDArray

from aimwell.core.errors import BadInput
from aimwell.core.text import say
from aimwell.data.dialect import BLANKS, Dialect, split_line
from aimwell.data.pieces import (
    LONGEST_CELL,
    Fault,
    Mark,
    Piece,
    build_records,
    find_padded,
    name_fields,
    shorten,
    stage_schema,
)
from aimwell.data.scratch import Scratch, literal

CHUNK = 1 << 25
"""Bytes of text that are read at once."""
_ODD = 1 << 15
"""Bytes of an odd chunk that are read line by line; a larger one is halved first."""
_MOST_ODD = 1000
"""Lines of another width that a chunk may have before it is read line by line."""
_LONGEST_LINE = 1 << 26
_LONGEST_RECORD = 2000
"""Lines that one quoted value may span; more means that a quote was never closed."""
_BROKEN = "\ufffd".encode()
csv.field_size_limit(_LONGEST_LINE)


@dataclass
class _Counts:
    """What became of the lines of one chunk."""

    blank: int = 0
    spanning: int = 0
    faults: list[Fault] = field(default_factory=list)


def cut_chunks(pieces: Iterable[bytes], *, file: str, size: int = CHUNK) -> Iterator[bytes]:
    """Pieces of a text → chunks of whole lines; lines that end in a lone CR get a line feed."""
    waiting: list[bytes] = []
    held, classic = 0, None
    for piece in pieces:
        if classic is None and piece:
            classic = b"\n" not in piece and b"\r" in piece
        waiting.append(piece.replace(b"\r", b"\n") if classic else piece)
        held += len(piece)
        if held < size:
            continue
        text = b"".join(waiting)
        cut = text.rfind(b"\n") + 1
        if cut:
            yield text[:cut]
            waiting, held = [text[cut:]], len(text) - cut
        elif held > _LONGEST_LINE:
            raise BadInput(
                "data.line_too_long",
                say("'{file}' has a line of more than {size} MB.", file=file, size=_LONGEST_LINE >> 20),
                remedy=say("Check that the file is a table with one line for each row."),
                where={"file": file},
            )
    if text := b"".join(waiting):
        yield text


class Reader:
    """Reads the records of one text file, chunk by chunk."""

    def __init__(
        self, scratch: Scratch, dialect: Dialect, width: int, *, start: Mark, damaged: bool = False
    ) -> None:
        self.dialect = dialect
        self.width = width
        self._scratch = scratch
        self._mark = start
        self._damaged = damaged
        self._counts = _Counts()
        self._numbers: list[int] = []
        self._rows: list[list[str]] = []

    def read(self, chunks: Iterable[bytes]) -> Iterator[Piece]:
        """The pieces of the chunks; an open quote is carried over to the next chunk."""
        carried = b""
        for chunk in chunks:
            given: list[Piece] = []
            parts = [chunk]
            while parts:
                part = parts.pop()
                text = carried + part if carried else part
                piece = self._read_quickly(text)
                if piece is not None:
                    carried, self._mark = b"", piece.mark
                    given.append(piece)
                elif len(part) > _ODD and (cut := part.find(b"\n", len(part) // 2) + 1) not in (0, len(part)):
                    # One odd line in a million must not make all of them slow: halve until it stands nearly alone.
                    parts += [part[cut:], part[:cut]]
                else:
                    carried = self._read_lines(text, last=False)
                    given.append(self._give())
            yield _join(given)
        if carried:
            self._read_lines(carried, last=True)
            yield self._give()

    def _read_quickly(self, text: bytes) -> Piece | None:
        """A chunk in which every line is a record, blank, or of another width; None when that is not sure."""
        returns = text.count(b"\r")
        if (
            (self._damaged and _BROKEN in text)
            or self.width < 2
            or not self.dialect.quotes
            or b"\0" in text
            or (returns and text.count(b"\r\n") != returns)
        ):
            return None
        lines = text.count(b"\n") + (not text.endswith(b"\n"))
        odd: list[pa_csv.InvalidRow] = []
        quoted = b'"' in text
        try:
            table = self._parse_quoted(text) if quoted else self._parse_plain(text, odd)
        except (pa.ArrowInvalid, duckdb.Error):
            return None
        if table.num_rows + len(odd) != lines or any(
            _longest(column) > LONGEST_CELL for column in table.columns
        ):
            return None
        kept = np.delete(np.arange(lines), [row.number - 1 for row in odd])
        empty = np.empty(0, np.int64) if quoted else _find_empty(text)
        if len(empty):
            filled = np.isin(kept, empty, invert=True)
            table, kept = table.filter(pa.array(filled)), kept[filled]
        records = table.add_column(0, "row_number", pa.array(kept + self._mark.line)).cast(
            stage_schema(self.width)
        )
        faults = [fault for row in odd if (fault := self._explain(row)) is not None]
        return Piece(
            records,
            Mark(self._mark.offset + len(text), self._mark.line + lines),
            faults,
            blank=len(empty) + len(odd) - len(faults),
            padded=find_padded(records),
        )

    def _explain(self, row: pa_csv.InvalidRow) -> Fault | None:
        """What is wrong with a line of another width; None when it holds blanks only."""
        text = row.text.removesuffix("\r")
        if not text.strip():
            return None
        reason = "too_few_columns" if row.actual_columns < self.width else "too_many_columns"
        return Fault(self._mark.line + row.number - 1, reason, shorten(text))

    def _parse_plain(self, text: bytes, odd: list[pa_csv.InvalidRow]) -> pa.Table:
        """Arrow's reader, for text without quotes; lines of another width go to ``odd``."""
        try:
            return _parse_plain(text, self.width, self.dialect.delimiter)
        except pa.ArrowInvalid:

            def set_aside(row: pa_csv.InvalidRow) -> str:
                odd.append(row)
                return "skip" if len(odd) <= _MOST_ODD else "error"

            return _parse_plain(text, self.width, self.dialect.delimiter, set_aside)

    def _parse_quoted(self, text: bytes) -> pa.Table:
        """DuckDB's strict reader; it forgives blanks after a closing quote, which the slow way does not."""
        if b'" ' in text or b'"\t' in text:
            raise pa.ArrowInvalid("blanks after a quote")
        path = self._scratch.folder / "chunk.csv"
        path.write_bytes(text)
        columns = ", ".join(f"'{name}': 'VARCHAR'" for name in name_fields(self.width))
        table = self._scratch.query(
            f"""
            SELECT * FROM read_csv($path, columns = {{{columns}}}, header = false, auto_detect = false,
                delim = {literal(self.dialect.delimiter)}, quote = '"', escape = '"', strict_mode = true,
                nullstr = {literal(chr(1) + "none")}, null_padding = false, ignore_errors = false)
            """,
            {"path": str(path)},
        )
        path.unlink()
        filled = [pc.fill_null(column, "") for column in table.columns]
        return pa.Table.from_arrays(filled, names=table.column_names)

    def _give(self) -> Piece:
        counts, self._counts = self._counts, _Counts()
        records = build_records(self._numbers, self._rows, self.width)
        self._numbers, self._rows = [], []
        return Piece(records, self._mark, counts.faults, counts.blank, counts.spanning)

    def _read_lines(self, text: bytes, *, last: bool) -> bytes:
        """Read what is whole; the text that waits for its end."""
        lines = text.split(b"\n")
        if not lines[-1]:
            lines.pop()
        position, total, start = 0, len(lines), self._mark.line
        while position < total:
            taken = self._take(lines, position, start + position, last=last)
            if taken == 0:
                break
            position += taken
        rest = b"\n".join([*lines[position:], b""]) if position < total else b""
        self._mark = Mark(self._mark.offset + len(text) - len(rest), start + position)
        return rest

    def _take(self, lines: list[bytes], position: int, number: int, *, last: bool) -> int:
        """How many lines the record at ``position`` took; 0 when its end has not been read yet."""
        text = lines[position].removesuffix(b"\r").decode("utf-8", "replace")
        if not text.strip():
            self._counts.blank += 1
            return 1
        if "\0" in text:
            return self._blame(number, "nul_byte", text.replace("\0", "␀"))
        if self._damaged and "\ufffd" in text:
            return self._blame(number, "bad_encoding", text)
        if not self.dialect.quotes:
            return self._keep(text.split(), number, text)
        if '"' not in text:
            return self._keep(text.split(self.dialect.delimiter), number, text)
        try:
            cells = split_line(text, self.dialect.delimiter)
        except csv.Error as error:
            if "unexpected end" not in str(error):
                return self._blame(number, "bad_quote", text)
            return self._take_spanning(lines, position, number, last=last)
        return self._keep(cells, number, text)

    def _take_spanning(self, lines: list[bytes], position: int, number: int, *, last: bool) -> int:
        end = min(len(lines), position + _LONGEST_RECORD)
        gathered, length = [_decode(lines[position])], 0
        quotes = gathered[0].count('"')
        for following in range(position + 1, end):
            gathered.append(_decode(lines[following]))
            quotes += gathered[-1].count('"')
            length += len(gathered[-1])
            if length > LONGEST_CELL:
                break
            if quotes % 2:
                continue
            cells = self._split_spanning("\n".join(gathered))
            if cells is None or len(cells) != self.width:
                break
            self._counts.spanning += 1
            self._numbers.append(number)
            self._rows.append(cells)
            return following - position + 1
        else:
            if not last and end == len(lines):
                return 0
        return self._blame(number, "bad_quote", gathered[0])

    def _split_spanning(self, text: str) -> list[str] | None:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=self.dialect.delimiter, strict=True)
        try:
            records = list(reader)
        except csv.Error:
            return None
        return records[0] if len(records) == 1 else None

    def _keep(self, cells: list[str], number: int, text: str) -> int:
        if len(cells) != self.width:
            reason = "too_few_columns" if len(cells) < self.width else "too_many_columns"
            return self._blame(number, reason, text)
        if len(text) > LONGEST_CELL and max(map(len, cells)) > LONGEST_CELL:
            return self._blame(number, "cell_too_long", text)
        self._numbers.append(number)
        self._rows.append(cells)
        return 1

    def _blame(self, number: int, reason: str, text: str) -> int:
        self._counts.faults.append(Fault(number, reason, shorten(text)))
        return 1


def _join(pieces: list[Piece]) -> Piece:
    """Pieces that follow each other as one."""
    if len(pieces) == 1:
        return pieces[0]
    padded = (find_padded(p.records) if p.padded is None else p.padded for p in pieces)
    return Piece(
        pa.concat_tables([piece.records for piece in pieces]),
        pieces[-1].mark,
        [fault for piece in pieces for fault in piece.faults],
        sum(piece.blank for piece in pieces),
        sum(piece.spanning for piece in pieces),
        frozenset().union(*padded),
    )


def _decode(line: bytes) -> str:
    return line.removesuffix(b"\r").decode("utf-8", "replace")


def _longest(column: pa.ChunkedArray) -> int:
    return int(pc.max(pc.binary_length(column)).as_py() or 0)


def _find_empty(text: bytes) -> NDArray[np.int64]:
    """Which lines, counted from 0, hold nothing at all."""
    if b"\n\n" not in text and b"\n\r\n" not in text and not text.startswith((b"\n", b"\r\n")):
        return np.empty(0, np.int64)
    codes = np.frombuffer(text, np.uint8)
    ends = np.flatnonzero(codes == ord("\n"))
    starts = np.concatenate([[0], ends[:-1] + 1])
    length = ends - starts
    return np.flatnonzero((length == 0) | ((length == 1) & (codes[starts] == ord("\r"))))


def _parse_plain(
    text: bytes, width: int, delimiter: str, set_aside: Callable[[pa_csv.InvalidRow], str] | None = None
) -> pa.Table:
    """``set_aside`` is told of lines of another width, with their numbers, which only one thread can count."""
    names = name_fields(width)
    return pa_csv.read_csv(
        pa.py_buffer(text),
        read_options=pa_csv.ReadOptions(
            column_names=names, use_threads=set_aside is None, block_size=1 << 23
        ),
        parse_options=pa_csv.ParseOptions(
            delimiter=delimiter,
            quote_char=False,
            double_quote=False,
            ignore_empty_lines=False,
            invalid_row_handler=set_aside,
        ),
        convert_options=pa_csv.ConvertOptions(
            column_types={name: pa.string() for name in names}, strings_can_be_null=False
        ),
    )


__all__ = ["BLANKS", "CHUNK", "Reader", "cut_chunks"]
