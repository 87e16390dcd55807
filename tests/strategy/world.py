"""Plans to test with: customers, offers and effects drawn from a seed."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import numpy as np

from aimwell.core.text import say
from aimwell.engine.settings import Settings
from aimwell.strategy.actions import Action, make_actions
from aimwell.strategy.inputs import PlanInputs, Shares
from aimwell.strategy.limits import build_limits
from aimwell.strategy.offers import Offer
from aimwell.strategy.problem import Problem, Row

PRICES = {"a_20": "2.50", "b_15": "1.20", "c_10": "4.10", "everything_5": "1.70"}


def make_offers() -> list[Offer]:
    title = say("{percent} % off everything", percent=20)
    return [Offer(name, title, None, 0.2, Decimal(price), None) for name, price in PRICES.items()]


def make_all_actions() -> tuple[Action, ...]:
    return make_actions(make_offers(), Settings().channels)


def make_inputs(
    n: int = 600, *, seed: int = 0, budget: str = "150", effects: bool = True, shares: Shares | None = None
) -> PlanInputs:
    random = np.random.default_rng(seed)
    actions = make_all_actions()
    reach = random.random((n, 4)) < [0.7, 0.6, 0.5, 0.8]
    shape = (n, len(actions))
    return PlanInputs(
        customers=tuple(f"c{index}" for index in range(n)),
        actions=actions,
        eligible=np.tile(reach, (1, 4)),
        limits=build_limits(actions, budget=Decimal(budget), call_minutes=80, stock={"a_20": 60, "b_15": 50}),
        plan_id="plan",
        salt="42",
        strata=tuple(random.choice(["best_20", "middle", "low"], n).tolist()),
        estimate=random.normal(0.4, 1.2, shape) + random.normal(0, 1, (n, 1)) if effects else None,
        standard_error=random.gamma(4, 0.1, shape) if effects else None,
        redemption=random.beta(1, 9, shape) if effects else None,
        shares=shares or Shares(),
        currency="USD",
    )


def without_exploration(inputs: PlanInputs) -> PlanInputs:
    return replace(inputs, shares=replace(inputs.shares, exploration=0.0))


def make_problem(n: int, actions: int, *, seed: int, k: int = 1, tight: float = 0.3) -> Problem:
    """Cents of budget, call minutes and stocks: whole numbers, as the planner makes them."""
    random = np.random.default_rng(seed)
    channel, offer = np.arange(actions) % 4, np.arange(actions) // 4
    rate = random.beta(1, 12, (n, actions))
    cost = np.ceil(np.array([1, 5, 150, 60])[channel] + rate * np.array([350, 250, 420, 300, 280])[offer % 5])
    value = random.normal(0.3, 1.0, (n, actions)) + random.normal(0, 0.6, (n, 1)) - cost / 200
    everybody = np.ones((n, 1))
    rows = [
        Row("budget", cost, float(round(n * 60 * tight))),
        Row("minutes", np.where(channel == 2, 4.0, 0.0) * everybody, float(n * 4 // 10)),
        *[Row(f"stock{o}", (offer == o) * everybody, float(n // 8)) for o in range(int(offer.max()) + 1)],
    ]
    return Problem(value, tuple(rows), random.random((n, actions)) < 0.8, offer if k > 1 else None, k)
