"""Where a figure that grows in the course of a window will end: from past windows of the same length and weekdays.

Each past window is a path: the figure after 0, 1, … days. What is still to come is taken from recent windows (as an
amount, as a ratio, or from the window 52 weeks ago), whichever would have foretold the past windows best, each from
what was known by then. The interval has the size of those errors: Student's t, with as many degrees
as errors that share no day, because windows that overlap say nearly the same. Reads and writes no table.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aimwell.core.estimate import Estimate
from aimwell.stats.distribution import LEVEL, find_t_critical, find_t_p_value

Array = NDArray[np.float64]

YEAR = 364
_HALF_LIVES = (7.0, 14.0, 28.0, 56.0, 112.0, math.inf)
_LEAST_YEARS = 4
"""Past windows on which last year's must have been tried before it may be chosen."""
_LEAST_BASE = 0.1
"""An error is a share of what was to come, or of this share of what usually is where next to nothing was."""


@dataclass(frozen=True)
class Paths:
    """Past windows: ``starts`` (k,) days in rising order, ``values`` (k, days + 1) the figure after 0 … days days."""

    starts: NDArray[np.int64]
    values: Array

    @property
    def days(self) -> int:
        """The windows' length."""
        return int(self.values.shape[1]) - 1

    def profile(self) -> Array | None:
        """What share of its end the figure usually has after each day, (days + 1,); None without past windows."""
        if not len(self.starts) or self.values[:, -1].mean() <= 0:
            return None
        shares: Array = self.values.mean(axis=0) / self.values[:, -1].mean()
        return shares


@dataclass(frozen=True)
class EndForecast:
    """``error`` is the standard error with ``degrees`` degrees; infinite where no past window could be tried.

    ``tried``, ``covered``: past windows for which the same interval could be made beforehand, and those it held.
    """

    estimate: float
    error: float
    degrees: float
    method: str
    windows: int
    tried: int
    covered: int
    least: float = -math.inf
    """Less than this it cannot be any more."""

    def to_estimate(self, level: float = LEVEL) -> Estimate:
        """The forecast with its interval."""
        half = math.inf if math.isinf(self.error) else find_t_critical(self.degrees, level) * self.error
        lower = max(self.estimate - half, self.least)
        return Estimate(self.estimate, lower, self.estimate + half, self.windows, self.method)

    def chance_of(self, target: float) -> float | None:
        """The probability that the end is at least ``target``; None where the error is not known."""
        if math.isinf(self.error):
            return None
        if target <= self.least or self.error == 0:
            return 1.0 if target <= max(self.estimate, self.least) else 0.0
        distance = (target - self.estimate) / self.error
        tail = find_t_p_value(abs(distance), self.degrees) / 2
        return tail if distance > 0 else 1 - tail


def forecast_end(paths: Paths, so_far: Sequence[float], start: int) -> EndForecast | None:
    """The figure's end in the window that began on day ``start`` and has the values ``so_far`` after 0 … t days.

    All of ``paths`` have ended by then. None without any.
    """
    elapsed = len(so_far) - 1
    if not len(paths.starts):
        return None
    if elapsed >= paths.days:
        end = float(so_far[-1])
        return EndForecast(end, 0.0, math.inf, "ended", len(paths.starts), 0, 0, end)
    ends, bases = _foretell_all(paths, elapsed)
    errors = (paths.values[:, -1] - ends) / bases
    chosen = _choose(errors)
    estimate = _foretell(paths, float(so_far[-1]), start, elapsed)[chosen]
    base = _find_base(paths, np.arange(len(paths.starts)), estimate - float(so_far[-1]), elapsed)
    made = errors[chosen]
    known = np.isfinite(made)
    spread, degrees = _measure(made[known], paths.starts[known], paths.days - elapsed)
    tried, covered = _try(made, paths, elapsed)
    only_grows = bool((np.diff(paths.values, axis=1) >= 0).all())
    return EndForecast(
        float(estimate),
        float(spread * base),
        degrees,
        _name(chosen),
        len(paths.starts),
        tried,
        covered,
        float(so_far[-1]) if only_grows else -math.inf,
    )


