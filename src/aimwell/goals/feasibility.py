"""Feasibility before launch: the smallest effect that this audience, control group and window can show.

What the target needs to be seen (customers, days, a control share), and whether it lies within what the past and the
experiments so far have shown. Reads what the KPI's baseline reads, and results; writes nothing.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Any

from aimwell.core.errors import BadInput
from aimwell.core.text import Text
from aimwell.core.time import Window
from aimwell.engine.session import Queryable
from aimwell.goals.baseline import Baseline, measure_baseline
from aimwell.goals.goal import Goal
from aimwell.goals.metrics import Kind
from aimwell.stats.visible import Kind as Outcome
from aimwell.stats.visible import Spread, Visible, find_audience, find_visible, measure_spread

LADDER = (14, 28, 42, 56, 84, 112, 182)
"""Windows, in days, that are tried for how long the audience must be watched: those longer than the goal's."""
FEW_CUSTOMERS = 400
"""Customers of the past below which the variance itself is a guess."""

_EFFECTS = """
SELECT r.plan_id, r.estimate, r.lower, r.upper, p.days, r.simulated
FROM results AS r
INNER JOIN plans AS p ON p.plan_id = r.plan_id
WHERE r.metric = $metric AND r.segment = 'all'
ORDER BY r.estimate DESC, r.plan_id
LIMIT 1
"""
_MEASURED = {
    "profit_per_customer": "contribution_per_customer",
    "revenue_per_customer": "revenue_per_customer",
    "orders_per_customer": "orders_per_customer",
}
"""KPI → the metric of ``results`` that measures it per customer."""


@dataclass(frozen=True)
class Step:
    """What a window of ``days`` shows: ``smallest`` as a share of its own level, and in the KPI's unit."""

    days: int
    smallest: float
    relative: float | None
    seen: bool

    def to_dict(self) -> dict[str, Any]:
        """For JSON, which has no infinity."""
        smallest = self.smallest if math.isfinite(self.smallest) else None
        return {"days": self.days, "smallest": smallest, "relative": self.relative, "seen": self.seen}


@dataclass(frozen=True)
class Record:
    """The largest effect that an experiment measured, per customer, scaled to the goal's days."""

    plan_id: str
    estimate: float
    upper: float
    simulated: bool


@dataclass(frozen=True)
class Feasibility:
    """``wanted`` and ``visible`` are absolute, in the KPI's unit per customer (a share: 0.005 is half a point).

    ``needed_customers``, ``needed_days``, ``needed_control``: each alone would show the target; None where none does.
    ``best_rise``: the largest relative rise from one window to the next; ``steps``: longer windows.
    """

    kind: Kind
    audience: int
    control_share: float
    days: int
    wanted: float
    visible: Visible | None
    spread: Spread | None
    n_past: int
    needed_customers: int | None = None
    needed_days: int | None = None
    needed_control: float | None = None
    best_rise: float | None = None
    rises: int = 0
    record: Record | None = None
    steps: tuple[Step, ...] = ()
    members_of_today: bool = False
    usual_change: float | None = None
    """Where customers cannot be drawn: what one window usually differs from the next by, in the KPI's unit."""

    @property
    def smallest(self) -> float:
        """The smallest visible effect; infinite when nothing can be shown."""
        return math.inf if self.visible is None else self.visible.smallest

    @property
    def enough(self) -> bool:
        """Whether the target can be seen."""
        return math.isfinite(self.smallest) and self.smallest <= abs(self.wanted)

    def to_dict(self, sentences: tuple[Text, ...]) -> dict[str, Any]:
        """For ``--json`` and the report; ``sentence`` is all of them together."""
        seen = self.visible
        finite = math.isfinite(self.smallest)
        return {
            "audience": self.audience,
            "control_share": self.control_share,
            "days": self.days,
            "unit": self.kind,
            "target_effect": self.wanted,
            "smallest_effect": self.smallest if finite else None,
            "smallest_lower": seen.lower if seen and finite else None,
            "smallest_upper": seen.upper if seen and finite else None,
            "relative": seen.relative if seen else None,
            "enough": self.enough,
            "n_past": self.n_past,
            "variance_removed": self.spread.variance_removed if self.spread else None,
            "expected_buyers": seen.expected_buyers if seen else None,
            "skewed": bool(seen and seen.skewed and self.kind == "money"),
            "needed_customers": self.needed_customers,
            "needed_days": self.needed_days,
            "needed_control_share": self.needed_control,
            "best_rise": self.best_rise,
            "rises": self.rises,
            "largest_measured": self.record.__dict__ if self.record else None,
            "windows": [step.to_dict() for step in self.steps],
            "sentence": {
                language: _join([text.render(language) for text in sentences], language)
                for language in ("en", "zh")
            },
            "sentences": [text.both() for text in sentences],
        }


