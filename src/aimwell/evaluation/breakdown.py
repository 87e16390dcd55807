"""Where the effect lies: by action, by value tier, by segment; corrected for looking at many.

Reads segment_members, segments, actions, plan_items. Writes nothing. Tiers are cut by revenue before the
plan and memberships are those of its first day: what the plan changed must not choose the groups it is
judged in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from aimwell.core.text import Text, say
from aimwell.engine.session import Queryable
from aimwell.evaluation.experiment import Array, Experiment, Flags
from aimwell.evaluation.method import Comparison, Method, compare_part
from aimwell.evaluation.plan import Plan
from aimwell.stats.effect import Effect
from aimwell.stats.multiplicity import adjust_benjamini_hochberg

BEST_SHARE = 0.2
LOW_SHARE = 0.3
_MOST_SEGMENTS = 24


@dataclass(frozen=True)
class Part:
    """One part of the experiment: contribution per customer, profit of its treated, Benjamini–Hochberg's p.

    ``p_adjusted`` belongs to the profit of an action, and to the contribution of a tier or segment.
    """

    name: str
    title: Text
    effect: Effect
    profit: Effect
    contact_cost: float
    p_adjusted: float

    @property
    def proven(self) -> bool:
        """Whether the effect stands although many parts were looked at."""
        return self.effect.proven and self.p_adjusted < 0.05

    @property
    def profit_per_customer(self) -> Effect:
        """Profit per treated customer: contribution less what contacting cost."""
        return self.profit.scale(1 / self.profit.n_treatment)


@dataclass(frozen=True)
class Promise:
    """What the plan promised of the treated of one action; money."""

    profit: float
    variance: float


@dataclass(frozen=True)
class Breakdown:
    """All parts, with what was promised per action."""

    actions: tuple[Part, ...]
    tiers: tuple[Part, ...]
    segments: tuple[Part, ...]
    promises: Mapping[str, Promise]


_PROMISES = """
SELECT
    i.action_id,
    SUM(i.expected_profit) AS profit,
    SUM(i.standard_error * i.standard_error) AS variance
FROM plan_items AS i
INNER JOIN assignments AS a ON a.plan_id = i.plan_id AND a.customer_id = i.customer_id AND a.action_id =
i.action_id WHERE i.plan_id = $plan_id AND a.arm = 'treatment' GROUP BY i.action_id ORDER BY i.action_id
"""

_MEMBERS = """
SELECT m.segment, MIN(s.title) AS title, m.customer_id
FROM segment_members AS m
INNER JOIN segments AS s ON s.segment = m.segment
INNER JOIN assignments AS a ON a.customer_id = m.customer_id AND a.plan_id = $plan_id
WHERE m.entered_on <= $start AND (m.left_on IS NULL OR m.left_on > $start)
GROUP BY m.segment, m.customer_id
ORDER BY m.segment, m.customer_id
"""


def break_down(
    reader: Queryable, experiment: Experiment, contribution: Comparison, *, plan: Plan, method: Method
) -> Breakdown:
    """Effects of all parts that have at least two customers on each side."""
    groups = [
        _list_actions(reader, experiment),
        _list_tiers(experiment),
        _list_segments(reader, experiment, plan),
    ]
    found = [_measure_parts(experiment, contribution.residuals, masks, method) for masks in groups]
    # Actions are judged by their profit, other parts by their effect before contact costs.
    p_values = [part.profit.p_value for part in found[0]]
    p_values += [part.effect.p_value for parts in found[1:] for part in parts]
    adjusted = iter(adjust_benjamini_hochberg(p_values).tolist())
    actions, tiers, segments = (tuple(_correct(part, next(adjusted)) for part in parts) for parts in found)
    promised = reader.query(_PROMISES, {"plan_id": plan.plan_id}).to_pylist()
    promises = {row["action_id"]: Promise(row["profit"], row["variance"]) for row in promised}
    return Breakdown(actions, tiers, segments, promises)


def name_tiers() -> dict[str, Text]:
    """The value tiers and their titles."""
    return {
        "best_20": say("Best 20 % by revenue before"),
        "middle": say("Middle 50 % by revenue before"),
        "low": say("Lowest 30 % by revenue before"),
    }


def _list_actions(reader: Queryable, experiment: Experiment) -> list[tuple[str, Text, Flags]]:
    rows = reader.query("SELECT action_id, title FROM actions ORDER BY action_id").to_pylist()
    titles = {row["action_id"]: Text.from_json(row["title"]) for row in rows}
    names = sorted({str(name) for name in experiment.action_id if name is not None})
    return [
        (name, titles.get(name, say("{name}", name=name)), experiment.action_id == name) for name in names
    ]


def _list_tiers(experiment: Experiment) -> list[tuple[str, Text, Flags]]:
    before = experiment.before[:, 1]
    if float(np.ptp(before)) == 0:
        return []
    high, low = np.quantile(before, [1 - BEST_SHARE, LOW_SHARE])
    masks = {"best_20": before > high, "middle": (before <= high) & (before > low), "low": before <= low}
    return [(name, title, masks[name]) for name, title in name_tiers().items()]


def _list_segments(reader: Queryable, experiment: Experiment, plan: Plan) -> list[tuple[str, Text, Flags]]:
    table = reader.query(_MEMBERS, {"plan_id": plan.plan_id, "start": plan.start})
    members: dict[str, list[str]] = {}
    titles: dict[str, str] = {}
    for row in table.to_pylist():
        members.setdefault(row["segment"], []).append(row["customer_id"])
        titles[row["segment"]] = row["title"]
    largest = sorted(members, key=lambda name: (-len(members[name]), name))[:_MOST_SEGMENTS]
    customers = experiment.customer_id.astype(str)
    return [
        (name, Text.from_json(titles[name]), np.isin(customers, np.array(members[name], dtype=str)))
        for name in sorted(largest)
    ]


def _measure_parts(
    experiment: Experiment, residuals: Array, masks: list[tuple[str, Text, Flags]], method: Method
) -> list[Part]:
    parts = []
    for name, title, rows in masks:
        comparison = compare_part(experiment, residuals, rows, method=method, name=name)
        if comparison is None:
            continue
        cost = float(experiment.contact_cost[rows & experiment.treated].sum())
        parts.append(Part(name, title, comparison.effect, comparison.find_profit(cost), cost, 1.0))
    return parts


def _correct(part: Part, p_adjusted: float) -> Part:
    return Part(part.name, part.title, part.effect, part.profit, part.contact_cost, p_adjusted)
