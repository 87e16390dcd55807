"""How often something happens to one unit by a certain age, when the young ones have been watched for less long.

The mean cumulative function of recurrent events (Nelson 1988): at each age, events ÷ units still watched, summed up.
Its variance is robust (Lawless and Nadeau 1995): units may differ as they like, they only must be independent. With
customers as units and referrals as events, its end is the reproduction number and its steps are the generation times.
Pure functions of numbers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aimwell.core.errors import NotReady
from aimwell.core.estimate import Estimate
from aimwell.core.text import say
from aimwell.stats.distribution import LEVEL, find_normal_quantile

LEAST_AT_RISK = 50
Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class MeanCumulative:
    """The steps of the function up to ``horizon``: ages (ascending), what each adds, and the sum with its interval."""

    ages: Numbers
    increments: Numbers
    horizon: float
    estimate: Estimate

    def find_quantile(self, share: float) -> float | None:
        """The age by which ``share`` of what happens up to the horizon has happened; None where nothing did."""
        if not len(self.ages):
            return None
        sums = np.cumsum(self.increments)
        place = min(int(np.searchsorted(sums, share * sums[-1])), len(self.ages) - 1)
        return float(self.ages[place])

    def find_mean_age(self) -> float | None:
        """The mean age at which it happens, up to the horizon; None where nothing did."""
        total = float(self.increments.sum())
        return float((self.ages * self.increments).sum() / total) if total else None

    def share_after(self, age: float) -> float:
        """Which share of the sum is added after ``age``, 0–1."""
        total = float(self.increments.sum())
        return float(self.increments[self.ages > age].sum() / total) if total else 0.0


def estimate_mean_cumulative(
    ages: Numbers,
    units: NDArray[np.int64],
    watched: Numbers,
    *,
    least_at_risk: int = LEAST_AT_RISK,
    level: float = LEVEL,
) -> MeanCumulative:
    """The function from events (their ``ages`` and ``units``, shape (m,)) and how long each unit was watched (n,).

    It ends at the last age to which ``least_at_risk`` units were watched. NotReady with fewer units than that.
    """
    if len(watched) < least_at_risk:
        raise NotReady(
            "stats.too_few_watched",
            say("{count} are too few: at least {least} are needed.", count=len(watched), least=least_at_risk),
            remedy=say("Wait for more data, or take a longer period."),
            where={"value": len(watched)},
        )
    spans = np.sort(watched)
    horizon = float(spans[len(spans) - least_at_risk])
    inside = (ages >= 0) & (ages <= horizon) & (ages <= watched[units])
    order = np.argsort(ages[inside], kind="stable")
    ages, units = ages[inside][order], units[inside][order]
    at_risk = (len(spans) - np.searchsorted(spans, ages, side="left")).astype(np.float64)
    increments = 1.0 / at_risk
    total = float(increments.sum())
    error = _find_error(ages, units, watched, at_risk, horizon)
    return MeanCumulative(ages, increments, horizon, _bound(total, error, len(watched), level))


def _find_error(
    ages: Numbers, units: NDArray[np.int64], watched: Numbers, at_risk: Numbers, horizon: float
) -> float:
    """The robust standard error: each unit's events less what was expected of it, weighted by the units at risk."""
    own = np.bincount(units, weights=1.0 / at_risk, minlength=len(watched))
    expected = np.concatenate([[0.0], np.cumsum(1.0 / at_risk**2)])
    reached = np.searchsorted(ages, np.minimum(watched, horizon), side="right")
    return float(np.sqrt(np.sum((own - expected[reached]) ** 2)))


def _bound(total: float, error: float, n: int, level: float) -> Estimate:
    """An interval on the logarithm, which stays above 0; with no event, the Poisson bound 3 ÷ n."""
    if total <= 0:
        return Estimate(0.0, 0.0, -math.log((1 - level) / 2) / n, n, "mean cumulative function")
    factor = math.exp(find_normal_quantile((1 + level) / 2) * error / total)
    return Estimate(total, total / factor, total * factor, n, "mean cumulative function")
