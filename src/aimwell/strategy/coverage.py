"""Who is left out of a plan, by segment: how many are chosen, what they are expected to bring, why others get nothing.

Every customer is counted once: chosen, or under the first of these that holds: may not be contacted, held out, not
drawn into the pilot, no known effect, every action would lose money, worth less than the price of what it uses. Reads
and writes no tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aimwell.core.estimate import Estimate
from aimwell.core.text import Text, say
from aimwell.strategy.inputs import PlanInputs, PlanResult
from aimwell.strategy.planner import estimate_pairs
from aimwell.strategy.problem import Flags

REASONS = ("unreachable", "held_out", "not_drawn", "unknown", "unprofitable", "priced_out")


@dataclass(frozen=True)
class Coverage:
    """One segment: its customers, how many are chosen, the expected profit of those, and why others get nothing."""

    segment: str
    title: Text
    audience: int
    """All customers of the segment, whoever may be contacted or not."""
    considered: int
    chosen: int
    profit: Estimate
    """Of the chosen, as if all were treated; money."""
    cost: float
    left: dict[str, int]
    """Reason → customers who get nothing; in the order of ``REASONS``."""

    @property
    def share(self) -> float:
        """The part of its customers that the plan chose."""
        return self.chosen / self.audience if self.audience else 0.0

    @property
    def per_customer(self) -> float:
        """Expected profit for each customer of the segment, chosen or not; money."""
        return self.profit.estimate / self.audience if self.audience else 0.0

    def to_dict(self) -> dict[str, Any]:
        """For the summary. ``customers`` and ``share`` are of those who are considered and get nothing."""
        missing = self.considered - self.chosen
        return {
            "segment": self.segment,
            "title": self.title.both(),
            "customers": missing,
            "share": missing / self.considered if self.considered else 0.0,
            "audience": self.audience,
            "considered": self.considered,
            "chosen": self.chosen,
            "coverage": self.share,
            "expected_profit": self.profit.to_dict(),
            "profit_per_customer": self.per_customer,
            "cost": round(self.cost, 2),
            "reasons": self.left,
            "sentence": self.explain().both(),
        }

    def explain(self) -> Text:
        """In words: who is chosen, and the commonest reason of the others."""
        if self.chosen == self.audience:
            return say("All {audience} are chosen.", audience=self.audience)
        reason = max(self.left, key=lambda name: self.left[name])
        return say(
            "{chosen} of {audience} are chosen ({percent} %); of the others {count}: {reason}",
            chosen=self.chosen,
            audience=self.audience,
            percent=f"{100 * self.share:.1f}",
            count=self.left[reason],
            reason=name_reason(reason),
        )


def name_reason(reason: str) -> Text:
    """Why customers get nothing, in words."""
    names = {
        "unreachable": say("consent, address or contact cap forbid every action."),
        "held_out": say("held out of all marketing, to measure it."),
        "not_drawn": say("not drawn into this pilot."),
        "unknown": say("no experiment has shown what an action causes."),
        "unprofitable": say("every action is expected to cost more than it brings."),
        "priced_out": say("scarce resources earn more elsewhere."),
    }
    return names[reason]


def measure_coverage(
    inputs: PlanInputs, result: PlanResult, tag: str, values: Sequence[object], titles: dict[str, Text]
) -> list[Coverage]:
    """One row for each value of the tag (None: left out); ``titles``: value → its name."""
    known = np.array([value is not None for value in values], dtype=np.bool_)
    names = np.array(["" if value is None else str(value) for value in values], dtype=np.str_)
    reason, action = _find_reasons(inputs, result), _spread(inputs, result)
    considered = np.zeros(len(inputs.customers), dtype=np.bool_)
    considered[result.considered] = True
    rows = []
    for name in sorted(set(names[known].tolist())):
        members = known & (names == name)
        rows.append(_measure(inputs, f"{tag}:{name}", titles[name], members, considered, action, reason))
    return rows


def _measure(
    inputs: PlanInputs,
    segment: str,
    title: Text,
    members: Flags,
    considered: Flags,
    action: NDArray[np.int64],
    reason: NDArray[np.int64],
) -> Coverage:
    mine = np.flatnonzero(members & (action >= 0))
    pairs = (mine, action[mine])
    return Coverage(
        segment=segment,
        title=title,
        audience=int(members.sum()),
        considered=int((members & considered).sum()),
        chosen=len(mine),
        profit=estimate_pairs(inputs, *pairs),
        cost=float(inputs.cost_cents[pairs].sum()) / 100,
        left={name: int((members & (reason == place)).sum()) for place, name in enumerate(REASONS)},
    )


def _spread(inputs: PlanInputs, result: PlanResult) -> NDArray[np.int64]:
    action = np.full(len(inputs.customers), -1, dtype=np.int64)
    action[result.customer] = result.action
    return action


def _find_reasons(inputs: PlanInputs, result: PlanResult) -> NDArray[np.int64]:
    """The place in ``REASONS`` of why each customer gets nothing; −1: chosen."""
    known = inputs.eligible & inputs.known
    best = np.where(known, inputs.profit, -np.inf).max(axis=1, initial=-np.inf)
    reason = np.full(len(inputs.customers), REASONS.index("priced_out"), dtype=np.int64)
    reason[best <= 0] = REASONS.index("unprofitable")
    reason[~known.any(axis=1)] = REASONS.index("unknown")
    considered = np.zeros(len(inputs.customers), dtype=np.bool_)
    considered[result.considered] = True
    if result.wave == "pilot":
        # The first pilot draws actions at random, later ones try the plan on a part of the audience.
        reason[~considered | (result.method == "randomised")] = REASONS.index("not_drawn")
    reason[result.holdout] = REASONS.index("held_out")
    reason[~inputs.eligible.any(axis=1)] = REASONS.index("unreachable")
    reason[result.customer] = -1
    return reason
