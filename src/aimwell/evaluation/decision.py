"""Go or no-go, by a rule that was fixed before the outcomes were seen.

Reads and writes no table. The rule: an experiment that cannot be believed is a no-go. A rollout is repeated
when the whole interval of its profit is above 0. A pilot, whose task is to learn, leads to a rollout when
its profit is proven, or when the best action, after shrinkage, is more likely to earn than to lose; the
rollout keeps a control group and is measured again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from aimwell.core.money import show_money
from aimwell.core.text import Text, say
from aimwell.evaluation.breakdown import Part
from aimwell.evaluation.plan import Plan
from aimwell.evaluation.validity import Validity, list_reasons_against
from aimwell.stats.effect import Effect
from aimwell.stats.shrinkage import shrink_effects

PILOT_CHANCE = 0.5
"""Chance that the best action earns, above which a pilot leads to a rollout."""


@dataclass(frozen=True)
class Decision:
    """The verdict in one sentence, its reasons, and the rule that gave it."""

    go: bool
    sentence: Text
    reasons: tuple[Text, ...]
    rule: Text

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "go": self.go,
            "sentence": self.sentence.both(),
            "reasons": [reason.both() for reason in self.reasons],
            "rule": self.rule.both(),
        }


@dataclass(frozen=True)
class BestAction:
    """The action with the highest shrunken profit per treated customer, and the chance that it earns."""

    part: Part
    profit: float
    chance: float


def decide(
    plan: Plan, profit: Effect, *, validity: Validity, actions: tuple[Part, ...], currency: str
) -> Decision:
    """Apply the rule to the plan's total ``profit`` and its parts by action."""
    against = list_reasons_against(validity)
    if against:
        sentence = say("No-go: the experiment cannot be believed, whatever its result looks like.")
        return Decision(False, sentence, tuple(against), describe_rule(plan.wave))
    if plan.wave == "pilot":
        return _decide_pilot(profit, actions, currency)
    return _decide_rollout(profit, currency)


def describe_rule(wave: str) -> Text:
    """The rule of this wave in words."""
    if wave == "pilot":
        return say(
            "Fixed beforehand: go on to the rollout when the pilot's profit is proven, or when the best action, "
            "shrunk towards the others, is more likely to earn than to lose. Broken randomisation is a no-go."
        )
    return say(
        "Fixed beforehand: repeat the plan when the whole 95 % interval of its incremental profit is above 0. "
        "Broken randomisation is a no-go."
    )


def find_best_action(actions: tuple[Part, ...]) -> BestAction | None:
    """The best action after shrinkage; None when no action could be measured."""
    profits = [part.profit_per_customer for part in actions]
    usable = [index for index, profit in enumerate(profits) if profit.standard_error > 0]
    if not usable:
        return None
    shrunken = shrink_effects(
        np.array([profits[index].estimate for index in usable]),
        np.array([profits[index].standard_error for index in usable]),
    )
    best = int(np.argmax(shrunken.means))
    return BestAction(actions[usable[best]], float(shrunken.means[best]), shrunken.find_chance_above(best))


def describe_profit(profit: Effect, currency: str) -> Text:
    """The measured profit with its interval, and whether it is proven."""
    values = {
        "profit": show_money(profit.estimate, currency),
        "lower": show_money(profit.lower, currency),
        "upper": show_money(profit.upper, currency),
    }
    if profit.lower > 0:
        return say(
            "Incremental profit {profit} [{lower}, {upper}]: proven, the interval is above 0.", **values
        )
    if profit.upper < 0:
        return say(
            "Incremental profit {profit} [{lower}, {upper}]: a loss, the interval is below 0.", **values
        )
    return say(
        "Incremental profit {profit} [{lower}, {upper}]: not proven, the interval includes 0.", **values
    )


def _decide_rollout(profit: Effect, currency: str) -> Decision:
    if profit.lower > 0:
        sentence = say("Go: the plan earned more than it cost.")
    elif profit.upper < 0:
        sentence = say("No-go: the plan cost more than it earned.")
    else:
        sentence = say("No-go for now: that the plan earns more than it costs is not proven.")
    return Decision(
        profit.lower > 0, sentence, (describe_profit(profit, currency),), describe_rule("rollout")
    )


def _decide_pilot(profit: Effect, actions: tuple[Part, ...], currency: str) -> Decision:
    reasons = [describe_profit(profit, currency)]
    best = find_best_action(actions)
    if best is not None:
        reasons.append(
            say(
                "Best action: {action}, {profit} of profit per treated customer after shrinkage; it earns with "
                "{chance} % probability.",
                action=best.part.title,
                profit=show_money(best.profit, currency),
                chance=round(100 * best.chance),
            )
        )
    hopeful = best is not None and best.chance > PILOT_CHANCE
    if profit.lower > 0:
        sentence = say("Go on to the rollout: the pilot earned more than it cost.")
    elif hopeful and profit.upper >= 0:
        sentence = say(
            "Go on to the rollout with the best actions: profit is not proven yet, but more likely than a loss. "
            "The rollout keeps a control group, so it will be measured."
        )
    elif hopeful:
        sentence = say(
            "Go on to the rollout with the best actions only: the pilot as a whole made a loss, its best action is "
            "more likely to earn than to lose."
        )
    else:
        sentence = say("No-go: no action of the pilot is more likely to earn than to lose.")
    return Decision(profit.lower > 0 or hopeful, sentence, tuple(reasons), describe_rule("pilot"))
