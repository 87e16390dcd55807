"""A plan as the tables that deployment and evaluation read.

Writes ``constraints``, ``plans``, ``plan_items`` and ``assignments`` (the step appends what is built here).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa

from aimwell.core.money import to_money
from aimwell.core.tables import ASSIGNMENTS, CONSTRAINTS, PLAN_ITEMS, PLANS
from aimwell.strategy.experiment.history import name_lone
from aimwell.strategy.explain import Reason
from aimwell.strategy.inputs import PlanInputs, PlanResult
from aimwell.strategy.planner import Z


@dataclass(frozen=True)
class Launch:
    """What a plan's rows carry besides the plan itself."""

    run_id: str
    goal: str
    round_number: int
    as_of: date
    days: int
    simulated: bool
    basis: dict[str, Any] = field(default_factory=dict)
    """What the promise rests on (``basis.Basis.to_dict``)."""


def build_constraints(inputs: PlanInputs, result: PlanResult, launch: Launch) -> pa.Table:
    """One row per limit: what all chosen customers would use of it, and its shadow price."""
    return CONSTRAINTS.build(
        [
            {
                "plan_id": inputs.plan_id,
                "constraint_id": use.limit.limit_id,
                "title": use.limit.title.to_json(),
                "sense": use.limit.sense,
                "limit": use.limit.limit,
                "used": use.used,
                "unit": use.limit.unit,
                "shadow_price": use.shadow_price,
                "run_id": launch.run_id,
            }
            for use in result.uses
        ]
    )


def build_plan(inputs: PlanInputs, result: PlanResult, launch: Launch) -> pa.Table:
    """The plan's own row."""
    expected = result.expected_profit
    return PLANS.build(
        [
            {
                "plan_id": inputs.plan_id,
                "goal": launch.goal,
                "round_number": launch.round_number,
                "wave": result.wave,
                "method": result.method,
                "as_of": launch.as_of,
                "days": launch.days,
                "audience": len(result.considered),
                "chosen": len(result.customer),
                "expected_profit": expected.estimate,
                "expected_profit_se": (expected.upper - expected.lower) / (2 * Z),
                "upper_bound": result.upper_bound,
                "gap": result.gap,
                "cost": to_money(result.treated_cost),
                "fingerprint": fingerprint_plan(inputs, result),
                "simulated": launch.simulated,
                "basis": json.dumps(launch.basis, ensure_ascii=False) if launch.basis else None,
                "run_id": launch.run_id,
            }
        ]
    )


def build_items(
    inputs: PlanInputs, result: PlanResult, reasons: Sequence[Reason], launch: Launch
) -> pa.Table:
    """One row per chosen customer, control included (its action is what treatment would have been)."""
    count = len(result.customer)
    columns = {
        "plan_id": [inputs.plan_id] * count,
        "customer_id": [inputs.customers[index] for index in result.customer],
        "action_id": [inputs.actions[index].action_id for index in result.action],
        "expected_profit": result.profit,
        "standard_error": result.standard_error,
        "expected_cost": result.cost,
        "probability": result.probability,
        "explored": result.explored,
        "reason": [reason.reason.to_json() for reason in reasons],
        "run_id": [launch.run_id] * count,
    }
    return pa.table(columns, schema=PLAN_ITEMS.schema)


def build_assignments(inputs: PlanInputs, result: PlanResult, launch: Launch) -> pa.Table:
    """Treatment and control among the chosen, and everybody reachable who is held out."""
    people = np.concatenate([result.customer, result.holdout])
    held = len(result.holdout)
    strata = inputs.tiers if inputs.arm_rule is None else inputs.arm_rule.strata
    arms = [*np.where(result.treated, "treatment", "control").tolist(), *["holdout"] * held]
    columns = {
        "plan_id": [inputs.plan_id] * len(people),
        "customer_id": [inputs.customers[index] for index in people],
        "arm": arms,
        "action_id": [*(inputs.actions[index].action_id for index in result.action), *[None] * held],
        "probability": np.concatenate([result.arm_probability, np.full(held, inputs.shares.holdout)]),
        "stratum": [strata[index] for index in people],
        "unit": [*(_name_unit(inputs, index) for index in result.customer), *[None] * held],
        "run_id": [launch.run_id] * len(people),
    }
    return pa.table(columns, schema=ASSIGNMENTS.schema)


def _name_unit(inputs: PlanInputs, index: int) -> str | None:
    """The cluster with which a customer was drawn; None for whoever was drawn alone."""
    if inputs.arm_rule is None or inputs.arm_rule.clusters is None:
        return None
    name = inputs.arm_rule.clusters[index]
    return None if name == name_lone(inputs.customers[index]) else name


def fingerprint_plan(inputs: PlanInputs, result: PlanResult) -> str:
    """SHA-256 over who gets what in which arm: an approval holds for exactly this."""
    lines = [
        f"{inputs.customers[customer]}\x1f{inputs.actions[action].action_id}\x1f{int(treated)}"
        for customer, action, treated in zip(result.customer, result.action, result.treated, strict=True)
    ]
    lines += [f"{inputs.customers[customer]}\x1f\x1fholdout" for customer in result.holdout]
    content = [
        f"{a.action_id}\x1f{a.discount}\x1f{a.unit_cost}\x1f{a.redemption_cost}" for a in inputs.actions
    ]
    rule = [] if inputs.arm_rule is None else [inputs.arm_rule.fingerprint]
    return hashlib.sha256("\x1e".join([inputs.plan_id, *rule, *content, *sorted(lines)]).encode()).hexdigest()
