"""Coupon codes: made so that nobody can guess one or misread it, and read from the files of others.

The alphabet leaves out what looks or sounds like something else (0 O, 1 I L, 2 Z, 5 S, 8 B, U V); its 23 signs are a
prime number, so that the last sign, a sum with weights modulo 23, finds every single wrong sign and every two
neighbours that were swapped.
"""

from __future__ import annotations

import csv
import io
import re
import secrets
import unicodedata
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from aimwell.core.errors import BadInput
from aimwell.core.spreadsheet import restore_cell
from aimwell.core.text import Text, say

ALPHABET = "34679ACDEFGHJKMNPQRTWXY"
LENGTH = 12
"""Signs of a code, the check sign included: 23¹¹ codes, of which a million are one in a thousand million."""
_SHORTEST, _LONGEST = 8, 22
_GROUP = 4
_USABLE = re.compile(r"[0-9A-Z_./+*#@]{3,64}")
_HEADERS = ("code", "coupon", "coupon_code", "券码", "优惠券", "优惠码", "兑换码", "卡券码", "编码")
_LARGEST = 50 << 20
_UNPACKED = 500 << 20
_EXACT = 10**15
"""Excel keeps 15 digits of a number."""


def make_code(length: int = LENGTH) -> str:
    """One new code in its one form; ValueError for a length that could be guessed or not be checked."""
    if not _SHORTEST <= length <= _LONGEST:
        raise ValueError(f"a code has {_SHORTEST} to {_LONGEST} signs")
    body = "".join(secrets.choice(ALPHABET) for _ in range(length - 1))
    return body + _find_check(body)


def is_genuine(code: str) -> bool:
    """Whether ``code`` could have been made by ``make_code``: no sign is wrong, as far as the check sign can tell."""
    plain = normalise(code)
    known = len(plain) >= _SHORTEST and all(sign in ALPHABET for sign in plain)
    return known and _find_check(plain[:-1]) == plain[-1]


def is_mistyped(code: str) -> bool:
    """Whether ``code`` looks like one of ours, but for a sign that is wrong: nobody needs to be asked for it."""
    plain = normalise(code)
    return len(plain) == LENGTH and all(sign in ALPHABET for sign in plain) and not is_genuine(plain)


def show_code(code: str) -> str:
    """The code as people read it out.

    >>> show_code("34679ACDEFGH")
    '3467-9ACD-EFGH'
    """
    return "-".join(code[start : start + _GROUP] for start in range(0, len(code), _GROUP))


def normalise(code: str) -> str:
    """The one form of a code, however it was typed.

    >>> normalise(" 3467-9acd－efgh ")
    '34679ACDEFGH'
    """
    return re.sub(r"[\s\-\u2010-\u2015\u2212]", "", unicodedata.normalize("NFKC", code)).upper()


def is_usable(code: str) -> bool:
    """Whether a code of somebody else can be kept, in its one form."""
    return _USABLE.fullmatch(code) is not None


def read_codes(path: Path) -> Iterator[str]:
    """The codes in the first column of a CSV file or workbook, or in that called code, 券码, …; BadInput otherwise."""
    if not path.is_file():
        raise _refuse(path, say("there is no such file"))
    if path.stat().st_size > _LARGEST:
        raise _refuse(path, say("it is larger than 50 MB"))
    rows = (
        _read_workbook(path)
        if path.suffix.lower() in (".xlsx", ".xlsm", ".xls", ".ods")
        else _read_text(path)
    )
    column = 0
    for number, row in enumerate(rows):
        if number == 0:
            named = [index for index, cell in enumerate(row) if cell.strip().lower() in _HEADERS]
            if named:
                column = named[0]
                continue
        cell = restore_cell(row[column].strip()) if column < len(row) else ""
        if cell:
            yield cell


def _find_check(body: str) -> str:
    total = sum(weight * ALPHABET.index(sign) for weight, sign in enumerate(body, 2))
    return ALPHABET[-total % len(ALPHABET)]


def _read_text(path: Path) -> Iterator[Sequence[str]]:
    raw = path.read_bytes()
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\x00" in text:
            break
        return csv.reader(io.StringIO(text, newline=""))
    raise _refuse(path, say("it is neither UTF-8 nor GB18030 text"))


def _read_workbook(path: Path) -> Iterator[Sequence[str]]:
    from python_calamine import CalamineError, CalamineWorkbook

    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            if sum(entry.file_size for entry in archive.infolist()) > _UNPACKED:
                raise _refuse(path, say("it unpacks to more than 500 MB"))
    try:
        rows = CalamineWorkbook.from_path(str(path)).get_sheet_by_index(0).to_python()
    except (CalamineError, OSError, IndexError) as error:
        raise _refuse(path, say("it cannot be read")) from error
    return ([_show_cell(path, cell) for cell in row] for row in rows)


def _show_cell(path: Path, cell: object) -> str:
    if isinstance(cell, float | int) and not isinstance(cell, bool):
        if cell != int(cell) or abs(cell) >= _EXACT:
            raise _refuse(path, say("it holds codes as numbers, of which Excel has lost digits"))
        return str(int(cell))
    return str(cell)


def _refuse(path: Path, problem: Text) -> BadInput:
    return BadInput(
        "deployment.coupon_file",
        say("The coupons in '{file}' cannot be read: {problem}.", file=path.name, problem=problem),
        remedy=say("Give a CSV file or a workbook with the codes in one column, as text."),
        where={"file": str(path)},
    )
