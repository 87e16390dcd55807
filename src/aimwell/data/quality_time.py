"""Quality checks along the calendar: days that are missing against the usual week, and sources that fell silent.

A shop that closes on Sundays misses no Sunday: each day of the week has its own share of weeks with rows, and a run of
silent days counts when the product of its chances, times the days that were looked at, is below ``ALPHA``.
Reads ``order_lines`` and ``events``; writes nothing. The answer of every query is a row per source and day.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from math import exp, log

from aimwell.core.text import Text, say
from aimwell.data.dates import PLACEHOLDER_DAYS
from aimwell.data.findings import Finding, ask
from aimwell.engine.session import Queryable

ALPHA = 0.01
LEAST_DAYS = 56
"""Eight weeks: less shows no week's habit."""
_DAYS = {"order_lines": "ordered_on", "events": "occurred_on"}
_SPARSE = 0.5
"""A source with rows on fewer than half of its days has no habit to break."""


@dataclass(frozen=True)
class Gap:
    """Silent days that the week does not explain: first and last, how many, and how likely by chance."""

    first: date
    last: date
    days: int
    p_value: float


def find_absences(reader: Queryable) -> Iterator[Finding]:
    """The findings of every check of this module."""
    calendar = {table: read_days(reader, table) for table in _DAYS}
    last = max((max(days) for sources in calendar.values() for days in sources.values()), default=None)
    for table, sources in calendar.items():
        level = ALPHA / max(1, len(sources))
        for source, days in sources.items():
            yield _report_gaps(table, source, days, level)
            yield _report_strays(table, source, days)
            if last is not None and sum(len(named) for named in calendar.values()) > 1:
                yield _report_silence(table, source, days, last, level)


def read_days(reader: Queryable, table: str) -> dict[str, dict[date, int]]:
    """Rows per source and business day."""
    column = _DAYS[table]
    rows = ask(
        reader,
        f"SELECT source, {column} AS day, count(*) AS rows FROM {table} WHERE NOT simulated "
        f"GROUP BY source, {column} ORDER BY source, {column}",
    )
    found: dict[str, dict[date, int]] = {}
    for row in rows:
        found.setdefault(row["source"], {})[row["day"]] = int(row["rows"])
    return found


def find_gaps(days: dict[date, int], level: float) -> list[Gap]:
    """The runs of silent days inside the period that break the week's habit."""
    first, last = min(days), max(days)
    span = (last - first).days + 1
    if span < LEAST_DAYS or len(days) < _SPARSE * span:
        return []
    chances = _count_weekdays(days, first, span)
    gaps: list[Gap] = []
    run: list[date] = []
    for offset in range(span + 1):
        day = first + timedelta(days=offset)
        if offset < span and day not in days:
            run.append(day)
            continue
        if run:
            chance = exp(sum(log(chances[one.weekday()]) for one in run)) * span
            if chance < level and _is_embedded(days, run):
                gaps.append(Gap(run[0], run[-1], len(run), min(1.0, chance)))
        run = []
    return gaps


def _is_embedded(days: dict[date, int], run: list[date]) -> bool:
    """Whether four weeks on either side of the run show the habit: a source that had hardly begun has none."""
    before = sum(1 for back in range(1, 29) if run[0] - timedelta(days=back) in days)
    after = sum(1 for ahead in range(1, 29) if run[-1] + timedelta(days=ahead) in days)
    return min(before, after) >= 28 * _SPARSE


def _count_weekdays(days: dict[date, int], first: date, span: int) -> dict[int, float]:
    """For each weekday the chance that it is silent: its silent weeks and one half, of all and one."""
    weeks = Counter((first + timedelta(days=offset)).weekday() for offset in range(span))
    active = Counter(day.weekday() for day in days)
    return {number: (weeks[number] - active[number] + 0.5) / (weeks[number] + 1) for number in range(7)}


def _report_gaps(table: str, source: str, days: dict[date, int], level: float) -> Finding:
    gaps = sorted(find_gaps(days, level), key=lambda gap: -gap.days)
    return Finding(
        source,
        table,
        _DAYS[table],
        "unavailable",
        "missing_days",
        sum(gap.days for gap in gaps),
        (max(days) - min(days)).days + 1,
        tuple(f"{gap.first} … {gap.last}" for gap in gaps[:5]),
        _tell_gaps,
        say("Check that no file of the period is missing; closed days need nothing."),
        0.02,
        0.5,
    )


def _tell_gaps(affected: int, total: int, column: str) -> Text:
    if not affected:
        return say("No day is missing that the usual week would have.")
    return say(
        "{affected} of {total} days have no row although the usual week has some.",
        affected=affected,
        total=total,
    )


def find_strays(days: dict[date, int]) -> dict[date, int]:
    """Days far from nearly all rows: further than half the length of the middle 99.5 %, and than four weeks.

    A day that stands for no date is one always: there may be more of them than a share of rows can tell.
    """
    known = {day: rows for day, rows in days.items() if day not in PLACEHOLDER_DAYS}
    total, seen = sum(known.values()), 0
    low = high = None
    for day in sorted(known):
        seen += known[day]
        low = day if low is None and seen > 0.0025 * total else low
        high = day if high is None and seen >= 0.9975 * total else high
    if low is None or high is None:
        return dict(days)
    margin = max(timedelta(days=28), (high - low) / 2)
    return {day: rows for day, rows in days.items() if day < low - margin or day > high + margin}


def _report_strays(table: str, source: str, days: dict[date, int]) -> Finding:
    strays = find_strays(days)
    return Finding(
        source,
        table,
        _DAYS[table],
        "inaccurate",
        "stray_days",
        sum(strays.values()),
        sum(days.values()),
        tuple(str(day) for day in sorted(strays)[:5]),
        lambda affected, total, column: say(
            "{affected} of {total} rows lie far outside the period of all others.",
            affected=affected,
            total=total,
        ),
        say("Correct these dates at the source, or leave the rows out: they stretch every period."),
        0.01,
        2.0,
    )


def _report_silence(table: str, source: str, days: dict[date, int], last: date, level: float) -> Finding:
    """From the last row of the source to the newest of all: longer than the source was ever silent, thrice."""
    ordered = sorted(days)
    longest = max(((after - before).days for before, after in pairwise(ordered)), default=0)
    silent = (last - ordered[-1]).days
    fell = len(ordered) >= 14 and silent > max(14, 3 * longest)
    return Finding(
        source,
        table,
        _DAYS[table],
        "partial",
        "silent_source",
        silent if fell else 0,
        (last - ordered[0]).days + 1,
        (str(ordered[-1]),) if fell else (),
        lambda affected, total, column: (
            say("The source has been silent for {affected} days, while others go on.", affected=affected)
            if affected
            else say("The source reaches as far as the others.")
        ),
        say("Ask whether the delivery stopped; if the source has ended, nothing is to be done."),
        0.0,
        0.5,
    )
