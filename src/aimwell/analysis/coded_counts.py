"""How often each customer did something, counted on the coded rows of the published file: whole numbers, no joins.

Only months that the window touches are read. Events that are not in the file yet are counted beside it, by customer.
Reads the published file, events that are not in it, identities; writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aimwell.engine.coded_reader import EXTRA, CodedRows
from aimwell.engine.coded_rows import WORD_COLUMNS
from aimwell.engine.specification import Aggregate, Condition, find_source
from aimwell.engine.sql_text import Binder, show_day

_WORDS = WORD_COLUMNS["events"]
_DAY = find_source("events").day


@dataclass(frozen=True)
class CodedCounts:
    """``numbers``: how often, by the customer's number in the file. ``others``: customer_id and ``n`` besides."""

    numbers: NDArray[np.int64]
    others: pa.Table | None


def count_events(coded: CodedRows, of: Aggregate, as_of: date) -> CodedCounts | None:
    """What ``of`` counts, for each customer; None when it is no count of events, or the file lacks its columns."""
    if (of.table, of.function, of.column) != ("events", "count", None):
        return None
    if not all(_is_coded(one) for one in of.conditions):
        return None
    start, end = _find_days(of, as_of)
    words = [(one.column, str(one.value)) for one in of.conditions if one.column in _WORDS]
    codes = coded.find_codes(words)
    counts = np.zeros(coded.people, np.int64)
    for month in coded.months:
        first, after = month.days
        if first >= end or (start is not None and after <= start):
            continue
        binder = Binder()
        tests = _render_days("day", start, end)
        for one in of.conditions:
            sign = "<>" if one.operator == "!=" else one.operator
            if one.column in _WORDS:
                tests.append(f"{one.column} {sign} {codes[one.column, str(one.value)]}")
            else:
                tests.append(f"day {sign} {binder.bind(date.fromisoformat(str(one.value)))}")
        sql = f"SELECT customer FROM coded.{month.name} WHERE {' AND '.join(tests)}"
        people = coded.query(sql, binder.values).column("customer").combine_chunks()
        counts += np.bincount(people.to_numpy(), minlength=coded.people)
    others = _count_others(coded, of.conditions, start, end) if coded.has_extra else None
    return CodedCounts(counts, others)


def _count_others(
    coded: CodedRows, conditions: Sequence[Condition], start: date | None, end: date
) -> pa.Table:
    """The same of the events that are not in the file, in words."""
    binder = Binder()
    tests = _render_days(f"d.{_DAY}", start, end)
    for one in conditions:
        sign = "<>" if one.operator == "!=" else one.operator
        value: Any = date.fromisoformat(str(one.value)) if one.column == _DAY else one.value
        tests.append(f"d.{one.column} {sign} {binder.bind(value)}")
    sql = (
        "SELECT COALESCE(i.customer_id, d.customer_id) AS customer_id, COUNT(*) AS n"
        f" FROM {EXTRA} AS d LEFT JOIN identities AS i ON i.record_id = d.customer_id"
        f" WHERE {' AND '.join(tests)} GROUP BY 1"
    )
    return coded.query(sql, binder.values)


def _is_coded(one: Condition) -> bool:
    return one.column == _DAY or (one.column in _WORDS and one.operator in ("=", "!="))


def _find_days(of: Aggregate, as_of: date) -> tuple[date | None, date]:
    """First day, None where there is none, and the day after the last."""
    if of.window is None:
        return None, as_of
    end = as_of - timedelta(days=of.window.ending)
    return end - timedelta(days=of.window.days), end


def _render_days(column: str, start: date | None, end: date) -> list[str]:
    tests = [f"{column} < {show_day(end)}"]
    return tests if start is None else [*tests, f"{column} >= {show_day(start)}"]
