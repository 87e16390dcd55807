"""What the next round starts from: per action and for the whole plan, promised against realised, in words.

Reads nothing. Writes lessons (through the step).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from aimwell.core.money import show_money
from aimwell.core.text import Text, say
from aimwell.evaluation.breakdown import Breakdown, Part, Promise
from aimwell.evaluation.experiment import Experiment
from aimwell.evaluation.promise import Promised
from aimwell.stats.effect import Effect
from aimwell.stats.power import find_needed_customers


@dataclass(frozen=True)
class Lesson:
    """One row of ``lessons``; ``action_id`` is None for the whole plan. Money in totals over the treated."""

    action_id: str | None
    promised: float
    realised: Effect
    text: Text


def draw_lessons(
    experiment: Experiment,
    profit: Effect,
    *,
    promised: Promised,
    breakdown: Breakdown,
    residuals: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
    currency: str,
) -> list[Lesson]:
    """The whole plan's lesson first, then the actions', best first."""
    control_share = experiment.n_control / experiment.n
    spread = float(residuals.std(ddof=1))
    whole = Lesson(None, promised.profit, profit, _describe_promise(promised, profit, currency))
    parts = sorted(breakdown.actions, key=lambda part: -part.profit_per_customer.estimate)
    none = Promise(0.0, 0.0)
    return [
        whole,
        *(
            Lesson(
                part.name,
                breakdown.promises.get(part.name, none).profit,
                part.profit,
                _describe_action(part, spread=spread, control_share=control_share, currency=currency),
            )
            for part in parts
        ),
    ]


def choose_spoken(lessons: list[Lesson], *, most: int = 5) -> list[Text]:
    """The lessons worth a person's time: the whole plan, then actions by how much they say."""
    actions = sorted(lessons[1:], key=lambda lesson: -_measure_strength(lesson.realised))
    return [lesson.text for lesson in (lessons[0], *actions[: most - 1])]


def _measure_strength(effect: Effect) -> float:
    return abs(effect.estimate) / effect.standard_error if effect.standard_error > 0 else 0.0


def _describe_promise(promised: Promised, profit: Effect, currency: str) -> Text:
    values = {
        "promised": show_money(promised.profit, currency),
        "realised": show_money(profit.estimate, currency),
        "lower": show_money(profit.lower, currency),
        "upper": show_money(profit.upper, currency),
    }
    verdict = promised.judge(profit)
    if verdict == "none":
        return say(
            "Nothing was promised, as no effect was known; {realised} [{lower}, {upper}] was measured. The next "
            "plan starts from these outcomes.",
            **values,
        )
    if verdict == "too_high":
        return say(
            "The plan promised {promised}, measured were {realised} [{lower}, {upper}]: too much was promised, more "
            "than noise explains. The next plan must start from lower effects.",
            **values,
        )
    if verdict == "too_low":
        return say(
            "The plan promised {promised}, measured were {realised} [{lower}, {upper}]: more than was promised, and "
            "more than noise explains. The next plan may start from higher effects.",
            **values,
        )
    return say(
        "The plan promised {promised}, measured were {realised} [{lower}, {upper}]: the promise and the result agree "
        "within their noise.",
        **values,
    )


def _describe_action(part: Part, *, spread: float, control_share: float, currency: str) -> Text:
    per_customer = part.profit_per_customer
    values = {
        "profit": show_money(per_customer.estimate, currency),
        "lower": show_money(per_customer.lower, currency),
        "upper": show_money(per_customer.upper, currency),
    }
    if per_customer.lower > 0 and part.p_adjusted < 0.05:
        return say(
            "{action}: {profit} [{lower}, {upper}] of profit per treated customer, proven: use it more.",
            action=part.title,
            **values,
        )
    if per_customer.upper < 0:
        return say(
            "{action}: {profit} [{lower}, {upper}] per treated customer, a loss: stop it, or change the offer.",
            action=part.title,
            **values,
        )
    needed = find_needed_customers(
        effect=per_customer.estimate, sd=spread, control_share=min(0.5, max(0.01, control_share))
    )
    if needed is None or not math.isfinite(needed) or needed > 10_000_000:
        return say(
            "{action}: {profit} [{lower}, {upper}] of profit per treated customer, not proven.",
            action=part.title,
            **values,
        )
    return say(
        "{action}: {profit} [{lower}, {upper}] of profit per treated customer, not proven. An effect of this size "
        "would show with {needed} customers in both arms.",
        action=part.title,
        needed=f"{needed:,}",
        **values,
    )
