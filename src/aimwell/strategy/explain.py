"""Why this action and not another, and what each limit is worth, in words. Reads and writes no tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from aimwell.core.estimate import Estimate
from aimwell.core.money import show_money
from aimwell.core.text import Text, say
from aimwell.strategy.inputs import LimitUse, PlanInputs, PlanResult
from aimwell.strategy.problem import Integers, Reals, Row


@dataclass(frozen=True)
class Reason:
    """Why a customer got its action, and why not the next best."""

    reason: Text
    why_not: Text


@dataclass(frozen=True)
class Alternative:
    """One action for one customer: what it earns, and what is left after the price of what it uses."""

    action: int
    profit: float
    resources: float
    """Price of the scarce resources that it uses, at the shadow prices; money."""
    scarce: int | None
    """The limit whose use costs most."""
    handicap: float = 0.0
    """What caution and the customer's earlier contacts take off before it competes; money."""

    @property
    def net(self) -> float:
        """Profit less the price of the resources and the handicap; money."""
        return self.profit - self.resources - self.handicap


def price_usage(rows: tuple[Row, ...], prices: Reals, customers: Integers) -> Reals:
    """Rows × customers × actions: what the use of each limit is worth at its shadow price; money."""
    parts = [price * row.sign * row.usage[customers] for price, row in zip(prices, rows, strict=True)]
    return np.array(parts)


def rank_alternatives(inputs: PlanInputs, priced: Reals, customer: int) -> tuple[Alternative, ...]:
    """The customer's allowed actions, best net value first; ``priced``: rows × actions of the customer."""
    resources = priced.sum(axis=0) if len(priced) else np.zeros(len(inputs.actions))
    found = []
    for action in np.flatnonzero(inputs.eligible[customer] & inputs.known[customer]):
        dearest = int(np.argmax(priced[:, action])) if len(priced) else 0
        scarce = dearest if len(priced) and priced[dearest, action] > 0 else None
        profit = float(inputs.profit[customer, action])
        handicap = 0.0 if inputs.handicap is None else float(inputs.handicap[customer, action])
        found.append(Alternative(int(action), profit, float(resources[action]), scarce, handicap))
    return tuple(sorted(found, key=lambda item: (-item.net, item.action)))


def explain_plan(inputs: PlanInputs, result: PlanResult) -> list[Reason]:
    """A reason for every chosen customer, in the order of the result."""
    if result.method == "randomised":
        why_not = say("A pilot chooses at random, so that effects can be learnt without prejudice.")
        return [Reason(_explain_draw(int(count)), why_not) for count in result.choices]
    priced = price_usage(inputs.build_rows(), result.prices, result.customer)
    reasons = []
    for place, customer in enumerate(result.customer):
        ranked = rank_alternatives(inputs, priced[:, place] if len(priced) else priced, int(customer))
        reasons.append(_explain_choice(inputs, result, place, ranked))
    return reasons


def _explain_draw(count: int) -> Text:
    return say(
        "Drawn at random among {count} allowed actions, to learn what each of them causes.", count=count
    )


def _explain_choice(
    inputs: PlanInputs, result: PlanResult, place: int, ranked: tuple[Alternative, ...]
) -> Reason:
    action, profit = int(result.action[place]), show_signed(float(result.profit[place]), inputs.currency)
    others = [other for other in ranked if other.action != action]
    why_not = (
        _explain_next(inputs, others[0]) if others else say("No other action is allowed for this customer.")
    )
    count = int(result.choices[place])
    if result.explored[place]:
        text = say(
            "Chosen at random among {count} near-best actions in order to learn; expected {profit} after costs.",
            count=count,
            profit=profit,
        )
    else:
        text = say(
            "Expected {profit} after costs, best of {count} allowed actions; next: {next}",
            profit=profit,
            count=count,
            next=why_not,
        )
    pressure = 0.0 if inputs.pressure is None else float(inputs.pressure[result.customer[place]])
    if pressure > 0 and not result.explored[place]:
        cost = show_money(pressure, inputs.currency)
        text = say("{reason} Earlier contacts counted {cost} against it.", reason=text, cost=cost)
    return Reason(text, why_not)


