"""Power, the smallest effect that can be shown, and the arm sizes that an effect needs.

Reads and writes no table. Two arms of unequal size, normal approximation, two-sided (Cohen 1988). ``sd`` is
the standard deviation of the outcome *after* adjustment: sd · √(1 − variance removed).

>>> round(find_smallest_effect(sd=1.0, n_treatment=1000, n_control=1000), 4)
0.1253
"""

from __future__ import annotations

import math

from aimwell.stats.distribution import find_normal_quantile

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
