"""One delivery into the tables: peek, propose, confirm, stage, parse, store. ``step.add_source`` is its door.

Reads files and databases; writes ``customers``, ``products``, ``order_lines``, ``events``, ``consents``, ``signals``,
``sources``, ``rejects`` and ``quality``, and the store's definitions of the kind ``mapping``.
"""

from __future__ import annotations

import hashlib
import json
import time as clocks
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from aimwell.core.steps import StepResult
from aimwell.core.text import Text, say
from aimwell.core.time import business_day, now, zone
from aimwell.data.database import is_address, name_source
from aimwell.data.dates import check_order
from aimwell.data.duplicates import check_choice, count_identical, mark_duplicates
from aimwell.data.encoding import hash_file
from aimwell.data.findings import ask
from aimwell.data.intake import shape_rows, tell_orders
from aimwell.data.loading import list_settled, load_stream, record_rejects, record_source
from aimwell.data.mapping import Mapping as Proposal
from aimwell.data.mapping import check_table, propose_mapping
from aimwell.data.memory import Memory, recall, remember
from aimwell.data.parsing import LATER, Clock, Parsed, parse_rows
from aimwell.data.profile import profile_columns
from aimwell.data.proposal import SURE, ask_table, choose_table, rank_tables, refuse_messages
from aimwell.data.quality import write_quality
from aimwell.data.rejects import Rejected, restore_rejects
from aimwell.data.scratch import Scratch
from aimwell.data.sources import Options, Source, check_file, open_source
from aimwell.data.staging import Stage, forget_stage, hold_stage
from aimwell.data.summary import find_lacks
from aimwell.engine.workspace import Run, Workspace

Progress = Callable[[Text | str], None]
_BATCH = 1 << 17
"""Rows that are stored at once: of fewer, cutting them by month costs more."""
_PACKED = (".gz", ".zip")


@dataclass(frozen=True)
class Request:
    """What a person asked for: a place, and answers to what it does not say by itself."""

    place: Path | str
    table: str | None = None
    mapping: Mapping[str, str] | None = None
    source: str | None = None
    options: Options = field(default_factory=Options)
    as_of: date | None = None
    until: date | None = None
    dates: str | None = None
    duplicates: str | None = None

    @property
    def name(self) -> str:
        """What the source is called."""
        if self.source:
            return self.source
        if is_address(str(self.place)):
            return name_source(str(self.place), self.options.table)
        path = Path(self.place)
        return Path(path.stem).stem if path.suffix.lower() in _PACKED else path.stem


@dataclass(frozen=True)
class Plan:
    """A request with what was proposed and remembered for it; ``settled``: nothing is left to confirm."""

    request: Request
    proposal: Proposal
    confidence: float
    settled: bool


def plan(workspace: Workspace, request: Request) -> Plan:
    """Look at the first rows, and propose how to read the whole; BadInput, which asks, where that cannot be told."""
    if request.table is not None:
        check_table(request.table)
    check_order(request.dates)
    check_choice(request.duplicates)
    if request.options.header is None:
        known = recall(workspace.store, request.name, table=request.table)
        if known is not None and known.header is not None:
            request = replace(request, options=replace(request.options, header=known.header))
    with open_scratch(workspace) as scratch:
        source = restore_rejects(scratch, open_source(scratch, request.place, request.options, peek=True))
        profiles = profile_columns(scratch, source.columns)
        memory = _recall(workspace, scratch, request, source)
        if memory is not None:
            request = replace(
                request,
                dates=request.dates or memory.dates,
                duplicates=request.duplicates or memory.duplicates,
            )
        table, confidence = request.table, 1.0
        if table is None and memory is None and not request.mapping:
            refuse_messages(source.file, profiles)
        if table is None and memory is not None:
            table = memory.confirmed.table
        if table is None:
            chosen = choose_table(source.file, profiles)
            table, confidence = chosen.table, chosen.confidence
        proposal = propose_mapping(
            table,
            source.file,
            profiles,
            chosen=request.mapping,
            confirmed=memory.confirmed if memory else None,
            given=request.table is not None or memory is not None,
        )
        if confidence < SURE and not request.mapping:
            raise ask_table(source.file, rank_tables(profiles))
    settled = memory is not None and not proposal.asked
    return Plan(replace(request, table=table), proposal, confidence, settled)