def judge_feasibility(
    reader: Queryable,
    goal: Goal,
    baseline: Baseline,
    *,
    holdout_share: float,
    control_share: float,
    margin_rate: float,
) -> Feasibility:
    """Whether the target could be seen at 80 % power and 5 % error, after adjustment for each customer's past."""
    metric = goal.definition
    share = control_share if goal.control_share is None else goal.control_share
    audience = math.floor(baseline.now.n * (1 - holdout_share))
    wanted = goal.target * baseline.now.estimate
    rise, rises = _find_best_rise(baseline)
    found = Feasibility(
        metric.kind,
        audience,
        share,
        goal.days,
        wanted,
        None,
        None,
        len(baseline.values),
        best_rise=rise,
        rises=rises,
        record=_find_record(reader, goal),
        members_of_today=baseline.members_of_today,
    )
    if metric.kind == "customers":
        return replace(found, audience=0, usual_change=_find_usual_change(baseline))
    spread = _measure(baseline)
    if spread is None:
        return found
    visible = _see(spread, metric.kind, audience, share)
    found = replace(found, visible=visible, spread=spread)
    if found.enough or not wanted:
        return found
    steps = _climb(reader, goal, audience, share, margin_rate)
    return replace(
        found,
        needed_customers=find_audience(spread, wanted, control_share=share),
        needed_days=next((step.days for step in steps if step.seen), None),
        needed_control=_find_control(spread, metric.kind, audience, abs(wanted)),
        steps=steps,
    )


def _see(spread: Spread, kind: Outcome, audience: int, share: float) -> Visible:
    control = round(audience * share)
    return find_visible(spread, kind, n_treatment=audience - control, n_control=control)


def _measure(baseline: Baseline) -> Spread | None:
    try:
        return measure_spread(baseline.values, baseline.before)
    except BadInput:
        # Everybody did the same: the past shows no noise at all, so nothing can be said about it.
        return None


def _find_control(spread: Spread, kind: Outcome, audience: int, wanted: float) -> float | None:
    """The smallest control share, in whole points up to one half, with which ``wanted`` is seen."""
    for points in range(1, 51):
        if _see(spread, kind, audience, points / 100).smallest <= wanted:
            return points / 100
    return None


def _climb(
    reader: Queryable, goal: Goal, audience: int, share: float, margin_rate: float
) -> tuple[Step, ...]:
    """The same audience watched for longer, as far as the data hold such a window twice."""
    kind = goal.definition.kind
    assert kind != "customers"
    steps = []
    for days in LADDER:
        if days <= goal.days:
            continue
        there = measure_baseline(
            reader,
            goal.definition,
            window=Window.after(goal.start, days),
            margin_rate=margin_rate,
            segment=goal.segment,
            history=2,
        )
        if there is None or there.window.days != days or there.before is None:
            # Longer ones reach beyond the data, too.
            break
        spread = _measure(there)
        if spread is None:
            continue
        seen = _see(spread, kind, audience, share)
        wanted = abs(goal.target * there.now.estimate)
        steps.append(Step(days, seen.smallest, seen.relative, seen.smallest <= wanted))
    return tuple(steps)


def _find_best_rise(baseline: Baseline) -> tuple[float | None, int]:
    levels = [found.estimate for _, found in baseline.history]
    rises = [later / earlier - 1 for earlier, later in itertools.pairwise(levels) if earlier > 0]
    return (max(rises) if rises else None), len(rises)


def _find_usual_change(baseline: Baseline) -> float | None:
    levels = [found.estimate for _, found in baseline.history]
    changes = [later - earlier for earlier, later in itertools.pairwise(levels)]
    return math.sqrt(sum(change**2 for change in changes) / len(changes)) if changes else None


def _find_record(reader: Queryable, goal: Goal) -> Record | None:
    metric = _MEASURED.get(goal.metric)
    rows = reader.query(_EFFECTS, {"metric": metric}).to_pylist() if metric else []
    if not rows:
        return None
    scale = goal.days / rows[0]["days"]
    return Record(
        rows[0]["plan_id"],
        rows[0]["estimate"] * scale,
        rows[0]["upper"] * scale,
        bool(rows[0]["simulated"]),
    )


def _join(parts: list[str], language: str) -> str:
    return (" " if language == "en" else "").join(parts)
