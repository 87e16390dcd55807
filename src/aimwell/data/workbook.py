"""Workbooks of Excel, WPS and LibreOffice (.xlsx .xlsm .xls .xlsb .ods) as deliveries. Reads files; writes nothing.

What would not be a table with care: title rows above the header, merged cells, several sheets, numbers that Excel
has rounded, formulas that failed, and packed files that unfold to gigabytes.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from aimwell.core.errors import BadInput
from aimwell.core.text import Text, say
from aimwell.data.delimited import check_given
from aimwell.data.dialect import looks_like_values, name_columns
from aimwell.data.pieces import Delivery, Mark, Piece, cut_rows
from aimwell.data.workbook_binary import find_failed, is_binary

if TYPE_CHECKING:
    from python_calamine import CalamineSheet, CalamineWorkbook

ENDINGS = (".xlsx", ".xlsm", ".xls", ".xlsb", ".ods", ".et")
OLE_MARK = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
"""The first bytes of old workbooks, and of new ones with a password."""
_LARGEST = 800 << 20
"""Unpacked bytes: a workbook is read into memory, which takes about twice as much."""
_EXACT = 10**15
"""Excel keeps 15 digits of a number; the rest of a longer one is made up."""
_ERROR = re.compile(
    rb'<(?:\w+:)?c\b(?=[^>]*\bt="e")[^>]*\br="([A-Z]+)(\d+)"[^>]*>.*?<(?:\w+:)?v>([^<]*)<', re.DOTALL
)
_SEARCHED = 30


def open_workbook(path: Path, *, name: str, header: tuple[str, ...] | None, sheet: str | None) -> Delivery:
    """The sheet ``sheet`` of the workbook ``path`` (or its only one that holds something)."""
    _check_archive(path, name)
    book = _load(path, name)
    chosen = _choose_sheet(book, name, sheet)
    found = book.get_sheet_by_name(chosen)
    rows = _Rows(found, _find_errors(path, book.sheet_names.index(chosen)))
    number, cells = _find_header(rows, name)
    if header is not None:
        columns, first = check_given(name, header, len(cells)), number
    elif looks_like_values(cells):
        raise BadInput(
            "data.no_header",
            say(
                "The first line of '{file}' holds values ({values}), not column names.",
                file=name,
                values=", ".join(cells[:5]),
            ),
            remedy=say(
                "Name the {count} columns: --header {example}",
                count=len(cells),
                example=",".join(f"column_{position}" for position in range(1, len(cells) + 1)),
            ),
            where={"file": name, "row": number},
        )
    else:
        columns, first = name_columns(cells, name), number + 1
    shown = name if len(book.sheet_names) == 1 else f"{name}[{chosen}]"

    def read(mark: Mark) -> Iterator[Piece]:
        return cut_rows(
            ((line, row[: len(columns)]) for line, row in rows.read() if line >= mark.line), len(columns)
        )

    notices = tuple(rows.tell(number))
    return Delivery(shown, columns, "workbook", "", read, Mark(0, first), found.total_height, notices=notices)


class _Rows:
    """The rows of a sheet as text, with the values of merged cells in each of their rows."""

    def __init__(self, sheet: CalamineSheet, errors: dict[tuple[int, int], str]) -> None:
        self._sheet = sheet
        self._errors = errors
        left = sheet.start[1] if sheet.start else 0
        self._left = left
        self._merged = {
            (top, column): (top_row, first)
            for (top_row, first), (bottom, _) in (sheet.merged_cell_ranges or [])
            for top, column in ((row, first) for row in range(top_row, bottom + 1))
            if bottom > top_row
        }

    def read(self) -> Iterator[tuple[int, list[str]]]:
        """Each row with its number in the sheet, from 1."""
        held: dict[int, str] = {}
        for index, row in enumerate(self._sheet.iter_rows()):
            cells = [write_cell(value) for value in row]
            for offset in range(len(cells)):
                place = (index, offset + self._left)
                if place in self._errors:
                    cells[offset] = self._errors[place]
                if place in self._merged:
                    if self._merged[place] == place:
                        held[offset] = cells[offset]
                    cells[offset] = cells[offset] or held.get(offset, "")
            yield index + 1, cells

    def tell(self, header: int) -> Iterator[Text]:
        """What a person should know of how the sheet was read."""
        if header > 1:
            yield say("The column names stand in row {row} of the sheet.", row=header)
        below = sum(1 for place, start in self._merged.items() if place == start and place[0] >= header)
        if below:
            yield say(
                "{count} merged cells: their value counts for each of their rows. "
                "Undo the merging in the workbook if that is not meant.",
                count=below,
            )
        rounded = self._find_rounded(header)
        if rounded:
            yield say(
                "Row {row} holds a number of more than 15 digits, which Excel has rounded ({value}). "
                "Format the column as text at the source, or identifiers are wrong.",
                row=rounded[0],
                value=rounded[1],
            )

    def _find_rounded(self, header: int) -> tuple[int, str] | None:
        for index, row in enumerate(self._sheet.iter_rows()):
            if index >= header:
                for value in row:
                    if isinstance(value, float) and abs(value) >= _EXACT and value == int(value):
                        return index + 1, str(int(value))
        return None


def write_cell(value: Any) -> str:
    """A cell as text: whole numbers without '.0', days and instants in ISO form."""
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value == int(value) and abs(value) < 1e18 else repr(value)
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        seconds = int(value.total_seconds())
        return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
    return "" if value is None else str(value)


def _check_archive(path: Path, name: str) -> None:
    """Look at the directory before anything is unpacked: 300 KB may unfold to gigabytes."""
    with path.open("rb") as stream:
        head = stream.read(8)
    if head == OLE_MARK:
        if path.suffix.lower() in (".xlsx", ".xlsm", ".xlsb") or _mentions_password(path):
            raise _locked(name)
        return
    if not zipfile.is_zipfile(path):
        raise _web_page(name) if _looks_like_page(path) else _broken(name)
    with zipfile.ZipFile(path) as archive:
        unpacked = sum(entry.file_size for entry in archive.infolist())
        encrypted = any(entry.flag_bits & 1 for entry in archive.infolist())
        manifest = "META-INF/manifest.xml"
        if manifest in archive.namelist() and archive.getinfo(manifest).file_size < 1 << 20:
            encrypted = encrypted or b"encryption-data" in archive.read(manifest)
    if encrypted:
        raise _locked(name)
    if unpacked > _LARGEST:
        raise BadInput(
            "data.workbook_too_large",
            say(
                "'{file}' unfolds to {size} MB; workbooks up to {limit} MB are read.",
                file=name,
                size=unpacked >> 20,
                limit=_LARGEST >> 20,
            ),
            remedy=say("In Excel or WPS choose 'Save as' and 'CSV UTF-8', and add that file."),
            where={"file": name},
        )


def _looks_like_page(path: Path) -> bool:
    """Whether this is HTML with a workbook's ending, as many shop and till systems export it."""
    with path.open("rb") as stream:
        start = stream.read(4096).replace(b"\0", b"").lower()
    return any(mark in start for mark in (b"<html", b"<table", b"<!doctype html"))


