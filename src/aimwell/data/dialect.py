"""Which sign separates the columns of a text file, and whether its first line names them.

Reads the first lines of a file; writes nothing.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from dataclasses import dataclass

from aimwell.core.errors import BadInput
from aimwell.core.text import say

DELIMITERS = (",", "\t", ";", "|")
BLANKS = "\x1f"
"""Stands for runs of blanks: such lines are re-joined with the unit separator, which no text contains."""
_VALUE = re.compile(r"[-+￥$€£]?[\d.,:/\- 年月日%]*\d[\d.,:/\- 年月日%]*")


@dataclass(frozen=True)
class Dialect:
    """``delimiter`` of one character; ``skip`` lines before the header (Excel's ``sep=;``)."""

    delimiter: str
    skip: int = 0

    @property
    def quotes(self) -> bool:
        """Whether double quotes may hold a delimiter; blank-separated text has none."""
        return self.delimiter != BLANKS


def sniff_dialect(lines: list[str]) -> Dialect:
    """The delimiter that cuts the most of ``lines`` into the same number (> 1) of columns."""
    if lines and (declared := re.fullmatch(r"sep=(.)", lines[0].strip())):
        return Dialect(declared[1], skip=1)
    kept = [line for line in lines if line.strip()][:200]
    best, best_score = ",", 0.0
    for delimiter in (*DELIMITERS, BLANKS):
        score = _score(kept, delimiter)
        if score > best_score + 1e-9:
            best, best_score = delimiter, score
    return Dialect(best)


def split_line(line: str, delimiter: str) -> list[str]:
    """The cells of one line; csv.Error when its quotes do not match."""
    if delimiter == BLANKS:
        return line.split()
    return next(csv.reader([line], delimiter=delimiter, strict=True), [])


def name_columns(cells: list[str], file: str) -> tuple[str, ...]:
    """The header's names without stray blanks; empty ones are numbered; BadInput when one occurs twice."""
    names = [re.sub(r"[\s\u3000\ufeff\u200b]+", " ", cell).strip() for cell in cells]
    names = [name or f"column_{position}" for position, name in enumerate(names, 1)]
    folded = Counter(name.casefold() for name in names)
    repeated = [name for name in names if folded[name.casefold()] > 1]
    if repeated:
        raise BadInput(
            "data.duplicate_header",
            say(
                "Two columns of '{file}' are called '{column}'.",
                file=file,
                column=repeated[0],
            ),
            remedy=say("Rename one of them in the header line and add the file again."),
            where={"file": file, "row": 1, "column": repeated[0]},
        )
    return tuple(names)


def looks_like_values(cells: list[str]) -> bool:
    """Whether a first line holds data: at least half of its cells are numbers or dates, or one of a few is."""
    filled = [cell.strip() for cell in cells if cell.strip()]
    values = sum(bool(_VALUE.fullmatch(cell)) for cell in filled)
    return bool(filled) and values * 2 >= len(filled)


def _score(lines: list[str], delimiter: str) -> float:
    widths: Counter[int] = Counter()
    for line in lines:
        try:
            widths[len(split_line(line, delimiter))] += 1
        except csv.Error:
            widths[0] += 1
    width, count = max(widths.items(), key=lambda item: (item[1], item[0]), default=(0, 0))
    if width < 2 or not lines:
        return 0.0
    share = count / len(lines)
    # Blanks also separate words of prose, so they win only where nothing else cuts evenly.
    return share * 0.5 if delimiter == BLANKS else share + min(width, 50) / 1000
