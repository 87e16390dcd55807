"""Quality checks for numbers that people type: rounded, invented or copied values.

Only attributes that measure something are looked at (age, balance, minutes): prices end as shops like, and numbers that
name something are no measurements. Each finding must be unlikely by chance after all tests of a report are counted
(Bonferroni at ``ALPHA``), and must touch a share of rows that matters. Reads ``customers``; writes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from aimwell.core.tables import CUSTOMERS
from aimwell.core.text import say
from aimwell.data.findings import EVERYWHERE, Finding, ask
from aimwell.data.scratch import quote
from aimwell.engine.session import Queryable
from aimwell.stats.heaping import find_digit_p_value, find_heap

ALPHA = 0.01
BASES = (5, 10, 50, 100, 500, 1000)
LEAST_ROWS = 200
_LEAST_DISTINCT = 30
_LEAST_SHARE = 0.02
_NAMING = re.compile(
    r"(^|_|\b)(id|no|code|zip|postcode|year|month|day|date|phone|mobile|index|number)($|_|\b)"
    r"|编号|号码|邮编|年份|月份|日期|电话|手机|代码|工号|卡号",
    re.IGNORECASE,
)
_REPEATED = "|".join(f"{digit}{{3,}}" for digit in range(1, 10))


@dataclass(frozen=True)
class Numbers:
    """Rows of ``column``: whole numbers other than 0, and how often their last digits and neighbours occur."""

    column: str
    rows: int
    counts: dict[str, int]


def find_invented(reader: Queryable) -> Iterator[Finding]:
    """The findings of every check of this module."""
    columns = [numbers for name in _list_measures(reader) if (numbers := _count_numbers(reader, name))]
    level = ALPHA / max(1, len(columns) * (len(BASES) + 2))
    for numbers in columns:
        yield from _judge_numbers(reader, numbers, level)


def _list_measures(reader: Queryable) -> list[str]:
    declared = {column.name.casefold() for column in CUSTOMERS.columns}
    names = reader.query("SELECT * FROM customers LIMIT 0").column_names
    # CamelCase counts as words: LastContactDay is a day.
    spaced = {name: re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name) for name in names}
    return [name for name in names if name.casefold() not in declared and not _NAMING.search(spaced[name])]


def _count_numbers(reader: Queryable, column: str) -> Numbers | None:
    """One pass over a column; None where it does not measure: too few rows or values, words, or a number per row."""
    value = f"TRY_CAST({quote(column)} AS DOUBLE)"
    row = ask(
        reader,
        f"""
        SELECT count({quote(column)}) AS filled, count(DISTINCT number) AS distinct_values,
            count(number) AS numbers, CAST(sum(CASE WHEN number = round(number) THEN 1 ELSE 0 END) AS BIGINT) AS whole
        FROM (SELECT {quote(column)}, {value} AS number FROM customers) AS typed
        """,
    )[0]
    filled = int(row["filled"])
    measures = (
        filled >= LEAST_ROWS
        and row["numbers"] >= 0.95 * filled
        and (row["whole"] or 0) >= 0.95 * filled
        and _LEAST_DISTINCT <= row["distinct_values"] < 0.9 * filled
    )
    if not measures:
        return None
    sums = [
        f"CAST(sum(CASE WHEN {condition} THEN 1 ELSE 0 END) AS BIGINT) AS {quote(name)}"
        for name, condition in _list_conditions()
    ]
    counted = ask(
        reader,
        f"""
        SELECT count(*) AS total, {", ".join(sums)} FROM (
            SELECT CAST({value} AS BIGINT) AS x FROM customers WHERE {value} = round({value}) AND abs({value}) < 1e15
        ) AS whole WHERE x <> 0
        """,
    )[0]
    counts = {name: int(found or 0) for name, found in counted.items()}
    return Numbers(column, counts["total"], counts)


def _list_conditions() -> Iterator[tuple[str, str]]:
    for base in BASES:
        for step in (-2, -1, 0, 1, 2):
            yield f"{base}:{step}", f"(x - ({step})) % {base} = 0 AND x <> {step}"
    for step in (-2, -1, 0, 1, 2):
        yield f"same:{step}", f"regexp_full_match(CAST(abs(x - ({step})) AS VARCHAR), '{_REPEATED}')"
    for digit in range(10):
        yield f"digit:{digit}", f"abs(x) >= 1000 AND abs(x) % 10 = {digit}"


def _judge_numbers(reader: Queryable, numbers: Numbers, level: float) -> Iterator[Finding]:
    heaps = {base: find_heap(*_choose(numbers, str(base))) for base in BASES}
    found = [
        base
        for base, heap in heaps.items()
        if heap.p_value < level and heap.excess >= _LEAST_SHARE * numbers.rows
    ]
    # Of nested bases the finest tells it: who rounds to 10 rounds to 5, too.
    base = max(found, key=lambda one: heaps[one].excess, default=BASES[0])
    yield _report(
        numbers,
        "round_numbers",
        heaps[base].excess if found else 0,
        (f"× {base}",) if found else (),
        lambda affected, total, column: say(
            "Of {total} values of '{column}' about {affected} too many are round: they look estimated.",
            affected=affected,
            total=total,
            column=column,
        ),
    )
    same = find_heap(*_choose(numbers, "same"))
    repeated = same.p_value < level and same.excess >= 0.005 * numbers.rows
    yield _report(
        numbers,
        "repeated_digits",
        same.excess if repeated else 0,
        _show_repeated(reader, numbers.column) if repeated else (),
        lambda affected, total, column: say(
            "Of {total} values of '{column}' about {affected} too many repeat one digit (777): they look invented.",
            affected=affected,
            total=total,
            column=column,
        ),
    )
    digits = [numbers.counts[f"digit:{digit}"] for digit in range(10)]
    uneven = not found and find_digit_p_value(digits) < level and max(digits) > 0.15 * sum(digits)
    yield _report(
        numbers,
        "last_digits",
        round(sum(abs(count - sum(digits) / 10) for count in digits) / 2) if uneven else 0,
        (f"…{digits.index(max(digits))}",) if uneven else (),
        lambda affected, total, column: say(
            "The last digits of '{column}' are not evenly spread: about {affected} of {total} values look invented.",
            affected=affected,
            total=total,
            column=column,
        ),
    )


def _choose(numbers: Numbers, name: str) -> tuple[int, list[int]]:
    return numbers.counts[f"{name}:0"], [numbers.counts[f"{name}:{step}"] for step in (-2, -1, 1, 2)]


def _report(numbers: Numbers, check: str, affected: int, examples: tuple[str, ...], words: Any) -> Finding:
    return Finding(
        EVERYWHERE, "customers", numbers.column, "inaccurate", check, affected, numbers.rows, examples, words,
        _REMEASURE, 0.05, 2.0,
    )  # fmt: skip


_REMEASURE = say("Ask how these values are taken; use them as rough groups until they are measured.")


def _show_repeated(reader: Queryable, column: str) -> tuple[str, ...]:
    rows = ask(
        reader,
        f"""
        SELECT {quote(column)} AS value, count(*) AS rows FROM customers
        WHERE regexp_full_match(CAST({quote(column)} AS VARCHAR), '{_REPEATED}')
        GROUP BY 1 ORDER BY rows DESC, value LIMIT 5
        """,
    )
    return tuple(str(row["value"]) for row in rows)