def add(workspace: Workspace, planned: Plan, tell: Progress) -> StepResult:
    """Take the delivery in as planned."""
    request = planned.request
    if is_address(str(request.place)):
        with open_scratch(workspace) as scratch:
            return _add_staged(workspace, scratch, planned, Stage(scratch.folder / "stage"), "", tell)
    path = Path(request.place)
    check_file(path)
    signature = hash_file(path)
    key = hashlib.sha256(f"{signature}\x1f{request.options}".encode()).hexdigest()[:24]
    known = _find_known(workspace, planned, signature)
    if known is not None:
        # Whoever took it in may have been stopped before it was cleared away.
        forget_stage(workspace.path / "staging", key)
        return known
    with (
        hold_stage(workspace.path / "staging", key, file=path.name) as stage,
        open_scratch(workspace) as scratch,
    ):
        return _add_staged(workspace, scratch, planned, stage, signature, tell)


def _add_staged(
    workspace: Workspace, scratch: Scratch, planned: Plan, stage: Stage, signature: str, tell: Progress
) -> StepResult:
    request, proposal = planned.request, planned.proposal
    tell(say("Reading {file}…", file=proposal.file))
    source = open_source(
        scratch, request.place, request.options, stage=stage, signature=signature, watch=_watch(tell)
    )
    source = restore_rejects(scratch, source)
    proposal = _add_late_columns(proposal, source)
    origin, repaired = _find_repaired(workspace, scratch, source)
    name = request.source or origin or request.name
    clock = set_clock(workspace, request.as_of, request.until)
    tell(say("Checking {rows} rows…", rows=source.rows))
    order = check_order(request.dates)
    parsed = parse_rows(scratch, source, proposal, name=name, clock=clock, order=order)
    parsed = mark_duplicates(scratch, parsed, check_choice(request.duplicates))
    tell(say("Storing the rows and checking their quality…"))
    result = _store(workspace, scratch, parsed, request, clock, repaired, signature)
    if origin is None:
        remember(
            workspace.store,
            name,
            proposal,
            source.columns,
            header=request.options.header,
            dates=request.dates,
            duplicates=request.duplicates,
        )
    return result


def _add_late_columns(proposal: Proposal, source: Source) -> Proposal:
    """Columns that were found after the first rows (JSON) feed no field, and are kept like other columns."""
    known = {match.column for match in proposal.matches} | set(proposal.unused)
    late = tuple(column for column in source.columns if column not in known)
    own = tuple(column for column in late if not column.startswith("aimwell_"))
    return replace(proposal, unused=(*proposal.unused, *own))


def _recall(workspace: Workspace, scratch: Scratch, request: Request, source: Source) -> Memory | None:
    """What was confirmed for this source. A file of repaired rejects is read as its origin was."""
    origin, _ = _find_repaired(workspace, scratch, source)
    columns = tuple(column for column in source.columns if not column.startswith("aimwell_"))
    return recall(
        workspace.store, request.source or origin or request.name, table=request.table, columns=columns
    )


def _watch(tell: Progress) -> Callable[[int, int, int | None], None]:
    begun = told = clocks.monotonic()
    first: int | None = None

    def watch(rows: int, offset: int, size: int | None) -> None:
        nonlocal told, first
        first = rows if first is None else first
        at = clocks.monotonic()
        if at - told < 2:
            return
        told = at
        speed = f"{(rows - first) / max(at - begun, 0.001):,.0f}"
        if size:
            share = f"{min(1.0, offset / size):.0%}"
            tell(
                say(
                    "{rows} rows read ({share}), {speed} a second.",
                    rows=f"{rows:,}",
                    share=share,
                    speed=speed,
                )
            )
        else:
            tell(say("{rows} rows read, {speed} a second.", rows=f"{rows:,}", speed=speed))

    return watch


