"""The quality report: every check of every source and column, filed under one of the four walls.

Reads ``customers``, ``products``, ``order_lines``, ``events``, ``consents``, ``sources`` and
``rejects``; its Arrow table
goes to ``quality``. It is a function of those tables alone, so it can be recomputed at any time. What the market
simulator made is left out: it was never delivered.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from aimwell.core.tables import CUSTOMERS, QUALITY
from aimwell.core.text import Text, say
from aimwell.core.time import now
from aimwell.data.checks import ROW_CHECKS, RowCheck, Wall, Words
from aimwell.data.findings import EVERYWHERE, Finding, ask, delivered, draw_share
from aimwell.data.patterns import find_patterns
from aimwell.data.quality_copies import find_copies
from aimwell.data.quality_drift import Figures, Key, find_drift, read_figures, read_history
from aimwell.data.quality_history import build_snapshot
from aimwell.data.quality_numbers import find_invented
from aimwell.data.quality_orders import find_order_traits
from aimwell.data.quality_placeholders import find_placeholders
from aimwell.data.quality_time import find_absences
from aimwell.data.quality_zeros import find_lost_zeros
from aimwell.data.scratch import literal, quote
from aimwell.engine.session import Queryable
from aimwell.engine.workspace import Run

TABLES = ("customers", "products", "order_lines", "events", "consents")


def write_quality(run: Run) -> None:
    """Assess everything once more; after a load also keep a snapshot, by which the next load is judged."""
    before = read_history(run)
    figures = read_figures(run, before)
    quality = _assess(run, before, figures)
    run.replace("quality", quality)
    newest = ask(
        run,
        """
        SELECT (SELECT max(loaded_at) FROM sources) AS loaded, (SELECT max(checked_at) FROM quality_history) AS checked
        """,
    )[0]
    if newest["loaded"] is not None and (newest["checked"] is None or newest["checked"] < newest["loaded"]):
        run.append("quality_history", build_snapshot(quality, figures, at=now(), run_id=run.id))


def _assess(run: Run, before: dict[Key, Figures], figures: dict[Key, Figures]) -> pa.Table:
    reader: Queryable = run
    findings = [
        *_check_rows(reader),
        *_check_missing_tables(reader),
        *_check_attributes(reader),
        *_check_rejects(reader),
        *find_patterns(reader),
        *find_order_traits(run),
        *find_absences(reader),
        *find_lost_zeros(reader),
        *find_invented(reader),
        *find_placeholders(reader),
        *find_copies(reader),
        *find_drift(reader, before, figures),
    ]
    return QUALITY.build([finding.to_row(run.id) for finding in findings])


def _check_rows(reader: Queryable) -> Iterator[Finding]:
    there = {table for table in TABLES if ask(reader, f"SELECT 1 AS found FROM {delivered(table)} LIMIT 1")}
    for table in TABLES:
        checks = [check for check in ROW_CHECKS if check.table == table and check.against in (None, *there)]
        if checks:
            yield from _check_table(reader, table, checks)


def _check_table(reader: Queryable, table: str, checks: list[RowCheck]) -> Iterator[Finding]:
    rows = _prepare_rows(reader, table)
    sums = ", ".join(
        f"CAST(sum(CASE WHEN {check.condition} THEN 1 ELSE 0 END) AS BIGINT) AS failed_{number}"
        for number, check in enumerate(checks)
    )
    for counted in ask(
        reader,
        f"{rows} SELECT source, count(*) AS total, {sums} FROM checked GROUP BY source ORDER BY source",
    ):
        for number, check in enumerate(checks):
            affected = int(counted[f"failed_{number}"])
            missing = check.name == "missing_values" and affected == counted["total"]
            shown = affected and not missing
            examples = _find_examples(reader, rows, check, counted["source"]) if shown else ()
            yield Finding(
                counted["source"],
                table,
                check.column,
                "unavailable" if missing else check.wall,
                check.name,
                affected,
                int(counted["total"]),
                examples,
                check.finding,
                check.remedy,
                check.warning,
                check.error,
            )


def _prepare_rows(reader: Queryable, table: str) -> str:
    """``checked``: the rows, with the limits of what is no outlier beside order lines."""
    if table != "order_lines":
        return f"WITH checked AS (SELECT * FROM {delivered(table)})"
    limits = ask(
        reader,
        f"""
        SELECT source, 20 * approx_quantile(abs(CAST(revenue AS DOUBLE)), 0.99) AS revenue_limit,
            20 * approx_quantile(abs(quantity), 0.99) AS quantity_limit
        FROM {delivered("order_lines")} WHERE {draw_share(reader, "order_lines")} GROUP BY source
        """,
    )
    columns = ", ".join(_choose_limit(limits, name) for name in ("revenue_limit", "quantity_limit"))
    return f"WITH checked AS (SELECT *, {columns} FROM {delivered('order_lines')})"


def _choose_limit(limits: list[dict[str, Any]], name: str) -> str:
    """The limit of a row's source as a constant: a join of every line would cost more than all checks."""
    branches = " ".join(
        f"WHEN {literal(row['source'])} THEN CAST({float(row[name])!r} AS DOUBLE)"
        for row in limits
        if row[name] is not None
    )
    return f"{f'CASE source {branches} END' if branches else 'CAST(NULL AS DOUBLE)'} AS {name}"


