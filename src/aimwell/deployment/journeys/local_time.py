"""Times of day and dates in a customer's zone, as instants: clocks that are put forward or back, 29 February.

A time of day that a day does not have (clocks put forward) is the first instant after the gap; one that a day has
twice is the first of the two. Reads and writes no table.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any
from zoneinfo import ZoneInfo

from aimwell.core.errors import BadInput
from aimwell.core.time import zone
from aimwell.deployment.journeys.graph import ScheduleEntry, Span

_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")
_DAY = re.compile(r"(\d{4})[-/.年]?(\d{1,2})[-/.月]?(\d{1,2})日?(?:[T ].*)?")
ZONES = ("zone", "time_zone", "timezone", "tz", "时区")
_MINUTE = 60_000


def read_clock(text: str) -> time | None:
    """``09:30`` as a time of day; None when it is none."""
    found = _CLOCK.fullmatch(str(text))
    return None if found is None else time(int(found[1]), int(found[2]))


def read_date(value: Any) -> date | None:
    """A date as people and systems write it (2026-03-01, 2026/3/1, 20260301, 2026年3月1日); None when it is none."""
    if isinstance(value, datetime):
        return value.date()
    if isinstance(value, date):
        return value
    text = str(value or "").strip()
    found = _DAY.fullmatch(text)
    if found is None or (text.isdigit() and len(text) != 8):
        return None
    try:
        return date(int(found[1]), int(found[2]), int(found[3]))
    except ValueError:
        return None


def find_zone(customer: Mapping[str, Any], default: str) -> str:
    """The customer's zone, where an attribute names one that is known; else ``default``, the business's."""
    named = next((str(customer[name]).strip() for name in ZONES if customer.get(name)), None)
    return named if named is not None and _is_zone(named) else default


@lru_cache(maxsize=4096)
def _is_zone(name: str) -> bool:
    try:
        zone(name)
    except BadInput:
        return False
    return True


@lru_cache(maxsize=65_536)
def find_instant(day: date, at: time, zone_name: str) -> int:
    """The instant of ``at`` on ``day`` in the zone, in ms."""
    place = zone(zone_name)
    local = datetime.combine(day, at, place)
    instant = local.astimezone(UTC)
    if instant.astimezone(place).replace(tzinfo=None) != local.replace(tzinfo=None):
        # The clocks jump over it: the instant at which they do.
        instant = _find_jump(local, place)
    return int(instant.timestamp()) * 1000


def _find_jump(local: datetime, place: ZoneInfo) -> datetime:
    """The first instant after the gap in which ``local`` lies."""
    low = local.replace(fold=1).astimezone(UTC)
    high = local.replace(fold=0).astimezone(UTC)
    before = low.astimezone(place).utcoffset()
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) / 2
        if middle.astimezone(place).utcoffset() == before:
            low = middle
        else:
            high = middle
    return high.replace(microsecond=0)


def add_span(now_ms: int, span: Span, zone_name: str) -> int:
    """``span`` after ``now_ms``: days by the calendar of the zone, at the same time of day."""
    rest = (span.hours * 60 + span.minutes) * _MINUTE
    if not span.days:
        return now_ms + rest
    local = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(zone(zone_name))
    at = local.time().replace(microsecond=0, fold=0)
    found = find_instant(local.date() + timedelta(days=span.days), at, zone_name)
    return found + local.microsecond // 1000 + rest


@lru_cache(maxsize=65_536)
def find_next(now_minute: int, at: time, weekdays: tuple[int, ...], zone_name: str) -> int:
    """The first instant after the minute ``now_minute`` (since 1970) that is ``at`` on one of ``weekdays``."""
    day = datetime.fromtimestamp(now_minute * 60, UTC).astimezone(zone(zone_name)).date()
    for ahead in range(9):
        one = day + timedelta(days=ahead)
        if weekdays and one.isoweekday() not in weekdays:
            continue
        instant = find_instant(one, at, zone_name)
        if instant > now_minute * _MINUTE:
            return instant
    raise AssertionError("a week has every weekday")


def repeat_yearly(day: date, year: int) -> date:
    """The day's return in ``year``; 29 February is 28 February where there is none."""
    return day.replace(year=year, day=min(day.day, calendar.monthrange(year, day.month)[1]))


def list_returns(day: date, first: date, last: date) -> list[date]:
    """The yearly returns of ``day`` from ``first`` to ``last``, both included."""
    returns = [repeat_yearly(day, year) for year in range(first.year, last.year + 1)]
    return [one for one in returns if first <= one <= last]


def find_slot(entry: ScheduleEntry, after_ms: int, now_ms: int, zone_name: str) -> int | None:
    """The newest slot of the schedule after ``after_ms`` and up to ``now_ms``; None when there is none."""
    at = read_clock(entry.at)
    assert at is not None
    if entry.every == "once":
        instant = find_instant(date.fromisoformat(entry.date or ""), at, zone_name)
        return instant if after_ms < instant <= now_ms else None
    day = datetime.fromtimestamp(now_ms / 1000, UTC).astimezone(zone(zone_name)).date()
    for back in range(63):
        one = day - timedelta(days=back)
        if _has_slot(entry, one):
            instant = find_instant(one, at, zone_name)
            if instant <= now_ms:
                return instant if instant > after_ms else None
    return None


def find_next_slot(entry: ScheduleEntry, after_ms: int, zone_name: str) -> int | None:
    """The first slot after ``after_ms``; None when none comes any more."""
    at = read_clock(entry.at)
    assert at is not None
    if entry.every == "once":
        instant = find_instant(date.fromisoformat(entry.date or ""), at, zone_name)
        return instant if instant > after_ms else None
    day = datetime.fromtimestamp(after_ms / 1000, UTC).astimezone(zone(zone_name)).date()
    days = (day + timedelta(days=ahead) for ahead in range(63))
    slots = (find_instant(one, at, zone_name) for one in days if _has_slot(entry, one))
    return next((slot for slot in slots if slot > after_ms), None)


def _has_slot(entry: ScheduleEntry, day: date) -> bool:
    if entry.every == "week":
        return day.isoweekday() == entry.day
    if entry.every == "month":
        return day.day == min(entry.day or 1, calendar.monthrange(day.year, day.month)[1])
    return True
