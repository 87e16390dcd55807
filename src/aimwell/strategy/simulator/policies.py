"""The policies that play rounds: ours, and what is done instead. Each sees what a business would see, nothing more.

*Ours*: effects from all rounds by ``learning``, allocated under the limits by the optimiser; where another action may
be better, a share that pays is drawn to get it (``exploring``), with its exact probability. *Pilot only* does so in the
first round, *no exploration* never; both learn and plan as ours does. *Propensity* contacts the likeliest buyers with
the action after which most buy. *Naive uplift* takes, by segment and action, the difference between whoever was sent it
and whoever was not. Reads and writes no table.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from aimwell.core.seeds import generator
from aimwell.strategy.large.instance import Instance, TableRow
from aimwell.strategy.large.solve import allocate
from aimwell.strategy.problem import Flags, Integers, Reals
from aimwell.strategy.simulator.crowd import Crowd, Menu
from aimwell.strategy.simulator.exploring import (
    NONE,
    PILOT_ONLY,
    Exploration,
    Test,
    choose_challengers,
    design,
    shrink,
    spread_lots,
)
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
BLOCK = 5_000
"""Customers whose draws are in memory at once."""
HORIZON = 10
"""Rounds that a business plans for, unless said."""
RESTLESSNESS = 0.3
"""Variance that everybody's outcome has beside that of the orders, in those of the average customer."""
ORDERS = 2.0


@dataclass(frozen=True)
class Draft:
    """What a policy wants to send: the action (n; −1: none), and with which probability it was given it."""

    action: Integers
    probability: Reals
    """Of the action, given all that happened before the round: no other draw of the round changes it."""
    explored: Flags
    quiet: Reals
    """The probability that the draft would have left each customer alone (n)."""

    def withhold(self, withheld: Flags) -> tuple[Integers, Reals]:
        """What is really sent when the ``withheld`` get nothing, and the probability of that (n each)."""
        sent = np.where(withheld, -1, self.action)
        return sent, np.where(
            sent >= 0, (1 - CONTROL) * self.probability, CONTROL + (1 - CONTROL) * self.quiet
        )


@dataclass(frozen=True)
class Sight:
    """Before a round: who can be contacted (n × a), contacts in the window (n), and the round (1, 2, …)."""

    allowed: Flags
    recent: Reals
    round_number: int