def _find_examples(reader: Queryable, rows: str, check: RowCheck, source: str) -> tuple[str, ...]:
    found = ask(
        reader,
        f"""{rows}
        SELECT DISTINCT CAST({check.example} AS VARCHAR) AS example FROM checked
        WHERE source = $source AND {check.condition} ORDER BY example LIMIT 5
        """,
        {"source": source},
    )
    return tuple(row["example"] for row in found if row["example"] is not None)


def _check_missing_tables(reader: Queryable) -> Iterator[Finding]:
    for table in TABLES:
        rows = ask(reader, f"SELECT count(*) AS rows FROM {delivered(table)}")[0]["rows"]
        yield Finding(
            EVERYWHERE,
            table,
            None,
            "unavailable",
            "missing_table",
            int(rows == 0),
            1,
            (),
            _tell_table,
            say("Add a file: aimwell data add FILE --as {table}", table=table),
            0.5,
            2.0 if table != "order_lines" else 0.5,
        )


def _tell_table(affected: int, total: int, column: str) -> Text:
    return say("Nothing was delivered for this table.") if affected else say("The table is there.")


def _tell_attribute(affected: int, total: int, column: str) -> Text:
    if not column:
        return say(
            "Of {affected} of {total} customers no attribute is known.", affected=affected, total=total
        )
    return say(
        "{affected} of {total} customers have no value in '{column}'.",
        affected=affected,
        total=total,
        column=column,
    )


def _check_attributes(reader: Queryable) -> Iterator[Finding]:
    """Delivered attributes, column by column, and the customers of whom nothing is known."""
    declared = {column.name for column in CUSTOMERS.columns}
    columns = [
        name for name in reader.query("SELECT * FROM customers LIMIT 0").column_names if name not in declared
    ]
    known = [f"{quote(name)} IS NOT NULL" for name in [*columns, "region"]]
    sums = ", ".join(
        f"CAST(sum(CASE WHEN {condition} THEN 0 ELSE 1 END) AS BIGINT) AS missing_{number}"
        for number, condition in enumerate([*known, f"({' OR '.join(known)})"])
    )
    counted = ask(reader, f"SELECT count(*) AS total, {sums} FROM customers")[0]
    if not counted["total"]:
        return
    for number, name in enumerate([*columns, "region", None]):
        if name == "region" and counted[f"missing_{number}"] == counted["total"]:
            # Nobody delivers it: that is no gap in what was delivered.
            continue
        yield Finding(
            EVERYWHERE,
            "customers",
            name,
            "partial",
            "attribute_coverage" if name else "no_attributes",
            int(counted[f"missing_{number}"]),
            int(counted["total"]),
            (),
            _tell_attribute,
            say("Deliver the attributes of these customers, or use tags from their behaviour instead."),
            0.5,
            2.0,
        )


_REJECT_WALLS: dict[str, Wall] = {
    "no_customer": "unusable",
    "data.event_without_person": "unusable",
    "data.event_no_json": "unusable",
    "bad_quote": "unusable",
    "bad_encoding": "unusable",
    "too_few_columns": "unusable",
    "too_many_columns": "unusable",
    "nul_byte": "unusable",
    "cell_too_long": "unusable",
    "bad_json": "unusable",
    "formula_error": "partial",
    "formula_unsaved": "partial",
    "missing_value": "partial",
}


def _check_rejects(reader: Queryable) -> Iterator[Finding]:
    totals = {
        row["source"]: (row["table_name"], int(row["rows"]))
        for row in ask(
            reader,
            "SELECT source, min(table_name) AS table_name, CAST(sum(rows) AS BIGINT) AS rows FROM "
            "sources GROUP BY source",
        )
    }
    counted = ask(
        reader,
        """
        SELECT source, column_name, reason, count(*) AS affected, min(value) AS least, max(value) AS greatest,
            min(row_number) AS first_row
        FROM rejects GROUP BY source, column_name, reason ORDER BY source, reason, column_name
        """,
    )
    for row in counted:
        table, total = totals.get(row["source"], ("order_lines", int(row["affected"])))
        shown = [row["least"], row["greatest"]] if row["least"] != row["greatest"] else [row["least"]]
        examples = [value for value in shown if value is not None] or [str(row["first_row"])]
        yield Finding(
            row["source"],
            table,
            row["column_name"],
            _REJECT_WALLS.get(row["reason"], "inaccurate"),
            f"rejected_{row['reason']}",
            int(row["affected"]),
            max(total, int(row["affected"])),
            tuple(examples),
            _REASONS.get(row["reason"], _word_any_reason),
            say("See the rows with: aimwell data rejects --out FILE.csv; repair them and add that file."),
            0.01,
            0.5,
        )


