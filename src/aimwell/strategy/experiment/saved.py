"""A saved design as a plan takes it: its rule, its arms for the plan's customers, and what it can see with them.

Reads the store's definitions, ``plan_designs``, and what ``history`` reads; writes nothing itself.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np

from aimwell.core.errors import BadInput, Conflict, NotReady
from aimwell.core.lists import join_list
from aimwell.core.text import Text, say
from aimwell.engine.session import Queryable
from aimwell.engine.settings import Settings
from aimwell.engine.workspace import Workspace
from aimwell.goals.metrics import find_metric
from aimwell.goals.test_rule import GuardRule, TestRule
from aimwell.stats.power import ALPHA
from aimwell.strategy.experiment.assignment import ArmRule, Arms, cut_strata, stratify_clusters
from aimwell.strategy.experiment.history import (
    NOT_HOMED,
    read_clusters,
    read_labels,
    read_members,
    read_metric,
)
from aimwell.strategy.inputs import PlanInputs, PlanResult
from aimwell.strategy.launched import is_launched

KIND = "test_design"
USED_SQL = "SELECT plan_id FROM plan_designs WHERE design = $design ORDER BY plan_id"


@dataclass(frozen=True)
class SavedDesign:
    """A design that a plan can be made by: its rule, and the figures from which it said what can be seen."""

    rule: TestRule
    baseline: float
    smallest: float | None
    """The smallest effect that the design can see with its own arms; None: none."""
    arms: dict[str, int]
    """The customers in them."""


def save_design(workspace: Workspace, name: str, payload: dict[str, Any]) -> int:
    """Keep a design by its name; its version. Conflict when a plan that was launched is tested by it."""
    if workspace.store.load_definition(KIND, name) != payload:
        with workspace.read() as reader:
            used = reader.query(USED_SQL, {"design": name})["plan_id"].to_pylist()
            launched = [plan_id for plan_id in used if is_launched(workspace, reader, plan_id)]
        if launched:
            raise Conflict(
                "strategy.design_launched",
                say(
                    "The design {design} must not change: the plan {plan} was launched with it.",
                    design=name,
                    plan=launched[0],
                ),
                remedy=say("Save this design by another name with --save."),
                where={"value": name},
            )
    return workspace.store.save_definition(KIND, name, payload)


def load_design(workspace: Workspace, name: str) -> SavedDesign:
    """The design of that name. BadInput when there is none, or when a plan cannot be tested by it."""
    latest = workspace.store.load_latest(KIND, name)
    if latest is None:
        known = join_list(sorted(workspace.store.list_definitions(KIND))[:10]) or "–"
        raise BadInput(
            "strategy.unknown_design",
            say("There is no design called '{design}'.", design=name),
            remedy=say(
                "Saved designs: {designs}. Make one with: aimwell strategy design --save NAME", designs=known
            ),
            where={"value": name},
        )
    version, saved = latest
    if saved["days"] is None:
        raise BadInput(
            "strategy.design_by_column",
            say(
                "The design {design} measures a column; a plan's test needs a KPI, measured from orders.",
                design=name,
            ),
            remedy=say("Design again with --metric: aimwell goals metrics lists them."),
            where={"value": name},
        )
    if len(saved["shares"]) != 2:
        raise BadInput(
            "strategy.design_of_many",
            say(
                "The design {design} has {count} treatments; a plan has one: what it chose for each customer.",
                design=name,
                count=len(saved["shares"]) - 1,
            ),
            remedy=say("Design again with one treatment."),
            where={"value": name},
        )
    return _read_saved(name, version, saved)


def bind_arms(
    queryable: Queryable, settings: Settings, design: SavedDesign, inputs: PlanInputs, *, as_of: date
) -> PlanInputs:
    """The inputs with the design's audience, shares and draws."""
    rule, customers = design.rule, inputs.customers
    eligible = inputs.eligible
    if rule.segment is not None:
        members = read_members(queryable, rule.segment, as_of=as_of)
        eligible = eligible & np.array([customer in members for customer in customers])[:, None]
    clusters = None
    if rule.cluster is not None:
        clusters = tuple(read_clusters(queryable, rule.cluster, customers, as_of=as_of))
        strata_of = stratify_clusters(clusters)
        strata = [strata_of[cluster] for cluster in clusters]
    elif rule.strata is not None:
        strata = read_labels(queryable, rule.strata, customers, as_of=as_of)
    else:
        strata = _stratify_by_past(queryable, settings, rule, customers, as_of)
    arms = Arms(("control", "treatment"), (rule.arms["control"], rule.arms["treatment"]))
    arm_rule = ArmRule(arms, rule.salt, tuple(strata), clusters, rule.fingerprint())
    return replace(
        inputs,
        eligible=eligible,
        arm_rule=arm_rule,
        shares=replace(inputs.shares, control=rule.control_share),
    )


