"""Messages out of a file: JSON Lines, or one JSON array, read piece by piece so that it may be larger than memory.

A line that is no JSON is one refused message with its number; the lines after it are read on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NoReturn

from aimwell.core.errors import BadInput
from aimwell.core.text import say

_PIECE = 1 << 16
_MOST_LINE = 1 << 20
_MANY = 20
_BLANK = re.compile(r"[\s,]*")


@dataclass(frozen=True)
class FileMessage:
    """One message of a file, or the text that should have been one; lines count from 1."""

    line: int
    message: Any = None
    text: str = ""
    problem: BadInput | None = None


def iterate_file(path: Path) -> Iterator[FileMessage]:
    """The messages of ``path`` in their order; BadInput when the file cannot be opened."""
    try:
        with path.open(encoding=find_encoding(path), errors="surrogateescape", newline="\n") as text:
            start = text.read(_PIECE).lstrip()
            text.seek(0)
            yield from _iterate_array(text) if start.startswith("[") else _iterate_lines(text)
    except (OSError, UnicodeError) as error:
        raise BadInput(
            "data.event_file_unreadable",
            say("The file {file} cannot be read.", file=path.name),
            remedy=say("Check its path and that it is text in UTF-8."),
            where={"file": path.name},
        ) from error


def check_form(path: Path, first: Sequence[FileMessage]) -> None:
    """BadInput when none of many ``first`` lines is JSON: a table, whose lines are no rejects of events."""
    if len(first) >= _MANY and all(one.problem is not None for one in first):
        raise BadInput(
            "data.event_file_no_json",
            say(
                "{file} holds no messages in JSON: none of its first {lines} lines is one.",
                file=path.name,
                lines=len(first),
            ),
            remedy=say("A table (CSV, Excel, Parquet) is added with: aimwell data add FILE --as events"),
            where={"file": path.name},
        )


def find_encoding(path: Path) -> str:
    """UTF-16 where the file begins with its mark, else UTF-8."""
    with path.open("rb") as stream:
        return "utf-16" if stream.read(2) in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


def _iterate_lines(stream: IO[str]) -> Iterator[FileMessage]:
    number = 0
    while line := stream.readline(_MOST_LINE):
        number += 1
        whole = line.endswith("\n") or len(line) < _MOST_LINE
        while not line.endswith("\n") and len(line) >= _MOST_LINE and (rest := stream.readline(_MOST_LINE)):
            # The rest of a line that is far too long is passed over.
            line = line[:_MOST_LINE] + ("\n" if rest.endswith("\n") else "")
        if line.strip():
            yield _parse(line, number) if whole else _refuse(line, number)


def _parse(line: str, number: int) -> FileMessage:
    try:
        return FileMessage(number, json.loads(line, parse_constant=_refuse_constant))
    except (ValueError, RecursionError):
        return _refuse(line, number)


def _iterate_array(stream: IO[str]) -> Iterator[FileMessage]:
    decoder = json.JSONDecoder(parse_constant=_refuse_constant)
    buffer, number, ended = stream.read(_PIECE).lstrip()[1:], 1, False
    while True:
        start = _BLANK.match(buffer)
        number += buffer.count("\n", 0, start.end() if start else 0)
        buffer = buffer[start.end() :] if start else buffer
        if buffer.startswith("]"):
            return
        try:
            message, end = decoder.raw_decode(buffer)
        except (ValueError, RecursionError):
            piece = stream.read(max(_PIECE, len(buffer))) if len(buffer) < _MOST_LINE else ""
            if not piece:
                # Cut off, or broken: what follows cannot be told apart any more.
                if buffer.strip() or not ended:
                    yield _refuse(buffer, number)
                return
            buffer += piece
            continue
        yield FileMessage(number, message)
        number += buffer.count("\n", 0, end)
        buffer, ended = buffer[end:], False


def _refuse(line: str, number: int) -> FileMessage:
    shown = line.strip()[:2000].encode("utf-8", "replace").decode()
    problem = BadInput(
        "data.event_no_json",
        say("Line {line} is not valid JSON.", line=number),
        remedy=say("Write one JSON object per line, or one array of objects."),
        where={"row": number, "value": shown[:100]},
    )
    return FileMessage(number, text=shown, problem=problem)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)
