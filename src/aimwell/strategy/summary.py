"""The step's summary: a plan as a JSON-able dict, every text in both languages. Reads and writes no tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from aimwell.core.text import Text, say
from aimwell.strategy.coverage import measure_coverage
from aimwell.strategy.explain import Reason, describe_use
from aimwell.strategy.frontier import FrontierPoint
from aimwell.strategy.inputs import PlanInputs, PlanResult
from aimwell.strategy.quadrants import Quadrant

EXAMPLES = 8


def summarise_plan(
    inputs: PlanInputs,
    result: PlanResult,
    reasons: Sequence[Reason],
    *,
    frontier: Sequence[FrontierPoint],
    quadrants: Sequence[Quadrant],
    segments: dict[str, Sequence[object]],
) -> dict[str, Any]:
    """The plan's figures; ``segments``: tag → each customer's value of it, for who was left out."""
    budget = next((use.limit.limit for use in result.uses if use.limit.limit_id == "budget"), None)
    return {
        "plan_id": inputs.plan_id,
        "wave": result.wave,
        "method": result.method,
        "audience": len(result.considered),
        "chosen": len(result.customer),
        "expected_profit": result.expected_profit.to_dict(),
        "objective": result.objective,
        "upper_bound": result.upper_bound,
        "gap": result.gap,
        "cost": result.treated_cost,
        "budget": budget,
        "currency": inputs.currency,
        "constraints": [_summarise_use(inputs, result, index) for index in range(len(result.uses))],
        "frontier": [point.to_dict() for point in frontier],
        "by_action": _count_actions(inputs, result),
        "arms": {
            "treatment": int(result.treated.sum()),
            "control": int((~result.treated).sum()),
            "holdout": len(result.holdout),
        },
        "explored": int(result.explored.sum()),
        "quadrants": [quadrant.to_dict() for quadrant in quadrants],
        "examples": [_show_example(inputs, result, reasons, place) for place in _pick_examples(result)],
        "left_out": [
            row for tag, values in segments.items() for row in _count_left_out(inputs, result, tag, values)
        ],
    }


def _summarise_use(inputs: PlanInputs, result: PlanResult, index: int) -> dict[str, Any]:
    use = result.uses[index]
    shown = {**describe_use(use, inputs.currency), "used_treated": use.used_treated, "kept": use.kept}
    if result.method == "randomised":
        shown["sentence"] = say("Kept whoever is drawn; a randomised plan has no price for it.").both()
    return shown


def _count_actions(inputs: PlanInputs, result: PlanResult) -> list[dict[str, Any]]:
    rows = []
    for index, action in enumerate(inputs.actions):
        mine = (result.action == index) & result.treated
        rows.append(
            {
                "action_id": action.action_id,
                "title": action.title.both(),
                "channel": action.channel,
                "customers": int(mine.sum()),
                "chosen": int((result.action == index).sum()),
                "expected_profit": float(result.profit[mine].sum()),
                "cost": round(float(result.cost[mine].sum()), 2),
            }
        )
    return rows


def _pick_examples(result: PlanResult) -> list[int]:
    if not len(result.customer):
        return []
    order = np.argsort(-result.profit, kind="stable")
    spread = order[np.linspace(0, len(order) - 1, EXAMPLES - 1).astype(np.int64)]
    explored = np.flatnonzero(result.explored)[:1]
    return [int(place) for place in dict.fromkeys([*spread.tolist(), *explored.tolist()])]


def _show_example(
    inputs: PlanInputs, result: PlanResult, reasons: Sequence[Reason], place: int
) -> dict[str, Any]:
    return {
        "customer_id": inputs.customers[result.customer[place]],
        "action_id": inputs.actions[result.action[place]].action_id,
        "expected_profit": float(result.profit[place]),
        "probability": float(result.probability[place]),
        "reason": reasons[place].reason.both(),
        "why_not": reasons[place].why_not.both(),
    }


def _count_left_out(
    inputs: PlanInputs, result: PlanResult, tag: str, values: Sequence[object]
) -> list[dict[str, Any]]:
    names = {str(value): name_segment(tag, str(value)) for value in values if value is not None}
    return [row.to_dict() for row in measure_coverage(inputs, result, tag, values, names)]


def name_segment(tag: str, value: str) -> Text:
    """A value of a tag for people; the value itself where it has no name of its own."""
    names = {
        "best_20": say("Value: best 20 %"),
        "middle": say("Value: middle"),
        "low": say("Value: low"),
        "prospect": say("Lifecycle: prospect"),
        "new": say("Lifecycle: new"),
        "active": say("Lifecycle: active"),
        "declining": say("Lifecycle: declining"),
        "dormant": say("Lifecycle: dormant"),
        "lost": say("Lifecycle: lost"),
    }
    return names.get(value, say("{tag}: {value}", tag=tag, value=value))
