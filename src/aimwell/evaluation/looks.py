"""Looks at a designed test: when one is due, which limit it has, and what the rule fixed before launch says.

A look is taken at a planned day, or at the first evaluation after it; then its limit follows from the error spent by
that share of the window (Lan and DeMets 1983). Each look is taken once: who evaluates again on the same day, or
between planned days, spends no error and learns no verdict. Estimates after stopping are median-unbiased. Guards are
looked at on the same days, one-sided, and share the error among them. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from typing import Any, Literal

from aimwell.goals.test_rule import GuardRule, TestRule
from aimwell.stats.distribution import find_normal_quantile
from aimwell.stats.effect import Effect
from aimwell.stats.sequential import Shape, estimate_drift, find_crossing, find_limits

Role = Literal["primary", "guard"]
Verdict = Literal["effect", "harm", "continue", "not_shown", "safe", "open"]
_WIDEST = 8.0
"""Standard errors on each side while no |z| stops yet: an interval must have ends to be kept."""
_LEAST_P = 1e-300


@dataclass(frozen=True)
class Look:
    """One metric at one look; effects per customer in the metric's unit."""

    look: int
    metric: str
    role: Role
    looked_on: date
    information: float
    z: float
    limit: float
    """The |z| that stops; infinite: none does yet."""
    spent: float
    estimate: float
    lower: float
    upper: float
    standard_error: float
    level: float
    n_treatment: int
    n_control: int
    verdict: Verdict

    def to_row(self) -> dict[str, Any]:
        """A row of ``looks`` without plan, mark and run."""
        return {**vars(self), "limit": self.limit if math.isfinite(self.limit) else None}

    @classmethod
    def from_row(cls, row: dict[str, Any]) -> Look:
        """The look of such a row."""
        fields = {name: row[name] for name in cls.__dataclass_fields__}
        return cls(**{**fields, "limit": math.inf if row["limit"] is None else row["limit"]})


@dataclass(frozen=True)
class Seen:
    """A metric's effect per customer with the mean of control."""

    effect: Effect
    level: float


@dataclass(frozen=True)
class Test:
    """A rule with the looks that were taken, in their order."""

    __test__ = False

    rule: TestRule
    start: date
    looks: tuple[Look, ...]

    @property
    def primary(self) -> tuple[Look, ...]:
        """The looks at the metric that decides."""
        return tuple(look for look in self.looks if look.role == "primary")

    @property
    def newest(self) -> tuple[Look, ...]:
        """All metrics at the newest look."""
        count = len(self.primary)
        return tuple(look for look in self.looks if look.look == count)

    @property
    def harmed(self) -> tuple[Look, ...]:
        """Guards that were shown to be harmed."""
        return tuple(look for look in self.looks if look.role == "guard" and look.verdict == "harm")

    @property
    def over(self) -> bool:
        """Whether the rule has spoken for good."""
        return bool(self.harmed) or any(look.verdict != "continue" for look in self.primary)

    def find_next_day(self) -> date | None:
        """The first planned day that no look has reached; None when none is left."""
        last = self.primary[-1].looked_on if self.looks else self.start
        return next((day for day in self.rule.list_days(self.start) if day > last), None)

    def is_due(self, today: date) -> bool:
        """Whether a look may be taken with what is known before ``today``."""
        planned = self.find_next_day()
        return not self.over and planned is not None and planned <= today

    def look(self, today: date, primary: Seen, guards: Sequence[tuple[GuardRule, Seen]]) -> Test:
        """The test with one more look, with what is known before ``today``."""
        today = min(today, self.start + timedelta(days=self.rule.days))
        share = (today - self.start).days / self.rule.days
        times = (*(look.information for look in self.primary), share)
        found = [_judge(self.rule, times, today, primary)]
        found += [_judge_guard(self.rule, times, today, guard, seen) for guard, seen in guards]
        return Test(self.rule, self.start, (*self.looks, *found))


def find_z(effect: Effect) -> float:
    """The effect's p-value as a signed z: exact re-draws and Student's tails count as they are."""
    size = -find_normal_quantile(max(effect.p_value, _LEAST_P) / 2) if effect.p_value < 1 else 0.0
    return math.copysign(size, effect.estimate)


@lru_cache(maxsize=1024)
def _find_limits(times: tuple[float, ...], alpha: float, shape: Shape) -> tuple[tuple[float, ...], float]:
    """The limits of these looks, and the error spent up to the last."""
    limits = find_limits(times, alpha=alpha, shape=shape)
    return limits, find_crossing(times, limits).stopped


def _judge(rule: TestRule, times: tuple[float, ...], today: date, seen: Seen) -> Look:
    limits, spent = _find_limits(times, rule.alpha, rule.shape)
    z, last = find_z(seen.effect), times[-1] >= 1
    verdict: Verdict = "not_shown" if last else "continue"
    if abs(z) >= limits[-1]:
        verdict = "effect" if z > 0 else "harm"
    error = _find_error(seen.effect, z)
    if verdict == "continue":
        ends = _repeat(seen.effect, error, limits[-1])
    else:
        unit = math.sqrt(times[-1]) * error
        middle, low, high = estimate_drift(times, limits, len(times) - 1, z)
        ends = (middle * unit, low * unit, high * unit)
    return _make_look((rule.metric, "primary"), times, today, seen, (z, limits[-1], spent), ends, verdict)


def _judge_guard(rule: TestRule, times: tuple[float, ...], today: date, guard: GuardRule, seen: Seen) -> Look:
    limits, spent = _find_limits(times, rule.guard_alpha, rule.shape)
    z = find_z(seen.effect)
    ends = _repeat(seen.effect, _find_error(seen.effect, z), limits[-1])
    verdict: Verdict = "open"
    if z <= -limits[-1]:
        verdict = "harm"
    elif ends[1] >= -guard.limit * abs(seen.level):
        verdict = "safe"
    return _make_look((guard.metric, "guard"), times, today, seen, (z, limits[-1], spent), ends, verdict)


def _find_error(effect: Effect, z: float) -> float:
    # The standard error with which estimate, p-value and limits agree; the plain one where z says nothing.
    return abs(effect.estimate / z) if abs(z) > 0.1 else effect.standard_error


def _repeat(effect: Effect, error: float, limit: float) -> tuple[float, float, float]:
    half = min(limit, _WIDEST) * error
    return effect.estimate, effect.estimate - half, effect.estimate + half


def _make_look(
    named: tuple[str, Role],
    times: tuple[float, ...],
    today: date,
    seen: Seen,
    judged: tuple[float, float, float],
    ends: tuple[float, float, float],
    verdict: Verdict,
) -> Look:
    return Look(
        look=len(times),
        metric=named[0],
        role=named[1],
        looked_on=today,
        information=times[-1],
        z=judged[0],
        limit=judged[1],
        spent=judged[2],
        estimate=ends[0],
        lower=ends[1],
        upper=ends[2],
        standard_error=seen.effect.standard_error,
        level=seen.level,
        n_treatment=seen.effect.n_treatment,
        n_control=seen.effect.n_control,
        verdict=verdict,
    )
