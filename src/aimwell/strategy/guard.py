"""The guard before personalising: one action for everybody, unless more is proven on randomised data.

Whoever chooses for each customer the action that looks best also chooses its error. So the choice is made from effects
that never saw the customer, and valued on randomised rows: only when the lower end of its interval against the best
single action (or none) lies above 0 may actions differ between customers. Reads and writes no tables.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from aimwell.core.estimate import Estimate
from aimwell.core.text import Text, say
from aimwell.stats.policy_value import compare_policies, value_policy
from aimwell.strategy.problem import Integers, Reals


@dataclass(frozen=True)
class Guard:
    """Whether personalising is proven. Arms are numbered; the last one is: nothing."""

    single: int
    """The best single arm for everybody."""
    personalised: Estimate
    """Value per customer of choosing for each of them; money."""
    best_single: Estimate
    difference: Estimate
    """``personalised`` less ``best_single``."""

    @property
    def proven(self) -> bool:
        """Whether choosing for each customer is proven to earn more than one action for all."""
        return bool(self.difference.lower > 0)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "proven": self.proven,
            "single": self.single,
            "personalised": self.personalised.to_dict(),
            "best_single": self.best_single.to_dict(),
            "difference": self.difference.to_dict(),
        }


def choose_arms(net: Reals) -> Integers:
    """The best arm for each customer by expected ``net`` (customers × actions, money); none where all lose."""
    full = np.column_stack([net, np.zeros(len(net))])
    # Nothing comes last, so that it must be better than every action, not only as good.
    return np.asarray(np.argmax(full, axis=1), dtype=np.int64)


def check_personalising(net: Reals, scores: Reals) -> Guard:
    """Value the choice by ``net`` (n × actions, learnt without these rows) on ``scores`` (n × actions + nothing)."""
    single = int(np.argmax(scores.mean(axis=0)))
    personal, same = choose_arms(net), np.full(len(net), single, dtype=np.int64)
    return Guard(
        single,
        value_policy(scores, personal),
        value_policy(scores, same),
        compare_policies(scores, personal, same),
    )


@dataclass(frozen=True)
class GuardedEffects:
    """Effects that a plan may use: customers × actions; money."""

    estimate: Reals
    standard_error: Reals


def guard_effects(guard: Guard, effects: GuardedEffects, means: Reals, mean_errors: Reals) -> GuardedEffects:
    """``effects`` where personalising is proven; else each action's mean effect for everybody."""
    if guard.proven:
        return effects
    shape = effects.estimate.shape
    return replace(
        effects,
        estimate=np.broadcast_to(means, shape).copy(),
        standard_error=np.broadcast_to(mean_errors, shape).copy(),
    )


def explain_guard(guard: Guard, single: Text, shown: tuple[str, str, str]) -> Text:
    """In words; ``single``: the best single action, ``shown``: the difference and the ends of its interval."""
    difference, lower, upper = shown
    if guard.proven:
        return say(
            "Personalising is proven: choosing for each customer earns {difference} a customer more than '{single}' "
            "for all ({lower} to {upper}).",
            difference=difference,
            single=single,
            lower=lower,
            upper=upper,
        )
    return say(
        "Personalising is not proven: choosing for each customer against '{single}' for all is {difference} a customer "
        "({lower} to {upper}). So every customer gets the mean effect of each action.",
        difference=difference,
        single=single,
        lower=lower,
        upper=upper,
    )
