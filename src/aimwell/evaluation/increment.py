"""The increments of a plan: orders, revenue, contribution, profit and ROI, as totals over the treated.

Reads and writes no table. By intention to treat: everybody who was drawn for treatment counts, reached or
not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from aimwell.core.estimate import Estimate
from aimwell.evaluation.experiment import OUTCOMES, Experiment
from aimwell.evaluation.method import Comparison, Method, compare
from aimwell.stats.cap import cap_values
from aimwell.stats.distribution import find_normal_quantile
from aimwell.stats.effect import Effect
from aimwell.stats.moments import Moments
from aimwell.stats.multiplicity import adjust_holm
from aimwell.stats.ratio import Fraction, estimate_relative_lift, find_fieller_interval

DECLARED = ("profit", "revenue", "orders")
"""The metrics that are declared before launch, the deciding one first."""


@dataclass(frozen=True)
class Increments:
    """What the plan caused. ``per_customer`` has orders, revenue, contribution; ``totals`` also profit."""

    per_customer: Mapping[str, Comparison]
    totals: Mapping[str, Effect]
    capped: Effect | None
    cap: float | None
    relative_revenue: Estimate | None
    contact_cost: float
    offer_cost: float
    roi: Estimate | None
    holm: Mapping[str, float]

    @property
    def cost(self) -> float:
        """Contacts and redeemed offers of the treated."""
        return self.contact_cost + self.offer_cost


def measure_increments(experiment: Experiment, *, method: Method, cap: float | None) -> Increments:
    """All increments; ``cap`` (from the period before) gives a second, robust look at contribution."""
    found = {
        name: compare(experiment, experiment.outcomes[name], method=method, name=name) for name in OUTCOMES
    }
    contribution = found["contribution"]
    totals = {name: found[name].effect.scale(experiment.n_treatment) for name in OUTCOMES}
    totals["profit"] = contribution.find_profit(experiment.contact_total)
    capped = None
    if cap is not None and cap > 0:
        values = cap_values(experiment.outcomes["contribution"], cap=cap)
        capped = compare(experiment, values, method=method, name="capped").effect
    return Increments(
        per_customer=found,
        totals=totals,
        capped=capped,
        cap=cap,
        relative_revenue=_find_relative(experiment, found["revenue"].effect),
        contact_cost=experiment.contact_total,
        offer_cost=float(experiment.offer_cost[experiment.treated].sum()),
        roi=_find_roi(experiment, contribution, totals["profit"]),
        holm=dict(
            zip(DECLARED, adjust_holm([totals[name].p_value for name in DECLARED]).tolist(), strict=True)
        ),
    )


def _find_relative(experiment: Experiment, effect: Effect) -> Estimate | None:
    if len(np.unique(experiment.group)) > 1 or experiment.varies:
        return None
    revenue, treated = experiment.outcomes["revenue"], experiment.treated
    arms = (Moments.of(revenue[treated]), Moments.of(revenue[~treated]))
    return estimate_relative_lift(*arms, adjusted=effect)


def _find_roi(experiment: Experiment, contribution: Comparison, profit: Effect) -> Estimate | None:
    """Profit ÷ cost by Fieller, each end with the profit's own distance to that side, as the two must agree
    on 0.
    """
    treated = experiment.treated
    costs = experiment.offer_cost[treated]
    total = experiment.contact_total + float(costs.sum())
    if total <= 0 or len(costs) < 2:
        return None
    joint = np.cov(contribution.residuals[treated], costs, ddof=1)
    spread, shared = len(costs) * float(joint[1, 1]), len(costs) * float(joint[0, 1])
    z = find_normal_quantile(0.975)
    ends = []
    for side, distance in enumerate((profit.estimate - profit.lower, profit.upper - profit.estimate)):
        variance = (distance / z) ** 2
        # No covariance can be larger than its two variances allow.
        bound = math.sqrt(variance * spread)
        fraction = Fraction(profit.estimate, total, variance, spread, min(bound, max(-bound, shared)))
        interval = find_fieller_interval(fraction)
        if interval is None:
            return None
        ends.append(interval[side])
    return Estimate(profit.estimate / total, ends[0], ends[1], profit.n, f"fieller; {profit.method}")
