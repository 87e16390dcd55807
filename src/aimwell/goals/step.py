"""Step 1: set the round's goal. Reads customers, order_lines, products, segment_members, results; keeps the goal as a
definition.
"""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

from aimwell.core.steps import StepResult
from aimwell.core.text import Text, say
from aimwell.engine.session import Queryable
from aimwell.engine.settings import Settings
from aimwell.engine.workspace import Workspace
from aimwell.goals.baseline import Baseline, measure_baseline
from aimwell.goals.feasibility import judge_feasibility
from aimwell.goals.feasibility_words import describe
from aimwell.goals.goal import Goal
from aimwell.goals.kept import keep_parent, list_goals, save_goal
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
    parent: str | None = None,
    segment: str | None = None,
    amount: Decimal | None = None,
    control_share: float | None = None,
) -> StepResult:
    """Keep the goal, measure its baseline and judge its feasibility; BadInput when a value does not fit.

    ``parent``: the goal that it serves, to whose total it is to bring ``amount`` (found from ``target`` when omitted).
    Without one it goes on serving what the earlier goal of its name served, as long as its window fits.
    """
    with workspace.read("goals") as reader:
        goal = Goal(
            name=name,
            metric=metric or _choose_metric(reader),
            start=as_of,
            days=days,
            budget=workspace.settings.strategy.budget if budget is None else budget,
            target=target,
            parent=parent,
            segment=segment,
            amount=amount,
            control_share=control_share,
        )
        goal = keep_parent(workspace.store, goal)
        result = measure_goal(reader, goal, workspace.settings)
    save_goal(workspace.store, goal)
    return result


def measure_goal(reader: Queryable, goal: Goal, settings: Settings) -> StepResult:
    """The goal's baseline and feasibility; partial where there is no baseline."""
    business, contact = settings.business, settings.contact
    summary: dict[str, Any] = _summarise_goal(goal, business.currency, business.margin_rate)
    baseline = measure_baseline(
        reader,
        goal.definition,
        window=goal.window,
        margin_rate=business.margin_rate,
        segment=goal.segment,
    )
    if baseline is None:
        return StepResult("goals", "partial", summary, (_lack_baseline(),))
    found = judge_feasibility(
        reader,
        goal,
        baseline,
        holdout_share=contact.holdout_share,
        control_share=contact.control_share,
        margin_rate=business.margin_rate,
    )
    summary |= _summarise_baseline(baseline) | {
        "target": baseline.now.estimate * (1 + goal.target),
        "feasibility": found.to_dict(describe(found, goal, business.currency)),
    }
    return StepResult("goals", "done", summary)


def load_goal(workspace: Workspace, name: str = "round") -> Goal | None:
    """The newest version of a campaign's goal, or None."""
    found = list_goals(workspace.store).get(name)
    return found if isinstance(found, Goal) else None


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
        "parent": goal.parent,
        "segment": goal.segment,
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
