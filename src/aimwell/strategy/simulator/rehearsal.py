"""A workspace's next rounds, rehearsed: its own customers, actions and limits on a simulated market. All simulated.

Customers, their habits and consents are the workspace's (``calibration``); how they respond is drawn from the posterior
of its effects, or, as long as none are known, planted. What the rehearsal cannot hold is said with it: stock is not
counted, everybody has one action a round, and habits stay as they are. Reads ``order_lines`` and ``products`` through
the reader given; writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from aimwell.core.errors import BadInput
from aimwell.core.estimate import Estimate, EstimateDict
from aimwell.core.money import show_money
from aimwell.core.text import Text, say
from aimwell.engine.session import Queryable
from aimwell.strategy.inputs import Limit, PlanInputs
from aimwell.strategy.limits import describe_limit
from aimwell.strategy.market import MarketActions
from aimwell.strategy.problem import Flags, Integers, Reals
from aimwell.strategy.simulator.calibration import read_crowd
from aimwell.strategy.simulator.crowd import Crowd, Menu
from aimwell.strategy.simulator.policies import KINDS, Kind
from aimwell.strategy.simulator.rounds import MarketWorld, compare_policies, estimate_mean
from aimwell.strategy.simulator.season import Rules
from aimwell.strategy.simulator.truth import Truth, fit, plant

TITLES: dict[Kind, Text] = {
    "ours": say("Ours: plan by effect, a share explored"),
    "pilot_only": say("Explored in the first round only"),
    "no_exploration": say("Plan by effect, nothing explored"),
    "propensity": say("The likeliest buyers first"),
    "naive_uplift": say("Differences of who was sent what, as they stand"),
}
STEADY = say("Markets that stay as they are")
DRIFTING = say("Markets that drift: tastes move, competitors answer")
MOST_MARKETS = 1_000
MOST_ROUNDS = 60


@dataclass(frozen=True)
class Rehearsal:
    """Cumulative profit of each policy, markets × rounds; money. Always simulated."""

    profit: dict[Kind, Reals]
    fitted: bool
    """Whether responses come from the workspace's effects; else they are planted."""
    customers: int
    currency: str
    title: Text = STEADY
    left_out: tuple[Text, ...] = ()
    """Limits that the simulated market does not know."""

    def to_dict(self) -> dict[str, Any]:
        """For JSON and the page: means with intervals over markets, and ours less each other policy, by round."""
        ours = self.profit["ours"][:, -1]
        return {
            "simulated": True,
            "title": self.title.both(),
            "lead": say(
                "{count} markets, {rounds} rounds from a cold start, {customers} customers. All simulated.",
                count=len(ours),
                rounds=int(self.profit["ours"].shape[1]),
                customers=f"{self.customers:,}",
            ).both(),
            "fitted": self.fitted,
            "customers": self.customers,
            "currency": self.currency,
            "markets": len(ours),
            "rounds": int(self.profit["ours"].shape[1]),
            "policies": [
                {
                    "policy": kind,
                    "title": TITLES[kind].both(),
                    "profit": estimate_mean(totals[:, -1]).to_dict(),
                    "by_round": _estimate_rounds(totals),
                    "ours_less_this": None
                    if kind == "ours"
                    else estimate_mean(ours - totals[:, -1]).to_dict(),
                    "ours_less_by_round": None
                    if kind == "ours"
                    else _estimate_rounds(self.profit["ours"] - totals),
                }
                for kind, totals in self.profit.items()
            ],
            "sentences": [text.both() for text in self.describe()],
        }

    def describe(self) -> tuple[Text, ...]:
        """What the rehearsal says, what it rests on, and what it leaves out."""
        ours = self.profit["ours"][:, -1]
        told = [
            say("Everything here is simulated: no customer was contacted and nobody answered."),
            say("How customers respond is drawn from the effects that this workspace has learnt.")
            if self.fitted
            else say("No effect is known here yet, so how customers respond is planted: an invention."),
        ]
        for kind, totals in self.profit.items():
            if kind != "ours":
                told.append(_tell_difference(estimate_mean(ours - totals[:, -1]), kind, self.currency))
        told += [say("Not counted: the limit “{limit}”.", limit=limit) for limit in self.left_out]
        return (*told, say("Not counted: stock, more than one action a round, habits that change."))


def _estimate_rounds(totals: Reals) -> list[EstimateDict]:
    return [estimate_mean(totals[:, place]).to_dict() for place in range(totals.shape[1])]


