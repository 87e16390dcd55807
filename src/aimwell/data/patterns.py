"""Quality checks that look beyond single rows: short history, heaping, shared contacts, consents, files.

Reads ``order_lines``, ``customers``, ``consents`` and ``sources``; writes nothing.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Iterator
from typing import Any

from aimwell.core.text import say
from aimwell.data.findings import EVERYWHERE, Finding, ask, delivered
from aimwell.engine.session import Queryable


def find_patterns(reader: Queryable) -> Iterator[Finding]:
    """The findings of every check of this module."""
    yield from _find_short_history(reader)
    yield from _find_heaping(reader)
    yield from _find_shared_contacts(reader)
    yield from _find_missing_consents(reader)
    yield from _find_file_traits(reader)


def _find_short_history(reader: Queryable) -> Iterator[Finding]:
    """Models that tell regular from lost customers want a year: less is named."""
    counted = ask(
        reader,
        "SELECT count(*) AS lines, date_diff('day', min(ordered_on), max(ordered_on)) + 1 AS days "
        f"FROM {delivered('order_lines')}",
    )[0]
    if counted["lines"]:
        days = int(counted["days"])
        yield Finding(
            EVERYWHERE,
            "order_lines",
            "ordered_on",
            "partial",
            "short_history",
            max(0, 365 - days),
            365,
            (),
            lambda affected, total, column: say(
                "{affected} of the {total} days that show a whole year of seasons are missing.",
                affected=affected,
                total=total,
            ),
            say("Deliver older orders as well."),
            0.5,
            2.0,
        )


def _find_heaping(reader: Queryable) -> Iterator[Finding]:
    for column, value in (
        ("ordered_hour", "ordered_hour"),
        ("ordered_on", "CAST(extract(day FROM ordered_on) AS BIGINT)"),
    ):
        counted = ask(
            reader,
            f"""
            WITH heaps AS (
                SELECT source, {value} AS heap, count(*) AS lines FROM {delivered("order_lines")}
                WHERE {column} IS NOT NULL GROUP BY source, {value}
            )
            SELECT source, CAST(max(lines) AS BIGINT) AS largest, CAST(sum(lines) AS BIGINT) AS total,
                CAST(arg_max(heap, lines) AS VARCHAR) AS heap
            FROM heaps GROUP BY source ORDER BY source
            """,
        )
        for row in counted:
            heaped = row["largest"] > 0.3 * row["total"] and row["total"] >= 100
            yield Finding(
                row["source"],
                "order_lines",
                column,
                "inaccurate",
                "heaping",
                int(row["largest"]) if heaped else 0,
                int(row["total"]),
                (str(row["heap"]),) if heaped else (),
                lambda affected, total, column: say(
                    "{affected} of {total} order lines share one value of '{column}' (hour, or day of the month).",
                    affected=affected,
                    total=total,
                    column=column,
                ),
                say("Check whether the time is that of a booking run rather than of the purchase."),
                0.3,
                2.0,
            )


def _find_shared_contacts(reader: Queryable) -> Iterator[Finding]:
    for column in ("email", "phone"):
        row = ask(
            reader,
            f"""
            WITH shared AS (
                SELECT {column} AS contact, count(*) AS customers FROM customers
                WHERE {column} IS NOT NULL GROUP BY {column}
            )
            SELECT CAST(coalesce(sum(customers), 0) AS BIGINT) AS total,
                CAST(coalesce(sum(CASE WHEN customers > 1 THEN customers ELSE 0 END), 0) AS BIGINT) AS affected
            FROM shared
            """,
        )[0]
        if row["total"]:
            # The contact itself is personal data: no example is kept.
            yield Finding(
                EVERYWHERE,
                "customers",
                column,
                "inaccurate",
                "shared_contact",
                int(row["affected"]),
                int(row["total"]),
                (),
                lambda affected, total, column: say(
                    "{affected} of {total} customers share their '{column}' with another customer.",
                    affected=affected,
                    total=total,
                    column=column,
                ),
                say("They may be one person under two numbers: merge them at the source."),
                0.05,
                2.0,
            )


def _find_missing_consents(reader: Queryable) -> Iterator[Finding]:
    row = ask(
        reader,
        """
        SELECT count(*) AS total,
            CAST(coalesce(sum(CASE WHEN customer_id IN (SELECT customer_id FROM consents) THEN 0 ELSE 1
            END), 0) AS BIGINT)
                AS affected,
            min(CASE WHEN customer_id IN (SELECT customer_id FROM consents) THEN NULL ELSE customer_id END) AS example
        FROM customers
        """,
    )[0]
    if row["total"]:
        yield Finding(
            EVERYWHERE,
            "consents",
            "customer_id",
            "unusable",
            "no_consent",
            int(row["affected"]),
            int(row["total"]),
            _only(row["example"]),
            lambda affected, total, column: say(
                "Of {affected} of {total} customers no consent is known.", affected=affected, total=total
            ),
            say("Deliver consents: aimwell data add FILE --as consents"),
            0.05,
            2.0,
        )


def _was_guessed(encoding: str) -> bool:
    """Whether it names a rule for characters other than UTF-8; workbooks, Parquet and databases have none."""
    try:
        codec = codecs.lookup(encoding.removeprefix("json, ")).name
    except LookupError:
        return False
    return codec not in ("utf-8", "utf-8-sig")


def _find_file_traits(reader: Queryable) -> Iterator[Finding]:
    """What was seen while the files were read: encoding, copies, amounts that contradict price × quantity."""
    for row in ask(reader, "SELECT * FROM sources WHERE file <> '' ORDER BY source, table_name, file"):
        reading: dict[str, Any] = json.loads(row["reading"])
        rows = max(1, int(row["rows"]))
        source, table, file = f"{row['source']}", row["table_name"], row["file"]
        damaged = _was_guessed(row["encoding"])
        yield Finding(
            source,
            table,
            file,
            "unusable",
            "encoding",
            rows if damaged else 0,
            rows,
            (str(row["encoding"]),),
            lambda affected, total, column: say(
                "The characters of '{column}' were read by a rule that had to be guessed.", column=column
            ),
            say("Save the file as 'CSV UTF-8' so that nothing has to be guessed."),
            2.0,
            3.0,
        )
        identical = int(reading.get("identical", 0))
        yield Finding(
            source,
            table,
            file,
            "inaccurate",
            "identical_lines",
            identical,
            rows,
            (),
            lambda affected, total, column: say(
                "{affected} of {total} rows equal an earlier row and were kept as further units.",
                affected=affected,
                total=total,
            ),
            say("Nothing to do when one row is one unit; otherwise deliver a quantity."),
            0.1,
            2.0,
        )
        if "contradicting" in reading:
            yield _find_contradictions(source, table, file, rows, reading)


def _only(value: str | None) -> tuple[str, ...]:
    return (str(value),) if value is not None else ()


def _find_contradictions(source: str, table: str, file: str, rows: int, reading: dict[str, Any]) -> Finding:
    return Finding(
        source,
        table,
        "revenue",
        "inaccurate",
        "amount_is_not_price_times_quantity",
        int(reading["contradicting"]),
        rows,
        tuple(reading.get("contradicting_examples", ())),
        lambda affected, total, column: say(
            "In {affected} of {total} rows the amount is not quantity × unit price.",
            affected=affected,
            total=total,
        ),
        say("Check whether the amount is after discounts; it is what counts."),
        0.02,
        2.0,
        about=file,
    )
