"""Rows that could not be taken in: whole, with file, line, column, value, reason and remedy; and out again.

Reads the scratch tables ``parsed`` and ``raw``; its Arrow table goes to ``rejects``. ``write_rejects`` writes a CSV in
the source's own columns, which can be repaired and added again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from aimwell.core.errors import BadInput
from aimwell.core.spreadsheet import guard_cell, restore_cell, restore_sql, write_csv
from aimwell.core.tables import REJECTS
from aimwell.core.text import Text, say
from aimwell.data.expressions import UNSAVED
from aimwell.data.mapping import OWN_COLUMNS
from aimwell.data.parsing import Parsed
from aimwell.data.scratch import Scratch, literal
from aimwell.data.sources import Source

_ABOUT_LINES = {
    "too_few_columns": say("The line has fewer columns than the header. Complete it."),
    "too_many_columns": say(
        "The line has more columns than the header. Put values that contain the delimiter in double quotes."
    ),
    "bad_quote": say("The double quotes of the line do not match. Close or double them."),
    "bad_encoding": say("The line holds bytes that are no characters. Type the damaged words again."),
    "nul_byte": say("The line holds NUL bytes (shown as ␀): it was damaged on its way. Export it again."),
    "cell_too_long": say(
        "A cell has more than 1,000,000 characters. Shorten it, or close the quote that is open before it."
    ),
    "bad_json": say("The line is no JSON object. Repair it, or export the file again: it may have been cut."),
}


def explain_reject(reason: str, column: str, value: str | None) -> Text:
    """The reason and the remedy in words."""
    shown = "—" if value is None else value if len(value) <= 200 else value[:200] + "…"
    about_values = {
        "no_customer": say("There is no customer number. Enter it, or leave the row out."),
        "missing_value": say("Column '{column}' is empty. Enter the value.", column=column),
        "bad_date": say(
            "'{value}' in column '{column}' is no date of the calendar. Write it as 2026-01-31.",
            value=shown,
            column=column,
        ),
        "placeholder_date": say(
            "'{value}' in column '{column}' is what programs write when there is no date. Enter the true one.",
            value=shown,
            column=column,
        ),
        "from_future": say(
            "'{value}' in column '{column}' lies in the future. Correct the date, or add the row later.",
            value=shown,
            column=column,
        ),
        "bad_number": say(
            "'{value}' in column '{column}' is no number. Write it as 1234.50.", value=shown, column=column
        ),
        "bad_recommendation": say(
            "'{value}' in column '{column}' is no answer from 0 to 10, which is what NPS asks for. Correct it, or "
            "leave the row out.",
            value=shown,
            column=column,
        ),
        "bad_boolean": say(
            "'{value}' in column '{column}' is neither yes nor no. Write yes or no.",
            value=shown,
            column=column,
        ),
        "unknown_channel": say(
            "'{value}' in column '{column}' is no channel. Use email, sms, push, wechat, call, mail, web or ad.",
            value=shown,
            column=column,
        ),
        "unknown_purpose": say(
            "'{value}' in column '{column}' is no purpose. Use marketing or service.",
            value=shown,
            column=column,
        ),
        "duplicate_line": say(
            "The row stands in the file already, with the same quantity. If both are meant: --duplicates keep."
        ),
        "duplicate_key": say(
            "'{value}' in column '{column}' stands in an earlier row already; the first one counts.",
            value=shown,
            column=column,
        ),
    }
    return {**_ABOUT_LINES, **about_values, **_list_formula_reasons(column, shown)}[reason]


def _list_formula_reasons(column: str, shown: str) -> dict[str, Text]:
    return {
        "formula_error": say(
            "The formula in column '{column}' failed ({value}). Correct it in the workbook, or type the value.",
            value=shown,
            column=column,
        ),
        "formula_unsaved": say(
            "Column '{column}' holds a formula whose result was not saved. Open the workbook in Excel or WPS, save it "
            "there, and add it again; or type the value.",
            column=column,
        ),
    }


@dataclass
class Rejected:
    """The rejects of one load, batch by batch; ``reasons`` counts them as they are read."""

    scratch: Scratch
    parsed: Parsed
    run_id: str
    settled: frozenset[str] = frozenset()
    """Ids of rejects that were repaired and taken in before: they are counted, but do not come back."""
    reasons: dict[str, int] = field(default_factory=dict)

    def read(self) -> Iterator[pa.RecordBatch]:
        """Rows of ``rejects``; equal rows have ids of their own by their occurrence."""
        _gather(self.scratch, self.parsed)
        explain = lru_cache(maxsize=10_000)(_pack_message)
        bound = {"source": self.parsed.name, "file": self.parsed.source.file, "run": self.run_id}
        for batch in self.scratch.stream(_SELECT, bound):
            data = pa.Table.from_batches([batch])
            for reason in data["reason"].to_pylist():
                self.reasons[reason] = self.reasons.get(reason, 0) + 1
            if self.settled:
                known = pa.array(sorted(self.settled), pa.string())
                data = data.filter(pc.invert(pc.is_in(data["reject_id"], known)))
            columns = (data[name].to_pylist() for name in ("reason", "column_name", "value"))
            messages = [explain(*told) for told in zip(*columns, strict=True)]
            data = data.append_column("message", pa.array(messages, pa.string()))
            yield from REJECTS.conform(data).to_batches()


_FORMULA_ERRORS = ("#N/A", "#DIV/0!", "#REF!", "#VALUE!", "#NAME?", "#NUM!", "#NULL!", "#SPILL!", "#CALC!")
_FAILED_BY_FORMULA = ("missing_value", "bad_number", "bad_date", "bad_boolean")
"""Reasons behind which a formula that failed may stand; then that is what is told."""


def _pack_message(reason: str, column: str | None, value: str | None) -> str:
    return explain_reject(reason, column or "", value).to_json()


_SELECT = """
    WITH numbered AS (
        SELECT *, row_number() OVER (PARTITION BY content ORDER BY row_number) AS occurrence FROM rejected
    )
    SELECT substr(sha256(content || chr(31) || occurrence), 1, 32) AS reject_id, $source AS source, $file AS file,
        row_number, nullif(column_name, '') AS column_name, value, reason, record, $run AS run_id
    FROM numbered
