"""What every step of a round returns: what it did, in figures, and what it lacked to do more."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from aimwell.core.text import Language, Text

StepName = Literal["goals", "data", "analysis", "models", "strategy", "deployment", "evaluation"]
Status = Literal["done", "partial", "skipped"]
STEPS: tuple[StepName, ...] = (
    "goals",
    "data",
    "analysis",
    "models",
    "strategy",
    "deployment",
    "evaluation",
)


@dataclass(frozen=True)
class StepResult:
    """The outcome of one step. ``lacks`` says, with the remedy, why it could not do all."""

    step: StepName
    status: Status
    summary: dict[str, Any] = field(default_factory=dict)
    lacks: tuple[Text, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For the store and ``--json``: texts in both languages."""
        lacks: list[dict[Language, str]] = [text.both() for text in self.lacks]
        return {"step": self.step, "status": self.status, "summary": self.summary, "lacks": lacks}
