"""When people may be written to: quiet hours in the customer's own zone, public holidays, working weekends.

What comes in quiet hours waits until they end, and then goes out spread over a while by a hash of its id, not in a
burst. Clock times are compared as the customer's wall shows them, so a night is a night on the days when clocks
change. Reads and writes no tables.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any, Literal
from zoneinfo import ZoneInfo

import holidays

from aimwell.core.errors import BadInput
from aimwell.core.text import say

SendOn = Literal["every_day", "not_on_holidays", "working_days"]
_MOST_DAYS_OFF = 60
"""No country rests longer; beyond, the answer would be a mistake in the settings."""
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Quiet:
    """From ``start`` to before ``end`` on the wall clock; over midnight where ``end`` is the earlier one."""

    start: time
    end: time

    def holds(self, at: time) -> bool:
        """Whether it is quiet at this time of day."""
        if self.start <= self.end:
            return self.start <= at < self.end
        return at >= self.start or at < self.end


SLOT_CLOSED = {
    "morning": Quiet(time(12), time(9)),
    "afternoon": Quiet(time(18), time(12)),
    "evening": Quiet(time(21), time(18)),
}
"""When an action of a time slot may not go out."""


@dataclass(frozen=True)
class Calendar:
    """When which channel may speak. ``zone``: for customers whose own is not known."""

    zone: str = "UTC"
    quiet: Mapping[str, Quiet] = field(default_factory=dict)
    """By channel; a channel that is not named has no quiet hours."""
    opens: time = time(9)
    """When the first day after holidays begins, where a channel has no quiet hours."""
    spread: timedelta = timedelta(hours=1)
    countries: tuple[str, ...] = ()
    send_on: SendOn = "every_day"

    def find_release(
        self,
        channel: str,
        zone_name: str | None,
        at_ms: int,
        *,
        key: str,
        every_day: bool = False,
        slot: str | None = None,
    ) -> int | None:
        """None when it may go out at ``at_ms``, else the instant (ms) to which the delivery ``key`` has to wait.

        ``every_day``: holidays do not matter (service messages). ``slot``: the only part of a day in which it may go.
        """
        place = _find_zone(zone_name, self.zone)
        closed: list[Quiet | None] = [
            quiet for quiet in (self.quiet.get(channel), SLOT_CLOSED.get(slot or "")) if quiet
        ]
        release = at_ms
        for _ in range(_MOST_DAYS_OFF):
            later = [
                found
                for quiet in closed or [None]
                if (found := self._open_next(quiet, place, release, key, every_day))
            ]
            if not later:
                return None if release == at_ms else release
            release = max(later)
        return release

    def _open_next(
        self, quiet: Quiet | None, place: ZoneInfo, at_ms: int, key: str, every_day: bool
    ) -> int | None:
        """When these hours let ``key`` through, if they do not at ``at_ms``."""
        local = datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(place)
        today_off = not every_day and self.rests(local.date())
        if not today_off and not (quiet and quiet.holds(local.time())):
            return None
        day = local.date()
        for _ in range(_MOST_DAYS_OFF):
            if every_day or not self.rests(day):
                first, last = self._find_open(quiet, day, place, today=day == local.date() and not today_off)
                # A night that began yesterday evening ends this morning; one that begins now, tomorrow.
                if first > at_ms:
                    room = min(int(self.spread.total_seconds() * 1000), last - first)
                    return first + int(place_evenly(key) * max(room, 0))
            day += _DAY
        return at_ms + int(_MOST_DAYS_OFF * _DAY.total_seconds() * 1000)

    def rests(self, day: date) -> bool:
        """Whether nothing but service messages goes out on ``day``."""
        if self.send_on == "every_day":
            return False
        if not self.countries:
            return self.send_on == "working_days" and day.weekday() >= 5
        return any(_rests_in(country, day, self.send_on) for country in self.countries)

    def _find_open(self, quiet: Quiet | None, day: date, place: ZoneInfo, *, today: bool) -> tuple[int, int]:
        """From when, and until when, ``day`` is open."""
        if quiet is None:
            return _last_instant(day, self.opens, place), _first_instant(day + _DAY, time(), place)
        over_midnight = quiet.start > quiet.end
        if over_midnight:
            return _last_instant(day, quiet.end, place), _first_instant(day, quiet.start, place)
        begin = quiet.end if today or quiet.start == time() else time()
        close = (day + _DAY, time()) if begin == quiet.end else (day, quiet.start)
        return _last_instant(day, begin, place), _first_instant(*close, place)


def place_evenly(key: str) -> float:
    """A number in [0, 1) that belongs to ``key`` for ever; evenly spread over keys."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") / 2**64


def check_country(code: str) -> str:
    """``code`` if holidays of that country are known; BadInput else."""
    if code not in holidays.list_supported_countries():
        raise BadInput(
            "deployment.unknown_country",
            say("No public holidays of '{country}' are known.", country=code),
            remedy=say("Use a country's two letters, such as CN, DE or US."),
            where={"value": code},
        )
    return code


@lru_cache(maxsize=64)
def _list_holidays(country: str, year: int) -> Any:
    # With both neighbours: a working weekend in January may belong to the new year's holiday of December.
    return holidays.country_holidays(country, years=(year - 1, year, year + 1))


@lru_cache(maxsize=4096)
def _rests_in(country: str, day: date, send_on: SendOn) -> bool:
    if _works(country, day):
        return False
    if send_on == "working_days":
        return True
    # A free weekend next to a holiday is part of it: the golden week has no gap.
    return any(_touches_holiday(country, day, step) for step in (_DAY, -_DAY))


def _touches_holiday(country: str, day: date, step: timedelta) -> bool:
    while not _works(country, day):
        if day in _list_holidays(country, day.year):
            return True
        day += step
    return False


def _works(country: str, day: date) -> bool:
    return bool(_list_holidays(country, day.year).is_working_day(day))


@lru_cache(maxsize=1024)
def _find_zone(name: str | None, otherwise: str) -> ZoneInfo:
    try:
        return ZoneInfo(name or otherwise)
    except (KeyError, ValueError, OSError):
        # A customer's zone is whatever somebody once imported.
        return ZoneInfo(otherwise)


def _last_instant(day: date, at: time, place: ZoneInfo) -> int:
    """When the wall clock shows this for the last time; on a day that skips it, just after."""
    return max(_list_instants(day, at, place))


def _first_instant(day: date, at: time, place: ZoneInfo) -> int:
    return min(_list_instants(day, at, place))


def _list_instants(day: date, at: time, place: ZoneInfo) -> list[int]:
    local = datetime.combine(day, at, place)
    return [int(local.replace(fold=fold).timestamp() * 1000) for fold in (0, 1)]