def _word_any_reason(affected: int, total: int, column: str) -> Text:
    """For the many reasons of events, which ``data rejects`` tells row by row."""
    if column:
        return say(
            "{affected} of {total} rows were set aside: '{column}' cannot be used as it is.",
            affected=affected,
            total=total,
            column=column,
        )
    return say(
        "{affected} of {total} rows were set aside: they cannot be used as they are.",
        affected=affected,
        total=total,
    )


_REASONS: dict[str, Words] = {
    "data.event_without_person": lambda affected, total, column: say(
        "{affected} of {total} rows were set aside: no customer number.", affected=affected, total=total
    ),
    "data.event_no_json": lambda affected, total, column: say(
        "{affected} of {total} rows were set aside: lines that are no JSON.", affected=affected, total=total
    ),
    "no_customer": lambda affected, total, column: say(
        "{affected} of {total} rows were set aside: no customer number.", affected=affected, total=total
    ),
    "missing_value": lambda affected, total, column: say(
        "{affected} of {total} rows were set aside: '{column}' is empty.",
        affected=affected,
        total=total,
        column=column,
    ),
    "bad_date": lambda affected, total, column: say(
        "{affected} of {total} rows were set aside: '{column}' is no date.",
        affected=affected,
        total=total,
        column=column,
    ),
    "placeholder_date": lambda affected, total, column: say(
        "{affected} of {total} rows were set aside: '{column}' holds a day that stands for no date.",
        affected=affected,
        total=total,
        column=column,
    ),
    "from_future": lambda affected, total, column: say(
        "{affected} of {total} rows were set aside: '{column}' lies in the future.",
        affected=affected,
        total=total,
        column=column,
    ),
    "bad_number": lambda affected, total, column: say(
        "{affected} of {total} rows were set aside: '{column}' is no number.",
        affected=affected,
        total=total,
        column=column,
    ),
    "bad_recommendation": lambda affected, total, column: say(
        "{affected} of {total} rows were set aside: '{column}' is no answer from 0 to 10.",
        affected=affected,
        total=total,
        column=column,
    ),
    "bad_boolean": lambda affected, total, column: say(
        "{affected} of {total} rows were set aside: '{column}' is neither yes nor no.",
        affected=affected,
        total=total,
        column=column,
    ),
    "unknown_channel": lambda affected, total, column: say(
        "{affected} of {total} rows were set aside: '{column}' is no channel.",
        affected=affected,
        total=total,
        column=column,
    ),
    "unknown_purpose": lambda affected, total, column: say(
        "{affected} of {total} rows were set aside: '{column}' is no purpose.",
        affected=affected,
        total=total,
        column=column,
    ),
    "duplicate_line": lambda affected, total, column: say(
        "{affected} of {total} rows were set aside: copies of an earlier row.", affected=affected, total=total
    ),
    "duplicate_key": lambda affected, total, column: say(
        "{affected} of {total} rows were set aside: '{column}' stands in an earlier row.",
        affected=affected,
        total=total,
        column=column,
    ),
    "too_few_columns": lambda affected, total, column: say(
        "{affected} of {total} rows were set aside: too few columns.", affected=affected, total=total
    ),
    "too_many_columns": lambda affected, total, column: say(
        "{affected} of {total} rows were set aside: too many columns.", affected=affected, total=total
    ),
    "bad_quote": lambda affected, total, column: say(
        "{affected} of {total} rows were set aside: quotes that do not match.", affected=affected, total=total
    ),
    "bad_encoding": lambda affected, total, column: say(
        "{affected} of {total} rows were set aside: bytes that are no characters.",
        affected=affected,
        total=total,
    ),
    "nul_byte": lambda affected, total, column: say(
        "{affected} of {total} rows were set aside: they hold NUL bytes.", affected=affected, total=total
    ),
    "cell_too_long": lambda affected, total, column: say(
        "{affected} of {total} rows were set aside: a cell is too long.", affected=affected, total=total
    ),
    "bad_json": lambda affected, total, column: say(
        "{affected} of {total} rows were set aside: lines that are no JSON.", affected=affected, total=total
    ),
    "formula_error": lambda affected, total, column: say(
        "{affected} of {total} rows were set aside: a formula in '{column}' failed.",
        affected=affected,
        total=total,
        column=column,
    ),
    "formula_unsaved": lambda affected, total, column: say(
        "{affected} of {total} rows were set aside: the result of a formula in '{column}' was not saved.",
        affected=affected,
        total=total,
        column=column,
    ),
}
