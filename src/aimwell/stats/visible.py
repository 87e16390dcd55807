"""What a comparison of two arms can see: the smallest visible effect from an outcome's past.

The variance by moments, adjusted by one slope on what was known before (CUPED: Deng, Xu, Kohavi and Walker 2013),
shares with each arm's own variance, clusters by their design effect; how well the past tells the variance, by
bootstrap-t (``noise``). Reads and writes no table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from aimwell.core.errors import BadInput
from aimwell.core.estimate import Estimate
from aimwell.core.text import say
from aimwell.stats.clustering import Clustering, measure_clustering
from aimwell.stats.mean import estimate_mean_of
from aimwell.stats.noise import find_noise_ends
from aimwell.stats.power import (
    ALPHA,
    LEAST_BUYERS,
    POWER,
    find_needed_customers,
    find_reach,
    find_smallest_effect,
    find_smallest_share_change,
)

Kind = Literal["money", "orders", "share"]
"""What the outcome is: an amount, a count, or 0 and 1."""


@dataclass(frozen=True)
class Spread:
    """An outcome's level and noise: ``sd`` after adjustment, with the ends of its 95 % interval over itself."""

    mean: Estimate
    sd_plain: float
    sd: float
    sd_low: float
    sd_high: float
    variance_removed: float
    buyer_share: float
    clustering: Clustering | None

    @property
    def design_effect(self) -> float:
        """By how much clusters enlarge the variance; 1 without clusters."""
        return self.clustering.design_effect if self.clustering else 1.0


@dataclass(frozen=True)
class Visible:
    """The smallest visible effect, absolute in the outcome's unit; infinite when nothing can be shown."""

    n_treatment: int
    n_control: int
    smallest: float
    lower: float
    upper: float
    """95 % interval of ``smallest``, from the error of the noise's estimate."""
    relative: float | None
    expected_buyers: float
    """In the smaller arm."""

    @property
    def skewed(self) -> bool:
        """Whether buyers are too few for intervals by the normal approximation."""
        return self.expected_buyers < LEAST_BUYERS


def measure_spread(
    outcome: NDArray[np.float64],
    before: NDArray[np.float64] | None = None,
    cluster: NDArray[np.int64] | None = None,
) -> Spread:
    """Level and noise of ``outcome`` (n,); BadInput when fewer than two values or none varies."""
    mean = estimate_mean_of(outcome)
    if len(outcome) < 2 or float(outcome.std()) == 0:
        raise BadInput(
            "stats.nothing_varies",
            say("The outcome was the same for everybody, so nothing can be said about noise."),
            remedy=say("Choose a longer window or another outcome."),
        )
    residual, plain = outcome - outcome.mean(), float(outcome.std(ddof=1))
    if before is not None and float(before.std()) > 0:
        centred = before - before.mean()
        residual = residual - float(centred @ residual) / float(centred @ centred) * centred
    variance = float(residual @ residual) / (len(residual) - 1)
    removed = min(max(1 - variance / plain**2, 0.0), 1 - 1e-12)
    sd = plain * math.sqrt(1 - removed)
    low, high = find_noise_ends(residual)
    clustering = None if cluster is None else measure_clustering(residual, cluster)
    return Spread(mean, plain, sd, low, high, removed, float((outcome != 0).mean()), clustering)


def find_visible(
    spread: Spread,
    kind: Kind,
    *,
    n_treatment: int,
    n_control: int,
    power: float = POWER,
    alpha: float = ALPHA,
    looks_factor: float = 1.0,
) -> Visible:
    """The smallest effect seen with ``power`` by arms of these sizes; ``looks_factor``: what looking early costs."""
    degrees = math.inf if spread.clustering is None else spread.clustering.clusters - 2.0
    if degrees < 1 or min(n_treatment, n_control) < 1:
        return Visible(n_treatment, n_control, math.inf, math.inf, math.inf, None, 0.0)
    reach = find_reach(power=power, alpha=alpha, degrees=degrees) * looks_factor
    if kind == "share":
        smallest = find_smallest_share_change(
            spread.mean.estimate,
            n_treatment=n_treatment,
            n_control=n_control,
            variance_removed=spread.variance_removed,
            design_effect=spread.design_effect,
            reach=reach,
        )
    else:
        plain = find_smallest_effect(
            sd=spread.sd, n_treatment=n_treatment, n_control=n_control, power=power, alpha=alpha
        )
        smallest = plain / find_reach(power=power, alpha=alpha) * reach * math.sqrt(spread.design_effect)
    level = abs(spread.mean.estimate)
    return Visible(
        n_treatment,
        n_control,
        smallest,
        smallest * spread.sd_low,
        smallest * spread.sd_high,
        smallest / level if level > 0 and math.isfinite(smallest) else None,
        spread.buyer_share * min(n_treatment, n_control),
    )


def find_audience(
    spread: Spread,
    effect: float,
    *,
    control_share: float,
    treatments: int = 1,
    power: float = POWER,
    alpha: float = ALPHA,
    looks_factor: float = 1.0,
) -> int | None:
    """Customers in all arms who show ``effect`` (absolute) of each treatment; None when no number does."""
    treated = (1 - control_share) / treatments
    pair = control_share + treated
    factor = math.sqrt(spread.design_effect) * looks_factor
    found = find_needed_customers(
        effect=effect, sd=spread.sd * factor, control_share=control_share / pair, power=power, alpha=alpha
    )
    return None if found is None else math.ceil(found / pair)


def find_days(customers: int, *, audience: int, per_day: float, window: int) -> int | None:
    """Days until ``customers`` were enrolled and each was watched for ``window`` days; None when they never come.

    ``audience`` customers are there on the first day and ``per_day`` join on each day after it.
    """
    if customers <= audience:
        return window
    return math.ceil((customers - audience) / per_day) + window if per_day > 0 else None
