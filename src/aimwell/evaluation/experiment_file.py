"""An experiment in a file: one row per customer, with its arm and its outcome.

Reads a CSV file (UTF-8 or GB18030; comma, semicolon or tab). Writes nothing.
"""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aimwell.core.errors import BadInput
from aimwell.core.lists import join_list
from aimwell.core.text import say

_YES = frozenset({"yes", "true", "y", "t", "是"})
_NO = frozenset({"no", "false", "n", "f", "否"})
_ENCODINGS = ("utf-8-sig", "gb18030")


@dataclass(frozen=True)
class ExperimentData:
    """The columns of an experiment, shape (n,); ``left_out`` rows had no outcome, arm, cluster or
    covariate.
    """

    outcome: NDArray[np.float64]
    arm: NDArray[np.str_]
    cluster: NDArray[np.str_] | None
    covariate: NDArray[np.float64] | None
    left_out: int


def read_experiment(
    path: Path, *, arm: str, outcome: str, cluster: str | None = None, covariate: str | None = None
) -> ExperimentData:
    """Read the named columns; BadInput names the file, row, column and value that cannot be used."""
    header, rows = _read_rows(path)
    names = [name for name in (arm, outcome, cluster, covariate) if name is not None]
    places = {name: _find_column(path, header, name) for name in names}
    kept = [
        (number, row)
        for number, row in enumerate(rows, start=2)
        if all(len(row) > place and row[place].strip() for place in places.values())
    ]
    if not kept:
        raise BadInput(
            "evaluation.empty_experiment",
            say(
                "The file {file} has no row with a value in all of: {columns}.",
                file=path.name,
                columns=join_list(names),
            ),
            remedy=say("Check the names of the columns, or fill in the values."),
            where={"file": path.name},
        )

    def read_text(name: str) -> NDArray[np.str_]:
        return np.array([row[places[name]].strip() for _, row in kept], dtype=np.str_)

    def read_numbers(name: str) -> NDArray[np.float64]:
        return np.array(
            [read_number(row[places[name]], path=path, row=number, column=name) for number, row in kept]
        )

    return ExperimentData(
        outcome=read_numbers(outcome),
        arm=read_text(arm),
        cluster=None if cluster is None else read_text(cluster),
        covariate=None if covariate is None else read_numbers(covariate),
        left_out=sum(1 for row in rows if row) - len(kept),
    )


def read_number(value: str, *, path: Path, row: int, column: str) -> float:
    """A number, or 1 and 0 for yes and no; BadInput otherwise."""
    text = value.strip()
    if text.lower() in _YES:
        return 1.0
    if text.lower() in _NO:
        return 0.0
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if math.isfinite(number):
        return number
    raise BadInput(
        "evaluation.not_a_number",
        say(
            "In {file}, row {row}, column '{column}': '{value}' is not a number, nor yes or no.",
            file=path.name,
            row=row,
            column=column,
            value=text[:40],
        ),
        remedy=say("Correct the value, or leave it empty to leave the row out."),
        where={"file": path.name, "row": row, "column": column, "value": text[:40]},
    )


def _read_rows(path: Path) -> tuple[list[str], list[list[str]]]:
    text = _read_text(path)
    first = text.splitlines()[0] if text.strip() else ""
    delimiter = max(",;\t", key=first.count)
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if any(row)]
    except csv.Error as error:
        raise BadInput(
            "evaluation.unreadable_file",
            say("The file {file} cannot be read as CSV: {problem}.", file=path.name, problem=str(error)),
            remedy=say("Save it again as CSV with one row per customer and names in the first row."),
            where={"file": path.name},
        ) from error
    if len(rows) < 2:
        raise BadInput(
            "evaluation.empty_file",
            say("The file {file} has no rows below its header.", file=path.name),
            remedy=say("Save it again as CSV with one row per customer and names in the first row."),
            where={"file": path.name},
        )
    return [name.strip() for name in rows[0]], rows[1:]


def _read_text(path: Path) -> str:
    if not path.is_file():
        raise BadInput(
            "evaluation.no_file",
            say("There is no file {file}.", file=str(path)),
            remedy=say("Check the path."),
            where={"file": str(path)},
        )
    content = path.read_bytes()
    for encoding in _ENCODINGS:
        try:
            text = content.decode(encoding)
        except UnicodeDecodeError:
            continue
        if "\x00" not in text:
            return text
    raise BadInput(
        "evaluation.not_text",
        say("The file {file} is not a CSV text file.", file=path.name),
        remedy=say("Save it again as CSV with one row per customer and names in the first row."),
        where={"file": path.name},
    )


def _find_column(path: Path, header: list[str], name: str) -> int:
    places = [place for place, found in enumerate(header) if found == name]
    if len(places) == 1:
        return places[0]
    if places:
        message = say(
            "The file {file} has the column '{column}' more than once.", file=path.name, column=name
        )
    else:
        message = say("The file {file} has no column '{column}'.", file=path.name, column=name)
    raise BadInput(
        "evaluation.no_column",
        message,
        remedy=say("Its columns: {columns}.", columns=join_list(header[:20])),
        where={"file": path.name, "column": name},
    )


def read_shares(given: list[str] | None) -> dict[str, float] | None:
    """Shares written as ARM=SHARE; None when none is given. BadInput for one that cannot be read."""
    if not given:
        return None
    shares: dict[str, float] = {}
    for text in given:
        name, _, value = text.rpartition("=")
        try:
            shares[name.strip()] = float(value)
        except ValueError:
            shares[name.strip()] = math.nan
        if not name.strip() or not shares[name.strip()] > 0:
            raise BadInput(
                "evaluation.bad_share",
                say("'{value}' is not a share of an arm.", value=text),
                remedy=say("Write it as ARM=SHARE, for example control=0.5."),
                where={"value": text},
            )
    return shares