def rehearse(
    reader: Queryable,
    inputs: PlanInputs,
    *,
    as_of: date,
    margin_rate: float,
    rounds: int,
    markets: int,
    progress: Callable[[Text], None] = lambda text: None,
) -> Rehearsal:
    """Let every policy play ``rounds`` rounds from a cold start on ``markets`` markets; BadInput for other numbers."""
    _check("rounds", rounds, 1, MOST_ROUNDS)
    _check("markets", markets, 2, MOST_MARKETS)
    reachable = np.flatnonzero(inputs.eligible.any(axis=1))
    names = [inputs.customers[place] for place in reachable]
    crowd, departments = read_crowd(
        reader, names, inputs.eligible[reachable], as_of=as_of, margin_rate=margin_rate
    )
    menu = build_menu(inputs, departments)

    def make_world(seed: int) -> MarketWorld:
        return MarketWorld(crowd, menu, _draw_truth(inputs, crowd, menu, reachable, seed), Rules())

    def report(seed: int) -> None:
        progress(say("Simulated market {number} of {count}", number=seed + 1, count=markets))

    found = compare_policies(make_world, KINDS, rounds=rounds, seeds=range(markets), progress=report)
    left_out = tuple(
        describe_limit(limit, inputs.currency)
        for limit in inputs.limits
        if limit.unit != "offers" and not _is_played(limit)
    )
    return Rehearsal(found, inputs.has_effects, len(names), inputs.currency, left_out=left_out)


def build_menu(inputs: PlanInputs, departments: list[str]) -> Menu:
    """The plan's actions, its budget, call minutes and what else limits actions as such.

    Without a limit of money or minutes it is what everybody could use.
    """
    column = {name: place for place, name in enumerate(departments)}
    actions, count = inputs.actions, len(inputs.customers)
    market = MarketActions(
        action_id=[action.action_id for action in actions],
        channel=[action.channel for action in actions],
        department=np.array([column.get(action.department or "", -1) for action in actions], dtype=np.int64),
        discount=np.array([action.discount for action in actions]),
        redemption_cost=np.array([float(action.redemption_cost) for action in actions]),
    )
    minutes = np.array([action.minutes for action in actions])
    limits = {limit.limit_id: limit.limit for limit in inputs.limits}
    budget = limits.get("budget", float(inputs.unit_cost.max(initial=0.0)) * count)
    most = limits.get("call_minutes", float(minutes.max(initial=0.0)) * count)
    uses = {"money": np.round(inputs.unit_cost * 100), "minutes": minutes, "contacts": np.ones(len(actions))}
    others = tuple(
        (limit.limit_id, uses[limit.unit] * _find_counted(limit, market.action_id), _count_room(limit))
        for limit in inputs.limits
        if limit.limit_id not in ("budget", "call_minutes") and _is_played(limit)
    )
    return Menu(market, inputs.unit_cost, minutes, budget, most, others)


def _is_played(limit: Limit) -> bool:
    """Whether a policy's round can keep it: at most so much of some actions, whoever gets them."""
    return limit.sense == "at_most" and not limit.where and limit.unit in ("money", "minutes", "contacts")


def _find_counted(limit: Limit, actions: list[str]) -> Flags:
    return np.array([limit.actions is None or action in limit.actions for action in actions])


def _count_room(limit: Limit) -> float:
    return float(np.floor(limit.limit * 100 + 1e-6)) if limit.unit == "money" else limit.limit


def _draw_truth(inputs: PlanInputs, crowd: Crowd, menu: Menu, reachable: Integers, seed: int) -> Truth:
    if not inputs.has_effects or inputs.estimate is None:
        return plant(crowd, menu, seed=seed)
    estimate = np.where(inputs.known, inputs.estimate, np.nan)[reachable]
    return fit(crowd, menu, estimate, inputs.error[reachable], inputs.redemption_rate[reachable], seed=seed)


def _tell_difference(difference: Estimate, kind: Kind, currency: str) -> Text:
    shown = {
        name: show_money(value, currency)
        for name, value in (
            ("amount", difference.estimate),
            ("lower", difference.lower),
            ("upper", difference.upper),
        )
    }
    if difference.lower <= 0 <= difference.upper:
        return say(
            "Ours against “{policy}”: {amount} ({lower} to {upper}) in simulation. Not proven.",
            policy=TITLES[kind],
            **shown,
        )
    return say(
        "Ours against “{policy}”: {amount} ({lower} to {upper}) in simulation.", policy=TITLES[kind], **shown
    )


def _check(name: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise BadInput(
            "strategy.bad_rehearsal",
            say("'{name}' is {value}.", name=name, value=value),
            remedy=say("Give a number from {least} to {most}.", least=least, most=f"{most:,}"),
            where={"column": name, "value": str(value)},
        )