class Policy:
    """One business that plays rounds its way: ``plan`` before a round, ``observe`` after it."""

    def __init__(
        self, kind: Kind, crowd: Crowd, menu: Menu, *, horizon: int = HORIZON, memory: float = 1.0
    ) -> None:
        """Nothing is known but the habits of the customers and the costs.

        ``horizon``: rounds that the business plans for; ``memory``: what a past round still weighs one round later.
        """
        self.kind, self.crowd, self.menu = kind, crowd, menu
        self.horizon, self.memory = horizon, memory
        self.exploration = {"ours": Exploration(), "pilot_only": PILOT_ONLY}.get(kind, NONE)
        # Effects are in proportion to size (decision 9): what is learnt is in orders of the customer's own size.
        self._margin = np.maximum(crowd.margin, float(crowd.margin.mean()) / 20)
        self._habits = np.column_stack(
            [
                np.ones(len(crowd)),
                crowd.traits,
                crowd.traits**2,
                np.eye(len(crowd.segments))[crowd.segment],
                crowd.rate / crowd.rate.mean(),
            ]
        )
        # Orders are counts: who orders often varies more, and weighs less.
        variance = crowd.rate * float(np.exp(crowd.spread**2)) / float(crowd.rate.mean()) + RESTLESSNESS
        self._weight = np.asarray(variance.mean() / variance)
        members = np.eye(len(crowd.segments))[crowd.segment]
        self._own = np.hstack([crowd.traits, members - members.mean(axis=0)])
        self._affinity = crowd.find_affinity(menu.actions)
        lift = ASSUMED_RESPONSE * ORDERS
        self._gain = self._start_learner(self._habits.shape[1], Prior(lift, lift, lift / 2, 1.5))
        self._buying = self._start_learner(self._habits.shape[1], Prior(ASSUMED_RESPONSE, 0.1, 0.03, 0.45))
        self._redeeming = self._start_learner(0, Prior(ASSUMED_REDEMPTION, 0.1, 0.05, 0.4))
        self._worth = self._found_worth = 0.0
        self._left, self._contacts = np.full(3, 0.003 * 500), np.full(3, 500.0)
        self._cells = np.zeros((2, len(crowd.segments), len(menu) + 1))

    def _start_learner(self, habits: int, prior: Prior) -> Learner:
        traits = self._own.shape[1] + 3
        return Learner(actions=len(self.menu), traits=traits, habits=habits, prior=prior, memory=self.memory)

    def plan(self, sight: Sight, random: np.random.Generator) -> Draft:
        """Whom to contact with what in this round, within every limit."""
        if self.kind == "propensity":
            return self._plan_propensity(sight)
        if self.kind == "naive_uplift":
            return self._plan_naive(sight)
        return self._plan_ours(sight, random)

    def observe(self, sight: Sight, action: Integers, outcome: Outcome) -> None:
        """Learn from a round: ``action`` is what was really sent (−1: nothing)."""
        sent = action >= 0
        self._worth = self._found_worth
        traits = self._read_traits(sight.recent)[np.arange(len(action)), np.maximum(action, 0)]
        if self.kind == "naive_uplift":
            self._cells *= self.memory
            for amounts, cell in ((np.ones(len(action)), 0), (outcome.margin - outcome.offer_cost, 1)):
                np.add.at(self._cells[cell], (self.crowd.segment, action), amounts)
            return
        if self.kind == "propensity":
            self._buying.add(outcome.bought.astype(float), self._habits, traits, action)
            self._buying.learn()
            return
        self._gain.add(outcome.margin / self._margin, self._habits, traits, action, self._weight)
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
            np.column_stack([self._own, recent])[:, None, :], (*shape, self._own.shape[1] + 1)
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
        limits = np.array([limit for _, _, limit in self.menu.usage])
        best, prices = self._allocate(value, sight.allowed, limits)
        test = self._design_test(traits, costs, prices, best, sight)
        usage = np.array([usage for _, usage, _ in self.menu.usage])
        while (test.group >= 0).any() and (test.count_usage(usage) > limits).any():
            test = shrink(test)
        inside = test.group >= 0
        if inside.any():
            # The others plan with what is left, which is known before anything is drawn.
            left = limits - test.count_usage(usage)
            best = np.where(inside, best, self._allocate(value, sight.allowed & ~inside[:, None], left)[0])
            test = replace(test, incumbent=best, challenger=np.where(inside, test.challenger, best))
        chosen = np.maximum(best, 0)[best >= 0]
        if len(chosen):
            self._found_worth = max(0.0, float(value[np.flatnonzero(best >= 0), chosen].mean()))
        action, explored = test.draw(random)
        probability = np.where(explored, test.share, 1 - test.share)
        return Draft(action, probability, explored, test.find_chance(np.full(len(action), -1)))

    def _design_test(self, traits: Reals, costs: Reals, prices: Reals, best: Integers, sight: Sight) -> Test:
        number = sight.round_number
        # What is learnt fades with the memory, and is worth nothing after the last round.
        horizon = float(np.sum(self.memory ** np.arange(1, max(self.horizon - number, 0) + 1)))
        nobody = np.full(len(best), -1, dtype=np.int64)
        if not self.exploration.covers(number) or horizon <= 0:
            return Test(best, best, nobody, np.zeros(len(best)))
        usage = np.array([usage for _, usage, _ in self.menu.usage])
        priced, lots = costs + prices @ usage, spread_lots(len(best), number)
        challenger, difference = np.empty(len(best), dtype=np.int64), np.empty((len(best), DRAWS))
        for begin in range(0, len(best), BLOCK):
            part = slice(begin, begin + BLOCK)
            # The same draws for every block and call: they compute a chance, and are no luck of the policy's.
            values = self._gain.draw(traits[part], generator(0, "posterior", number), DRAWS)
            values = values * self._margin[part, None, None] - priced[part, :, None]
            challenger[part], difference[part] = choose_challengers(
                values, sight.allowed[part], best[part], lots[part], least=self.exploration.undecided
            )
        return design(
            best,
            challenger,
            difference,
            self._gain.noise / np.sqrt(self._weight),
            self._margin,
            actions=len(self.menu),
            most=self.exploration.most,
            horizon=horizon,
        )

    def _allocate(self, value: Reals, allowed: Flags, limits: Reals) -> tuple[Integers, Reals]:
        rows = tuple(
            TableRow(name, usage[None, :], max(float(limit), 0.0))
            for (name, usage, _), limit in zip(self.menu.usage, limits, strict=True)
        )
        segment = np.zeros(len(value), dtype=np.int32)
        offered = np.where(allowed & (value > 0), value, -np.inf).astype(np.float32)
        found = allocate(Instance(offered, rows, segment))
        return found.chosen[:, 0].astype(np.int64), found.prices

    def _plan_propensity(self, sight: Sight) -> Draft:
        if sight.round_number == 1:
            # Nothing was ever sent: the most frequent buyers, each with a random action.
            score = self._score_frequency()
        else:
            effect = self._buying.predict(self._read_traits(sight.recent))
            score = effect + self._buying.predict_habit(self._habits)[:, None]
        return _fill(self.menu, np.where(sight.allowed, score, -np.inf))

    def _score_frequency(self) -> Reals:
        # Fixed, so that nothing is left to chance: which action a customer has is arbitrary, not drawn.
        ties = generator(0, "ties").random((len(self.crowd), len(self.menu)))
        return np.asarray(self.crowd.rate[:, None] * (1 + 1e-3 * ties))

    def _plan_naive(self, sight: Sight) -> Draft:
        counts, sums = self._cells
        if sight.round_number == 1:
            score = self._score_frequency()
            return _fill(self.menu, np.where(sight.allowed, score, -np.inf))
        means = sums / np.maximum(counts, 1)
        value = np.where(counts[:, :-1] > 0, means[:, :-1] - means[:, -1:], 0.0) - self.menu.unit_cost
        limits = np.array([limit for _, _, limit in self.menu.usage])
        action, _ = self._allocate(value[self.crowd.segment], sight.allowed, limits)
        return _decide(action)


def _fill(menu: Menu, score: Reals) -> Draft:
    """Contact the highest scores first, each with its best action that the limits have room for."""
    n = len(score)
    action = np.full(n, -1, dtype=np.int64)
    left = np.array([limit for _, _, limit in menu.usage])
    usage = np.array([usage for _, usage, _ in menu.usage])
    fits, most = (usage <= left[:, None]).all(axis=0), usage.max(axis=1)
    for row in np.argsort(-score.max(axis=1), kind="stable"):
        offered = np.where(fits, score[row], -np.inf)
        best = int(offered.argmax())
        if np.isfinite(offered[best]):
            action[row] = best
            left -= usage[:, best]
            if (left < most).any():
                fits = (usage <= left[:, None]).all(axis=0)
    return _decide(action)


def _decide(action: Integers) -> Draft:
    """A draft that leaves nothing to chance."""
    return Draft(
        action, np.ones(len(action)), np.zeros(len(action), dtype=np.bool_), (action < 0).astype(float)
    )
