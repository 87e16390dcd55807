"""What a test can see: the past tried out, beside the smallest visible effect of ``stats.visible``.

Few buyers make the normal approximation doubtful: then arms are drawn again and again from the past, with and without
an effect. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from aimwell.stats.cuped import compare_adjusted
from aimwell.stats.difference import compare_means
from aimwell.stats.effect import Effect
from aimwell.stats.moments import JointMoments, Moments
from aimwell.stats.power import ALPHA
from aimwell.stats.visible import (
    Spread,
    Visible,
    find_audience,
    find_days,
    find_visible,
    measure_spread,
)
from aimwell.strategy.experiment.history import Kind
from aimwell.strategy.problem import Reals

__all__ = [
    "Spread",
    "Trial",
    "Visible",
    "find_audience",
    "find_days",
    "find_visible",
    "measure_spread",
    "try_on_past",
]

REPETITIONS = 400
_MOST_DRAWS = 30_000_000


@dataclass(frozen=True)
class Trial:
    """Tests on arms drawn from the past: shares that found something, without and with an effect of that size."""

    effect: float
    false_alarms: float
    power: float
    repetitions: int


def try_on_past(
    outcome: Reals,
    before: Reals | None,
    kind: Kind,
    effect: float,
    *,
    n_treatment: int,
    n_control: int,
    generator: np.random.Generator,
    alpha: float = ALPHA,
) -> Trial:
    """Draw both arms from the past, with replacement; ``effect`` (absolute, positive) multiplies spending, or turns
    some who did nothing into some who did.
    """
    size = n_treatment + n_control
    repetitions = max(40, min(REPETITIONS, _MOST_DRAWS // max(size, 1)))
    found = [0, 0]
    for _ in range(repetitions):
        rows = generator.integers(0, len(outcome), size)
        drawn, past = outcome[rows], None if before is None else before[rows]
        raised = _raise_outcome(drawn[:n_treatment], kind, effect, outcome, generator)
        for place, treated in enumerate((drawn[:n_treatment], raised)):
            values = np.concatenate([treated, drawn[n_treatment:]])
            shown = _compare(values, past, n_treatment)
            found[place] += shown.p_value < alpha and (place == 0 or shown.estimate > 0)
    return Trial(effect, found[0] / repetitions, found[1] / repetitions, repetitions)


def _raise_outcome(
    values: Reals, kind: Kind, effect: float, past: Reals, generator: np.random.Generator
) -> Reals:
    level = float(past.mean())
    if kind == "share":
        turned = generator.random(len(values)) < effect / max(1 - level, 1e-12)
        return np.where((values == 0) & turned, 1.0, values)
    return values * (1 + effect / level) if level > 0 else values + effect


def _compare(values: Reals, past: Reals | None, n_treatment: int) -> Effect:
    if past is None:
        return compare_means(Moments.of(values[:n_treatment]), Moments.of(values[n_treatment:]))
    arms = (slice(0, n_treatment), slice(n_treatment, None))
    treatment, control = (JointMoments.of(values[rows], past[rows]) for rows in arms)
    return compare_adjusted(treatment, control).effect