@contextmanager
def open_scratch(workspace: Workspace) -> Iterator[Scratch]:
    """A scratch database within the workspace's limits."""
    engine = workspace.settings.engine
    limit = _share(engine.memory_limit, 0.4)
    with Scratch(workspace.warehouse_folder, memory_limit=limit, threads=engine.threads) as scratch:
        yield scratch


def _share(limit: str, share: float) -> str:
    """A part of a memory limit such as 2GB: the scratch database and the run are open together."""
    units = {"MB": 1e6, "GB": 1e9, "MIB": 2.0**20, "GIB": 2.0**30}
    text = limit.strip().upper()
    unit = next(name for name in ("MIB", "GIB", "MB", "GB") if text.endswith(name))
    return f"{max(64.0, float(text.removesuffix(unit)) * units[unit] * share / 1e6):.0f}MB"


def tomorrow(workspace: Workspace) -> date:
    """The first day of which the workspace knows nothing yet."""
    return business_day(now(), workspace.settings.business.zone) + timedelta(days=1)


def set_clock(workspace: Workspace, as_of: date | None, until: date | None) -> Clock:
    """From when on rows come from the future, and from which day on they wait."""
    name = workspace.settings.business.zone
    limit = now() if as_of is None else datetime.combine(as_of, time(), tzinfo=zone(name))
    return Clock(name, limit, until)


def _find_known(workspace: Workspace, planned: Plan, signature: str) -> StepResult | None:
    """The answer at once, when this very file was taken in like this before and nothing of it waits."""
    request, proposal = planned.request, planned.proposal
    with workspace.read() as reader:
        rows = ask(
            reader,
            "SELECT * FROM sources WHERE table_name = $table AND file = $file AND reading LIKE $hash",
            {"table": proposal.table, "file": proposal.file, "hash": f"%{signature}%"},
        )
        for row in rows:
            reading = json.loads(row["reading"])
            same = (
                reading.get("sha256") == signature
                and reading.get("asked") == _list_answers(request, proposal)
                and not reading.get("waiting")
                and (request.source is None or request.source == row["source"])
            )
            if same:
                return StepResult("data", "done", _sum_up_known(row, reading, proposal), find_lacks(reader))
    return None


def _sum_up_known(row: Mapping[str, Any], reading: dict[str, Any], proposal: Proposal) -> dict[str, Any]:
    notice = say("This very file was taken in before: nothing has changed.")
    return {
        "source": row["source"],
        "file": row["file"],
        "table": row["table_name"],
        "encoding": row["encoding"],
        "rows": row["rows"],
        "accepted": row["accepted"],
        "rejected": row["rejected"],
        "later": 0,
        "added": dict.fromkeys(reading["added"], 0),
        "known": row["accepted"],
        "settled": 0,
        "unchanged": True,
        "reasons": reading["reasons"],
        "mapping": proposal.to_dict(),
        "notices": [notice.both()],
    }


def _list_answers(request: Request, proposal: Proposal) -> dict[str, Any]:
    """Everything that decides how the bytes of a file become rows."""
    return {
        "mapping": {match.field: match.column or f"={match.constant}" for match in proposal.matches},
        "header": list(request.options.header or ()),
        "sheet": request.options.sheet,
        "dates": request.dates,
        "duplicates": request.duplicates,
    }


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
    found = sorted(name for name in ids if name in known)
    return (known[found[0]] if found else None), found


