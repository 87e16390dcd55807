"""The visit plan as a spreadsheet: account managers take it along, fill in what came of it and send it back.

Reads customers' names; writes a CSV (``core.spreadsheet``). Importing reads it again: either all rows are right and all
are entered, or nothing is and every wrong cell is named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from aimwell.core.errors import BadInput
from aimwell.core.lists import join_list
from aimwell.core.spreadsheet import write_csv
from aimwell.core.text import LANGUAGES, Text, say
from aimwell.deployment.desk.outcomes import NOTE_LENGTH
from aimwell.deployment.desk.visits import (
    VISIT_OUTCOMES,
    Visit,
    VisitOutcome,
    read_visits,
    record_visit,
    title_visit_outcome,
    title_visit_reason,
)
from aimwell.deployment.sheets import SheetRow, read_sheet, refuse_cell
from aimwell.engine.permissions import take_turn

COLUMNS: dict[str, Text] = {
    "visit_id": say("visit number"),
    "visit_on": say("day of the visit"),
    "account_manager": say("account manager"),
    "customer_id": say("customer number"),
    "name": say("customer's name"),
    "customer_class": say("class"),
    "value": say("yearly value"),
    "reason": say("reason for the visit"),
    "outcome": say("outcome"),
    "note": say("remark"),
}


@dataclass(frozen=True)
class ImportedVisits:
    """How many rows were news, how many stood already or say nothing, and what is wrong; then nothing was entered."""

    entered: int
    unchanged: int
    problems: tuple[BadInput, ...] = ()


def export_visits(path: Path, visits: Sequence[Visit], names: Mapping[str, str]) -> None:
    """Write the visits, with titles in the reader's language; ``names`` by customer."""
    rows = [
        (
            visit.visit_id,
            visit.visit_on.isoformat(),
            visit.account_manager,
            visit.customer_id,
            names.get(visit.customer_id, ""),
            visit.customer_class,
            f"{visit.value_cents / 100:.2f}",
            title_visit_reason(visit.reason).render(),
            title_visit_outcome(visit.outcome).render() if visit.outcome else "",
            visit.note or "",
        )
        for visit in visits
    ]
    write_csv(path, [title.render() for title in COLUMNS.values()], rows)


def import_visits(connection: sa.Connection, path: Path, now_ms: int) -> ImportedVisits:
    """Enter the outcomes of ``path``, within the caller's transaction."""
    rows = read_sheet(path, COLUMNS, needed=("visit_id", "outcome"))
    take_turn(connection)
    known = read_visits(connection, (row.cells["visit_id"] for row in rows))
    problems = [problem for row in rows for problem in _check_row(path, row, known)]
    problems += _find_repeats(path, rows)
    if problems:
        return ImportedVisits(0, 0, tuple(problems))
    entered = 0
    filled = [row for row in rows if row.cells["outcome"]]
    for row in filled:
        outcome = _read_outcome(row.cells["outcome"])
        assert outcome is not None
        visit = known[row.cells["visit_id"]]
        entered += record_visit(connection, visit, outcome, row.cells.get("note") or None, now_ms)
    return ImportedVisits(entered, len(rows) - entered)


def _check_row(path: Path, row: SheetRow, known: Mapping[str, Visit]) -> list[BadInput]:
    cells, problems = row.cells, []
    visit = known.get(cells["visit_id"])
    if visit is None:
        problems.append(refuse_cell(path, row, "visit_id", say("no visit has this number")))
    elif cells.get("customer_id", visit.customer_id) != visit.customer_id:
        # A sheet that was sorted in part puts outcomes beside other people.
        problems.append(refuse_cell(path, row, "customer_id", say("this visit is another customer's")))
    if cells["outcome"] and _read_outcome(cells["outcome"]) is None:
        words = join_list(map(title_visit_outcome, VISIT_OUTCOMES))
        problems.append(
            refuse_cell(
                path, row, "outcome", say("this is no outcome"), say("Use one of {values}.", values=words)
            )
        )
    if len(cells.get("note", "")) > NOTE_LENGTH:
        problems.append(refuse_cell(path, row, "note", say("more than {most} characters", most=NOTE_LENGTH)))
    return problems


def _find_repeats(path: Path, rows: Sequence[SheetRow]) -> list[BadInput]:
    seen: set[str] = set()
    problems = []
    for row in rows:
        if row.cells["visit_id"] in seen:
            problems.append(refuse_cell(path, row, "visit_id", say("this visit stands twice in the file")))
        seen.add(row.cells["visit_id"])
    return problems


def _read_outcome(text: str) -> VisitOutcome | None:
    """The outcome that ``text`` names, by its code or by its title in either language."""
    spoken: dict[str, VisitOutcome] = {
        word.casefold(): outcome
        for outcome in VISIT_OUTCOMES
        for word in (outcome, *(title_visit_outcome(outcome).render(language) for language in LANGUAGES))
    }
    return spoken.get(text.strip().casefold())
