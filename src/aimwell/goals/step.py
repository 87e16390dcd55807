"""Step 1: set the round's goal. Reads customers, order_lines, products; keeps the goal as a definition."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

from aimwell.core.steps import StepResult
from aimwell.core.text import Text, say
from aimwell.engine.session import Queryable
from aimwell.engine.workspace import Workspace
from aimwell.goals.baseline import Baseline, measure_baseline
from aimwell.goals.feasibility import Feasibility, judge_feasibility
from aimwell.goals.goal import Goal
from aimwell.goals.metrics import FAMILIES, Metric, bind_window

DEFAULT_TARGET = 0.05


def set_goal(
    workspace: Workspace,
    *,
    as_of: date,
    days: int = 28,
    budget: Decimal | None = None,
    metric: str | None = None,
    target: float = DEFAULT_TARGET,
    name: str = "round",
) -> StepResult:
    """Keep the goal, measure its baseline and judge its feasibility; BadInput when a value does not fit."""
    settings = workspace.settings
    with workspace.read("goals") as reader:
        goal = Goal(
            name=name,
            metric=metric or _choose_metric(reader),
            start=as_of,
            days=days,
            budget=settings.strategy.budget if budget is None else budget,
            target=target,
        )
        audience = reader.query("SELECT COUNT(*) AS n FROM customers")["n"][0].as_py()
        baseline = measure_baseline(
            reader, goal.definition, window=goal.window, margin_rate=settings.business.margin_rate
        )
    workspace.store.save_definition("goal", name, goal.to_body())
    summary: dict[str, Any] = _summarise_goal(goal, settings.business.currency, settings.business.margin_rate)
    if baseline is None:
        return StepResult("goals", "partial", summary, (_lack_baseline(),))
    feasibility = judge_feasibility(
        goal,
        baseline,
        audience=round(audience * (1 - settings.contact.holdout_share)),
        control_share=settings.contact.control_share,
    )
    summary |= _summarise_baseline(baseline) | {
        "target": baseline.now.estimate * (1 + goal.target),
        "feasibility": _summarise_feasibility(feasibility, goal),
    }
    return StepResult("goals", "done", summary)


def load_goal(workspace: Workspace, name: str = "round") -> Goal | None:
    """The newest version of a goal, or None."""
    body = workspace.store.load_definition("goal", name)
    return None if body is None else Goal.from_body(body)


def _choose_metric(reader: Queryable) -> str:
    found = reader.query("SELECT 1 AS one FROM order_lines WHERE revenue IS NOT NULL LIMIT 1")
    return "profit_per_customer" if found.num_rows else "orders_per_customer"


def _lack_baseline() -> Text:
    return say(
        "There are no orders to take a baseline from. Add an order file: aimwell data add FILE --as order_lines"
    )


def _summarise_goal(goal: Goal, currency: str, margin_rate: float) -> dict[str, Any]:
    metric = goal.definition
    return {
        "name": goal.name,
        "title": _title(metric).both(),
        "family": metric.family,
        "family_title": FAMILIES[metric.family].both(),
        "metric": {
            "name": metric.name,
            "title": metric.title.both(),
            "unit": metric.kind,
            "sql": metric.sql,
            "bound": {
                key: str(value) for key, value in bind_window(metric, goal.window, margin_rate).items()
            },
        },
        "target": None,
        "target_change": goal.target,
        "window": {"start": goal.start.isoformat(), "days": goal.days},
        "budget": float(goal.budget),
        "currency": currency,
    }


def _title(metric: Metric) -> Text:
    return say("Raise: {metric}", metric=metric.title)


def _summarise_baseline(baseline: Baseline) -> dict[str, Any]:
    return {
        "baseline": baseline.now.to_dict(),
        "history": [
            {"start": window.start.isoformat(), "days": window.days, **found.to_dict()}
            for window, found in baseline.history
        ],
    }


def _summarise_feasibility(found: Feasibility, goal: Goal) -> dict[str, Any]:
    finite = found.smallest_effect < float("inf")
    return {
        "audience": found.audience,
        "control_share": found.control_share,
        "smallest_effect": found.smallest_effect if finite else None,
        "relative": found.relative,
        "unit": goal.definition.kind,
        "enough": found.enough,
        "sentence": found.sentence.both(),
    }
