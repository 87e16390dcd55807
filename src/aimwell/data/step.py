"""Step 2, data: the public door. Files and typed deliveries in; tables, rejects and a quality report out.

Reads files; writes ``customers``, ``products``, ``order_lines``, ``events``, ``consents``, ``sources``, ``rejects`` and
``quality``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from aimwell.core.errors import BadInput
from aimwell.core.steps import StepResult
from aimwell.core.tables import REJECTS
from aimwell.core.text import Text, say
from aimwell.core.time import business_day, now, zone
from aimwell.data.dates import check_order
from aimwell.data.duplicates import Choice, check_choice, count_identical, mark_duplicates
from aimwell.data.findings import ask
from aimwell.data.intake import shape_rows, tell_orders
from aimwell.data.loading import LOADABLE, fill_columns, load_table, record_rejects, record_source
from aimwell.data.mapping import Mapping as Proposal
from aimwell.data.mapping import check_table, propose_mapping
from aimwell.data.parsing import LATER, Clock, Parsed, parse_rows
from aimwell.data.profile import profile_columns
from aimwell.data.quality import assess_quality
from aimwell.data.rejects import collect_rejects, write_rejects
from aimwell.data.scratch import Scratch
from aimwell.data.sources import Source, open_source
from aimwell.data.summary import find_lacks, summarise
from aimwell.engine.workspace import Run, Workspace

Progress = Callable[[Text | str], None]


def propose(
    workspace: Workspace,
    path: Path | str,
    table: str,
    *,
    mapping: Mapping[str, str] | None = None,
    header: tuple[str, ...] | None = None,
) -> Proposal:
    """How the columns of the file would be read as ``table``; BadInput when that cannot be told."""
    check_table(table)
    with _open_scratch(workspace) as scratch:
        source = open_source(scratch, path, header=header)
        return propose_mapping(table, source.file, profile_columns(scratch, source.columns), chosen=mapping)


def add_source(
    workspace: Workspace,
    path: Path | str,
    *,
    table: str,
    mapping: Mapping[str, str] | None = None,
    source: str | None = None,
    header: tuple[str, ...] | None = None,
    as_of: date | None = None,
    until: date | None = None,
    accept: bool = False,
    dates: str | None = None,
    duplicates: str | None = None,
    progress: Progress | None = None,
) -> StepResult:
    """Take the file ``path`` into ``table``.

    ``mapping`` settles fields (field → column, ``=constant``, or empty for none); the rest is proposed, and taken only
    with ``accept``: otherwise the result is *skipped* and holds the proposal. ``source`` names where the rows come from
    (the file's name when omitted): line numbers depend on it, so a later delivery of the same source keeps it.
    Rows at or after ``as_of`` (now, when omitted) come from the future and are rejected; rows on or after ``until``
    are left for later and not counted. Raises BadInput naming file, row, column, value and remedy.
    """
    check_table(table)
    order, choice = check_order(dates), check_choice(duplicates)
    tell = progress or (lambda message: None)
    with _open_scratch(workspace) as scratch:
        tell(say("Reading {file}…", file=Path(path).name))
        opened = open_source(scratch, path, header=header)
        proposal = propose_mapping(
            table, opened.file, profile_columns(scratch, opened.columns), chosen=mapping
        )
        if not accept:
            lack = say(
                "The proposed mapping has not been accepted yet: pass --yes, or correct it with --map."
            )
            return StepResult("data", "skipped", {"proposal": proposal.to_dict()}, (lack,))
        settled = _find_repaired(workspace, scratch, opened)
        name = source or settled[0] or Path(path).stem
        clock = _set_clock(workspace, as_of, until)
        tell(say("Checking {rows} rows…", rows=opened.rows))
        parsed = parse_rows(scratch, opened, proposal, name=name, clock=clock, order=order)
        parsed = mark_duplicates(scratch, parsed, choice)
        tell(say("Storing the rows and checking their quality…"))
        return _store(workspace, scratch, parsed, clock, as_of, choice, settled[1])


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
        as_of = as_of or _tomorrow(target)
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
        _record(target, source, name, file, encoding, total, total, reading)
    if quality:
        target.replace("quality", assess_quality(target, target.id))
    return StepResult("data", "done", {"source": source, "tables": counts})


def check(workspace: Workspace, as_of: date | None = None) -> StepResult:
    """Assess the quality of everything that was delivered, and sum it up for the report."""
    with workspace.run("data", as_of=as_of or _tomorrow(workspace), parameters={"check": True}) as run:
        run.replace("quality", assess_quality(run, run.id))
        lacks = find_lacks(run)
        return StepResult("data", "partial" if lacks else "done", summarise(run), lacks)


def write_rejected(workspace: Workspace, out: Path, *, source: str | None = None) -> int:
    """Write the rejects of ``source`` (or of the only one) as CSV in its own columns; how many rows it has."""
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
    return write_rejects(rows, list(columns), out)


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
        remedy=say("Choose one with --source: {sources}.", sources=", ".join(known)),
        where={"value": source},
    )


def _check_source(delivered: list[str], source: str) -> None:
    if source not in delivered:
        raise BadInput(
            "data.unknown_source",
            say("There is no source '{source}'.", source=source),
            remedy=say("The sources are: {sources}.", sources=", ".join(delivered) or "–"),
            where={"value": source},
        )


@contextmanager
def _open_scratch(workspace: Workspace) -> Iterator[Scratch]:
    engine = workspace.settings.engine
    with Scratch(memory_limit=engine.memory_limit, threads=engine.threads) as scratch:
        yield scratch


def _tomorrow(workspace: Workspace) -> date:
    return business_day(now(), workspace.settings.business.zone) + timedelta(days=1)


def _set_clock(workspace: Workspace, as_of: date | None, until: date | None) -> Clock:
    name = workspace.settings.business.zone
    limit = now() if as_of is None else datetime.combine(as_of, time(), tzinfo=zone(name))
    return Clock(name, limit, until)


def _find_repaired(workspace: Workspace, scratch: Scratch, source: Source) -> tuple[str | None, list[str]]:
    """The source and ids of rejects that come back in this file (it was written by ``data rejects``)."""
    if "aimwell_reject" not in source.columns:
        return None, []
    staged = source.staged("aimwell_reject")
    ids = [row["id"] for row in scratch.rows(f"SELECT DISTINCT {staged} AS id FROM raw WHERE {staged} <> ''")]
    with workspace.read() as reader:
        known = {
            row["reject_id"]: row["source"] for row in ask(reader, "SELECT reject_id, source FROM rejects")
        }
    found = [name for name in ids if name in known]
    return (known[found[0]] if found else None), found


def _store(
    workspace: Workspace,
    scratch: Scratch,
    parsed: Parsed,
    clock: Clock,
    as_of: date | None,
    choice: Choice | None,
    repaired: list[str],
) -> StepResult:
    table = parsed.mapping.table
    parameters = {"file": parsed.source.file, "table": table, "source": parsed.name}
    with workspace.run("data", as_of=as_of or _tomorrow(workspace), parameters=parameters) as run:
        rejects = collect_rejects(scratch, parsed, run.id)
        counts = _count(scratch, parsed)
        added = {
            name: load_table(run, name, data, overwrite=name == table, at=clock.limit)
            for name, data in shape_rows(scratch, parsed).items()
        }
        again = counts["accepted"] == 0 or added[table] < counts["accepted"]
        record_rejects(
            run,
            REJECTS.validate(rejects),
            source=parsed.name,
            file=parsed.source.file,
            again=again,
            repaired=repaired,
        )
        notices = (*parsed.notices, *tell_orders(parsed))
        reading = _describe(scratch, parsed, choice, notices, added)
        _record(
            run,
            parsed.name,
            table,
            parsed.source.file,
            parsed.source.encoding,
            counts["rows"],
            counts["accepted"],
            reading,
        )
        run.replace("quality", assess_quality(run, run.id))
        return StepResult("data", "done", _sum_up(parsed, counts, added, notices, rejects), find_lacks(run))


def _count(scratch: Scratch, parsed: Parsed) -> dict[str, int]:
    """Rows by what became of them; every row of the file is one of them, or this is a defect."""
    found = scratch.rows(
        f"""
        SELECT CAST(coalesce(sum(CASE WHEN rule IS NULL THEN 1 ELSE 0 END), 0) AS BIGINT) AS accepted,
            CAST(coalesce(sum(CASE WHEN rule >= 0 THEN 1 ELSE 0 END), 0) AS BIGINT) AS rejected,
            CAST(coalesce(sum(CASE WHEN rule = {LATER} THEN 1 ELSE 0 END), 0) AS BIGINT) AS later
        FROM parsed
        """
    )[0]
    rejected = int(found["rejected"]) + len(parsed.source.faults)
    counts = {"accepted": int(found["accepted"]), "rejected": rejected, "later": int(found["later"])}
    assert sum(counts.values()) == parsed.source.rows, "a row was lost between reading and storing"
    return {"rows": counts["accepted"] + counts["rejected"], **counts}


def _describe(
    scratch: Scratch, parsed: Parsed, choice: Choice | None, notices: tuple[Text, ...], added: dict[str, int]
) -> dict[str, Any]:
    source, mapping = parsed.source, parsed.mapping
    reading: dict[str, Any] = {
        "columns": list(source.columns),
        "delimiter": source.delimiter,
        "blank_lines": source.blank,
        "lines_that_span": source.spanning,
        "mapping": {match.field: match.column or f"={match.constant}" for match in mapping.matches},
        "day_first": {name: plan.day_first for name, plan in parsed.dates.items() if plan.decided},
        "notices": [text.to_json() for text in notices],
        "added": added,
    }
    if mapping.table == "order_lines":
        reading["identical"] = count_identical(scratch)
        if all(mapping.has(field) for field in ("quantity", "unit_price", "revenue")):
            reading |= _contradict(scratch)
    if choice is not None:
        reading["duplicates"] = choice
    return reading


def _contradict(scratch: Scratch) -> dict[str, Any]:
    """Rows whose amount is neither quantity × unit price nor less one discount of a cent's rounding."""
    condition = "rule IS NULL AND abs(revenue - CAST(quantity * unit_price AS DECIMAL(18,6))) > 0.01"
    count = scratch.rows(f"SELECT count(*) AS rows FROM parsed WHERE {condition}")[0]["rows"]
    shown = scratch.rows(
        f"""
        SELECT CAST(quantity AS DOUBLE) || ' × ' || CAST(unit_price AS DOUBLE) || ' ≠ ' || CAST(revenue
        AS DOUBLE) AS example
        FROM parsed WHERE {condition} ORDER BY row_number LIMIT 5
        """
    )
    return {"contradicting": int(count), "contradicting_examples": [row["example"] for row in shown]}


def _record(
    run: Run,
    source: str,
    table: str,
    file: str,
    encoding: str | None,
    rows: int,
    accepted: int,
    reading: dict[str, Any],
) -> None:
    record_source(
        run,
        {
            "source": source,
            "table_name": table,
            "file": file,
            "encoding": encoding,
            "rows": rows,
            "accepted": accepted,
            "rejected": rows - accepted,
            "reading": json.dumps(reading, ensure_ascii=False),
            "loaded_at": now(),
            "run_id": run.id,
        },
    )


def _sum_up(
    parsed: Parsed,
    counts: dict[str, int],
    added: dict[str, int],
    notices: tuple[Text, ...],
    rejects: pa.Table,
) -> dict[str, Any]:
    reasons: dict[str, int] = {}
    for reason in rejects["reason"].to_pylist():
        reasons[reason] = reasons.get(reason, 0) + 1
    return {
        "source": parsed.name,
        "file": parsed.source.file,
        "table": parsed.mapping.table,
        "encoding": parsed.source.encoding,
        **counts,
        "added": added,
        "reasons": reasons,
        "mapping": parsed.mapping.to_dict(),
        "notices": [text.both() for text in notices],
    }


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


def list_rejects(workspace: Workspace, *, source: str | None = None, limit: int = 20) -> dict[str, Any]:
    """The first ``limit`` rejects (of ``source``), how many there are, and how many for each reason.

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
        rows = ask(
            reader,
            f"""
            SELECT source, file, row_number, column_name, value, reason, message FROM rejects WHERE {condition}
            ORDER BY source, file, row_number, reject_id LIMIT {limit}
            """,
            bound,
        )
    return {
        "total": sum(int(row["rows"]) for row in reasons),
        "reasons": {row["reason"]: int(row["rows"]) for row in reasons},
        "rejects": [
            {
                "source": row["source"],
                "file": row["file"],
                "row_number": row["row_number"],
                "column": row["column_name"],
                "value": row["value"],
                "reason": row["reason"],
                "message": Text.from_json(row["message"]).both(),
            }
            for row in rows
        ],
    }