def _foretell_all(paths: Paths, elapsed: int) -> tuple[Array, Array]:
    """Methods × past windows: each window's end as foretold from what had ended by its day ``elapsed``; and the base
    of the error.
    """
    count = len(paths.starts)
    ends = np.full((2 * len(_HALF_LIVES) + 1, count), np.nan)
    bases = np.full_like(ends, np.nan)
    for place in range(count):
        start = int(paths.starts[place])
        ended = np.flatnonzero(paths.starts + paths.days <= start + elapsed)
        if not len(ended):
            continue
        known = Paths(paths.starts[ended], paths.values[ended])
        now = float(paths.values[place, elapsed])
        ends[:, place] = _foretell(known, now, start, elapsed)
        for method in range(len(ends)):
            bases[method, place] = _find_base(paths, ended, ends[method, place] - now, elapsed)
    return ends, bases


def _foretell(known: Paths, now: float, start: int, elapsed: int) -> Array:
    """The end by each method; NaN by a method that has nothing to go by."""
    age = start - known.starts
    before, end = known.values[:, elapsed], known.values[:, -1]
    found = np.full(2 * len(_HALF_LIVES) + 1, np.nan)
    for place, half_life in enumerate(_HALF_LIVES):
        weight = 0.5 ** ((age - age.min()) / half_life)
        weight = weight / weight.sum()
        found[2 * place] = now + float(weight @ (end - before))
        usual = float(weight @ before)
        if usual > 0:
            found[2 * place + 1] = now * float(weight @ end) / usual
    year = np.flatnonzero(np.abs(age - YEAR) <= 3)
    if len(year) and elapsed >= 7 and before[year[-1]] > 0:
        found[-1] = now * float(end[year[-1]] / before[year[-1]])
    return found


def _find_base(paths: Paths, known: NDArray[np.intp], to_come: float, elapsed: int) -> float:
    usual = float((paths.values[known, -1] - paths.values[known, elapsed]).mean())
    return max(to_come, _LEAST_BASE * usual, 1e-12) if math.isfinite(to_come) else math.nan


def _choose(errors: Array) -> int:
    """The method with the smallest mean square on the windows that all of its kind could be tried on."""
    usable = np.isfinite(errors[0])
    if not usable.any():
        # Nothing could be tried yet: the mean of what came after this day in the past windows.
        return 2 * len(_HALF_LIVES) - 2
    squares = np.array(
        [np.mean(row[usable] ** 2) if np.isfinite(row[usable]).all() else math.inf for row in errors[:-1]]
    )
    best = int(np.argmin(squares))
    yearly = np.isfinite(errors[-1])
    if yearly.sum() >= _LEAST_YEARS and np.mean(errors[-1][yearly] ** 2) < np.mean(errors[best][yearly] ** 2):
        return len(errors) - 1
    return best


def _measure(errors: Array, starts: NDArray[np.int64], horizon: int) -> tuple[float, float]:
    """The size of an error and how many of them share no day."""
    if not len(errors):
        return math.inf, 1.0
    apart = 1 + int(starts[-1] - starts[0]) // max(horizon, 1)
    degrees = float(min(len(errors), apart))
    return math.sqrt(float((errors**2).mean()) * (1 + 1 / degrees)), degrees


def _try(errors: Array, paths: Paths, elapsed: int) -> tuple[int, int]:
    """Past windows whose interval could have been made from errors that were known by then, and those it held."""
    tried = covered = 0
    for place in np.flatnonzero(np.isfinite(errors)):
        ended = paths.starts + paths.days <= paths.starts[place] + elapsed
        known = np.flatnonzero(np.isfinite(errors) & ended)
        spread, degrees = _measure(errors[known], paths.starts[known], paths.days - elapsed)
        if math.isinf(spread) or degrees < 2:
            continue
        tried += 1
        covered += bool(abs(float(errors[place])) <= find_t_critical(degrees) * spread)
    return tried, covered


def _name(method: int) -> str:
    if method == 2 * len(_HALF_LIVES):
        return "as 52 weeks ago"
    kind = "amounts" if method % 2 == 0 else "ratios"
    half_life = _HALF_LIVES[method // 2]
    weight = "all alike" if math.isinf(half_life) else f"half-life {half_life:.0f} days"
    return f"past windows' {kind}, {weight}"
