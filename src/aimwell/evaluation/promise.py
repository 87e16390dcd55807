"""What the plan promised beside what was measured: an optimiser that promises too much is found out here.

Reads and writes no table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from aimwell.evaluation.plan import Plan
from aimwell.stats.distribution import find_normal_quantile
from aimwell.stats.effect import Effect

Verdict = Literal["none", "kept", "too_high", "too_low"]


@dataclass(frozen=True)
class Promised:
    """Promised profit of the treated and its standard error; money."""

    profit: float
    standard_error: float

    @property
    def interval(self) -> tuple[float, float]:
        """95 % of what the plan itself held possible."""
        half = find_normal_quantile(0.975) * self.standard_error
        return self.profit - half, self.profit + half

    @property
    def made(self) -> bool:
        """Whether anything was promised: a first pilot knows no effects, only its costs, and promises nothing."""
        return self.profit != 0 and self.standard_error > 0

    def find_ratio(self, realised: Effect) -> float | None:
        """Realised ÷ promised; None where nothing, or a loss, was promised."""
        return realised.estimate / self.profit if self.profit > 0 else None

    def judge(self, realised: Effect) -> Verdict:
        """Whether the two differ by more than both their errors allow."""
        if not self.made:
            return "none"
        gap = self.profit - realised.estimate
        allowed = find_normal_quantile(0.975) * math.hypot(self.standard_error, realised.standard_error)
        if abs(gap) <= allowed:
            return "kept"
        return "too_high" if gap > 0 else "too_low"


def read_promise(plan: Plan) -> Promised:
    """The whole plan's promise."""
    return Promised(plan.expected_profit, plan.expected_profit_se)
