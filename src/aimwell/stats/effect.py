"""``Effect``: a difference between two arms with its standard error, interval, p-value and sizes.

Reads and writes no table. ``core.estimate.Estimate`` is what remains of it when it is shown.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from aimwell.core.estimate import Estimate
from aimwell.stats.distribution import LEVEL, find_t_critical, find_t_p_value


@dataclass(frozen=True)
class Effect:
    """Treatment minus control, in the outcome's unit; ``p_value`` is two-sided against no effect."""

    estimate: float
    standard_error: float
    lower: float
    upper: float
    p_value: float
    n_treatment: int
    n_control: int
    method: str
    degrees: float = math.inf

    @classmethod
    def from_t(
        cls,
        estimate: float,
        *,
        standard_error: float,
        degrees: float,
        n_treatment: int,
        n_control: int,
        method: str,
        level: float = LEVEL,
    ) -> Effect:
        """The effect with Student's interval; a standard error of 0 gives an interval of one point."""
        half = find_t_critical(degrees, level) * standard_error
        return cls(
            estimate,
            standard_error,
            estimate - half,
            estimate + half,
            find_p_value(estimate, standard_error=standard_error, degrees=degrees),
            n_treatment,
            n_control,
            method,
            degrees,
        )

    @property
    def n(self) -> int:
        """Customers in both arms."""
        return self.n_treatment + self.n_control

    @property
    def proven(self) -> bool:
        """Whether the interval leaves out zero."""
        return self.lower > 0 or self.upper < 0

    def scale(self, factor: float) -> Effect:
        """The same effect in other units; the p-value stays."""
        ends = sorted((self.lower * factor, self.upper * factor))
        return replace(
            self,
            estimate=self.estimate * factor,
            standard_error=self.standard_error * abs(factor),
            lower=ends[0],
            upper=ends[1],
        )

    def shift(self, amount: float, *, p_value: float | None = None) -> Effect:
        """The effect with a known amount added; the p-value is Student's against zero unless given."""
        estimate = self.estimate + amount
        if p_value is None:
            p_value = find_p_value(estimate, standard_error=self.standard_error, degrees=self.degrees)
        return replace(
            self, estimate=estimate, lower=self.lower + amount, upper=self.upper + amount, p_value=p_value
        )

    def to_estimate(self) -> Estimate:
        """What is shown to people."""
        return Estimate(self.estimate, self.lower, self.upper, self.n, self.method)


def find_p_value(estimate: float, *, standard_error: float, degrees: float) -> float:
    """Student's two-sided p-value; without variation 1 for no difference and 0 for any other."""
    if standard_error <= 0:
        return 1.0 if estimate == 0 else 0.0
    return find_t_p_value(estimate / standard_error, degrees)
