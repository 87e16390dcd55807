"""What is asked of a test's design, and the rule that follows: when to look, and at which limits to stop. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from aimwell.core.errors import BadInput
from aimwell.core.text import say
from aimwell.stats.power import ALPHA, POWER, find_reach
from aimwell.stats.sequential import Shape, find_crossing, find_limits, find_needed_drift, space_looks


@dataclass(frozen=True)
class Question:
    """What is asked of a design; see the command's options. ``target`` and ``guard_limit`` are relative changes."""

    name: str = "test"
    metric: str | None = None
    outcome: str | None = None
    covariate: str | None = None
    days: int = 28
    control_share: float = 0.25
    treatments: int = 1
    target: float = 0.05
    segment: str | None = None
    strata: str | None = None
    cluster: str | None = None
    looks: int = 4
    shape: Shape = "obrien_fleming"
    guards: tuple[str, ...] = ()
    guard_limit: float = 0.05
    per_day: float = 0.0
    windows: int = 12
    value: float | None = None
    cost: float = 0.0
    expected: float | None = None
    doubt: float | None = None

    @property
    def alpha(self) -> float:
        """The error of one treatment: each is compared with control, so it is shared out (Bonferroni); Holm's test is
        never worse.
        """
        return ALPHA / self.treatments

    def __post_init__(self) -> None:
        usable = (
            0 < self.control_share < 1
            and 0 < abs(self.target) <= 10
            and 1 <= self.days <= 366
            and 1 <= self.treatments <= 20
            and 1 <= self.looks <= 60
            and self.per_day >= 0
            and self.windows >= 1
            and 0 < self.guard_limit < 1
        )
        if not usable:
            raise BadInput(
                "strategy.bad_design",
                say(
                    "This test cannot be designed: a share, a number of days, arms or looks is out of range."
                ),
                remedy=say(
                    "Control between 0 and 1, a target other than 0, 1 to 366 days, 1 to 20 treatments, 1 to 60 looks."
                ),
                where={"control_share": str(self.control_share), "days": self.days, "looks": self.looks},
            )


@dataclass(frozen=True)
class Stopping:
    """The rule, fixed beforehand: after which shares of the information to look, and at which |z| to stop."""

    shape: Shape
    times: tuple[float, ...]
    limits: tuple[float, ...]
    factor: float
    """By how much the smallest visible effect grows because of the looks."""
    alpha: float
    """The two-sided error over all looks."""
    share_at_target: float
    """Share of the information that is used on average if the smallest visible effect is true."""


def plan_looks(question: Question, *, guards: int = 1) -> Stopping:
    """Limits for evenly spaced looks, and what they cost; those of one of so many ``guards`` if they are more."""
    alpha = question.alpha / max(guards, 1)
    times = space_looks(question.looks)
    limits = find_limits(times, alpha=alpha, shape=question.shape)
    drift = find_needed_drift(times, limits, power=POWER)
    crossing = find_crossing(times, limits, drift=drift)
    return Stopping(
        question.shape,
        times,
        limits,
        drift / find_reach(alpha=alpha),
        alpha,
        crossing.find_expected_share(times),
    )
