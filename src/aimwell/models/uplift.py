"""How well a ranking of customers by effect does on randomised data: uplift curve, Qini, calibration, test.

Pinned definition (libraries differ by factors of 8 to 20, so nothing else is comparable): with φ the share of
customers taken from the top of the ranking, gain(φ) = [mean of treated − mean of control in the top φ] · φ and
Qini = ∫ [gain(φ) − φ · gain(1)] dφ, in units of the outcome per customer. Rows may have unequal probabilities of
treatment: means are then weighted by their inverse (Hájek).

Sources: Radcliffe (2007), "Using control groups to target on predicted lift"; Chernozhukov, Demirer, Duflo and
Fernández-Val (2018), "Generic machine learning inference on heterogeneous treatment effects" (the calibration).
Pure: reads and writes no table.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aimwell.core.estimate import Estimate
from aimwell.stats.distribution import find_normal_probability

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class UpliftCurve:
    """gain(φ) at ``share`` = φ, with the 95 % band of the bootstrap; all of equal length."""

    share: Floats
    gain: Floats
    lower: Floats
    upper: Floats

    def to_rows(self) -> list[dict[str, float]]:
        """The points as JSON rows."""
        columns = zip(self.share, self.gain, self.lower, self.upper, strict=True)
        return [
            {"share": float(s), "gain": float(g), "lower": float(lo), "upper": float(up)}
            for s, g, lo, up in columns
        ]


@dataclass(frozen=True)
class Calibration:
    """Realised per predicted difference between customers, out of fold.

    ``slope`` 1 means that predicted differences come true, 0 that they are noise; ``p_value`` is one-sided
    against 0.
    """

    slope: float
    standard_error: float
    p_value: float


def measure_qini(
    score: Floats,
    outcome: Floats,
    treated: NDArray[np.bool_],
    *,
    probability: Floats | None = None,
    random: np.random.Generator,
    repetitions: int = 200,
    points: int = 20,
) -> tuple[Estimate, UpliftCurve]:
    """Qini with its bootstrap interval, and the uplift curve with its bands, from n rows (all arrays of n).

    ``probability`` is that of treatment (equal for everybody when omitted). Equal scores stand in random order.
    """
    order = np.lexsort((random.random(len(score)), -score))
    chance = np.full(len(score), 0.5) if probability is None else probability[order]
    taken = treated[order]
    weight = np.where(taken, 1 / chance, 1 / (1 - chance))
    rows = _Ranked(outcome[order].astype(float), taken, weight)
    gain = rows.compute_gain(np.ones(len(score)))
    share = np.arange(1, points + 1) / points
    places = np.maximum(np.round(share * len(score)).astype(int) - 1, 0)
    qinis, curves = np.zeros(repetitions), np.zeros((repetitions, points))
    for repetition in range(repetitions):
        # Poisson weights are the bootstrap without moving rows, so that the order stays.
        drawn = rows.compute_gain(random.poisson(1.0, len(score)).astype(float))
        qinis[repetition], curves[repetition] = _integrate_qini(drawn), drawn[places]
    # Normal limits need fewer repetitions than quantiles, which were measured to be too narrow with a hundred.
    middle, reach = _integrate_qini(gain), 1.96 * float(qinis.std(ddof=1))
    band = 1.96 * curves.std(axis=0, ddof=1)
    qini = Estimate(middle, middle - reach, middle + reach, len(score), "Qini, out of fold, bootstrap")
    drawn_gain = gain[places]
    return qini, UpliftCurve(share, drawn_gain, drawn_gain - band, drawn_gain + band)


def _integrate_qini(gain: Floats) -> float:
    share = np.arange(1, len(gain) + 1) / len(gain)
    return float(np.mean(gain - share * gain[-1]))


@dataclass(frozen=True)
class _Ranked:
    """Outcome, arm and inverse probability of rows in the order of the ranking."""

    outcome: Floats
    treated: NDArray[np.bool_]
    weight: Floats

    def compute_gain(self, multiplicity: Floats) -> Floats:
        """gain at every row, each row counted ``multiplicity`` times."""
        share = np.cumsum(multiplicity) / max(float(multiplicity.sum()), 1.0)
        weight = self.weight * multiplicity
        means = []
        for arm in (self.treated, ~self.treated):
            mass = np.cumsum(weight * arm)
            summed = np.cumsum(weight * arm * self.outcome)
            means.append(np.divide(summed, mass, out=np.zeros_like(mass), where=mass > 0))
            if mass[0] == 0 and mass[-1] > 0:
                # Before the arm's first row its mean is unknown: take that of the first row.
                means[-1][mass == 0] = self.outcome[np.argmax(mass > 0)]
        return np.asarray((means[0] - means[1]) * share)


def calibrate(
    residual: Floats, contrast: Floats, predicted: Floats, *, weight: Floats | None = None
) -> Calibration:
    """How much of the predicted difference is realised, from n rows of residualised outcome.

    ``contrast`` is the centred treatment (treated − probability), ``predicted`` the centred out-of-fold
    prediction beyond the mean effect (contrast × difference). Standard errors are robust (HC1).
    """
    weight = np.ones(len(residual)) if weight is None else weight
    if float(np.sum(weight * predicted**2)) < 1e-12 * max(float(np.sum(weight * residual**2)), 1e-300):
        return Calibration(0.0, float("inf"), 1.0)
    design = np.column_stack([contrast, predicted])
    inverse = np.linalg.pinv((design * weight[:, None]).T @ design)
    solution = inverse @ (design.T @ (weight * residual))
    errors = weight * (residual - design @ solution)
    meat = (design * errors[:, None]).T @ (design * errors[:, None])
    variance = (inverse @ meat @ inverse)[1, 1] * len(residual) / max(len(residual) - 2, 1)
    error = float(np.sqrt(variance))
    p_value = find_normal_probability(-float(solution[1]) / max(error, 1e-300))
    return Calibration(float(solution[1]), error, p_value)
