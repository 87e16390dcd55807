"""What ``aimwell goals company``, ``tree``, ``show``, ``pace`` and ``remove`` do. Steps stay in ``step``.

Reads what ``tree`` and ``pace`` read; keeps goals as definitions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from aimwell.core.errors import AimwellError, BadInput, NotReady
from aimwell.core.money import to_money
from aimwell.core.text import say
from aimwell.engine.workspace import Workspace
from aimwell.goals.company import CompanyGoal, find_baseline_window, find_measure
from aimwell.goals.goal import Goal
from aimwell.goals.kept import (
    AnyGoal,
    find_goal,
    find_top,
    list_children,
    list_goals,
    list_lost,
    save_goal,
)
from aimwell.goals.measures import read_activity, read_period
from aimwell.goals.pace import Pace, measure_pace
from aimwell.goals.summary import summarise_pace, summarise_tree
from aimwell.goals.tree import Split, Tree, grow_tree


@dataclass(frozen=True)
class Asked:
    """A company's goal as it is asked for: ``target`` (relative) or ``amount`` (the total's change), one of both."""

    name: str
    measure: str = "revenue"
    start: date | None = None
    days: int = 91
    target: float | None = None
    amount: Decimal | None = None
    against: str = "before"
    budget: Decimal | None = None


def set_company_goal(workspace: Workspace, asked: Asked, *, as_of: date) -> CompanyGoal:
    """Measure the baseline, and keep the goal with the amount to reach. BadInput when a value does not fit."""
    start = asked.start or as_of
    measure = find_measure(asked.measure)
    if (asked.target is None) == (asked.amount is None):
        raise BadInput(
            "goals.one_target",
            say("A company's goal takes either a relative target or an amount."),
            remedy=say("Give --target 0.08 for 8 percent more, or --amount 300000 for so much more."),
        )
    refuse_past(start, asked.days, as_of)
    with workspace.read("goals") as reader:
        first, last = read_period(reader, with_revenue=measure != "orders")
        window = find_baseline_window(start, asked.days, against=asked.against, first=first, last=last)
        activity = read_activity(reader, window, margin_rate=workspace.settings.business.margin_rate)
    baseline = activity.total(measure)
    goal = CompanyGoal(
        asked.name,
        measure,
        start,
        asked.days,
        window.start,
        baseline,
        _find_target(asked, baseline),
        asked.budget,
    )
    save_goal(workspace.store, goal)
    return goal


def refuse_past(start: date, days: int, as_of: date) -> None:
    """BadInput when the window was over before ``as_of``: nothing can be aimed at any more."""
    if days >= 1 and start + timedelta(days=days) <= as_of:
        raise BadInput(
            "goals.window_over",
            say(
                "The {days} days from {start} are over: the data reach to {last}.",
                days=days,
                start=start.isoformat(),
                last=(as_of - timedelta(days=1)).isoformat(),
            ),
            remedy=say("Choose a later start, or a longer window."),
            where={"column": "start", "value": start.isoformat()},
        )


def _find_target(asked: Asked, baseline: Decimal) -> Decimal:
    if asked.amount is not None:
        return baseline + to_money(asked.amount)
    assert asked.target is not None
    if not -1 <= asked.target <= 10:
        raise BadInput(
            "goals.bad_target",
            say("The target {target} is not a relative change.", target=asked.target),
            remedy=say("Give it as a share: 0.05 means 5 percent more than the baseline."),
            where={"column": "target", "value": str(asked.target)},
        )
    if baseline <= 0:
        raise BadInput(
            "goals.zero_baseline",
            say("The baseline is {amount}, so a relative target says nothing.", amount=str(baseline)),
            remedy=say("Give the change as an amount: --amount."),
            where={"column": "target", "value": str(asked.target)},
        )
    return to_money(baseline * (1 + Decimal(repr(asked.target))))


def choose_goal(workspace: Workspace, name: str | None) -> AnyGoal:
    """The goal called ``name``; without a name the newest company's, else the round's. NotReady without any."""
    if name is not None:
        return find_goal(workspace.store, name)
    goals = list_goals(workspace.store)
    if not goals:
        raise NotReady(
            "goals.no_goal",
            say("No goal is set yet."),
            remedy=say("Set one with: aimwell goals company, or aimwell goals set"),
        )
    companies = [goal for goal in goals.values() if isinstance(goal, CompanyGoal)]
    if companies:
        return max(companies, key=lambda goal: (goal.start, goal.name))
    return goals.get("round") or next(iter(goals.values()))


def read_tree(workspace: Workspace, name: str | None, *, split: Split = "swing") -> tuple[Tree, list[Goal]]:
    """The whole tree in which the goal ``name`` stands; and the goals whose parent is gone."""
    goals = list_goals(workspace.store)
    top = find_top(goals, choose_goal(workspace, name))
    with workspace.read("goals") as reader:
        tree = grow_tree(reader, top, goals, margin_rate=workspace.settings.business.margin_rate, split=split)
    return tree, list_lost(goals)


def read_pace(workspace: Workspace, name: str | None, *, as_of: date) -> Pace:
    """The pace of a goal by the data before ``as_of``; NotReady without a baseline."""
    goals = list_goals(workspace.store)
    goal = choose_goal(workspace, name)
    with workspace.read("goals") as reader:
        first, last = read_period(reader, with_revenue=False)
        found = measure_pace(
            reader,
            goal,
            first=first,
            until=min(as_of, last + timedelta(days=1)),
            margin_rate=workspace.settings.business.margin_rate,
            served_by=_list_below(goals, goal.name),
        )
    if found is None:
        raise NotReady(
            "goals.no_pace",
            say(
                "There is no baseline before {day}, so there is no target to pace against.",
                day=str(goal.start),
            ),
            remedy=say("Add older orders, or choose a later start."),
        )
    return found


def describe_company(workspace: Workspace, *, as_of: date) -> dict[str, Any]:
    """The newest company's goal for a report: ``tree`` and ``pace`` as ``--json`` has them; nothing without one."""
    goals = list_goals(workspace.store)
    if not any(isinstance(goal, CompanyGoal) for goal in goals.values()):
        return {}
    currency = workspace.settings.business.currency
    try:
        tree, lost = read_tree(workspace, None)
        pace = read_pace(workspace, None, as_of=as_of)
    except AimwellError as error:
        return {"problem": error.message.both()}
    return {"tree": summarise_tree(tree, lost, currency), "pace": summarise_pace(pace, currency)}


def _list_below(goals: Mapping[str, AnyGoal], name: str) -> list[str]:
    found: list[str] = []
    waiting = [name]
    while waiting:
        for child in list_children(goals, waiting.pop()):
            if child.name not in found:
                found.append(child.name)
                waiting.append(child.name)
    return found