def _explain_next(inputs: PlanInputs, other: Alternative) -> Text:
    title = inputs.actions[other.action].title
    profit = show_signed(other.profit, inputs.currency)
    if other.scarce is None:
        return say("{action} {profit}.", action=title, profit=profit)
    return say(
        "{action} {profit}, but what it uses is worth {price} elsewhere, most of it by the limit on {limit}.",
        action=title,
        profit=profit,
        price=show_money(other.resources, inputs.currency),
        limit=inputs.limits[other.scarce].title,
    )


def describe_use(use: LimitUse, currency: str) -> dict[str, Any]:
    """One limit of a plan, for JSON."""
    return {
        "id": use.limit.limit_id,
        "title": use.limit.title.both(),
        "sense": use.limit.sense,
        "limit": use.limit.limit,
        "used": use.used,
        "unit": use.limit.unit,
        "shadow_price": use.shadow_price,
        "sentence": explain_use(use, currency).both(),
    }


def explain_use(use: LimitUse, currency: str) -> Text:
    """What one constraint is worth, in words."""
    price = show_money(use.shadow_price, currency)
    if use.limit.unit == "percent" and use.shadow_price > 0:
        return _explain_share(use, price)
    if use.limit.sense == "at_least":
        if use.limit.if_room and use.used < use.limit.limit:
            return say(
                "Left out: fewer than {count} customers could get it.", count=f"{use.limit.limit:,.0f}"
            )
        if use.shadow_price > 0:
            return say("This minimum costs {price} of profit for each unit that it asks for.", price=price)
        return say("This minimum costs nothing.")
    if use.shadow_price <= 0:
        return _explain_room(use, currency)
    if use.limit.unit == "money":
        one = show_money(1.0, currency)
        return say("{one} more for {limit} would earn {price}.", one=one, limit=use.limit.title, price=price)
    if use.limit.unit == "minutes":
        return say("One more call minute would earn {price}.", price=price)
    if use.limit.unit == "offers":
        return say("One more of this offer would earn {price}.", price=price)
    return say("One more contact would earn {price}.", price=price)


def _explain_share(use: LimitUse, price: str) -> Text:
    if use.limit.sense == "at_least":
        return say("Each percentage point that this share asks for costs {price} of profit.", price=price)
    return say("One more percentage point would earn {price}.", price=price)


def _explain_room(use: LimitUse, currency: str) -> Text:
    left = use.limit.limit - use.used
    shown = show_money(left, currency) if use.limit.unit == "money" else f"{left:,.0f}"
    if use.limit.unit == "percent":
        return say("Not scarce: {left} percentage points are left.", left=f"{left:,.1f}")
    if left <= 0:
        return say("Used up, but more would earn nothing: whoever is left costs more than they bring.")
    return say("Not scarce: {left} are left, and more would earn nothing.", left=shown)


def show_signed(amount: float, currency: str) -> str:
    """Money with its sign, such as +$4.10."""
    return ("+" if amount >= 0 else "") + show_money(amount, currency)


def show_range(profit: Estimate, currency: str) -> Text:
    """Expected profit with its interval, such as +$4.10 (+$1.00 to +$7.20)."""
    return say(
        "{profit} ({lower} to {upper})",
        profit=show_signed(profit.estimate, currency),
        lower=show_signed(profit.lower, currency),
        upper=show_signed(profit.upper, currency),
    )


def say_chosen(profit: Text, cost: str, resources: float, currency: str) -> Text:
    """That an action was chosen; ``resources``: what the scarce things that it uses would earn elsewhere, money."""
    if resources <= 0:
        return say("Chosen: expected {profit} for {cost}; it uses nothing scarce.", profit=profit, cost=cost)
    return say(
        "Chosen: expected {profit} for {cost}; what it uses would earn {price} elsewhere.",
        profit=profit,
        cost=cost,
        price=show_money(resources, currency),
    )
