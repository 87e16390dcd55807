"""Reading a payload that may be partial: what is missing or of another kind reads as nothing, never as an error.

A user's own data may allow three of the six steps; a figure may be null. Every section reads through here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from aimwell.report.markup import Both


@dataclass(frozen=True)
class Figure:
    """An estimate with its interval, as the payload gave it; the interval or ``n`` may be unknown."""

    estimate: float
    lower: float | None = None
    upper: float | None = None
    n: int | None = None
    method: str = ""
    proven: bool | None = None

    @property
    def bounded(self) -> bool:
        """Whether it has an interval."""
        return self.lower is not None and self.upper is not None

    @property
    def sense(self) -> int:
        """1 for a proven gain, -1 for a proven loss, 0 where it is not proven.

        Whoever looked at many effects at once may say "not proven" of an interval that leaves out zero.
        """
        if self.lower is None or self.upper is None or self.proven is False:
            return 0
        return 1 if self.lower > 0 else -1 if self.upper < 0 else 0


@dataclass(frozen=True)
class Material:
    """What a section is drawn from."""

    payload: Mapping[str, Any]
    currency: str

    @property
    def simulated(self) -> bool:
        """Whether customers' responses come from the market simulator."""
        marks = (self.payload, self.part("evaluation"), self.part("truth"))
        return any(mark.get("simulated") is True for mark in marks)

    def part(self, name: str) -> Mapping[str, Any]:
        """One key of the payload; empty where it is missing."""
        return read_map(self.payload.get(name))

    def has(self, name: str) -> bool:
        """Whether the step left more than its status and what it lacks."""
        return bool(set(self.part(name)) - {"status", "lacks"})

    def rows(self, name: str) -> list[Mapping[str, Any]]:
        """One list of the payload; empty where it is missing."""
        return read_rows(self.payload.get(name))


def read_map(value: object) -> Mapping[str, Any]:
    """``value`` where it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def read_rows(value: object) -> list[Mapping[str, Any]]:
    """The mappings in a list, else nothing."""
    return [row for row in read_list(value) if isinstance(row, Mapping)]


def read_list(value: object) -> list[Any]:
    """The items of a list, else nothing."""
    return list(value) if isinstance(value, Sequence) and not isinstance(value, str | bytes) else []


def read_number(value: object) -> float | None:
    """A finite number, else None (a flag is no number)."""
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        return None
    return float(value) if math.isfinite(value) else None


def read_count(value: object) -> int | None:
    """A whole number, else None."""
    number = read_number(value)
    return None if number is None else round(number)


def read_text(value: object, fallback: object = "") -> Both:
    """``{"en", "zh"}`` or a string in both languages; ``fallback`` where there is neither."""
    if isinstance(value, Mapping):
        english, chinese = value.get("en"), value.get("zh")
        if english or chinese:
            return Both(str(english or chinese), str(chinese or english))
    elif isinstance(value, str) and value:
        return Both(value, value)
    if isinstance(fallback, Both):
        return fallback
    return Both(str(fallback), str(fallback)) if fallback is not None else Both("", "")


def read_texts(value: object) -> list[Both]:
    """The texts of a list, empty ones left out."""
    texts = [read_text(item) for item in read_list(value)]
    return [text for text in texts if text.en]


def read_figure(value: object) -> Figure | None:
    """An estimate, or a plain number as an estimate without interval; None where there is neither."""
    if not isinstance(value, Mapping):
        number = read_number(value)
        return None if number is None else Figure(number)
    estimate = read_number(value.get("estimate"))
    if estimate is None:
        return None
    lower, upper = read_number(value.get("lower")), read_number(value.get("upper"))
    n, method, proven = read_count(value.get("n")), value.get("method"), value.get("proven")
    return Figure(
        estimate,
        lower,
        upper,
        n,
        method if isinstance(method, str) else "",
        proven if isinstance(proven, bool) else None,
    )


def explores(strategy: Mapping[str, Any]) -> bool:
    """Whether a wave was drawn at random in order to learn: it knows no effects, and promises nothing."""
    return strategy.get("method") == "randomised"


def read_promise(strategy: Mapping[str, Any], evaluation: Mapping[str, Any]) -> Figure | None:
    """What a wave promised; None for one that explores, whose expected profit is only minus its cost."""
    if explores(strategy):
        return None
    if "promised" in evaluation:
        return read_figure(evaluation["promised"])
    return read_figure(strategy.get("expected_profit"))


def read_pairs(value: object, width: int = 2) -> list[tuple[float, ...]]:
    """The rows of ``width`` finite numbers in a list of lists."""
    rows = (tuple(read_number(cell) for cell in read_list(row)[:width]) for row in read_list(value))
    return [
        tuple(cell for cell in row if cell is not None)
        for row in rows
        if len(row) == width and None not in row
    ]
