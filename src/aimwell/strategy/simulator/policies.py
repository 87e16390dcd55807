"""The policies that play rounds: ours, and what is done instead. Each sees what a business would see, nothing more.

*Ours*: effects from all rounds by ``learning``, allocated under the limits by the optimiser; a stated share of the
audience gets an action drawn from the posterior chance to be its best (Thompson 1933), with its exact probability.
*Without exploration* is the same with a share of 0. *Propensity* contacts the likeliest buyers with the action after
which most buy. *Naive uplift* takes, by segment and action, the difference between whoever was sent it and whoever was
not. Reads and writes no table.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from aimwell.strategy.large.instance import Instance, TableRow
from aimwell.strategy.large.solve import allocate
from aimwell.strategy.problem import Flags, Integers, Reals
from aimwell.strategy.simulator.crowd import Crowd, Menu
from aimwell.strategy.simulator.learning import Learner, Prior
from aimwell.strategy.simulator.season import Outcome

Kind = Literal["ours", "pilot_only", "no_exploration", "propensity", "naive_uplift"]
KINDS: tuple[Kind, ...] = ("ours", "pilot_only", "no_exploration", "propensity", "naive_uplift")
ASSUMED_RESPONSE = 0.05
"""Additional orders of a contact, as a share of customers, that everybody assumes before any data; two orders each."""
ASSUMED_REDEMPTION = 0.2
CONTROL = 0.1
"""Of the chosen, the share who get nothing, at random: with every policy, so that each can be measured."""
PATIENCE = 4.0
"""Rounds whose profit counts as lost with an unsubscribed customer."""
DRAWS = 64
ORDERS = 2.0


@dataclass(frozen=True)
class Exploration:
    """How much of the audience is explored: ``first`` in round 1, then ``share`` ÷ round, not below ``floor``."""

    first: float = 0.5
    share: float = 0.4
    floor: float = 0.03

    def find_share(self, round_number: int) -> float:
        """The stated share of a round (1, 2, …)."""
        return self.first if round_number == 1 else max(self.share / round_number, self.floor)


NONE = Exploration(0.0, 0.0, 0.0)
PILOT_ONLY = Exploration(Exploration().first, 0.0, 0.0)


@dataclass(frozen=True)
class Draft:
    """What a policy wants to send: the action (n; −1: none), and with which probability it was given it."""

    action: Integers
    probability: Reals
    explored: Flags


@dataclass(frozen=True)
class Sight:
    """Before a round: who can be contacted (n × a), contacts in the window (n), and the round (1, 2, …)."""

    allowed: Flags
    recent: Reals
    round_number: int


class Policy:
    """One business that plays rounds its way: ``plan`` before a round, ``observe`` after it."""

    def __init__(self, kind: Kind, crowd: Crowd, menu: Menu) -> None:
        """Nothing is known but the habits of the customers and the costs."""
        self.kind, self.crowd, self.menu = kind, crowd, menu
        self.exploration = {"ours": Exploration(), "pilot_only": PILOT_ONLY}.get(kind, NONE)
        # Effects are in proportion to size (decision 9): what is learnt is in orders of the customer's own size.
        self._margin = np.maximum(crowd.margin, float(crowd.margin.mean()) / 20)
        self._habits = np.column_stack(
            [np.ones(len(crowd)), crowd.traits, crowd.traits**2, np.eye(len(crowd.segments))[crowd.segment]]
        )
        self._affinity = crowd.find_affinity(menu.actions)
        size = {"actions": len(menu), "traits": crowd.traits.shape[1] + 3}
        habits = self._habits.shape[1]
        lift = ASSUMED_RESPONSE * ORDERS
        self._gain = Learner(**size, habits=habits, prior=Prior(lift, lift, lift / 2, 1.5))
        self._buying = Learner(**size, habits=habits, prior=Prior(ASSUMED_RESPONSE, 0.1, 0.03, 0.45))
        self._redeeming = Learner(**size, habits=0, prior=Prior(ASSUMED_REDEMPTION, 0.1, 0.05, 0.4))
        self._prices = np.zeros(len(menu.usage))
        self._worth = 0.0
        self._left, self._contacts = np.full(3, 0.003 * 500), np.full(3, 500.0)
        self._cells = np.zeros((2, len(crowd.segments), len(menu) + 1))

    def plan(self, sight: Sight, random: np.random.Generator) -> Draft:
        """Whom to contact with what in this round, within every limit."""
        if self.kind == "propensity":
            return self._plan_propensity(sight, random)
        if self.kind == "naive_uplift":
            return self._plan_naive(sight, random)
        return self._plan_ours(sight, random)

    def observe(self, sight: Sight, action: Integers, outcome: Outcome) -> None:
        """Learn from a round: ``action`` is what was really sent (−1: nothing)."""
        sent = action >= 0
        traits = self._read_traits(sight.recent)[np.arange(len(action)), np.maximum(action, 0)]
        if self.kind == "naive_uplift":
            for amounts, cell in ((np.ones(len(action)), 0), (outcome.margin - outcome.offer_cost, 1)):
                np.add.at(self._cells[cell], (self.crowd.segment, action), amounts)
            return
        if self.kind == "propensity":
            self._buying.add(outcome.bought.astype(float), self._habits, traits, action)
            self._buying.learn()
            return
        self._gain.add(outcome.margin / self._margin, self._habits, traits, action)
        self._gain.learn()
        none = np.zeros((int(sent.sum()), 0))
        self._redeeming.add(outcome.redeemed[sent].astype(float), none, traits[sent], action[sent])
        self._redeeming.learn()
        level = np.minimum(sight.recent, 2).astype(np.int64)
        self._contacts += np.bincount(level[sent], minlength=3)
        self._left += np.bincount(level[outcome.unsubscribed], minlength=3)

    def _read_traits(self, recent: Reals) -> Reals:
        shape = self._affinity.shape
        own = np.broadcast_to(
            np.column_stack([self.crowd.traits, recent])[:, None, :], (*shape, self.crowd.traits.shape[1] + 1)
        )
        return np.concatenate([own, self._affinity[:, :, None], self._affinity[:, :, None] ** 2], axis=2)

    def _plan_ours(self, sight: Sight, random: np.random.Generator) -> Draft:
        traits = self._read_traits(sight.recent)
        redeem = np.clip(self._redeeming.predict(traits), 0.0, 1.0)
        # What a contact may cost in customers who leave: the profit of the rounds to come.
        level = np.minimum(sight.recent, 2).astype(np.int64)
        leaving = (self._left / self._contacts)[level] * self._worth * PATIENCE
        costs = redeem * self.menu.actions.redemption_cost + self.menu.unit_cost + leaving[:, None]
        value = self._gain.predict(traits) * self._margin[:, None] - costs
        share = self.exploration.find_share(sight.round_number)
        n = len(self.crowd)
        explored = random.random(n) < share
        limits = np.array([limit for _, _, limit in self.menu.usage])
        if sight.round_number == 1:
            self._prices = self._allocate(value, sight.allowed, limits)[1]
        drawn, chance = self._explore(traits, costs, explored, sight.allowed, limits * share, random)
        used = np.array([usage[drawn[drawn >= 0]].sum() for _, usage, _ in self.menu.usage])
        best, self._prices = self._allocate(value, sight.allowed & ~explored[:, None], limits - used)
        action = np.where(explored, drawn, best)
        chosen = np.maximum(best, 0)[best >= 0]
        if len(chosen):
            self._worth = max(0.0, float(value[np.flatnonzero(best >= 0), chosen].mean()))
        return Draft(action, np.where(explored, share * chance, 1 - share), explored)

    def _explore(
        self,
        traits: Reals,
        costs: Reals,
        explored: Flags,
        allowed: Flags,
        limits: Reals,
        random: np.random.Generator,
    ) -> tuple[Integers, Reals]:
        """An action for each explored customer, drawn from its chance to be the best at yesterday's prices.

        Whoever comes later is drawn among what the limits still have room for: the probability is the exact one.
        """
        action = np.full(len(explored), -1, dtype=np.int64)
        chance = np.ones(len(explored))
        who = np.flatnonzero(explored)
        if not len(who):
            return action, chance
        usage = np.array([usage for _, usage, _ in self.menu.usage])
        values = self._gain.draw(traits[who], random, DRAWS) * self._margin[who, None, None]
        values -= (costs[who] + self._prices @ usage)[:, :, None]
        values[~allowed[who]] = -np.inf
        best = np.where(values.max(axis=1) > 0, values.argmax(axis=1), len(self.menu))
        width = len(self.menu) + 1
        counts = np.zeros((len(who), width))
        np.add.at(counts, (np.arange(len(who))[:, None], best), 1.0)
        left, draws = limits.copy(), random.random(len(who))
        for place, row in enumerate(counts):
            fits = np.append((usage <= left[:, None]).all(axis=0), True)
            chances = row * fits
            total = chances.sum()
            chances = chances / total if total > 0 else np.eye(width)[-1]
            drawn = min(int(np.searchsorted(np.cumsum(chances), draws[place], side="right")), width - 1)
            chance[who[place]] = chances[drawn]
            if drawn < width - 1:
                action[who[place]] = drawn
                left -= usage[:, drawn]
        return action, chance

    def _allocate(self, value: Reals, allowed: Flags, limits: Reals) -> tuple[Integers, Reals]:
        rows = tuple(
            TableRow(name, usage[None, :], max(float(limit), 0.0))
            for (name, usage, _), limit in zip(self.menu.usage, limits, strict=True)
        )
        segment = np.zeros(len(value), dtype=np.int32)
        offered = np.where(allowed & (value > 0), value, -np.inf).astype(np.float32)
        found = allocate(Instance(offered, rows, segment))
        return found.chosen[:, 0].astype(np.int64), found.prices

    def _plan_propensity(self, sight: Sight, random: np.random.Generator) -> Draft:
        if sight.round_number == 1:
            # Nothing was ever sent: the most frequent buyers, each with a random action.
            score = self.crowd.rate[:, None] * (1 + 1e-3 * random.random(sight.allowed.shape))
        else:
            effect = self._buying.predict(self._read_traits(sight.recent))
            score = effect + self._buying.predict_habit(self._habits)[:, None]
        return _fill(self.menu, np.where(sight.allowed, score, -np.inf))

    def _plan_naive(self, sight: Sight, random: np.random.Generator) -> Draft:
        counts, sums = self._cells
        if sight.round_number == 1:
            score = self.crowd.rate[:, None] * (1 + 1e-3 * random.random(sight.allowed.shape))
            return _fill(self.menu, np.where(sight.allowed, score, -np.inf))
        means = sums / np.maximum(counts, 1)
        value = np.where(counts[:, :-1] > 0, means[:, :-1] - means[:, -1:], 0.0) - self.menu.unit_cost
        limits = np.array([limit for _, _, limit in self.menu.usage])
        action, _ = self._allocate(value[self.crowd.segment], sight.allowed, limits)
        return Draft(action, np.ones(len(action)), np.zeros(len(action), dtype=np.bool_))


def _fill(menu: Menu, score: Reals) -> Draft:
    """Contact the highest scores first, each with its best action that the limits have room for."""
    n = len(score)
    action = np.full(n, -1, dtype=np.int64)
    left = np.array([limit for _, _, limit in menu.usage])
    usage = np.array([usage for _, usage, _ in menu.usage])
    for row in np.argsort(-score.max(axis=1), kind="stable"):
        offered = np.where((usage <= left[:, None]).all(axis=0), score[row], -np.inf)
        best = int(offered.argmax())
        if np.isfinite(offered[best]):
            action[row] = best
            left -= usage[:, best]
    return Draft(action, np.ones(n), np.zeros(n, dtype=np.bool_))
