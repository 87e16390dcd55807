"""How fast a campaign goes out: at most so many a minute and an hour, warming up, in waves.

Each rate is kept by one instant in the campaign's row, from which the next message has its place (the generic cell
rate algorithm): nothing is counted, nothing is lost in a crash, and in any 60 seconds, or any hour, wherever they
begin, no more than the rate is reserved. Reads and writes no tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from aimwell.core.errors import BadInput
from aimwell.core.text import say
from aimwell.deployment.calendar import place_evenly

_MINUTE, _HOUR = 60_000, 3_600_000
_BURSTS = 60
"""At most a sixtieth of what the rate allows goes out at once: a second's worth of a minute's."""


@dataclass(frozen=True)
class Pace:
    """Rates (None: no limit), warm-up, and waves.

    ``warmup_per_hour`` is the rate of the first ``warmup_hours``; it doubles each time until ``per_hour`` is reached.
    ``waves`` are shares of the audience, ``wave_hours`` apart; who is in which is fixed by the delivery's id.
    """

    per_minute: int | None = None
    per_hour: int | None = None
    warmup_per_hour: int | None = None
    warmup_hours: float = 24.0
    waves: tuple[float, ...] = ()
    wave_hours: float = 24.0

    def __post_init__(self) -> None:
        rates = (self.per_minute, self.per_hour, self.warmup_per_hour)
        good = (
            all(rate is None or rate >= 1 for rate in rates) and min(self.warmup_hours, self.wave_hours) > 0
        )
        shares = not self.waves or (min(self.waves) > 0 and abs(sum(self.waves) - 1) < 1e-9)
        if not (good and shares):
            raise BadInput(
                "deployment.bad_pace",
                say("These rates or waves cannot be kept."),
                remedy=say(
                    "Rates are 1 or more, hours more than 0, and the shares of the waves add up to 100 %."
                ),
            )

    @classmethod
    def from_json(cls, body: Mapping[str, Any] | None) -> Pace:
        """As ``to_json`` wrote it; None: no limit at all."""
        values = dict(body or {})
        return cls(**{**values, "waves": tuple(values.get("waves", ()))})

    def to_json(self) -> dict[str, Any]:
        """As it is kept in ``campaigns``."""
        return {**asdict(self), "waves": list(self.waves)}

    @property
    def limits(self) -> bool:
        """Whether any rate is limited."""
        return any(rate is not None for rate in (self.per_minute, self.per_hour, self.warmup_per_hour))

    def find_hourly(self, since_ms: int) -> int | None:
        """The rate per hour, ``since_ms`` after the launch."""
        if self.warmup_per_hour is None:
            return self.per_hour
        doublings = min(int(max(since_ms, 0) / (self.warmup_hours * _HOUR)), 40)
        warm = int(self.warmup_per_hour * 2**doublings)
        return warm if self.per_hour is None else min(warm, self.per_hour)

    def place_wave(self, delivery_id: str) -> int:
        """After how many milliseconds the delivery's wave begins."""
        point, total = place_evenly("wave:" + delivery_id), 0.0
        for number, share in enumerate(self.waves[:-1]):
            total += share
            if point < total:
                return int(number * self.wave_hours * _HOUR)
        return int(max(len(self.waves) - 1, 0) * self.wave_hours * _HOUR)


@dataclass(frozen=True)
class Meter:
    """Where a campaign's rates stand: the instants (ms) from which the next message of each has its place."""

    pace: Pace
    launched_ms: int
    minute_ms: int = 0
    hour_ms: int = 0

    def count_places(self, now_ms: int) -> int | None:
        """How many messages may be reserved now; None: any number."""
        places = [rate.count(at, now_ms) for rate, at in self._list_rates(now_ms)]
        return min(places) if places else None

    def find_next(self, now_ms: int) -> int:
        """When the next message has its place."""
        return max((rate.find_next(at) for rate, at in self._list_rates(now_ms)), default=now_ms)

    def take(self, taken: int, now_ms: int) -> Meter:
        """After ``taken`` messages were reserved."""
        minute, hour = self._build_minute(), self._build_hour(now_ms)
        return Meter(
            self.pace,
            self.launched_ms,
            minute.advance(self.minute_ms, taken, now_ms) if minute else self.minute_ms,
            hour.advance(self.hour_ms, taken, now_ms) if hour else self.hour_ms,
        )

    def _list_rates(self, now_ms: int) -> list[tuple[_Rate, int]]:
        rates = ((self._build_minute(), self.minute_ms), (self._build_hour(now_ms), self.hour_ms))
        return [(rate, at) for rate, at in rates if rate is not None]

    def _build_minute(self) -> _Rate | None:
        return None if self.pace.per_minute is None else _Rate.build(self.pace.per_minute, _MINUTE)

    def _build_hour(self, now_ms: int) -> _Rate | None:
        rate = self.pace.find_hourly(now_ms - self.launched_ms)
        return None if rate is None else _Rate.build(rate, _HOUR)


@dataclass(frozen=True)
class _Rate:
    """``burst`` at once at most, else one every ``interval`` milliseconds."""

    interval: int
    burst: int

    @classmethod
    def build(cls, rate: int, period: int) -> _Rate:
        burst = max(1, rate // _BURSTS)
        # In any period there are at most burst − 1 + ⌈period ÷ interval⌉: that shall be the rate.
        return cls(-(-period // (rate - burst + 1)), burst)

    def count(self, at: int, now: int) -> int:
        ahead = max(at, now) - now
        if ahead > self.interval * self.burst:
            # Nothing is ever reserved so far ahead: the clock was put back.
            return self.burst
        return self.burst - -(-ahead // self.interval)

    def find_next(self, at: int) -> int:
        return at - (self.burst - 1) * self.interval

    def advance(self, at: int, taken: int, now: int) -> int:
        begin = now if self.count(at, now) == self.burst else at
        return begin + taken * self.interval
