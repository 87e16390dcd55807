"""Whether a column of dates puts the day or the month first: decided over the whole column, and said. And the days that
programs write when they know none.

Reads the staged table ``raw``; writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Literal

from aimwell.core.errors import BadInput
from aimwell.core.text import Text, say
from aimwell.data.expressions import tidy_instant
from aimwell.data.scratch import Scratch

Order = Literal["day-first", "month-first"]
_EPOCH = r"^\d{9,10}(\.\d+)?$"
_TIMED = rf"\d:\d|[时点]|^\d{{12}}|{_EPOCH}|^\d{{5}}\.\d"
_ZONED = rf"{_EPOCH}|^\d{{13}}$|:\d\d.*([zZ]|[-+]\d\d:?\d\d|[-+]\d\d)$"
_PLAIN = (
    "CASE strlen({text}) WHEN 19 THEN {text} LIKE '____-__-__ __:__:__' OR {text} LIKE '____-__-__T__:__:__' "
    "OR {text} LIKE '____/__/__ __:__:__' WHEN 10 THEN {text} LIKE '____-__-__' OR {text} LIKE '____/__/__' "
    "ELSE false END"
)
"""Dates of one form that decide nothing, and hold no zone: they need not be told apart."""
_EMPTY, _DAY, _MOMENT = 0, 10, 19
ORDERS: tuple[Order, ...] = ("day-first", "month-first")
PLACEHOLDER_DAYS = (
    date(1, 1, 1),
    date(1601, 1, 1),
    date(1753, 1, 1),
    date(1899, 12, 30),
    date(1899, 12, 31),
    date(1900, 1, 1),
    date(1904, 1, 1),
    date(1969, 12, 31),
    date(1970, 1, 1),
    date(9999, 12, 31),
)
"""What stands where there is no date: the first day of .NET, of Windows, of SQL Server, of Excel (as databases and as
Excel read its 0 and 1, and on a Mac), of Unix (west of Greenwich and east), and the last day that can be written."""


@dataclass(frozen=True)
class DatePlan:
    """How the dates of one column are read. ``timed``: some value has a time of day."""

    column: str
    day_first: bool
    decided: bool
    timed: bool
    zoned: bool
    plain: bool = False
    """Every value has the form that DuckDB reads by itself: 2026-01-31, 2026/01/31, with or without a time."""

    def tell(self) -> Text | None:
        """The decision in words; None where no decision was needed."""
        if not self.decided:
            return None
        if self.day_first:
            return say("The dates in column '{column}' put the day first.", column=self.column)
        return say("The dates in column '{column}' put the month first.", column=self.column)


def plan_dates(
    scratch: Scratch, value: str, staged: str, column: str, *, file: str, order: Order | None = None
) -> DatePlan:
    """Decide the order of day and month of ``value`` (SQL over ``raw``: the cleaned text of ``staged``).

    BadInput ``data.ambiguous_dates`` when the column cannot tell, ``data.mixed_dates`` when it holds both orders.
    """
    forms = _count_forms(scratch, staged)
    if forms <= {_EMPTY, _DAY, _MOMENT}:
        return DatePlan(column, order == "day-first", False, _MOMENT in forms, False, plain=True)
    facts = scratch.rows(
        rf"""
        WITH cleaned AS (SELECT DISTINCT {value} AS text FROM raw WHERE NOT ({_PLAIN.format(text=staged)})),
        parts AS (
            SELECT text, CASE WHEN regexp_matches(text, '^\d{{4}}[-/]') THEN NULL
                ELSE {tidy_instant("text")} END AS tidy
            FROM cleaned WHERE text IS NOT NULL
        ),
        plain AS (SELECT max(length({staged})) > 10 AS timed FROM raw WHERE {_PLAIN.format(text=staged)}),
        numbers AS (
            SELECT text,
                TRY_CAST(regexp_extract(tidy, '^(\d{{1,2}})-(\d{{1,2}})-\d{{2,4}}', 1) AS INTEGER) AS first,
                TRY_CAST(regexp_extract(tidy, '^(\d{{1,2}})-(\d{{1,2}})-\d{{2,4}}', 2) AS INTEGER) AS second
            FROM parts
        )
        SELECT
            count(first) AS short,
            coalesce(sum(CASE WHEN first > 12 AND second <= 12 THEN 1 ELSE 0 END), 0) AS day_first,
            coalesce(sum(CASE WHEN second > 12 AND first <= 12 THEN 1 ELSE 0 END), 0) AS month_first,
            coalesce(sum(CASE WHEN first <= 12 AND second <= 12 AND first <> second THEN 1 ELSE 0 END), 0) AS open,
            coalesce(bool_or(regexp_matches(text, '{_TIMED}')), false) OR coalesce(any_value(plain.timed), false)
                AS timed,
            coalesce(bool_or(regexp_matches(text, '{_ZONED}')), false)
                AS zoned,
            min(CASE WHEN first <= 12 AND second <= 12 AND first <> second THEN text END) AS example,
            min(CASE WHEN first > 12 AND second <= 12 THEN text END) AS with_day_first,
            min(CASE WHEN second > 12 AND first <= 12 THEN text END) AS with_month_first
        FROM plain LEFT JOIN numbers ON true
        """
    )[0]
    decided = bool(facts["short"])
    if order is not None:
        day_first = order == "day-first"
    elif facts["day_first"] and facts["month_first"]:
        # By majority, a date such as 03/04 of the minority would be read wrongly, and nobody would see it.
        raise _mixed(column, file, str(facts["with_day_first"]), str(facts["with_month_first"]))
    elif facts["day_first"] or facts["month_first"] or not facts["open"]:
        day_first = facts["day_first"] > facts["month_first"]
    else:
        raise _ambiguous(column, file, str(facts["example"]))
    return DatePlan(column, day_first, decided, bool(facts["timed"]), bool(facts["zoned"]))


def _count_forms(scratch: Scratch, staged: str) -> set[int]:
    """Which forms occur in the column: empty, a plain day, a plain moment, another (-1)."""
    found = scratch.rows(
        f"""
        WITH forms AS (
            SELECT CASE WHEN {_PLAIN.format(text=staged)} THEN strlen({staged}) WHEN {staged} = '' THEN {_EMPTY}
                ELSE -1 END AS form
            FROM raw
        )
        SELECT DISTINCT form FROM forms
        """
    )
    return {int(row["form"]) for row in found}


def check_order(value: str | None) -> Order | None:
    """``value`` when it is day-first or month-first; BadInput otherwise."""
    if value is None:
        return None
    for order in ORDERS:
        if value == order:
            return order
    raise BadInput(
        "data.unknown_date_order",
        say("The order of dates '{value}' is not known.", value=value),
        remedy=say("Use --dates day-first or --dates month-first."),
        where={"value": value},
    )


def _mixed(column: str, file: str, day_first: str, month_first: str) -> BadInput:
    return BadInput(
        "data.mixed_dates",
        say(
            "Column '{column}' of '{file}' mixes dates: {day_first} puts the day first, {month_first} the month.",
            column=column,
            file=file,
            day_first=day_first,
            month_first=month_first,
        ),
        remedy=say(
            "Write all dates as 2026-01-31; or say how they are read: --dates day-first or --dates month-first. "
            "Rows that cannot be read so are set aside."
        ),
        where={"file": file, "column": column, "value": f"{day_first}, {month_first}"},
    )


def _ambiguous(column: str, file: str, example: str) -> BadInput:
    return BadInput(
        "data.ambiguous_dates",
        say(
            "The dates in column '{column}' of '{file}' can be read in two ways: {example} may put day or month first.",
            column=column,
            file=file,
            example=example,
        ),
        remedy=say("Say which: --dates day-first or --dates month-first."),
        where={"file": file, "column": column, "value": example},
    )