"""


def _gather(scratch: Scratch, parsed: Parsed) -> None:
    """The scratch table ``rejected``: rows that break a rule, and lines that are no records."""
    source = parsed.source
    pairs = ", ".join(
        f"{literal(column)}, {source.staged(column)}"
        for column in source.columns
        if column not in OWN_COLUMNS
    )
    columns = {match.field: match.column for match in parsed.mapping.matches if match.column}
    cases = {"reason": "", "column_name": "", "value": ""}
    for index, rule in enumerate(parsed.rules):
        column = columns.get(rule.field, "")
        if column and rule.reason in ("no_customer", "missing_value"):
            unsaved = f"{source.staged(column)} = {literal(UNSAVED)}"
            cases["reason"] += f" WHEN rule = {index} AND {unsaved} THEN 'formula_unsaved'"
        if column and rule.reason in _FAILED_BY_FORMULA:
            failed = _find_failed(source.staged(column))
            cases["reason"] += f" WHEN rule = {index} AND {failed} THEN 'formula_error'"
            cases["value"] += f" WHEN rule = {index} AND {failed} THEN {source.staged(column)}"
        cases["reason"] += f" WHEN rule = {index} THEN {literal(rule.reason)}"
        cases["column_name"] += f" WHEN rule = {index} THEN {literal(column)}"
        if column:
            cases["value"] += f" WHEN rule = {index} THEN {source.read(column)}"
    chosen = ", ".join(
        f"{f'CASE{branches} END' if branches else 'CAST(NULL AS VARCHAR)'} AS {name}"
        for name, branches in cases.items()
    )
    scratch.execute("CREATE OR REPLACE TABLE at_fault AS SELECT row_number, rule FROM parsed WHERE rule >= 0")
    scratch.execute(
        f"""
        CREATE OR REPLACE TABLE rejected AS
        WITH united AS (
            SELECT at_fault.row_number, {chosen}, CAST(json_object({pairs}) AS VARCHAR) AS record
            FROM raw JOIN at_fault ON raw.row_number = at_fault.row_number
            UNION ALL
            SELECT row_number, reason, '' AS column_name, CAST(NULL AS VARCHAR) AS value,
                {_record_line(parsed)} AS record
            FROM faults
        )
        SELECT *, $source || chr(31) || reason || chr(31) || column_name || chr(31) || record AS content FROM united
        """,
        {"source": parsed.name},
    )


def _find_failed(staged: str) -> str:
    return f"upper(trim({staged})) IN ({', '.join(literal(error) for error in _FORMULA_ERRORS)})"


def _record_line(parsed: Parsed) -> str:
    """The cells of a line that can be told apart, under their columns, and the line itself."""
    delimiter = parsed.source.delimiter
    if not delimiter:
        return "CAST(json_object('aimwell_line', text) AS VARCHAR)"
    blanks = r"regexp_split_to_array(trim(text), '\s+')"
    cells = blanks if delimiter == " " else f"string_split(text, {literal(delimiter)})"
    pairs = ", ".join(
        f"{literal(column)}, {cells}[{place}]"
        for place, column in enumerate(parsed.source.columns, 1)
        if column not in OWN_COLUMNS
    )
    return f"CAST(json_object({pairs}, 'aimwell_line', text) AS VARCHAR)"


def write_rejects(rows: Iterable[dict[str, Any]], columns: list[str], out: Path) -> int:
    """Write rejects as CSV (UTF-8 with BOM, for Excel) in their source's ``columns`` and four of our own.

    What a spreadsheet would run as a formula is guarded; ``restore_rejects`` takes it back.
    """
    count = 0

    def list_cells() -> Iterator[list[str]]:
        nonlocal count
        for row in rows:
            record = json.loads(row["record"])
            cells = [str(record.get(column) or "") for column in columns]
            message = Text.from_json(row["message"]).render()
            yield [
                *cells,
                row["reject_id"],
                row["column_name"] or "",
                message,
                record.get("aimwell_line", ""),
            ]
            count += 1

    try:
        write_csv(out, [guard_cell(column) for column in (*columns, *OWN_COLUMNS)], list_cells())
    except OSError as error:
        raise BadInput(
            "data.cannot_write",
            say("'{file}' cannot be written: {problem}", file=str(out), problem=error.strerror or ""),
            remedy=say("Choose another folder with --out."),
            where={"file": str(out)},
        ) from error
    return count


def restore_rejects(scratch: Scratch, source: Source) -> Source:
    """``source`` as it is where it was not written by ``write_rejects``; else with its cells as they were before."""
    if _ID not in source.columns:
        return source
    names = [source.staged(column) for column in source.columns]
    cells = ", ".join(f"{restore_sql(name)} AS {name}" for name in names)
    scratch.execute("ALTER VIEW raw RENAME TO guarded")
    scratch.execute(f"CREATE VIEW raw AS SELECT row_number, {cells} FROM guarded")
    columns = tuple(restore_cell(column) for column in source.columns)
    # Blanks that stood behind the guard were not seen when the cells were staged.
    return replace(source, columns=columns, padded=frozenset(names))


_ID = OWN_COLUMNS[0]
