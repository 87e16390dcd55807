"""Spreadsheets that people filled in and send back: CSV as Excel saves it, in whatever language their titles are.

Nothing is guessed: a column is known by its name or by its title in either language, and every row keeps its number, so
that what is wrong can be found. Reads files; writes nothing.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aimwell.core.errors import BadInput
from aimwell.core.spreadsheet import restore_cell
from aimwell.core.text import LANGUAGES, Text, say

_MOST_OCTETS = 50_000_000
_MOST_ROWS = 500_000
_LONGEST_CELL = 10_000


@dataclass(frozen=True)
class SheetRow:
    """One row; ``number`` is what the spreadsheet shows beside it."""

    number: int
    cells: Mapping[str, str]


def read_sheet(path: Path, columns: Mapping[str, Text], *, needed: Sequence[str]) -> list[SheetRow]:
    """The rows of ``path`` that hold anything; ``columns`` are name → title. BadInput when it cannot be read."""
    rows = _read_rows(path)
    header = next(rows, (1, []))[1]
    places = _find_places(header, columns)
    missing = [name for name in needed if name not in places]
    if missing:
        raise BadInput(
            "deployment.sheet_columns",
            say("The file {file} has no column '{column}'.", file=path.name, column=columns[missing[0]]),
            remedy=say("Send back the file as it was exported, with its first row."),
            where={"file": path.name, "row": 1, "column": missing[0]},
        )
    found = []
    for number, cells in rows:
        known = {
            name: restore_cell(cells[place].strip()).strip() if place < len(cells) else ""
            for name, place in places.items()
        }
        if any(known.values()):
            found.append(SheetRow(number, known))
    return found


def refuse_cell(
    path: Path, row: SheetRow, column: str, message: Text, remedy: Text | None = None
) -> BadInput:
    """The error of one cell, which names file, row and column."""
    return BadInput(
        "deployment.sheet_cell",
        say("{file}, row {row}, column '{column}': {problem}", file=path.name, row=row.number, column=column,
            problem=message),
        remedy=remedy,
        where={"file": path.name, "row": row.number, "column": column, "value": row.cells.get(column, "")[:100]},
    )  # fmt: skip


def _find_places(header: Sequence[str], columns: Mapping[str, Text]) -> dict[str, int]:
    spoken = {
        word.casefold(): name
        for name, title in columns.items()
        for word in (name, *(title.render(language) for language in LANGUAGES))
    }
    places: dict[str, int] = {}
    for place, cell in enumerate(header):
        name = spoken.get(restore_cell(cell.strip()).casefold())
        if name is not None:
            places.setdefault(name, place)
    return places


def _read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    text = _decode(path)
    first = text.partition("\n")[0]
    # Excel separates by the sign that its country uses.
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        for number, cells in enumerate(reader, 1):
            if number > _MOST_ROWS or any(len(cell) > _LONGEST_CELL for cell in cells):
                raise _unreadable(path)
            yield number, cells
    except csv.Error as error:
        raise _unreadable(path) from error


def _decode(path: Path) -> str:
    try:
        if path.stat().st_size > _MOST_OCTETS:
            raise _unreadable(path)
        octets = path.read_bytes()
    except OSError as error:
        raise _unreadable(path) from error
    # Chinese Excel saves CSV in its own encoding unless it is told otherwise.
    for encoding in ("utf-16" if octets[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig", "gb18030"):
        try:
            return octets.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise _unreadable(path)


def _unreadable(path: Path) -> BadInput:
    return BadInput(
        "deployment.sheet_unreadable",
        say("The file {file} cannot be read as a table.", file=path.name),
        remedy=say("Save it as CSV (UTF-8) and import it again."),
        where={"file": path.name},
    )
