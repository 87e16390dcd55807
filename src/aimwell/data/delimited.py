"""Text files with a delimiter (CSV, TSV, ``;``, ``|``, blanks) as deliveries. Reads files; writes nothing."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from aimwell.core.errors import BadInput
from aimwell.core.lists import join_list
from aimwell.core.text import say
from aimwell.data.dialect import Dialect, looks_like_values, name_columns, sniff_dialect, split_line
from aimwell.data.encoding import Encoding, read_text
from aimwell.data.pieces import Delivery, Mark, Piece
from aimwell.data.records import CHUNK, Reader, cut_chunks
from aimwell.data.scratch import Scratch
from aimwell.data.synonyms import knows_header

_HEAD = 1 << 20


def open_text(
    scratch: Scratch,
    path: Path,
    encoding: Encoding,
    *,
    name: str,
    header: tuple[str, ...] | None,
    size: int = CHUNK,
) -> Delivery:
    """The text file ``path``; ``header`` names the columns of a file whose first line is data already.

    ``size`` is how many bytes are read at once.
    """
    dialect, columns, first = read_header(path, encoding, name, header)
    start = _find_start(path, encoding, first)

    def read(mark: Mark) -> Iterator[Piece]:
        reader = Reader(scratch, dialect, len(columns), start=mark, damaged=encoding.damaged)
        return reader.read(cut_chunks(_skip(read_text(path, encoding), mark.offset), file=name, size=size))

    delimiter = dialect.delimiter if dialect.quotes else " "
    total = path.stat().st_size if encoding.codec == "utf-8" else None
    return Delivery(name, columns, encoding.codec, delimiter, read, start, total, resumable=True)


def read_head(path: Path, encoding: Encoding) -> bytes:
    """The first megabyte of the text, and the rest of its last line."""
    text = b""
    for piece in read_text(path, encoding, size=_HEAD):
        text += piece
        if len(text) >= _HEAD and b"\n" in text:
            break
    if b"\n" not in text:
        text = text.replace(b"\r", b"\n")
    return text


def _find_start(path: Path, encoding: Encoding, first: int) -> Mark:
    """The mark of line ``first``, which stands in the head."""
    head, offset = read_head(path, encoding), 0
    for _ in range(first - 1):
        offset = head.find(b"\n", offset) + 1
        if offset == 0:
            return Mark(len(head), first)
    return Mark(offset, first)


def _skip(pieces: Iterator[bytes], count: int) -> Iterator[bytes]:
    for piece in pieces:
        if count < len(piece):
            yield piece[count:] if count else piece
        count = max(0, count - len(piece))


def read_header(
    path: Path, encoding: Encoding, name: str, header: tuple[str, ...] | None
) -> tuple[Dialect, tuple[str, ...], int]:
    """The dialect, the names of the columns, and the number of the first line of data."""
    head = islice(read_head(path, encoding).split(b"\n"), 400)
    lines = [line.removesuffix(b"\r").decode("utf-8", "replace") for line in head]
    dialect = sniff_dialect(lines)
    number = next((n for n, line in enumerate(lines, 1) if n > dialect.skip and line.strip()), 0)
    if number == 0:
        raise BadInput(
            "data.empty_file",
            say("'{file}' is empty.", file=name),
            remedy=say("Export the file again; its first line must name the columns."),
            where={"file": name},
        )
    try:
        cells = split_line(lines[number - 1], dialect.delimiter)
    except csv.Error as error:
        raise BadInput(
            "data.bad_header",
            say("The quotes in the header line of '{file}' do not match.", file=name),
            remedy=say("Repair the first line and add the file again."),
            where={"file": name, "row": number},
        ) from error
    if header is not None:
        return dialect, check_given(name, header, len(cells)), number
    if looks_like_values(cells) and not knows_header(cells):
        raise _missing_header(name, cells)
    return dialect, name_columns(cells, name), number + 1


def check_given(name: str, header: tuple[str, ...], found: int) -> tuple[str, ...]:
    """The names that were given for a file without header; BadInput when their number differs."""
    if len(header) != found:
        raise BadInput(
            "data.header_width",
            say(
                "{given} column names were given, but the lines of '{file}' have {found} columns.",
                given=len(header),
                file=name,
                found=found,
            ),
            remedy=say("Give one name for each column: --header a,b,c"),
            where={"file": name},
        )
    return name_columns(list(header), name)


def _missing_header(name: str, cells: list[str]) -> BadInput:
    example = ",".join(f"column_{position}" for position in range(1, len(cells) + 1))
    return BadInput(
        "data.no_header",
        say(
            "The first line of '{file}' holds values ({values}), not column names.",
            file=name,
            values=join_list(cells[:5]),
        ),
        remedy=say("Name the {count} columns: --header {example}", count=len(cells), example=example),
        where={"file": name, "row": 1, "value": ",".join(cells[:5])},
    )
