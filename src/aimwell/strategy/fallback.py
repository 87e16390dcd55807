"""After each wave: was the promise provably broken, and how is the next wave planned then? Reads and writes no tables.

A promise that is broken beyond chance says that the effects are less sure than their standard errors claim. Until a
measured wave keeps its promise again, plans compete on lower confidence bounds (caution) instead of means. How
much of a promise comes is corrected apart from that (``optimism``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from aimwell.core.text import Text, say
from aimwell.strategy.inputs import PlanInputs
from aimwell.strategy.optimism import Kept

BEYOND = 2.3263478740408408
"""Standard errors below the promise: reached by chance in one honest wave of a hundred."""
CAUTION = 1.0
"""Standard errors taken off each effect while the last promise is broken."""


@dataclass(frozen=True)
class Verdict:
    """What the last measured wave says about promises."""

    broken: bool
    excess: float
    """How many standard errors the wave fell below its promise; negative: above it."""
    promised: float
    realised: float


def judge_promise(plans: Sequence[Kept]) -> Verdict | None:
    """The verdict on the last of ``plans`` (in the order of their waves) that was measured; None: none was.

    >>> judge_promise([Kept(1000.0, 500.0, 100.0)]).broken
    True
    >>> judge_promise([Kept(1000.0, 500.0, 100.0), Kept(500.0, 450.0, 100.0)]).broken
    False
    """
    measured = [plan for plan in plans if plan.promised > 0 and plan.standard_error > 0]
    if not measured:
        return None
    last = measured[-1]
    excess = (last.promised - last.realised) / last.standard_error
    return Verdict(excess > BEYOND, excess, last.promised, last.realised)


def fall_back(inputs: PlanInputs, plans: Sequence[Kept]) -> tuple[PlanInputs, tuple[Text, ...]]:
    """``inputs`` as the next wave is to use them, and why they changed, in words."""
    verdict = judge_promise(plans)
    if verdict is None or not verdict.broken or inputs.caution >= CAUTION or not inputs.has_effects:
        return inputs, ()
    return replace(inputs, caution=CAUTION), (_explain(verdict),)


def _explain(verdict: Verdict) -> Text:
    return say(
        "The last measured plan promised {promised} and earned {realised}, less than chance explains: "
        "until a plan keeps its promise again, uncertain effects are avoided.",
        promised=f"{verdict.promised:,.0f}",
        realised=f"{verdict.realised:,.0f}",
    )
