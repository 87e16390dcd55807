"""Power, the smallest effect that can be shown, and the arm sizes that an effect needs.

Reads and writes no table. Two arms of unequal size, normal approximation, two-sided (Cohen 1988). ``sd`` is
the standard deviation of the outcome *after* adjustment: sd · √(1 − variance removed). Where whole clusters are
drawn, every standard error is √(design effect) larger (``clustering``), and few clusters make it Student's t.

>>> round(find_smallest_effect(sd=1.0, n_treatment=1000, n_control=1000), 4)
0.1253
"""

from __future__ import annotations

import math

from scipy.optimize import brentq

from aimwell.stats.distribution import find_normal_probability, find_normal_quantile, find_t_critical

ALPHA = 0.05
POWER = 0.8
LEAST_BUYERS = 400
"""Buyers in the smaller arm below which Student's interval of skewed money misses too often (measured)."""


def find_smallest_effect(
    *, sd: float, n_treatment: int, n_control: int, power: float = POWER, alpha: float = ALPHA
) -> float:
    """The smallest true effect that is shown with probability ``power``; infinite when an arm is empty."""
    if n_treatment < 1 or n_control < 1:
        return math.inf
    reach = find_normal_quantile(1 - alpha / 2) + find_normal_quantile(power)
    return reach * sd * math.sqrt(1 / n_treatment + 1 / n_control)


def find_needed_customers(
    *, effect: float, sd: float, control_share: float, power: float = POWER, alpha: float = ALPHA
) -> int | None:
    """Customers in both arms that show ``effect`` when ``control_share`` of them are control; None when
    never.
    """
    if effect == 0 or not 0 < control_share < 1:
        return None
    reach = find_normal_quantile(1 - alpha / 2) + find_normal_quantile(power)
    per_customer = 1 / control_share + 1 / (1 - control_share)
    return math.ceil((reach * sd / effect) ** 2 * per_customer)


def find_customers_for_buyers(buyer_share: float, *, buyers: int = LEAST_BUYERS) -> int | None:
    """Customers that an arm needs to expect ``buyers`` buyers; None when nobody buys."""
    return math.ceil(buyers / buyer_share) if buyer_share > 0 else None


def find_reach(*, power: float = POWER, alpha: float = ALPHA, degrees: float = math.inf) -> float:
    """How many standard errors an effect must have to be shown with probability ``power`` (2.80 as a rule)."""
    return find_t_critical(degrees, 1 - alpha) + math.copysign(
        find_t_critical(degrees, abs(2 * power - 1)), power - 0.5
    )


def find_power(effect: float, *, standard_error: float, alpha: float = ALPHA) -> float:
    """The probability that a true ``effect`` is shown in its own direction; two-sided test at ``alpha``."""
    if standard_error <= 0:
        return 1.0 if effect else 0.0
    return find_normal_probability(abs(effect) / standard_error - find_normal_quantile(1 - alpha / 2))


def find_share_error(
    share: float, change: float, *, n_treatment: int, n_control: int, variance_removed: float = 0.0
) -> float:
    """The standard error of a difference of two shares, the treated having ``share`` + ``change``: each arm has its
    own variance. ``variance_removed`` by adjustment is taken as the same in both arms.
    """
    treated = min(max(share + change, 0.0), 1.0)
    variance = treated * (1 - treated) / n_treatment + share * (1 - share) / n_control
    return math.sqrt(variance * (1 - variance_removed))


def find_smallest_share_change(
    share: float,
    *,
    n_treatment: int,
    n_control: int,
    variance_removed: float = 0.0,
    design_effect: float = 1.0,
    reach: float | None = None,
) -> float:
    """The smallest rise of ``share`` (of customers who do something) that is shown; infinite when no rise is.

    ``reach`` in standard errors (``find_reach``; 80 % power at 5 % when omitted).
    """
    if n_treatment < 1 or n_control < 1 or not 0 <= share <= 1:
        return math.inf
    needed = find_reach() if reach is None else reach
    root = math.sqrt(design_effect)

    def miss(change: float) -> float:
        error = find_share_error(
            share, change, n_treatment=n_treatment, n_control=n_control, variance_removed=variance_removed
        )
        return change - needed * root * error

    if miss(1 - share) < 0:
        return math.inf
    # A rise of next to nothing is never seen, so that the root lies between; at a share of 0 or 1 it may be 0.
    return float(brentq(miss, 1e-12, 1 - share)) if miss(1e-12) < 0 else 1e-12
