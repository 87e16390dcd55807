"""One round of the simulated market: messages go out, customers buy, respond, tire and unsubscribe.

Of several messages in one round each gets less attention; every contact in the rolling window takes a share of the
response and raises the chance to unsubscribe, after which nobody can be contacted any more. Draws follow the seed and
the round only, so that two policies meet the same customers on the same days. Reads and writes no table.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from aimwell.core.seeds import generator
from aimwell.strategy.problem import Flags, Integers, Reals
from aimwell.strategy.simulator.crowd import Crowd, Menu
from aimwell.strategy.simulator.truth import Truth

SIZE_SPREAD = 0.3


@dataclass(frozen=True)
class Rules:
    """How attention works; properties of the imagined market, stated with every result."""

    days: int = 28
    window_days: int = 56
    """Contacts of so many days before a round tire."""
    fatigue: float = 0.85
    """Share of the response that is left after each contact in the window."""
    attention: float = 0.7
    """Share of the response that is left for each further message in the same round."""
    unsubscribe: float = 0.004
    """Chance that a rested customer unsubscribes when contacted."""
    annoyance: float = 1.7
    """Times that chance for each contact in the window, and for each further message in the round."""

    @property
    def window(self) -> int:
        """Rounds in the window."""
        return max(1, round(self.window_days / self.days))


@dataclass
class State:
    """What a round leaves to the next; changed by ``play``."""

    subscribed: Flags
    history: list[Integers] = field(default_factory=list)
    """Contacts of each past round; n each."""

    @classmethod
    def start(cls, customers: int) -> State:
        """Everybody is subscribed and rested."""
        return cls(np.ones(customers, dtype=np.bool_))

    def count_recent(self, rules: Rules) -> Reals:
        """Contacts in the window, by customer."""
        recent = self.history[-rules.window :]
        return np.sum(recent, axis=0, dtype=np.float64) if recent else np.zeros(len(self.subscribed))


@dataclass(frozen=True)
class Outcome:
    """What one round brought; arrays of length n. ``gain`` and ``expected`` are truth, which no policy sees."""

    margin: Reals
    """Margin of all that was bought, before costs of offers and contacts; money."""
    bought: Flags
    redeemed: Flags
    offer_cost: Reals
    contact_cost: Reals
    unsubscribed: Flags
    gain: Reals
    """What the messages changed, all costs paid; money."""

    @property
    def profit(self) -> float:
        """Incremental profit of the round."""
        return float(self.gain.sum())


def play(
    crowd: Crowd,
    menu: Menu,
    truth: Truth,
    rules: Rules,
    state: State,
    slots: Integers,
    *,
    seed: int,
    round_number: int,
) -> Outcome:
    """Send ``slots`` (n × k places of actions, −1: none) and see what happens; ``state`` moves on by one round."""
    n, k = slots.shape
    random = generator(seed, "round", round_number)
    orders = random.poisson(crowd.rate * rules.days)
    size = np.exp(random.normal(-(crowd.spread**2) / 2, crowd.spread, n) / np.sqrt(np.maximum(orders, 1)))
    base = orders * crowd.margin * size
    more, sizes = random.random((n, 3)), np.exp(random.normal(-(SIZE_SPREAD**2) / 2, SIZE_SPREAD, n))
    draws = random.random((n, k, 2))
    sent = (slots >= 0) & state.subscribed[:, None]
    messages, recent = sent.sum(axis=1), state.count_recent(rules)
    chosen, rows = np.where(sent, slots, 0), np.arange(n)[:, None]
    left = rules.fatigue**recent * rules.attention ** np.maximum(messages - 1, 0)
    responds = sent & (draws[:, :, 0] < truth.respond[rows, chosen] * left[:, None])
    redeems = sent & (responds | (draws[:, :, 1] < truth.redeem[rows, chosen]))
    extra = responds.sum(axis=1) * (1 + np.floor(3 * more[:, 0])) * truth.margin * sizes
    offer_cost = np.where(redeems, menu.actions.redemption_cost[chosen], 0.0).sum(axis=1)
    contact_cost = np.where(sent, menu.unit_cost[chosen], 0.0).sum(axis=1)
    hazard = rules.unsubscribe * rules.annoyance ** (recent + np.maximum(messages - 1, 0))
    leaves = (messages > 0) & (more[:, 1] < 1 - (1 - np.minimum(hazard, 1.0)) ** messages)
    state.subscribed &= ~leaves
    state.history.append(messages.astype(np.int64))
    return Outcome(
        margin=base + extra,
        bought=(orders > 0) | responds.any(axis=1),
        redeemed=redeems.any(axis=1),
        offer_cost=offer_cost,
        contact_cost=contact_cost,
        unsubscribed=leaves,
        gain=extra - offer_cost - contact_cost,
    )
