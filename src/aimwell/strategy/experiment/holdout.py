"""How many customers to hold out: the size that earns the most over the horizon.

Holding a customer out costs what the treatment would have earned with them; what is learnt decides whether the
treatment goes on. With N customers, one test window and H − 1 windows after it, an effect δ of the treatment on profit
per customer and window with the prior N(μ, τ²), and an outcome with standard deviation s, a share h held out gives an
estimate with the variance v = s²·(1/(hN) + 1/((1 − h)N)). The posterior mean m is, before the test, distributed
N(μ, ς²) with ς² = τ⁴/(τ² + v); the treatment goes on exactly when m > 0, so that the programme earns

    V(h) = N·(1 − h)·μ + N·(1 − k·h)·(H − 1)·E[max(m, 0)],     E[max(m, 0)] = μ·Φ(μ/ς) + ς·φ(μ/ς),

with k = 1 where the same customers stay held out while it goes on, 0 where they are released. Without a test,
V(0) = N·μ·H for μ > 0, and nothing otherwise. E[max(m, 0)]: the value of sample information under a normal prior
(Raiffa and Schlaifer 1961); sizes chosen so: Feit and Berman 2019, "Test & Roll". Reads and writes no tables.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy.optimize import minimize_scalar

from aimwell.core.errors import BadInput
from aimwell.core.text import say
from aimwell.stats.distribution import find_normal_probability

LEAST_CUSTOMERS = 2
"""Customers on each side without which nothing can be compared."""


@dataclass(frozen=True)
class Prior:
    """What is believed of the effect on profit per customer and window before the test: N(mean, sd²), in money."""

    mean: float
    sd: float


@dataclass(frozen=True)
class Programme:
    """``customers`` in each of ``windows`` windows (the first is the test), outcomes with ``noise`` as standard
    deviation (after adjustment, in money of profit). BadInput for impossible figures.
    """

    customers: int
    windows: int
    noise: float
    prior: Prior
    released: bool = True
    """Whether the held-out customers are treated after the test."""

    def __post_init__(self) -> None:
        figures = (self.noise, self.prior.mean, self.prior.sd)
        usable = all(math.isfinite(value) for value in figures) and self.noise > 0 and self.prior.sd >= 0
        if self.customers < 2 * LEAST_CUSTOMERS or self.windows < 1 or not usable:
            raise BadInput(
                "strategy.bad_programme",
                say("A holdout cannot be sized with these figures."),
                remedy=say(
                    "Give at least {least} customers, one window or more, and finite figures of the effect and its "
                    "doubt.",
                    least=2 * LEAST_CUSTOMERS,
                ),
                where={"customers": self.customers, "windows": self.windows},
            )


@dataclass(frozen=True)
class Holdout:
    """The best share to hold out, and what it is worth; money over the whole programme."""

    share: float
    value: float
    value_without_test: float
    """Of treating everybody, or nobody, without measuring."""
    cost: float
    """What the held-out customers are expected to forgo in the test window."""
    chance_to_go_on: float

    @property
    def gain(self) -> float:
        """What measuring is worth, its cost taken off."""
        return self.value - self.value_without_test


def size_holdout(programme: Programme) -> Holdout:
    """The share in [0, 0.5] that earns the most; 0 when no test pays for itself."""
    least = LEAST_CUSTOMERS / programme.customers
    shares = _spread(least)
    values = [find_value(programme, share) for share in shares]
    best = max(range(len(shares)), key=values.__getitem__)
    low, high = shares[max(best - 1, 0)], shares[min(best + 1, len(shares) - 1)]
    # The value may have two hills, near 0 and inside; the grid finds the right one, Brent's method its top.
    found = minimize_scalar(
        lambda share: -find_value(programme, share),
        bounds=(low, high),
        method="bounded",
        options={"xatol": 1e-6},
    )
    share = float(found.x) if -found.fun > values[best] else shares[best]
    value, without = find_value(programme, share), find_value(programme, 0.0)
    if value <= without:
        share, value = 0.0, without
    mean = programme.prior.mean
    cost = programme.customers * share * mean
    return Holdout(share, value, without, cost, find_chance_to_go_on(programme, share))


def find_value(programme: Programme, share: float) -> float:
    """V(share): expected profit of the programme, in money; see the module's first lines."""
    count, mean = programme.customers, programme.prior.mean
    later = programme.windows - 1
    if share <= 0:
        return max(count * mean * (1 + later), 0.0)
    spread = find_preposterior_sd(programme, share)
    reached = 1 - (0 if programme.released else share)
    return count * ((1 - share) * mean + reached * later * find_expected_gain(mean, spread))


def find_preposterior_sd(programme: Programme, share: float) -> float:
    """ς: how far what will be believed after the test may lie from what is believed now."""
    prior, count = programme.prior.sd**2, programme.customers
    noise = programme.noise**2 * (1 / (share * count) + 1 / ((1 - share) * count))
    return prior / math.sqrt(prior + noise)


def find_expected_gain(mean: float, sd: float) -> float:
    """E[max(m, 0)] for m ~ N(``mean``, ``sd``²).

    >>> round(find_expected_gain(0.0, 1.0), 4)
    0.3989
    """
    if sd <= 0:
        return max(mean, 0.0)
    z = mean / sd
    density = math.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
    return mean * find_normal_probability(z) + sd * density


def find_chance_to_go_on(programme: Programme, share: float) -> float:
    """P(m > 0): how likely the test ends with going on."""
    mean = programme.prior.mean
    spread = find_preposterior_sd(programme, share) if share > 0 else 0.0
    if spread <= 0:
        return float(mean > 0)
    return find_normal_probability(mean / spread)


def _spread(least: float) -> list[float]:
    """Shares from ``least`` to one half, even on a log scale: the best one is often far below one percent."""
    steps = 160
    ratio = math.log(0.5 / least)
    return [min(least * math.exp(ratio * step / steps), 0.5) for step in range(steps + 1)]
