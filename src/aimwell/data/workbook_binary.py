"""Failed formulas of binary workbooks (.xlsb), which their reader gives as empty cells. Writes nothing.

The records of a part follow each other as kind, size and content (Microsoft's [MS-XLSB], 2.1.4).
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from xml.etree import ElementTree

_ROW, _ERROR_CELL, _ERROR_FORMULA, _SHEET = 0, 3, 11, 156
_NAMES = {
    0x00: "#NULL!",
    0x07: "#DIV/0!",
    0x0F: "#VALUE!",
    0x17: "#REF!",
    0x1D: "#NAME?",
    0x24: "#NUM!",
    0x2A: "#N/A",
}
_BOOK, _RELATIONS = "xl/workbook.bin", "xl/_rels/workbook.bin.rels"


def is_binary(archive: zipfile.ZipFile) -> bool:
    """Whether the workbook's parts are records rather than XML."""
    return _BOOK in archive.namelist()


def find_failed(archive: zipfile.ZipFile, position: int) -> dict[tuple[int, int], str]:
    """Cells (row and column from 0) of the sheet at ``position`` whose formula failed, and with what."""
    names = archive.namelist()
    if _RELATIONS not in names:
        return {}
    relations = ElementTree.fromstring(archive.read(_RELATIONS))
    targets = {element.get("Id"): element.get("Target", "") for element in relations}
    sheets = [content for kind, content in _read_records(archive.read(_BOOK)) if kind == _SHEET]
    member = f"xl/{targets.get(_read_relation(sheets[position]), '').removeprefix('/xl/')}"
    if member not in names:
        return {}
    found: dict[tuple[int, int], str] = {}
    row = 0
    for kind, content in _read_records(archive.read(member)):
        if kind == _ROW:
            row = int.from_bytes(content[:4], "little")
        elif kind in (_ERROR_CELL, _ERROR_FORMULA):
            found[row, int.from_bytes(content[:4], "little")] = _NAMES.get(content[8], "#VALUE!")
    return found


def _read_relation(sheet: bytes) -> str:
    """The relation by which a sheet's part is found: text after two numbers, as its length and UTF-16."""
    length = int.from_bytes(sheet[8:12], "little")
    return sheet[12 : 12 + 2 * length].decode("utf-16-le")


def _read_records(part: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and content of each record; seven bits of a byte count, the eighth tells that another follows."""
    at = 0
    while at < len(part):
        kind = part[at] & 0x7F
        if part[at] & 0x80 and at + 1 < len(part):
            at += 1
            kind |= (part[at] & 0x7F) << 7
        at += 1
        size = shift = 0
        while at < len(part):
            size |= (part[at] & 0x7F) << shift
            shift += 7
            at += 1
            if not part[at - 1] & 0x80:
                break
        yield kind, part[at : at + size]
        at += size
