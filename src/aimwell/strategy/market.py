"""The market simulator: households that respond to a plan with planted effects, so that the truth is known.

Complete Journey's campaigns were targeted, not randomised: no effect may be read from them. The simulator
therefore lets every household behave as it really did (that is the outcome without contact) and adds, for
those who were reached, what the planted response makes of the action. Everything it makes is labelled simulated.

The planted response of customer x to action a (offer on department d with discount δ, channel c):

    p(x, a)  = min(0.9, base · reach_c · 8 · [s_x − 0.07]₀^0.275 · m(x, d) · exp(−r_x / 60) · f^k_x · (0.5 + δ / 0.3))
    m(x, d)  = 3 · A · (1.2 − A) for a department offer, 0.5 for an offer on everything
    q(x, a)  = 0.9 · A · exp(−r_x / 60)                       redeems although they would have bought anyway

with A = share ÷ (share + average share) of the department in the customer's revenue of the last 90 days (one
half for the average customer), s the customer's discount share, r days since the last order, k contacts
received in the last 14 days. A responder makes one to three orders more, of about the customer's usual size. So
response is highest where habit is neither absent nor complete, and those most likely to buy mostly redeem what
they would have paid for anyway: choosing by propensity wastes money here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from aimwell.core.seeds import generator

Reals: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]
MEAN_ORDERS = 2.0


@dataclass(frozen=True)
class Market:
    """The planted parameters. They are properties of the imagined market, the same for every seed."""

    seed: int
    base: float = 0.8
    reach: tuple[tuple[str, float], ...] = (("email", 0.55), ("sms", 0.75), ("mail", 0.7), ("call", 1.15))
    fatigue: float = 0.75
    size: float = 1.0
    """Revenue of an incremental order as a share of the customer's average order."""


@dataclass(frozen=True)
class MarketCustomers:
    """What the response depends on; arrays of length n unless said.

    ``department_share`` is n × d: share of revenue in the last 90 days by department.
    """

    customer_id: list[str]
    department_share: Reals
    discount_share: Reals
    recency_days: Reals
    average_order: Reals
    recent_contacts: Reals
    margin_rate: float


@dataclass(frozen=True)
class MarketActions:
    """The actions: arrays of length a. ``department`` indexes ``department_share``; −1: everything."""

    action_id: list[str]
    channel: list[str]
    department: Integers
    discount: Reals
    redemption_cost: Reals


@dataclass(frozen=True)
class Responses:
    """What the reached customers did more: arrays of length n, zero where nothing."""

    orders: Integers
    revenue: Reals
    redemptions: Integers
    offer_cost: Reals
    contribution: Reals
    """Margin of the additional revenue less cost of redeemed offers, before the contact's cost."""


def response_probability(market: Market, customers: MarketCustomers, actions: MarketActions) -> Reals:
    """n × a: the chance of additional orders."""
    reach = dict(market.reach)
    channel = np.array([reach.get(name, 0.5) for name in actions.channel])
    affinity = _affinity(customers, actions)
    match = np.where(actions.department[None, :] < 0, 0.5, 3.0 * affinity * (1.2 - affinity))
    person = (
        np.clip(8.0 * (customers.discount_share - 0.07), 0.0, 2.2)
        * np.exp(-np.maximum(customers.recency_days, 0) / 60.0)
        * market.fatigue**customers.recent_contacts
    )
    depth = 0.5 + actions.discount / 0.3
    return np.minimum(0.9, market.base * person[:, None] * match * (channel * depth)[None, :])


def free_redemption_probability(customers: MarketCustomers, actions: MarketActions) -> Reals:
    """n × a: the chance that somebody redeems who would have bought anyway."""
    affinity = np.where(actions.department[None, :] < 0, 0.55, _affinity(customers, actions))
    active = np.exp(-np.maximum(customers.recency_days, 0) / 60.0)
    return 0.9 * affinity * active[:, None]


def expected_contribution(market: Market, customers: MarketCustomers, actions: MarketActions) -> Reals:
    """n × a: the true expected increment of contribution, before the contact's cost; money per customer."""
    respond = response_probability(market, customers, actions)
    redeem = respond + (1 - respond) * free_redemption_probability(customers, actions)
    revenue = respond * MEAN_ORDERS * (market.size * customers.average_order)[:, None]
    return revenue * customers.margin_rate - redeem * actions.redemption_cost[None, :]


def respond(
    market: Market, customers: MarketCustomers, actions: MarketActions, action: Integers, *, plan_id: str
) -> Responses:
    """What each customer does who was reached with ``action`` (index; −1: not reached). Seeded by market and plan."""
    n = len(customers.customer_id)
    random = generator(market.seed, "market", plan_id)
    draws = random.random((n, 3))
    sizes = np.exp(random.normal(-0.045, 0.3, size=n))
    reached = action >= 0
    chosen = np.where(reached, action, 0)
    rows = np.arange(n)
    probability = response_probability(market, customers, actions)[rows, chosen]
    responds = reached & (draws[:, 0] < probability)
    orders = np.where(responds, 1 + np.floor(3 * draws[:, 1]), 0).astype(np.int64)
    revenue = np.round(orders * market.size * customers.average_order * sizes, 2)
    free = free_redemption_probability(customers, actions)[rows, chosen]
    redeems = reached & (responds | (draws[:, 2] < free))
    cost = np.where(redeems, actions.redemption_cost[chosen], 0.0)
    return Responses(orders, revenue, redeems.astype(np.int64), cost, revenue * customers.margin_rate - cost)


def _affinity(customers: MarketCustomers, actions: MarketActions) -> Reals:
    shares = customers.department_share
    if shares.shape[1] == 0:
        return np.zeros((len(customers.customer_id), len(actions.action_id)))
    average = np.maximum(shares.mean(axis=0), 1e-9)
    affinity: Reals = shares / (shares + average)
    return affinity[:, np.maximum(actions.department, 0)]
