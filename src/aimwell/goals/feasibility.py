"""Feasibility: the smallest effect that this audience, control group and window can show.

Reads and writes no table.
"""

from __future__ import annotations

from dataclasses import dataclass

from aimwell.core.text import Text, say
from aimwell.goals.baseline import Baseline
from aimwell.goals.goal import Goal
from aimwell.stats.power import find_smallest_effect


@dataclass(frozen=True)
class Feasibility:
    """``smallest_effect`` is in the KPI's unit per customer; ``relative`` is against the baseline."""

    audience: int
    control_share: float
    smallest_effect: float
    relative: float | None
    enough: bool
    sentence: Text


def judge_feasibility(goal: Goal, baseline: Baseline, *, audience: int, control_share: float) -> Feasibility:
    """Whether the target could be seen, at 80 % power and 5 % error, after adjustment for each customer's past."""
    n_control = round(audience * control_share)
    sd = baseline.sd * (1 - baseline.correlation**2) ** 0.5
    smallest = find_smallest_effect(sd=sd, n_treatment=audience - n_control, n_control=n_control)
    level = abs(baseline.now.estimate)
    relative = smallest / level if level > 0 and smallest < float("inf") else None
    enough = relative is not None and relative <= abs(goal.target)
    return Feasibility(
        audience, control_share, smallest, relative, enough, _describe(goal, audience, relative, enough)
    )


def _describe(goal: Goal, audience: int, relative: float | None, enough: bool) -> Text:
    if relative is None:
        return say(
            "With an audience of {audience} no effect can be shown: widen the audience.", audience=audience
        )
    values: dict[str, str | int] = {"audience": f"{audience:,}", "days": goal.days}
    smallest, target = f"{relative:.1%}", f"{goal.target:.1%}"
    if enough:
        return say(
            "With an audience of {audience} and {days} days the smallest visible effect is {smallest} of the "
            "baseline: the target of {target} can be seen.",
            smallest=smallest,
            target=target,
            **values,
        )
    return say(
        "With an audience of {audience} and {days} days the smallest visible effect is {smallest} of the "
        "baseline: the target of {target} cannot be seen. Widen the audience, lengthen the window or enlarge the "
        "control group.",
        smallest=smallest,
        target=target,
        **values,
    )
