"""Rows that could not be taken in: whole, with file, line, column, value, reason and remedy; and out again.

Reads the scratch tables ``parsed`` and ``raw``; its Arrow table goes to ``rejects``. ``write_rejects`` writes a CSV in
the source's own columns, which can be repaired and added again.
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa

from aimwell.core.errors import BadInput
from aimwell.core.tables import REJECTS
from aimwell.core.text import Text, say
from aimwell.data.mapping import OWN_COLUMNS
from aimwell.data.parsing import Parsed, Rule
from aimwell.data.records import Fault
from aimwell.data.scratch import Scratch, literal


def explain_reject(reason: str, column: str, value: str | None) -> Text:
    """The reason and the remedy in words."""
    shown = value if value is not None else "—"
    texts = {
        "no_customer": say("There is no customer number. Enter it, or leave the row out."),
        "missing_value": say("Column '{column}' is empty. Enter the value.", column=column),
        "bad_date": say(
            "'{value}' in column '{column}' is no date of the calendar. Write it as 2026-01-31.",
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
        "bad_boolean": say(
            "'{value}' in column '{column}' is neither yes nor no. Write yes or no.",
            value=shown,
            column=column,
        ),
        "unknown_channel": say(
            "'{value}' in column '{column}' is no channel. Use email, sms, push, call, mail, web or ad.",
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
        "too_few_columns": say("The line has fewer columns than the header. Complete it."),
        "too_many_columns": say(
            "The line has more columns than the header. Put values that contain the delimiter in double quotes."
        ),
        "bad_quote": say("The double quotes of the line do not match. Close or double them."),
        "bad_encoding": say("The line holds bytes that are no characters. Type the damaged words again."),
    }
    return texts[reason]


def collect_rejects(scratch: Scratch, parsed: Parsed, run_id: str) -> pa.Table:
    """One row of ``rejects`` for each row at fault; numbers of equal rows keep their ids apart."""
    rows = [*_read_marked(scratch, parsed), *_read_faults(parsed)]
    seen: dict[str, int] = {}
    built = []
    messages: dict[tuple[str, str, str | None], str] = {}
    for number, rule, column, value, record in rows:
        content = "\x1f".join([parsed.name, rule.reason, column, record])
        seen[content] = seen.get(content, 0) + 1
        message_key = (rule.reason, column, value)
        if message_key not in messages:
            messages[message_key] = explain_reject(rule.reason, column, value).to_json()
        built.append(
            {
                "reject_id": hashlib.sha256(f"{content}\x1f{seen[content]}".encode()).hexdigest()[:32],
                "source": parsed.name,
                "file": parsed.source.file,
                "row_number": number,
                "column_name": column or None,
                "value": value,
                "reason": rule.reason,
                "message": messages[message_key],
                "record": record,
                "run_id": run_id,
            }
        )
    return REJECTS.build(built)


def write_rejects(rows: Iterable[dict[str, Any]], columns: list[str], out: Path) -> int:
    """Write rejects as CSV (UTF-8 with BOM, for Excel) in their source's ``columns`` and four of our own."""
    count = 0
    try:
        with out.open("w", encoding="utf-8-sig", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow([*columns, *OWN_COLUMNS])
            for row in rows:
                record = json.loads(row["record"])
                line = record.get("aimwell_line", "")
                cells = [record.get(column) or "" for column in columns]
                message = Text.from_json(row["message"]).render()
                writer.writerow([*cells, row["reject_id"], row["column_name"] or "", message, line])
                count += 1
    except OSError as error:
        raise BadInput(
            "data.cannot_write",
            say("'{file}' cannot be written: {problem}", file=str(out), problem=error.strerror or ""),
            remedy=say("Choose another folder with --out."),
            where={"file": str(out)},
        ) from error
    return count


def _read_marked(scratch: Scratch, parsed: Parsed) -> list[tuple[int, Rule, str, str | None, str]]:
    source, mapping = parsed.source, parsed.mapping
    pairs = ", ".join(
        f"{literal(column)}, {source.staged(column)}"
        for column in source.columns
        if column not in OWN_COLUMNS
    )
    columns = {match.field: match.column for match in mapping.matches if match.column}
    value = " ".join(
        f"WHEN rule = {index} THEN {source.read(columns[rule.field])}"
        for index, rule in enumerate(parsed.rules)
        if rule.field in columns
    )
    found = scratch.query(
        f"""
        SELECT parsed.row_number AS number, rule, {f"CASE {value} END" if value else "CAST(NULL AS VARCHAR)"} AS value,
            CAST(json_object({pairs}) AS VARCHAR) AS record
        FROM parsed JOIN raw ON raw.row_number = parsed.row_number
        WHERE rule >= 0 ORDER BY parsed.row_number
        """
    )
    rows = []
    for number, index, text, record in zip(*(column.to_pylist() for column in found.columns), strict=True):
        rule = parsed.rules[index]
        rows.append((number, rule, columns.get(rule.field, ""), text, record))
    return rows


def _read_faults(parsed: Parsed) -> list[tuple[int, Rule, str, str | None, str]]:
    return [
        (fault.row_number, Rule(fault.reason, ""), "", None, _record_fault(parsed, fault))
        for fault in parsed.source.faults
    ]


def _record_fault(parsed: Parsed, fault: Fault) -> str:
    """The cells that can be told apart, under their columns, and the line itself."""
    delimiter = parsed.source.delimiter
    cells = fault.text.split() if delimiter == " " else fault.text.split(delimiter)
    record = dict(zip(parsed.source.columns, cells, strict=False))
    return json.dumps({**record, "aimwell_line": fault.text}, ensure_ascii=False)