def _mentions_password(path: Path) -> bool:
    with path.open("rb") as stream:
        return "EncryptedPackage".encode("utf-16-le") in stream.read(1 << 20)


def _load(path: Path, name: str) -> CalamineWorkbook:
    from python_calamine import CalamineError, CalamineWorkbook, PasswordError

    try:
        return CalamineWorkbook.from_path(path)
    except PasswordError as error:
        raise _locked(name) from error
    except (CalamineError, OSError, ValueError) as error:
        if "password" in str(error).lower():
            raise _locked(name) from error
        raise _broken(name) from error


def _choose_sheet(book: CalamineWorkbook, name: str, sheet: str | None) -> str:
    names = list(book.sheet_names)
    if sheet is not None:
        found = [known for known in names if known.strip().casefold() == sheet.strip().casefold()]
        if not found:
            raise BadInput(
                "data.unknown_sheet",
                say("'{file}' has no part '{sheet}'.", file=name, sheet=sheet),
                remedy=say("Its parts are: {sheets}.", sheets=", ".join(names)),
                where={"file": name, "value": sheet},
            )
        return found[0]
    filled = [known for known in names if book.get_sheet_by_name(known).start is not None]
    if not filled:
        raise BadInput(
            "data.empty_file",
            say("'{file}' is empty.", file=name),
            remedy=say("Export the file again; its first line must name the columns."),
            where={"file": name},
        )
    if len(filled) > 1:
        raise BadInput(
            "data.which_sheet",
            say("'{file}' has several parts: {sheets}.", file=name, sheets=", ".join(filled)),
            remedy=say('Say which is meant: --sheet "{sheet}"', sheet=filled[0]),
            where={"file": name, "value": ", ".join(filled)},
        )
    return filled[0]


