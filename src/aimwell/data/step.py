"""Step 2, data: the public door. Files and typed deliveries in; tables, rejects and a quality report out.

Reads files and databases; writes ``customers``, ``products``, ``order_lines``, ``events``, ``consents``, ``signals``,
``sources``, ``rejects`` and ``quality``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from aimwell.core.errors import BadInput
from aimwell.core.lists import join_list
from aimwell.core.steps import StepResult
from aimwell.core.text import Text, say
from aimwell.core.time import now
from aimwell.data.adding import Progress, Request, add, plan, record, refuse_unasked, tomorrow
from aimwell.data.findings import ask
from aimwell.data.loading import LOADABLE, fill_columns, load_table
from aimwell.data.mapping import Mapping as Proposal
from aimwell.data.mapping import check_table
from aimwell.data.quality import write_quality
from aimwell.data.rejects import write_rejects
from aimwell.data.sources import Options
from aimwell.data.summary import find_lacks, summarise
from aimwell.engine.workspace import Run, Workspace


def propose(
    workspace: Workspace,
    path: Path | str,
    table: str | None = None,
    *,
    mapping: Mapping[str, str] | None = None,
    header: tuple[str, ...] | None = None,
    source: str | None = None,
    sheet: str | None = None,
    query: str | None = None,
    database_table: str | None = None,
) -> Proposal:
    """How the columns of the file would be read as ``table`` (or as the likeliest table).

    BadInput, which asks one question, when that cannot be told. ``asked`` of the answer is empty when everything was
    confirmed for this source before.
    """
    options = Options(header, sheet, database_table, query)
    return plan(workspace, Request(path, table, mapping, source, options)).proposal


def add_source(
    workspace: Workspace,
    path: Path | str,
    *,
    table: str | None = None,
    mapping: Mapping[str, str] | None = None,
    source: str | None = None,
    header: tuple[str, ...] | None = None,
    sheet: str | None = None,
    query: str | None = None,
    database_table: str | None = None,
    as_of: date | None = None,
    until: date | None = None,
    accept: bool = False,
    dates: str | None = None,
    duplicates: str | None = None,
    progress: Progress | None = None,
) -> StepResult:
    """Take the file or database ``path`` into ``table``, which is proposed when omitted.

    ``mapping`` settles fields (field → column, ``=constant``, ``#row``, or empty for none); the rest is proposed,
    and taken only with ``accept`` or where it was confirmed for this source before: otherwise the result is *skipped*
    and holds the proposal. ``source`` names where the rows come from (the file's name when omitted): line numbers
    depend on it, so a later delivery of the same source keeps it. ``sheet`` is a part of a workbook or archive;
    ``query`` or ``database_table`` what is read of a database. Rows at or after ``as_of`` (now, when omitted) come
    from the future and are rejected; rows on or after ``until`` are left for later and not counted.
    The same file twice changes nothing; an interrupted load goes on from what was staged. Raises BadInput
    naming file, row, column, value and remedy.
    """
    options = Options(header, sheet, database_table, query)
    request = Request(path, table, mapping, source, options, as_of, until, dates, duplicates)
    planned = plan(workspace, request)
    if not (accept or planned.settled):
        return refuse_unasked(planned)
    return add(workspace, planned, progress or _ignore)


def _ignore(message: Text | str) -> None:
    """Nobody watches."""


def load_tables(
    target: Run | Workspace,
    source: str,
    tables: Mapping[str, pa.Table],
    *,
    as_of: date | None = None,
    file: str = "",
    encoding: str | None = None,
    notices: tuple[Text, ...] = (),
    quality: bool = True,
) -> StepResult:
    """Take typed Arrow tables (in the columns of ``core.tables``) in by the same door.

    ``source`` and ``simulated`` may be left out. Keys that are there already are not added again;
    customers and products
    are merged. ``target`` is a workspace, or the run that this belongs to. ContractBroken when a table is not as
    declared; BadInput when a row lies at or after ``as_of``. ``quality=False`` leaves the report for ``check``.
    """
    if isinstance(target, Workspace):
        as_of = as_of or tomorrow(target)
        with target.run("data", as_of=as_of, parameters={"source": source, "tables": sorted(tables)}) as run:
            return load_tables(
                run,
                source,
                tables,
                as_of=as_of,
                file=file,
                encoding=encoding,
                notices=notices,
                quality=quality,
            )
    unknown = [name for name in tables if name not in LOADABLE]
    if unknown:
        check_table(unknown[0])
    counts: dict[str, dict[str, int]] = {}
    for name in [table for table in LOADABLE if table in tables]:
        data = fill_columns(name, tables[name], source)
        _check_past(name, data, as_of or target.as_of)
        added = load_table(target, name, data, overwrite=True, at=now())
        counts[name] = {"rows": data.num_rows, "added": added}
        total = (
            data.num_rows
            if name in ("customers", "products")
            else _count_delivered(target, source, name, file) + added
        )
        reading = {"added": added, "notices": [text.to_json() for text in notices], "typed": True}
        record(target, source, name, file, encoding, {"rows": total, "accepted": total}, reading)
    if quality:
        write_quality(target)
    return StepResult("data", "done", {"source": source, "tables": counts})


def check(workspace: Workspace, as_of: date | None = None) -> StepResult:
    """Assess the quality of everything that was delivered, and sum it up for the report."""
    with workspace.run("data", as_of=as_of or tomorrow(workspace), parameters={"check": True}) as run:
        write_quality(run)
        lacks = find_lacks(run)
        return StepResult("data", "partial" if lacks else "done", summarise(run), lacks)


def write_rejected(workspace: Workspace, out: Path, *, source: str | None = None) -> int:
    """Write the rejects of ``source`` (or of the only one) as CSV in its own columns; how many rows it has.

    They are whole, with whatever they say about people: the audit log says that they were written.
    """
    with workspace.read() as reader:
        known = [
            str(row["source"]) for row in ask(reader, "SELECT DISTINCT source FROM rejects ORDER BY source")
        ]
        chosen = _choose_source(known, source)
        rows = ask(
            reader,
            "SELECT * FROM rejects WHERE source = $source ORDER BY file, row_number, reject_id",
            {"source": chosen},
        )
    columns: dict[str, None] = {}
    for row in rows:
        columns.update(dict.fromkeys(name for name in json.loads(row["record"]) if name != "aimwell_line"))
    count = write_rejects(rows, list(columns), out)
    workspace.store.audit("rejects.exported", chosen, {"rows": count})
    return count


def _count_delivered(run: Run, source: str, table: str, file: str) -> int:
    """Rows of earlier deliveries: those of one source add up."""
    found = ask(
        run,
        "SELECT rows FROM sources WHERE source = $source AND table_name = $table AND file = $file",
        {"source": source, "table": table, "file": file},
    )
    return int(found[0]["rows"]) if found else 0


def _choose_source(known: list[str], source: str | None) -> str:
    if source is None and len(known) == 1:
        return known[0]
    if source in known:
        return str(source)
    if not known:
        raise BadInput(
            "data.no_rejects", say("No row was rejected."), remedy=say("There is nothing to repair.")
        )
    raise BadInput(
        "data.which_source",
        say("Rows of several sources were rejected, or the source is not among them."),
        remedy=say("Choose one with --source: {sources}.", sources=join_list(known)),
        where={"value": source},
    )


def _check_source(delivered: list[str], source: str) -> None:
    if source not in delivered:
        raise BadInput(
            "data.unknown_source",
            say("There is no source '{source}'.", source=source),
            remedy=say("The sources are: {sources}.", sources=join_list(delivered) or "–"),
            where={"value": source},
        )


def _check_past(name: str, data: pa.Table, as_of: date) -> None:
    moment = {"order_lines": "ordered_on", "events": "occurred_on"}.get(name)
    if moment is None or moment not in data.column_names or data.num_rows == 0:
        return
    latest = pc.max(data[moment]).as_py()
    if latest is not None and latest >= as_of:
        raise BadInput(
            "data.from_future",
            say(
                "The delivery for '{table}' holds {day}, which is not before {as_of}.",
                table=name,
                day=latest.isoformat(),
                as_of=as_of.isoformat(),
            ),
            remedy=say("Deliver only what happened before that day."),
            where={"value": latest.isoformat()},
        )


_FIRST_REJECTS = """
WITH kinds AS (
    SELECT source, file, min(row_number) AS row_number, column_name, value, reason, message, count(*) AS rows,
        min(reject_id) AS first_id
    FROM rejects WHERE {condition} GROUP BY source, file, column_name, value, reason, message, record
),
placed AS (
    SELECT *, row_number() OVER (PARTITION BY source, file ORDER BY row_number, first_id) AS place FROM kinds
),
chosen AS (SELECT * FROM placed ORDER BY place, source, file LIMIT {limit})
SELECT source, file, row_number, column_name, value, reason, message, rows, first_id FROM chosen
ORDER BY source, file, row_number, first_id
"""


def list_rejects(workspace: Workspace, *, source: str | None = None, limit: int = 20) -> dict[str, Any]:
    """The first rejects of each file (of ``source``), ``limit`` in all; how many there are by reason and by file.

    Equal rows of one file with one fault are one entry: its first row number, and how many ``rows`` it stands for.
    BadInput when nothing was delivered as ``source``.
    """
    condition = "source = $source" if source is not None else "true"
    bound = {"source": source} if source is not None else None
    with workspace.read() as reader:
        if source is not None:
            delivered = [
                str(row["source"])
                for row in ask(reader, "SELECT DISTINCT source FROM sources ORDER BY source")
            ]
            _check_source(delivered, source)
        reasons = ask(
            reader,
            f"SELECT reason, count(*) AS rows FROM rejects WHERE {condition} GROUP BY reason ORDER BY "
            f"rows DESC, reason",
            bound,
        )
        files = ask(
            reader,
            f"SELECT source, file, count(*) AS rows FROM rejects WHERE {condition} GROUP BY source, file ORDER BY "
            f"source, file",
            bound,
        )
        rows = ask(
            reader,
            _FIRST_REJECTS.format(condition=condition, limit=limit),
            bound,
        )
    if rows:
        # A cell that could not be taken in may be about anybody.
        workspace.store.audit(
            "rejects.shown", source or "all", {"rows": sum(int(row["rows"]) for row in rows)}
        )
    return {
        "total": sum(int(row["rows"]) for row in reasons),
        "reasons": {row["reason"]: int(row["rows"]) for row in reasons},
        "files": [{**row, "rows": int(row["rows"])} for row in files],
        "rejects": [
            {
                "source": row["source"],
                "file": row["file"],
                "row_number": row["row_number"],
                "rows": int(row["rows"]),
                "column": row["column_name"],
                "value": row["value"],
                "reason": row["reason"],
                "message": Text.from_json(row["message"]).both(),
            }
            for row in rows
        ],
    }
