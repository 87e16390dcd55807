"""Looking at a test several times: limits that spend the error bit by bit, and what stopping early costs.

Reads and writes no table. The statistic after the share t of the information is a Brownian motion with a drift:
S(t) = Z(t)·√t, increments independent N(drift·Δt, Δt), where the drift is the mean of Z at the end. Crossing
probabilities by recursive quadrature (Armitage, McPherson and Rowe 1969), limits by error spending (Lan and DeMets
1983), estimates after stopping by the stage-wise ordering (Fairbanks and Madsen 1982; Jennison and Turnbull 2000,
chapter 8). All rules are two-sided and symmetric, with half of the error on each side.

Where one audience is watched for longer and customers' spending is positively correlated over time, looks agree with
each other more than assumed here, so that the error stays at or below the stated one.

>>> [round(limit, 2) for limit in find_limits([0.5, 1.0])]
[2.96, 1.97]
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special
from scipy.optimize import brentq

from aimwell.core.errors import BadInput
from aimwell.core.text import say
from aimwell.stats.distribution import LEVEL, find_normal_probability, find_normal_quantile
from aimwell.stats.power import ALPHA, POWER

Array = NDArray[np.float64]
Shape = Literal["obrien_fleming", "pocock"]
_WIDEST = 8.0
"""Standard deviations beyond which nothing is integrated: 1e-15 of the mass lies there."""
_FARTHEST = 16.0
"""The same where one walk without a drift stands for walks with any."""
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(160)


@dataclass(frozen=True)
class Crossing:
    """Probability of stopping at each look, above and below, for one drift."""

    above: tuple[float, ...]
    below: tuple[float, ...]

    @property
    def stopped(self) -> float:
        """Probability that any look stops."""
        return sum(self.above) + sum(self.below)

    def find_expected_share(self, times: Sequence[float]) -> float:
        """Share of the information that is used on average; who is not stopped uses it to the last look."""
        stops = [up + down for up, down in zip(self.above, self.below, strict=True)]
        spent = sum(stop * time for stop, time in zip(stops, times, strict=True))
        return spent + (1 - sum(stops)) * times[-1]


def space_looks(count: int) -> tuple[float, ...]:
    """``count`` looks after equal shares of the information; BadInput when there is none."""
    return _check_times([(look + 1) / count for look in range(count)])


def spend_error(time: float, *, alpha: float = ALPHA, shape: Shape = "obrien_fleming") -> float:
    """The two-sided error that may be spent up to the share ``time`` of the information."""
    if time <= 0:
        return 0.0
    if shape == "pocock":
        return alpha * math.log(1 + (math.e - 1) * min(time, 1.0))
    return 4 * find_normal_probability(-find_normal_quantile(1 - alpha / 4) / math.sqrt(min(time, 1.0)))


def find_limits(
    times: Sequence[float], *, alpha: float = ALPHA, shape: Shape = "obrien_fleming"
) -> tuple[float, ...]:
    """The |z| at which each look stops; infinite where nothing may be spent yet. BadInput for unusable looks."""
    times = _check_times(times)
    limits: list[float] = []
    walk, spent, before = _Walk(0.0), 0.0, 0.0
    for time in times:
        allowed = spend_error(time, alpha=alpha, shape=shape)
        side = (allowed - spent) / 2
        root = math.sqrt(time)
        ahead = walk.look_ahead(time - before)
        limit = _solve_limit(ahead, side, root)
        # What a limit out of reach has not spent is left for the looks to come.
        spent = allowed if math.isfinite(limit) else spent
        limits.append(limit)
        walk.move(time - before, limit * root, root)
        before = time
    return tuple(limits)


def find_crossing(times: Sequence[float], limits: Sequence[float], *, drift: float = 0.0) -> Crossing:
    """Where a test with these ``limits`` (|z|) stops when the mean of the last z is ``drift``."""
    times = _check_times(times)
    above, below = [], []
    walk, before = _Walk(drift), 0.0
    for time, limit in zip(times, limits, strict=True):
        root = math.sqrt(time)
        ahead = walk.look_ahead(time - before)
        above.append(ahead(limit * root, 1) if math.isfinite(limit) else 0.0)
        below.append(ahead(-limit * root, -1) if math.isfinite(limit) else 0.0)
        walk.move(time - before, limit * root, root)
        before = time
    return Crossing(tuple(above), tuple(below))


def find_needed_drift(times: Sequence[float], limits: Sequence[float], *, power: float = POWER) -> float:
    """The drift that is shown above with probability ``power``; its square over that of one last look alone, less
    1, is what the looks cost in customers.
    """

    def miss(drift: float) -> float:
        return sum(find_crossing(times, limits, drift=drift).above) - power

    return float(brentq(miss, 0.0, 20.0, xtol=1e-6))


def estimate_drift(
    times: Sequence[float], limits: Sequence[float], look: int, z: float, *, level: float = LEVEL
) -> tuple[float, float, float]:
    """Median-unbiased drift and its interval after a test ended at look number ``look`` (from 0) with ``z``.

    Times the standard error at full information this is the effect: the plain estimate of a test that stopped
    early overstates.
    """
    times = _check_times(times)
    walk, before = _Walk(0.0, _FARTHEST), 0.0
    stages: list[tuple[Callable[[float, float], float], float]] = []
    for time, limit in zip(times[:look], limits[:look], strict=True):
        root = math.sqrt(time)
        stages.append((walk.tilt_ahead(time - before), limit * root))
        walk.move(time - before, limit * root, root)
        before = time
    stages.append((walk.tilt_ahead(times[look] - before), z * math.sqrt(times[look])))

    def tail(drift: float) -> float:
        # P(ended earlier above, or at this look at ``z`` or beyond): it rises with the drift.
        return sum(ahead(drift, bound) for ahead, bound in stages if math.isfinite(bound))

    centre = z / math.sqrt(times[look])
    reach = 12 / math.sqrt(times[0])

    def invert(probability: float) -> float:
        return float(brentq(lambda drift: tail(drift) - probability, centre - reach, centre + reach))

    return invert(0.5), invert((1 - level) / 2), invert((1 + level) / 2)


class _Walk:
    """The density of S among tests that go on, on quadrature nodes."""

    def __init__(self, drift: float, widest: float = _WIDEST) -> None:
        self._drift, self._widest = drift, widest
        self._nodes: Array = np.zeros(1)
        self._mass: Array = np.ones(1)
        self._time = 0.0

    def look_ahead(self, step: float) -> Callable[[float, int], float]:
        """P(S beyond a bound, on side 1 or −1) after ``step`` more of the information, not stopped before."""
        centres, error = self._nodes + self._drift * step, math.sqrt(step)

        def exceed(bound: float, side: int) -> float:
            return float(self._mass @ special.ndtr(side * (centres - bound) / error))

        return exceed

    def tilt_ahead(self, step: float) -> Callable[[float, float], float]:
        """P(S above a bound) after ``step`` more, not stopped before, for any drift, from a walk without one.

        By the likelihood ratio exp(drift·S − drift²·t/2), so that a hundred drifts cost one walk.
        """
        nodes, mass, time, error = self._nodes, self._mass, self._time, math.sqrt(step)

        def exceed(drift: float, bound: float) -> float:
            ratio = np.exp(drift * nodes - drift * drift * time / 2)
            return float((mass * ratio) @ special.ndtr((nodes + drift * step - bound) / error))

        return exceed

    def move(self, step: float, bound: float, root: float) -> None:
        """Go on by ``step`` with S between −bound and bound; ``root``: the standard deviation of S then."""
        self._time += step
        mean = self._drift * self._time
        low, high = max(-bound, mean - self._widest * root), min(bound, mean + self._widest * root)
        # A drift so large that nothing goes on leaves a region without mass.
        high = max(high, low + 1e-12)
        nodes = (low + high) / 2 + (high - low) / 2 * _NODES
        error = math.sqrt(step)
        gaps = (nodes[:, None] - self._nodes[None, :] - self._drift * step) / error
        density = np.exp(-0.5 * gaps * gaps) @ self._mass / (error * math.sqrt(2 * math.pi))
        self._nodes, self._mass = nodes, density * _WEIGHTS * (high - low) / 2


def _solve_limit(ahead: Callable[[float, int], float], side: float, root: float) -> float:
    if side < 1e-14 or ahead(_WIDEST * root, 1) >= side:
        return math.inf
    return float(brentq(lambda limit: ahead(limit * root, 1) - side, 0.0, _WIDEST, xtol=1e-10))


def _check_times(times: Sequence[float]) -> tuple[float, ...]:
    found = tuple(float(time) for time in times)
    rising = all(a < b for a, b in zip((0.0, *found), found, strict=False))
    if not found or not rising or found[-1] > 1 + 1e-9:
        raise BadInput(
            "stats.bad_looks",
            say("Looks must come after rising shares of the information, above 0 and at most 1."),
            remedy=say("Give for example 0.25, 0.5, 0.75 and 1."),
        )
    return found
