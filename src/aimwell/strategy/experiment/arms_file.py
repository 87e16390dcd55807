"""Drawn arms as a CSV file: one row per customer, with unit (customer or cluster), stratum and arm.

Read back, it lets a test grow: whoever stands in it keeps the arm. Reads and writes no tables.
"""

from __future__ import annotations

import csv
from pathlib import Path

from aimwell.core.errors import BadInput
from aimwell.core.spreadsheet import restore_cell, write_csv
from aimwell.core.text import say
from aimwell.strategy.experiment.plan import TestDesign

COLUMNS = ("customer_id", "unit", "stratum", "arm")


def read_arms(file: Path) -> dict[str, tuple[str, str]]:
    """Unit → (stratum, arm); nothing where there is no file yet. BadInput for a file that is none of ours."""
    return {unit: (stratum, arm) for _, unit, stratum, arm in _read_rows(file)}


def write_arms(file: Path, design: TestDesign) -> None:
    """Write the arms of everybody in the test; whoever stood in the file and has left the audience stays in it."""
    names = design.assignment.arms.names
    arms = (names[number] for number in design.assignment.arm.tolist())
    present = frozenset(design.history.customers)
    gone = [row for row in _read_rows(file) if row[0] not in present]
    rows = zip(design.history.customers, design.units, design.stratum, arms, strict=True)
    try:
        # All or nothing: arms that were drawn must not be lost to a full disk.
        write_csv(file, COLUMNS, [*rows, *gone])
    except OSError as error:
        raise BadInput(
            "strategy.arms_not_written",
            say("The arms cannot be written to '{file}'.", file=str(file)),
            remedy=say("Choose a file in a folder that exists and may be written."),
            where={"file": str(file)},
        ) from error


def _read_rows(file: Path) -> list[list[str]]:
    if not file.exists():
        return []
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.reader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise _not_ours(file) from error
    if not rows or tuple(rows[0]) != COLUMNS or any(len(row) != len(COLUMNS) for row in rows):
        raise _not_ours(file)
    return [[restore_cell(cell) for cell in row] for row in rows[1:]]


def _not_ours(file: Path) -> BadInput:
    return BadInput(
        "strategy.not_an_arms_file",
        say("'{file}' holds no arms of a test.", file=str(file)),
        remedy=say("Give a new file, or one that this command wrote: customer_id, unit, stratum, arm."),
        where={"file": str(file)},
    )
