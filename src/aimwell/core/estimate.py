"""An estimate that is never shown without its interval, its sample and its method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict


class EstimateDict(TypedDict):
    """``Estimate`` as it stands in JSON."""

    estimate: float
    lower: float
    upper: float
    n: int
    method: str
    proven: bool


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval, the number of customers behind it, and how it was found."""

    estimate: float
    lower: float
    upper: float
    n: int
    method: str

    @property
    def proven(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.lower > 0 or self.upper < 0

    def scale(self, factor: float) -> Estimate:
        """The same estimate in other units; ``factor`` may be negative."""
        ends = sorted((self.lower * factor, self.upper * factor))
        return Estimate(self.estimate * factor, ends[0], ends[1], self.n, self.method)

    def shift(self, amount: float) -> Estimate:
        """The same estimate with a known amount added."""
        return Estimate(self.estimate + amount, self.lower + amount, self.upper + amount, self.n, self.method)

    def covers(self, truth: float) -> bool:
        """Whether the interval contains ``truth``."""
        return self.lower <= truth <= self.upper

    def to_dict(self) -> EstimateDict:
        """For JSON."""
        return {
            "estimate": self.estimate,
            "lower": self.lower,
            "upper": self.upper,
            "n": self.n,
            "method": self.method,
            "proven": self.proven,
        }
