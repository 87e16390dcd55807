"""Rows that say the same thing twice.

An order line that stands twice with its quantity is a copy; where a file has no quantity, two identical lines are
two units. Keys (customers, products, given event numbers, consents) stand once: the first row counts. Reads and
updates the scratch table ``parsed``.
"""

from __future__ import annotations

from typing import Literal

from aimwell.core.errors import BadInput
from aimwell.core.text import say
from aimwell.data.mapping import OWN_COLUMNS
from aimwell.data.parsing import Parsed, Rule
from aimwell.data.repeats import collect_repeated
from aimwell.data.scratch import Scratch

Choice = Literal["reject", "keep"]
_KEYS = {
    "customers": ("customer_id",),
    "products": ("product_id",),
    "events": ("event_id",),
    "consents": ("customer_id", "channel", "purpose", "since"),
    "signals": ("signal_id",),
}


def check_choice(value: str | None) -> Choice | None:
    """``value`` when it is keep or reject; BadInput otherwise."""
    if value is None or value == "keep" or value == "reject":
        return value  # type: ignore[return-value]
    raise BadInput(
        "data.unknown_duplicates",
        say("What to do with duplicates, '{value}', is not known.", value=value),
        remedy=say("Use --duplicates reject or --duplicates keep."),
        where={"value": value},
    )


def mark_duplicates(scratch: Scratch, parsed: Parsed, choice: Choice | None = None) -> Parsed:
    """``parsed`` with the rule that copies break; the rows that break it are marked."""
    mapping = parsed.mapping
    if mapping.table == "order_lines":
        if choice == "keep" or (choice is None and not mapping.has("quantity")):
            return parsed
        return _mark(scratch, parsed, _read_whole(scratch, parsed), "content", Rule("duplicate_line", ""))
    keys = [key for key in _KEYS[mapping.table] if mapping.has(key)]
    if not keys:
        return parsed
    _collect(scratch, ", ".join(keys))
    return _mark(scratch, parsed, "candidates", ", ".join(keys), Rule("duplicate_key", keys[0]))


def count_identical(scratch: Scratch, parsed: Parsed) -> int:
    """Accepted rows that are copies of an earlier accepted row."""
    if any(rule.reason == "duplicate_line" for rule in parsed.rules):
        return 0
    return int(
        scratch.rows(
            """
            WITH counted AS (SELECT raw_key, count(*) AS copies FROM parsed WHERE rule IS NULL GROUP BY raw_key)
            SELECT CAST(coalesce(sum(copies - 1), 0) AS BIGINT) AS copies FROM counted
            """
        )[0]["copies"]
    )


def _collect(scratch: Scratch, key: str) -> None:
    """The table ``candidates``: accepted rows whose ``key`` comes more than once, or shares its hash by chance."""
    collect_repeated(scratch, "repeated", f"SELECT hash({key}) AS hashed FROM parsed WHERE rule IS NULL")
    scratch.execute(
        f"""
        CREATE OR REPLACE TABLE candidates AS
        SELECT row_number, {key} FROM parsed WHERE rule IS NULL AND hash({key}) IN (SELECT hashed FROM repeated)
        """
    )


def _read_whole(scratch: Scratch, parsed: Parsed) -> str:
    """The table of rows that may be copies, with their whole ``content``: two rows may share a hash by chance."""
    _collect(scratch, "raw_key")
    source = parsed.source
    cells = ", ".join(source.staged(column) for column in source.columns if column not in OWN_COLUMNS)
    if not scratch.rows("SELECT count(*) AS rows FROM candidates")[0]["rows"]:
        return "(SELECT row_number, CAST(raw_key AS VARCHAR) AS content FROM candidates)"
    scratch.execute(
        f"""
        CREATE OR REPLACE TABLE whole AS
        SELECT candidates.row_number, md5_number(concat_ws(chr(31), {cells})) AS content
        FROM raw JOIN candidates ON candidates.row_number = raw.row_number
        """
    )
    return "whole"


def _mark(scratch: Scratch, parsed: Parsed, candidates: str, key: str, rule: Rule) -> Parsed:
    # Numbering every row would cost seconds for a million: only those of repeated keys are numbered.
    scratch.execute(
        f"""
        CREATE OR REPLACE TABLE copies AS
        WITH numbered AS (
            SELECT row_number, row_number() OVER (PARTITION BY {key} ORDER BY row_number) AS occurrence
            FROM {candidates}
        )
        SELECT row_number FROM numbered WHERE occurrence > 1
        """
    )
    if scratch.rows("SELECT count(*) AS rows FROM copies")[0]["rows"]:
        scratch.execute(
            "UPDATE parsed SET rule = $rule WHERE row_number IN (SELECT row_number FROM copies)",
            {"rule": len(parsed.rules)},
        )
    return Parsed(
        parsed.source,
        mapping=parsed.mapping,
        name=parsed.name,
        rules=(*parsed.rules, rule),
        dates=parsed.dates,
        notices=parsed.notices,
    )