def _store(
    workspace: Workspace,
    scratch: Scratch,
    parsed: Parsed,
    request: Request,
    clock: Clock,
    repaired: list[str],
    signature: str,
) -> StepResult:
    table = parsed.mapping.table
    parameters = {"file": parsed.source.file, "table": table, "source": parsed.name}
    with workspace.run("data", as_of=request.as_of or tomorrow(workspace), parameters=parameters) as run:
        run.execute(f"SET memory_limit = '{_share(workspace.settings.engine.memory_limit, 0.4)}'")
        counts = _count(scratch, parsed)
        added = {
            shaped.table: load_stream(
                run,
                shaped.table,
                scratch.stream(shaped.sql, shaped.parameters, rows=_BATCH),
                folder=scratch.folder,
                overwrite=shaped.table == table,
                at=clock.limit,
            )
            for shaped in shape_rows(scratch, parsed)
        }
        again = counts["accepted"] == 0 or added[table] < counts["accepted"]
        rejected = Rejected(scratch, parsed, run.id, list_settled(run) - frozenset(repaired))
        record_rejects(
            run, rejected.read(), source=parsed.name, file=parsed.source.file, again=again, repaired=repaired
        )
        notices = (*parsed.notices, *tell_orders(parsed))
        reading = _describe(scratch, parsed, request.duplicates, notices, added) | {
            "sha256": signature,
            "asked": _list_answers(request, parsed.mapping),
            "reasons": rejected.reasons,
            "waiting": bool(counts["later"] or rejected.reasons.get("from_future")),
        }
        if repaired:
            reading["repaired"] = repaired
        record(run, parsed.name, table, parsed.source.file, parsed.source.encoding, counts, reading)
        # The staged rows are stored: what they held in memory is for the report now.
        scratch.clear()
        run.execute(f"SET memory_limit = '{_share(workspace.settings.engine.memory_limit, 0.6)}'")
        write_quality(run)
        run.execute(f"SET memory_limit = '{workspace.settings.engine.memory_limit}'")
        summary = _sum_up(parsed, counts, added, notices, rejected)
        return StepResult("data", "done", summary, find_lacks(run))


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
    rejected = int(found["rejected"]) + parsed.source.broken
    counts = {"accepted": int(found["accepted"]), "rejected": rejected, "later": int(found["later"])}
    assert sum(counts.values()) == parsed.source.rows, "a row was lost between reading and storing"
    return {"rows": counts["accepted"] + counts["rejected"], **counts}


def _describe(
    scratch: Scratch, parsed: Parsed, choice: str | None, notices: tuple[Text, ...], added: dict[str, int]
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
        reading["identical"] = count_identical(scratch, parsed)
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


def record(
    run: Run,
    source: str,
    table: str,
    file: str,
    encoding: str | None,
    counts: Mapping[str, int],
    reading: dict[str, Any],
) -> None:
    """Put a delivery on record in ``sources``; ``counts``: rows and accepted."""
    record_source(
        run,
        {
            "source": source,
            "table_name": table,
            "file": file,
            "encoding": encoding,
            "rows": counts["rows"],
            "accepted": counts["accepted"],
            "rejected": counts["rows"] - counts["accepted"],
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
    rejected: Rejected,
) -> dict[str, Any]:
    table = parsed.mapping.table
    return {
        "source": parsed.name,
        "file": parsed.source.file,
        "table": table,
        "encoding": parsed.source.encoding,
        **counts,
        "added": added,
        "known": counts["accepted"] - added[table],
        "unchanged": False,
        "reasons": rejected.reasons,
        "mapping": parsed.mapping.to_dict(),
        "notices": [text.both() for text in notices],
    }


def refuse_unasked(planned: Plan) -> StepResult:
    """What is said when nobody has confirmed the proposal."""
    lack = say("The proposed mapping has not been accepted yet: pass --yes, or correct it with --map.")
    return StepResult("data", "skipped", {"proposal": planned.proposal.to_dict()}, (lack,))
