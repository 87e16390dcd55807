"""Sufficient statistics of an arm: ``Moments`` of one metric, ``JointMoments`` with a covariate.

Reads and writes no table: one aggregate query per experiment fills them, on any engine, and they add up over
chunks, segments and engines (Chan, Golub and LeVeque 1983), as in tea-tasting and GrowthBook's gbstats.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aimwell.core.errors import BadInput
from aimwell.core.text import say


@dataclass(frozen=True)
class Moments:
    """Count, mean and sample variance (divided by n − 1; 0 when n < 2)."""

    n: int
    mean: float
    variance: float

    @classmethod
    def of(cls, values: NDArray[np.float64]) -> Moments:
        """Of ``values``, shape (n,); BadInput when there is none."""
        require_values(values)
        variance = float(values.var(ddof=1)) if len(values) > 1 else 0.0
        return cls(len(values), float(values.mean()), variance)

    def __add__(self, other: Moments) -> Moments:
        joint = JointMoments(self.n, self.mean, self.mean, self.variance, self.variance, self.variance)
        more = JointMoments(other.n, other.mean, other.mean, other.variance, other.variance, other.variance)
        total = joint + more
        return Moments(total.n, total.mean, total.variance)


@dataclass(frozen=True)
class JointMoments:
    """An outcome and a covariate together: means, sample variances and covariance."""

    n: int
    mean: float
    covariate_mean: float
    variance: float
    covariate_variance: float
    covariance: float

    @classmethod
    def of(cls, values: NDArray[np.float64], covariate: NDArray[np.float64]) -> JointMoments:
        """Of two arrays of shape (n,); BadInput when there is no value."""
        require_values(values)
        if len(values) < 2:
            return cls(len(values), float(values.mean()), float(covariate.mean()), 0.0, 0.0, 0.0)
        matrix = np.cov(values, covariate, ddof=1)
        return cls(
            len(values),
            float(values.mean()),
            float(covariate.mean()),
            float(matrix[0, 0]),
            float(matrix[1, 1]),
            float(matrix[0, 1]),
        )

    @property
    def outcome(self) -> Moments:
        """The outcome alone."""
        return Moments(self.n, self.mean, self.variance)

    def __add__(self, other: JointMoments) -> JointMoments:
        n = self.n + other.n
        y_gap, x_gap = other.mean - self.mean, other.covariate_mean - self.covariate_mean
        between = self.n * other.n / n

        def pool(mine: float, theirs: float, gap: float) -> float:
            return ((self.n - 1) * mine + (other.n - 1) * theirs + gap * between) / (n - 1)

        return JointMoments(
            n,
            self.mean + y_gap * other.n / n,
            self.covariate_mean + x_gap * other.n / n,
            pool(self.variance, other.variance, y_gap * y_gap),
            pool(self.covariate_variance, other.covariate_variance, x_gap * x_gap),
            pool(self.covariance, other.covariance, y_gap * x_gap),
        )


def require_values(values: NDArray[np.float64], least: int = 1) -> None:
    """BadInput unless there are ``least`` values and all of them are finite."""
    if len(values) < least:
        raise BadInput(
            "stats.too_few",
            say("{n} values are too few: at least {least} are needed.", n=len(values), least=least),
            remedy=say("Wait for more data, or widen the audience."),
        )
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values))[0])
        raise BadInput(
            "stats.not_finite",
            say("Value number {row} is missing or infinite.", row=row + 1),
            remedy=say("Leave the row out, or fill in the value."),
            where={"row": row + 1},
        )
