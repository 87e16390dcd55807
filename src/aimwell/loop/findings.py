"""What a check found: how it stands, in words, and the remedy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from aimwell.core.text import Text

Severity = Literal["ok", "warning", "error"]


@dataclass(frozen=True)
class Finding:
    """One check. ``figures``: for programs; nothing of a person, no password."""

    check: str
    title: Text
    severity: Severity
    message: Text
    remedy: Text | None = None
    figures: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "check": self.check,
            "title": self.title.both(),
            "severity": self.severity,
            "message": self.message.both(),
            "remedy": None if self.remedy is None else self.remedy.both(),
            "figures": dict(self.figures),
        }