def find_smallest(design: SavedDesign, result: PlanResult) -> float | None:
    """The smallest effect per customer that the plan's arms show with the design's power; None when none.

    The design's own, which allows for looks and clusters, in proportion to √(1/treated + 1/control).
    """
    treated = int(result.treated.sum())
    control = len(result.treated) - treated
    sizes = tuple(design.arms.values())
    if design.smallest is None or min(treated, control, *sizes) < 1:
        return None
    return design.smallest * math.sqrt((1 / treated + 1 / control) / sum(1 / size for size in sizes))


def describe_bound(design: SavedDesign, result: PlanResult, *, as_of: date) -> dict[str, Any]:
    """What the plan's summary says of its test; figures, and sentences in both languages."""
    rule = design.rule
    smallest = find_smallest(design, result)
    lack = find_lack(design, result)
    sentences = [describe_rule(rule, as_of), *([] if lack is None else [lack])]
    return {
        "name": rule.design,
        "version": rule.version,
        "fingerprint": rule.fingerprint(),
        "metric": rule.metric,
        "days": rule.days,
        "looks": [day.isoformat() for day in rule.list_days(as_of)],
        "guards": [{"metric": guard.metric, "limit": guard.limit} for guard in rule.guards],
        "smallest_effect": smallest,
        "target": rule.target * design.baseline,
        "enough": lack is None,
        "sentences": [sentence.both() for sentence in sentences],
    }


def describe_rule(rule: TestRule, start: date) -> Text:
    """What decides, and on which days."""
    days = [day.isoformat() for day in rule.list_days(start)]
    return say(
        "Test {design}, fixed before launch: {metric} decides, after at most {count} looks: {days}.",
        design=rule.design,
        metric=find_metric(rule.metric).title,
        count=len(days),
        days=join_list(days),
    )


def find_lack(design: SavedDesign, result: PlanResult) -> Text | None:
    """Why the plan's arms, often smaller than the design's audience, cannot show the target; None when they can."""
    smallest, rule = find_smallest(design, result), design.rule
    if smallest is not None and smallest <= abs(rule.target * design.baseline):
        return None
    level = abs(design.baseline)
    seen = f"{smallest / level:.1%}" if smallest is not None and level > 0 else "-"
    return say(
        "The plan puts {chosen} customers into the test: the smallest change that they can show is {smallest} of "
        "{metric}, the target is {target}. Raise the budget or the audience, or watch for longer.",
        chosen=f"{len(result.treated):,}",
        smallest=seen,
        metric=find_metric(rule.metric).title,
        target=f"{abs(rule.target):.1%}",
    )


def _read_saved(name: str, version: int, saved: dict[str, Any]) -> SavedDesign:
    stopping, clusters = saved["stopping"], saved["clusters"]
    guards = saved["guards"]
    rule = TestRule(
        design=name,
        version=version,
        metric=find_metric(saved["outcome"]).name,
        target=float(saved["target"]["relative"]),
        days=int(saved["days"]),
        needed=saved["needed"]["customers"],
        arms={arm: float(share) for arm, share in saved["shares"].items()},
        strata=saved["strata"]["by"],
        cluster=None if clusters is None else clusters["by"],
        segment=saved["segment"],
        salt=saved["salt"],
        shape=stopping["shape"],
        times=tuple(stopping["shares"]),
        limits=tuple(stopping["limits"]),
        # Older designs do not name their error; with one treatment it was the whole.
        alpha=float(stopping.get("alpha", ALPHA)),
        guards=tuple(GuardRule(guard["name"], float(guard["limit"])) for guard in guards),
    )
    level, smallest = saved["baseline"]["estimate"], saved["smallest_effect"]["estimate"]
    return SavedDesign(rule, float(level), smallest, dict(saved["arms"]))


def _stratify_by_past(
    queryable: Queryable, settings: Settings, rule: TestRule, customers: tuple[str, ...], as_of: date
) -> list[str]:
    rate = settings.business.margin_rate
    try:
        past = read_metric(queryable, rule.metric, as_of=as_of, days=rule.days, margin_rate=rate)
    except NotReady:
        # A past that is shorter than the window leaves one stratum: balance is lost, nothing else.
        return [NOT_HOMED] * len(customers)
    values = dict(zip(past.customers, past.outcome.tolist(), strict=True))
    return cut_strata(np.array([values.get(customer, math.nan) for customer in customers]))
