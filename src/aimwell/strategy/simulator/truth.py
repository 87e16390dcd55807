"""What is true of the simulated market and no policy ever sees: who responds to which action, and how much.

*Planted*: the response of ``strategy.market``, times an appeal of each action and a taste of each segment for each
action, both drawn from the seed: which action is best, and for whom, is another in every market. It stays as it is, or
drifts from round to round. *Fitted*: drawn from the posterior of the effects that the workspace's own experiments have
shown. Reads and writes no table.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from aimwell.core.seeds import generator
from aimwell.strategy.market import MEAN_ORDERS, Market, free_redemption_probability, response_probability
from aimwell.strategy.problem import Reals
from aimwell.strategy.simulator.crowd import Crowd, Menu

MOST = 0.9
"""No action convinces more than this share."""


@dataclass(frozen=True)
class Planting:
    """How the responses of a market are drawn; properties of the imagined market, stated with every result."""

    strength: float = 0.25
    """Times the response of ``strategy.market``, which was made strong so that a small demo shows it: a quarter
    leaves response rates of about 2 to 20 %. 0: no action has any effect."""
    appeal: float = 0.7
    """Standard deviation of the logarithm of an action's appeal."""
    taste: float = 0.4
    """Standard deviation of the logarithm of a segment's taste for an action."""


@dataclass(frozen=True)
class Drift:
    """How a planted market moves from round to round; stated with every result."""

    persistence: float = 0.85
    """What is left of an action's appeal and a segment's taste (logarithms) after a round; the rest is drawn anew, so
    that they spread as wide in every round as in the first."""
    answered: float = 0.05
    """Chance that from a round on competitors answer an action."""
    answer: float = 0.5
    """Share of the response that is left while they do."""
    answer_rounds: int = 3


@dataclass(frozen=True)
class Truth:
    """The responses of n customers to a actions."""

    respond: Reals
    """n × a: the chance of additional orders, of a rested customer who gets nothing else."""
    redeem: Reals
    """n × a: the chance to redeem, of somebody who does not respond."""
    margin: Reals
    """n: margin of one additional order; money."""

    def expect(self, menu: Menu) -> Reals:
        """n × a: the true expected profit of one contact with a rested customer, its cost included; money."""
        redeem = self.respond + (1 - self.respond) * self.redeem
        margin = self.respond * (MEAN_ORDERS * self.margin)[:, None]
        return margin - redeem * menu.actions.redemption_cost - menu.unit_cost


def plant(crowd: Crowd, menu: Menu, *, seed: int, planting: Planting | None = None) -> Truth:
    """Responses drawn for this seed."""
    random = generator(seed, "truth")
    appeal = random.standard_normal(len(menu))
    taste = random.standard_normal((len(crowd.segments), len(menu)))
    return _shape(crowd, menu, seed, planting or Planting(), appeal, taste)


def plant_rounds(
    crowd: Crowd, menu: Menu, *, seed: int, rounds: int, drift: Drift, planting: Planting | None = None
) -> tuple[Truth, ...]:
    """Responses drawn for this seed that drift: one truth a round, the first as in ``plant``."""
    random = generator(seed, "truth")
    appeal = random.standard_normal(len(menu))
    taste = random.standard_normal((len(crowd.segments), len(menu)))
    fresh = float(np.sqrt(1 - drift.persistence**2))
    answered, truths = np.zeros(len(menu), dtype=np.int64), []
    for place in range(rounds):
        if place:
            moves = generator(seed, "drift", place)
            appeal = drift.persistence * appeal + fresh * moves.standard_normal(appeal.shape)
            taste = drift.persistence * taste + fresh * moves.standard_normal(taste.shape)
            begins = (answered == 0) & (moves.random(len(menu)) < drift.answered)
            answered = np.where(begins, drift.answer_rounds, np.maximum(answered - 1, 0))
        truth = _shape(crowd, menu, seed, planting or Planting(), appeal, taste)
        truths.append(replace(truth, respond=truth.respond * np.where(answered > 0, drift.answer, 1.0)))
    return tuple(truths)


def _shape(crowd: Crowd, menu: Menu, seed: int, drawn: Planting, appeal: Reals, taste: Reals) -> Truth:
    rested = replace(crowd.people, recent_contacts=np.zeros(len(crowd)))
    liked = np.exp(drawn.appeal * appeal - drawn.appeal**2 / 2)
    matched = np.exp(drawn.taste * taste - drawn.taste**2 / 2)
    respond = response_probability(Market(seed), rested, menu.actions) * liked * matched[crowd.segment]
    return Truth(
        respond=np.minimum(MOST, drawn.strength * respond),
        redeem=free_redemption_probability(rested, menu.actions),
        margin=crowd.margin,
    )


def fit(crowd: Crowd, menu: Menu, estimate: Reals, error: Reals, redemption: Reals, *, seed: int) -> Truth:
    """Responses under which every effect is a draw from its posterior; matrices n × a as in the table ``effects``.

    The error of an effect is shared by all customers of an action (it is the action's mean that experiments are
    unsure of). Where no effect is known (NaN) the action does nothing.
    """
    random = generator(seed, "truth")
    known = np.isfinite(estimate)
    drawn = np.where(known, estimate + error * random.standard_normal(len(menu)), 0.0)
    redeemed = np.where(known, redemption, 0.0)
    worth = MEAN_ORDERS * crowd.margin[:, None]
    respond = np.clip((drawn + redeemed * menu.actions.redemption_cost) / worth, 0.0, MOST)
    return Truth(respond, np.clip((redeemed - respond) / (1 - respond), 0.0, 1.0), crowd.margin)
