"""Sample ratio mismatch (SRM): do the arms' sizes betray broken randomisation?

Reads and writes no table. A χ² test of observed against expected counts, summed over strata with their own
probabilities; alarm below p = .001 (Fabijan et al. 2019).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aimwell.core.errors import BadInput
from aimwell.core.text import say
from aimwell.stats.distribution import find_binomial_p_value, find_chi_square_p_value

ALARM = 0.001
LEAST_EXPECTED = 5.0


@dataclass(frozen=True)
class Stratum:
    """Counts by arm, and the probability with which each arm was to be drawn (any positive weights)."""

    observed: Mapping[str, int]
    probabilities: Mapping[str, float]


@dataclass(frozen=True)
class SampleRatio:
    """The verdict, with the totals that a person wants to see; ``ok`` is false below ``ALARM``."""

    p_value: float
    statistic: float
    degrees: int
    observed: dict[str, int]
    expected: dict[str, float]

    @property
    def ok(self) -> bool:
        """Whether the arms' sizes are compatible with the randomisation."""
        return self.p_value >= ALARM


def expect_counts(stratum: Stratum) -> dict[str, float]:
    """Expected count of each arm; BadInput when the probabilities do not add up to something positive."""
    total = sum(stratum.probabilities.values())
    if total <= 0 or min(stratum.probabilities.values()) < 0:
        raise BadInput(
            "stats.bad_probabilities",
            say("The probabilities of the arms must be positive."),
            remedy=say("Give each arm the probability with which it was drawn."),
        )
    n = sum(stratum.observed.values())
    return {arm: n * p / total for arm, p in stratum.probabilities.items()}


def check_sample_ratio(strata: Sequence[Stratum]) -> SampleRatio:
    """χ² over strata; strata too small for it are added together first; two small arms get the exact test."""
    large = [stratum for stratum in strata if _is_large(stratum)]
    small = [stratum for stratum in strata if not _is_large(stratum)]
    cells = [(dict(stratum.observed), expect_counts(stratum)) for stratum in large]
    if small:
        cells.append(_add_up(small))
    observed, expected = _add_up(strata)
    if not large:
        return SampleRatio(_test_small(observed, expected), 0.0, 0, observed, expected)
    statistic, degrees = 0.0, 0
    for counts, means in cells:
        used = {arm: mean for arm, mean in means.items() if mean > 0}
        if min(used.values(), default=0.0) < LEAST_EXPECTED:
            continue
        statistic += sum((counts.get(arm, 0) - mean) ** 2 / mean for arm, mean in used.items())
        degrees += len(used) - 1
    p_value = find_chi_square_p_value(statistic, degrees) if degrees else 1.0
    return SampleRatio(p_value, statistic, degrees, observed, expected)


def _is_large(stratum: Stratum) -> bool:
    return min(expect_counts(stratum).values()) >= LEAST_EXPECTED


def _add_up(strata: Sequence[Stratum]) -> tuple[dict[str, int], dict[str, float]]:
    observed: dict[str, int] = {}
    expected: dict[str, float] = {}
    for stratum in strata:
        for arm, mean in expect_counts(stratum).items():
            observed[arm] = observed.get(arm, 0) + stratum.observed.get(arm, 0)
            expected[arm] = expected.get(arm, 0.0) + mean
    return observed, expected


def _test_small(observed: dict[str, int], expected: dict[str, float]) -> float:
    # One arm against the rest, exactly: Bonferroni over the arms keeps the alarm honest.
    n = sum(observed.values())
    if n == 0 or len(observed) < 2:
        return 1.0
    tests = [find_binomial_p_value(observed[arm], n, min(1.0, expected[arm] / n)) for arm in observed]
    return min(1.0, min(tests) * max(1, len(tests) - 1))
