"""What each limit costs (the plan without it), and who stands at the margin. Reads and writes no tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from aimwell.core.estimate import Estimate
from aimwell.core.money import show_money
from aimwell.core.text import Text, say
from aimwell.strategy.explain import price_usage, show_signed
from aimwell.strategy.inputs import Limit, PlanInputs
from aimwell.strategy.problem import Integers, Reals
from aimwell.strategy.scenarios import Solved, leave_out_limit, measure_difference, solve

SLIGHT = 1e-4
"""A share of the profit below which a difference is the optimiser's rounding."""


@dataclass(frozen=True)
class LimitCost:
    """What one limit costs: the profit of the plan without it, less that of the plan with it."""

    limit: Limit
    gain: Estimate
    more_cost: float
    """What the plan without it would spend more; money."""
    entered: int

    def to_dict(self, currency: str) -> dict[str, Any]:
        """For JSON."""
        return {
            "id": self.limit.limit_id,
            "title": self.limit.title.both(),
            "gain": self.gain.to_dict(),
            "more_cost": round(self.more_cost, 2),
            "entered": self.entered,
            "sentence": self.explain(currency).both(),
        }

    def explain(self, currency: str) -> Text:
        """In words."""
        if self.gain.estimate <= 0:
            return say(
                "{limit}: costs nothing; without it the plan would be the same.", limit=self.limit.title
            )
        shown = say(
            "{limit}: without it the plan would earn {gain} more ({lower} to {upper}) and spend {cost}.",
            limit=self.limit.title,
            gain=show_money(self.gain.estimate, currency),
            lower=show_signed(self.gain.lower, currency),
            upper=show_signed(self.gain.upper, currency),
            cost=show_signed(self.more_cost, currency),
        )
        return shown if self.gain.proven else say("{sentence} The difference is not proven.", sentence=shown)


@dataclass(frozen=True)
class Marginal:
    """A customer at the margin: what the action earns, costs, and leaves after the price of what it uses; money."""

    customer_id: str
    action: int
    profit: float
    error: float
    cost: float
    net: float

    def to_dict(self, inputs: PlanInputs) -> dict[str, Any]:
        """For JSON."""
        action = inputs.actions[self.action]
        return {
            "customer_id": self.customer_id,
            "action_id": action.action_id,
            "title": action.title.both(),
            "expected_profit": self.profit,
            "standard_error": self.error,
            "cost": self.cost,
            "net": self.net,
        }


def cost_limits(base: Solved) -> tuple[LimitCost, ...]:
    """The plan without each of the limits in turn, warm-started; what nothing would change costs 0."""
    found = []
    for index, limit in enumerate(base.inputs.limits):
        prices = np.delete(base.solution.prices, index)
        free = solve(leave_out_limit(base.inputs, limit.limit_id).inputs, start=prices)
        gain = measure_difference(base, free)
        if gain.estimate <= SLIGHT * abs(base.profit.estimate) and base.solution.prices[index] <= 0:
            gain = Estimate(0.0, 0.0, 0.0, gain.n, gain.method)
        entered = int(((base.chosen < 0) & (free.chosen >= 0)).sum())
        found.append(LimitCost(limit, gain, free.cost - base.cost, entered))
    return tuple(found)


def find_marginal(base: Solved) -> tuple[Marginal | None, Marginal | None]:
    """The last customer who came in, and the first who stayed out though the action itself would earn.

    By what is left after the shadow price of all that an action uses: the least among the chosen, and the
    greatest among the others.
    """
    inputs = base.inputs
    if not len(base.considered):
        return None, None
    rows = inputs.build_rows()
    priced = price_usage(rows, base.solution.prices, base.considered)
    resources = priced.sum(axis=0) if len(priced) else np.zeros((len(base.considered), len(inputs.actions)))
    profit = inputs.profit[base.considered]
    left = inputs.competing[base.considered] - resources
    net = np.where((inputs.eligible & inputs.known)[base.considered], left, -np.inf)
    chosen = base.chosen[base.considered]
    return _find_last(base, net, chosen), _find_next(base, net, profit, chosen)


def _find_last(base: Solved, net: Reals, chosen: Integers) -> Marginal | None:
    inside = np.flatnonzero(chosen >= 0)
    if not len(inside):
        return None
    left = net[inside, chosen[inside]]
    place = int(inside[int(np.argmin(left))])
    return _make_marginal(base, net, place, int(chosen[place]))


def _find_next(base: Solved, net: Reals, profit: Reals, chosen: Integers) -> Marginal | None:
    # Who would lose money is not kept out by a limit.
    left = np.where((chosen < 0)[:, None] & (profit > 0), net, -np.inf)
    if not np.any(np.isfinite(left)):
        return None
    place, action = np.unravel_index(int(np.argmax(left)), left.shape)
    return _make_marginal(base, net, int(place), int(action))


def _make_marginal(base: Solved, net: Reals, place: int, action: int) -> Marginal:
    customer = int(base.considered[place])
    inputs = base.inputs
    return Marginal(
        inputs.customers[customer],
        action,
        float(inputs.profit[customer, action]),
        float(inputs.error[customer, action]),
        float(inputs.cost_cents[customer, action]) / 100,
        float(net[place, action]),
    )


def describe_margin(base: Solved) -> tuple[Text, ...]:
    """The marginal customers in words."""
    last, following = find_marginal(base)
    found = []
    if last is not None:
        found.append(_say_marginal(base.inputs, last, inside=True))
    found.append(
        say("Nobody is kept out by a limit: whoever is left would lose money or may not be contacted.")
        if following is None
        else _say_marginal(base.inputs, following, inside=False)
    )
    return tuple(found)


def _say_marginal(inputs: PlanInputs, marginal: Marginal, *, inside: bool) -> Text:
    title = inputs.actions[marginal.action].title
    profit, cost = show_signed(marginal.profit, inputs.currency), show_money(marginal.cost, inputs.currency)
    if inside:
        return say(
            "Last to come in: {customer}, {action}: expected {profit} for {cost}.",
            customer=marginal.customer_id,
            action=title,
            profit=profit,
            cost=cost,
        )
    return say(
        "Next in line: {customer}, {action}: expected {profit} for {cost}.",
        customer=marginal.customer_id,
        action=title,
        profit=profit,
        cost=cost,
    )
