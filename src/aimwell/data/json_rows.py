"""JSON Lines and JSON arrays of objects as deliveries; nested objects get names with dots.

``{"user": {"id": "7"}}`` is the column ``user.id``; a list stays JSON text. A line that is no object is set aside
with its number. Reads files; writes nothing.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aimwell.core.errors import BadInput
from aimwell.core.text import say
from aimwell.data.delimited import read_head
from aimwell.data.dialect import name_columns
from aimwell.data.encoding import Encoding, read_text
from aimwell.data.pieces import (
    LONGEST_CELL,
    ROWS,
    Delivery,
    Fault,
    Mark,
    Piece,
    build_records,
    shorten,
)
from aimwell.data.records import cut_chunks

ENDINGS = (".jsonl", ".ndjson", ".json")
_DECODER = json.JSONDecoder(parse_float=str, parse_constant=str)
"""Numbers keep the digits that they were written with: 18 of them, or 0.10."""
_BETWEEN = re.compile(r"[ \t\r\n,]*")
_NAMED = 2_000
"""Objects that are read to find the names of the columns."""
_MOST_COLUMNS = 500


def open_json(path: Path, encoding: Encoding, *, name: str) -> Delivery:
    """The objects of ``path``, one a line or in one array; BadInput when it holds something else."""
    head = read_head(path, encoding).lstrip()
    if head[:1] == b"[":
        pieces = _cut(_read_array(path, encoding, name), [])
    elif head[:1] == b"{":
        pieces = _cut(_read_lines(path, encoding, name), [])
    else:
        raise _refuse(name)
    first = next(pieces)
    if first.records.num_rows == 0:
        raise _refuse(name)
    columns = first.columns or ()
    # Names that differ only in case cannot both be columns; told before anything is stored.
    name_columns(list(columns), name)

    def read(mark: Mark) -> Iterator[Piece]:
        items = _read_array(path, encoding, name) if head[:1] == b"[" else _read_lines(path, encoding, name)
        return _cut(items, list(columns))

    return Delivery(name, columns, f"json, {encoding.codec}", "", read, Mark(0, 1), path.stat().st_size)


Item = tuple[int, int, dict[str, str] | Fault]
"""A number (of the line, or of the object in the array), an offset, and the object or why it is none."""


def _cut(items: Iterator[Item], columns: list[str]) -> Iterator[Piece]:
    numbers: list[int] = []
    rows: list[dict[str, str]] = []
    faults: list[Fault] = []
    places = {column: place for place, column in enumerate(columns)}
    limit = ROWS if columns else _NAMED
    mark = Mark(0, 1)

    def give() -> Piece:
        width = len(places)
        cells = [[row.get(column, "") for column in places] for row in rows]
        return Piece(build_records(numbers, cells, width), mark, faults, columns=tuple(places))

    for number, offset, item in items:
        mark = Mark(offset, number + 1)
        if isinstance(item, Fault):
            faults.append(item)
            continue
        for column in item:
            if column not in places:
                places[column] = len(places)
        numbers.append(number)
        rows.append(item)
        if len(rows) >= limit:
            yield give()
            numbers, rows, faults = [], [], []
    yield give()


def _read_lines(path: Path, encoding: Encoding, name: str) -> Iterator[Item]:
    number = offset = 0
    for chunk in cut_chunks(read_text(path, encoding), file=name, size=1 << 22):
        for line in chunk.split(b"\n")[: None if not chunk.endswith(b"\n") else -1]:
            number += 1
            offset += len(line) + 1
            text = line.decode("utf-8", "replace").strip()
            if not text:
                continue
            yield number, offset, _read_object(text, number)


def _read_object(text: str, number: int) -> dict[str, str] | Fault:
    try:
        value = _DECODER.decode(text)
    except (ValueError, RecursionError):
        return Fault(number, "bad_json", shorten(text))
    return _take(value, number, text)


def _take(value: Any, number: int, text: str) -> dict[str, str] | Fault:
    if not isinstance(value, dict):
        return Fault(number, "bad_json", shorten(text))
    flat: dict[str, str] = {}
    _flatten(value, "", flat)
    if len(flat) > _MOST_COLUMNS:
        return Fault(number, "too_many_columns", shorten(text))
    if any(len(cell) > LONGEST_CELL for cell in flat.values()):
        return Fault(number, "cell_too_long", shorten(text))
    return flat


def _flatten(value: dict[str, Any], prefix: str, flat: dict[str, str]) -> None:
    for key, inner in value.items():
        if isinstance(inner, dict):
            _flatten(inner, f"{prefix}{key}.", flat)
        elif isinstance(inner, str):
            flat[prefix + key] = inner.replace("\0", "␀")
        elif inner is None:
            flat[prefix + key] = ""
        elif isinstance(inner, bool):
            flat[prefix + key] = "true" if inner else "false"
        else:
            flat[prefix + key] = json.dumps(inner, ensure_ascii=False)


def _read_array(path: Path, encoding: Encoding, name: str) -> Iterator[Item]:
    """The objects of one array, without holding the text of all of them."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    buffer, number, offset, begun = "", 0, 0, False
    for piece in read_text(path, encoding, size=1 << 20):
        buffer += decoder.decode(piece)
        if not begun:
            buffer, begun = buffer.lstrip().removeprefix("["), True
        place = 0
        while (found := _BETWEEN.match(buffer, place)) and found.end() < len(buffer):
            place = found.end()
            if buffer[place] == "]":
                break
            try:
                value, end = _DECODER.raw_decode(buffer, place)
            except (ValueError, RecursionError):
                break  # its end has not been read yet
            if end == len(buffer) and buffer[place] not in "{[":
                break  # a number may go on
            number, offset = number + 1, offset + end - place
            yield number, offset, _take(value, number, buffer[place:end])
            place = end
        buffer = buffer[place:]
    if not buffer.lstrip(" \t\r\n,").startswith("]"):
        # The rest is cut or broken: objects after it cannot be told apart.
        yield number + 1, offset, Fault(number + 1, "bad_json", shorten(buffer) or "[")


def _refuse(name: str) -> BadInput:
    return BadInput(
        "data.no_objects",
        say(
            "'{file}' holds no list of objects: each row must be an object such as {example}.",
            file=name,
            example='{"customer_id": "7", "date": "2026-01-31"}',
        ),
        remedy=say("Export it as JSON Lines (one object a line), as an array of objects, or as CSV."),
        where={"file": name, "row": 1},
    )
