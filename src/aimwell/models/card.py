"""Model cards: what a model is for, what it was made from, how good it is and where it must not be trusted.

Writes model_cards (through ``train`` and ``learn``).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np

from aimwell.core.text import Text


@dataclass(frozen=True)
class ModelCard:
    """One model, in words and figures. ``validation`` holds named numbers; ``curves`` lists of points."""

    model: str
    title: Text
    kind: str
    purpose: Text
    data: Text
    method: str
    source: str
    """The paper that the method is taken from."""
    as_of: date
    n_train: int
    n_test: int
    validation: dict[str, float]
    validated: Text
    """How it was validated."""
    intervals: Text
    """What its intervals mean."""
    limits: Text
    parameters: dict[str, float] = field(default_factory=dict)
    curves: dict[str, list[list[float]]] = field(default_factory=dict)
    simulated: bool = False
    """Whether outcomes that it learnt from were made by the market simulator."""
    evidence: dict[str, Any] = field(default_factory=dict)
    """What strategy needs to know of effects: how their errors move together, whether personalising is proven.

    Kept with the card, and not shown with it.
    """

    def to_dict(self) -> dict[str, Any]:
        """For JSON: texts in both languages, numbers that are not finite as null."""
        texts = ("title", "purpose", "data", "validated", "intervals", "limits")
        return {
            "model": self.model,
            **{name: getattr(self, name).both() for name in texts},
            "kind": self.kind,
            "method": self.method,
            "source": self.source,
            "as_of": self.as_of.isoformat(),
            "n_train": self.n_train,
            "n_test": self.n_test,
            "validation": _clean(self.validation),
            "parameters": _clean(self.parameters),
            "curves": self.curves,
            "simulated": self.simulated,
        }

    def to_row(self, run_id: str) -> dict[str, str]:
        """A row of model_cards."""
        card = {**self.to_dict(), **({"evidence": self.evidence} if self.evidence else {})}
        return {"model": self.model, "card": json.dumps(card, ensure_ascii=False), "run_id": run_id}


def _clean(numbers: dict[str, float]) -> dict[str, float | None]:
    return {name: float(value) if np.isfinite(value) else None for name, value in numbers.items()}
