"""The four quadrants of propensity × value, and how a plan falls into them. Reads and writes no tables."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aimwell.core.text import Text, say
from aimwell.strategy.problem import Flags, Integers, Reals


@dataclass(frozen=True)
class Quadrant:
    """One quadrant: customers, and how many of them the plan chose."""

    name: str
    title: Text
    customers: int
    chosen: int
    expected_profit: float
    strategy: Text
    """What is usually done with such customers: a template, which the plan need not follow."""

    @property
    def per_chosen(self) -> float:
        """Expected profit of one chosen customer; money."""
        return self.expected_profit / self.chosen if self.chosen else 0.0

    @property
    def share(self) -> float:
        """Share of the quadrant that the plan chose."""
        return self.chosen / self.customers if self.customers else 0.0

    def to_dict(self) -> dict[str, object]:
        """For the summary."""
        return {
            "name": self.name,
            "title": self.title.both(),
            "customers": self.customers,
            "chosen": self.chosen,
            "share": self.share,
            "expected_profit": self.expected_profit,
            "profit_per_chosen": self.per_chosen,
            "strategy": self.strategy.both(),
            "sentence": self.explain().both(),
        }

    def explain(self) -> Text:
        """How the plan falls in it, in words."""
        return say(
            "{title}: {chosen} of {customers} customers are chosen ({percent} %).",
            title=self.title,
            chosen=self.chosen,
            customers=self.customers,
            percent=f"{100 * self.share:.1f}",
        )


def divide_quadrants(
    propensity: Reals, value: Reals, chosen: Integers, profit: Reals
) -> tuple[Quadrant, ...]:
    """Split at the medians of both (NaN: left out); ``chosen`` and ``profit`` are parallel, chosen are indices."""
    known = ~(np.isnan(propensity) | np.isnan(value))
    if known.sum() < len(NAMES):
        return ()
    likely = propensity > np.median(propensity[known])
    worthy = value > np.median(value[known])
    earned = np.zeros(len(value))
    np.add.at(earned, chosen, profit)
    picked = np.zeros(len(value), dtype=np.bool_)
    picked[chosen] = True
    return tuple(
        _count(name, known & (likely == is_likely) & (worthy == is_worthy), picked, earned)
        for name, (is_likely, is_worthy) in NAMES.items()
    )


NAMES: dict[str, tuple[bool, bool]] = {
    "low_propensity": (False, False),
    "future_potential": (False, True),
    "high_propensity": (True, False),
    "best_customers": (True, True),
}
"""Quadrant → (likely to buy, valuable)."""


def _count(name: str, members: Flags, picked: Flags, earned: Reals) -> Quadrant:
    titles = {
        "low_propensity": say("Low propensity"),
        "future_potential": say("Future potential"),
        "high_propensity": say("High propensity"),
        "best_customers": say("Best customers"),
    }
    return Quadrant(
        name,
        titles[name],
        int(members.sum()),
        int((members & picked).sum()),
        float(earned[members & picked].sum()),
        name_strategy(name),
    )


def name_strategy(quadrant: str) -> Text:
    """The usual strategy for a quadrant.

    Propensity says who buys anyway; only an experiment says whom an action moves.
    """
    templates = {
        "low_propensity": say("Leave in peace or reach cheaply; learn with small tests what moves them."),
        "future_potential": say(
            "Win back: worth much, not buying now; find the offer that moves them by experiment."
        ),
        "high_propensity": say("Cross-sell and raise the basket; no discount for what they buy anyway."),
        "best_customers": say(
            "Keep: service and recognition before discounts; measure with a holdout what more brings."
        ),
    }
    return templates[quadrant]