def _find_header(rows: _Rows, name: str) -> tuple[int, list[str]]:
    """The first of the top rows that is nearly as wide as the widest: titles above are narrower."""
    top = []
    for number, cells in rows.read():
        filled = sum(bool(cell.strip()) for cell in cells)
        if filled:
            top.append((number, cells, filled))
        if len(top) >= _SEARCHED:
            break
    if not top:
        raise BadInput(
            "data.empty_file",
            say("'{file}' is empty.", file=name),
            remedy=say("Export the file again; its first line must name the columns."),
            where={"file": name},
        )
    widest = max(filled for _, _, filled in top)
    number, cells, _ = next(row for row in top if row[2] >= max(1, 0.6 * widest))
    while (
        len(cells) > 1 and not cells[-1].strip() and all(not row[len(cells) - 1].strip() for _, row, _ in top)
    ):
        cells = cells[:-1]
    return number, cells


def _find_errors(path: Path, position: int) -> dict[tuple[int, int], str]:
    """Cells whose formula failed (#N/A, #DIV/0!): the reader gives them as empty, which would hide them."""
    if not zipfile.is_zipfile(path):
        return {}
    with zipfile.ZipFile(path) as archive:
        if is_binary(archive):
            return find_failed(archive, position)
        member = _find_member(archive, position)
        text = archive.read(member) if member else b""
    return (
        {
            (int(row) - 1, _number_column(column.decode())): value.decode("utf-8", "replace")
            for column, row, value in _ERROR.findall(text)
        }
        if b't="e"' in text
        else {}
    )


def _find_member(archive: zipfile.ZipFile, position: int) -> str | None:
    """The path of the sheet at ``position``, by the workbook's list of relations."""
    names = set(archive.namelist())
    if "xl/workbook.xml" not in names or "xl/_rels/workbook.xml.rels" not in names:
        return None
    book = ElementTree.fromstring(archive.read("xl/workbook.xml"))
    sheets = [element for element in book.iter() if element.tag.endswith("}sheet")]
    relations = ElementTree.fromstring(archive.read("xl/_rels/workbook.xml.rels"))
    targets = {element.get("Id"): element.get("Target", "") for element in relations}
    key = next((value for name, value in sheets[position].attrib.items() if name.endswith("}id")), None)
    target = targets.get(key, "").removeprefix("/xl/")
    return f"xl/{target}" if f"xl/{target}" in names else None


def _number_column(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number - 1


def _locked(name: str) -> BadInput:
    return BadInput(
        "data.password",
        say("'{file}' is protected by a password.", file=name),
        remedy=say("Open it in Excel or WPS, save it without a password, and add that file."),
        where={"file": name},
    )


def _broken(name: str) -> BadInput:
    return BadInput(
        "data.broken_workbook",
        say("'{file}' cannot be read as a workbook: it is damaged or of another type.", file=name),
        remedy=say("Open it in Excel or WPS and save it again, or save it as 'CSV UTF-8'."),
        where={"file": name},
    )


def _web_page(name: str) -> BadInput:
    return BadInput(
        "data.web_page",
        say("'{file}' is a web page that is named like a workbook.", file=name),
        remedy=say(
            "Open it in Excel or WPS, choose 'Save as' and 'Excel workbook (.xlsx)', and add that file."
        ),
        where={"file": name},
    )
