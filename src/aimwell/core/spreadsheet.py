"""Tables for spreadsheets: CSV that Excel opens as it is meant, no cell a formula, the whole file or nothing."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable
from pathlib import Path

from aimwell.core.ids import new_id

_FORMULA = ("=", "+", "-", "@", "＝", "＋", "－", "＠", "\t", "\r", "\n", "|", "%")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?|\+[0-9][0-9 ]{4,18}")
_BLANK = " \u00a0\u3000"


def guard_cell(value: str) -> str:
    """``value`` so that no spreadsheet runs it as a formula; numbers, with a sign or of telephones, stay as they are.

    >>> guard_cell("=1+1"), guard_cell("+86 138 0013 8000")
    ("'=1+1", '+86 138 0013 8000')
    """
    text = "".join(char for char in value if char in "\n\t" or ord(char) >= 32)
    # One more apostrophe before those that stand there, so that what was written can be told from what was put before.
    risky = text.lstrip("'").lstrip(_BLANK).startswith(_FORMULA)
    return f"'{text}" if risky and not _NUMBER.fullmatch(text) else text


def restore_cell(cell: str) -> str:
    """What ``guard_cell`` was given, but for control characters.

    >>> restore_cell("'=1+1"), restore_cell("'tis")
    ('=1+1', "'tis")
    """
    return cell[1:] if cell.startswith("'") and guard_cell(cell[1:]) == cell else cell


def restore_sql(cell: str) -> str:
    """``restore_cell`` of the SQL expression ``cell``, for DuckDB."""
    risky, number = _RISKY.replace("'", "''"), _NUMBER.pattern
    guarded = f"regexp_matches({cell}, '{risky}') AND NOT regexp_full_match(substr({cell}, 2), '{number}')"
    return f"CASE WHEN {guarded} THEN substr({cell}, 2) ELSE {cell} END"


_RISKY = f"^'+[{_BLANK}]*[{re.escape(''.join(_FORMULA))}]"


def write_csv(
    path: Path, header: Iterable[str], rows: Iterable[Iterable[str]], *, quote_all: bool = False
) -> None:
    """Write guarded cells, UTF-8 with a byte-order mark; raises OSError, and then ``path`` is what it was."""
    aside = path.with_name(f"{path.name}.{new_id('part')}")
    try:
        with aside.open("w", encoding="utf-8-sig", newline="") as stream:
            writer = csv.writer(stream, quoting=csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL)
            writer.writerow(list(header))
            writer.writerows([guard_cell(cell) for cell in row] for row in rows)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
