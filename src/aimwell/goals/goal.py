"""A goal: objective family, KPI, baseline, target, window and budget; kept as a definition with versions.

It may serve another goal (``parent``): a company's goal, or a wider campaign's.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date
from decimal import Decimal
from typing import Any

from aimwell.core.errors import BadInput
from aimwell.core.money import to_money
from aimwell.core.text import say
from aimwell.core.time import Window
from aimwell.goals.metrics import Metric, find_metric


@dataclass(frozen=True)
class Goal:
    """What a round is for. ``target`` is the wanted relative change of the KPI against its baseline (0.05 = +5 %).

    ``amount``: what it is to bring its parent, in the parent's unit; None: found from ``target``. ``control_share``:
    None takes the workspace's.
    """

    name: str
    metric: str
    start: date
    days: int
    budget: Decimal
    target: float
    parent: str | None = None
    segment: str | None = None
    amount: Decimal | None = None
    control_share: float | None = None

    def __post_init__(self) -> None:
        if find_metric(self.metric).kind == "customers" and self.segment is not None:
            raise BadInput(
                "goals.no_segment_yet",
                say(
                    "New customers are in no segment before they come, so '{metric}' has none.",
                    metric=self.metric,
                ),
                remedy=say("Leave the segment out, or choose another KPI."),
                where={"column": "segment", "value": self.segment},
            )
        if not 1 <= self.days <= 366:
            raise BadInput(
                "goals.bad_window",
                say("A window of {days} days cannot be used.", days=self.days),
                remedy=say("Choose from 1 to 366 days; 28 covers four whole weeks."),
                where={"column": "days", "value": self.days},
            )
        if self.budget < 0:
            raise BadInput(
                "goals.negative_budget",
                say("The budget is {budget}, which is below zero.", budget=self.budget),
                remedy=say("Give what the campaign may spend; 0 plans nothing."),
                where={"column": "budget", "value": str(self.budget)},
            )
        if not -1 <= self.target <= 10:
            raise BadInput(
                "goals.bad_target",
                say("The target {target} is not a relative change.", target=self.target),
                remedy=say("Give it as a share: 0.05 means 5 percent more than the baseline."),
                where={"column": "target", "value": str(self.target)},
            )
        if self.control_share is not None and not 0 < self.control_share < 1:
            raise BadInput(
                "goals.bad_control",
                say("A control share of {share} leaves one arm empty.", share=str(self.control_share)),
                remedy=say("Give a share between 0 and 1, such as 0.25."),
                where={"column": "control_share", "value": str(self.control_share)},
            )

    @property
    def window(self) -> Window:
        """The business days in which the KPI counts."""
        return Window.after(self.start, self.days)

    @property
    def definition(self) -> Metric:
        """The KPI's metric."""
        return find_metric(self.metric)

    def to_body(self) -> dict[str, Any]:
        """For the store."""
        more = {name: value for name, value in asdict(self).items() if value is not None}
        amount = {} if self.amount is None else {"amount": str(self.amount)}
        return {**more, "start": self.start.isoformat(), "budget": str(self.budget), **amount}

    @classmethod
    def from_body(cls, body: dict[str, Any]) -> Goal:
        """Read back what ``to_body`` wrote."""
        return cls(
            name=body["name"],
            metric=body["metric"],
            start=date.fromisoformat(body["start"]),
            days=int(body["days"]),
            budget=to_money(body["budget"]),
            target=float(body["target"]),
            parent=body.get("parent"),
            segment=body.get("segment"),
            amount=to_money(body["amount"]) if "amount" in body else None,
            control_share=body.get("control_share"),
        )
