"""Goals as the store keeps them: by name, with versions, each under the goal that it serves.

Reads and writes the definitions of kind ``goal`` (a campaign's) and ``company_goal``. A name belongs to one goal of
either kind. What is removed stays as a version, empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeAlias

from aimwell.core.errors import BadInput, Conflict
from aimwell.core.lists import join_list
from aimwell.core.text import say
from aimwell.engine.store import Store
from aimwell.goals.company import CompanyGoal
from aimwell.goals.goal import Goal

AnyGoal: TypeAlias = "Goal | CompanyGoal"
ROUND = "round"
"""The goal that each wave of a round sets for itself."""
_REMOVED: dict[str, bool] = {"removed": True}


def list_goals(store: Store) -> dict[str, AnyGoal]:
    """All goals that are not removed, companies' first, by name."""
    found: dict[str, AnyGoal] = {}
    for name, body in store.list_definitions("company_goal").items():
        if "removed" not in body:
            found[name] = CompanyGoal.from_body(body)
    for name, body in store.list_definitions("goal").items():
        if "removed" not in body and name not in found:
            found[name] = Goal.from_body(body)
    return found


def find_goal(store: Store, name: str) -> AnyGoal:
    """The goal called ``name``; BadInput lists those that there are."""
    goals = list_goals(store)
    if name not in goals:
        raise _unknown(name, goals)
    return goals[name]


def save_goal(store: Store, goal: AnyGoal) -> int:
    """Keep a goal; its version. Conflict or BadInput when its name or its parent does not fit."""
    if goal.name == ROUND and isinstance(goal, CompanyGoal):
        raise BadInput(
            "goals.reserved_name",
            say("'{name}' is the name of the goal that each round sets for itself.", name=goal.name),
            remedy=say("Choose another name."),
            where={"value": goal.name},
        )
    goals = list_goals(store)
    earlier = goals.get(goal.name)
    if earlier is not None and type(earlier) is not type(goal):
        raise Conflict(
            "goals.name_taken",
            say("There is another kind of goal called '{name}' already.", name=goal.name),
            remedy=say(
                "Choose another name, or remove that one: aimwell goals remove {name}", name=goal.name
            ),
            where={"value": goal.name},
        )
    if isinstance(goal, Goal):
        if goal.parent is not None:
            check_parent(goal, goals)
        _check_children(goal, goals)
        return store.save_definition("goal", goal.name, goal.to_body())
    _check_children(goal, goals)
    return store.save_definition("company_goal", goal.name, goal.to_body())


def keep_parent(store: Store, goal: Goal) -> Goal:
    """``goal`` under the parent of the earlier goal of its name, where it names none and its window fits there."""
    goals = list_goals(store)
    earlier = goals.get(goal.name)
    if goal.parent is not None or not isinstance(earlier, Goal) or earlier.parent not in goals:
        return goal
    parent = goals[earlier.parent]
    fits = parent.window.start <= goal.window.start and goal.window.end <= parent.window.end
    return replace(goal, parent=earlier.parent, amount=goal.amount or earlier.amount) if fits else goal


def remove_goal(store: Store, name: str) -> None:
    """Take a goal away; Conflict while others serve it."""
    goals = list_goals(store)
    if name not in goals:
        raise _unknown(name, goals)
    children = [child.name for child in list_children(goals, name)]
    if children:
        raise Conflict(
            "goals.has_children",
            say("Other goals serve '{name}': {children}.", name=name, children=join_list(children)),
            remedy=say("Remove them first, or set them under another goal."),
            where={"value": name},
        )
    kind = "goal" if isinstance(goals[name], Goal) else "company_goal"
    store.save_definition(kind, name, dict(_REMOVED))


def list_children(goals: Mapping[str, AnyGoal], name: str) -> list[Goal]:
    """The goals that serve ``name`` directly."""
    return [goal for goal in goals.values() if isinstance(goal, Goal) and goal.parent == name]


def list_lost(goals: Mapping[str, AnyGoal]) -> list[Goal]:
    """The goals whose parent is not there (any more)."""
    return [
        goal
        for goal in goals.values()
        if isinstance(goal, Goal) and goal.parent is not None and goal.parent not in goals
    ]


def find_top(goals: Mapping[str, AnyGoal], goal: AnyGoal) -> AnyGoal:
    """The goal that stands above all others over ``goal``; itself where it serves none."""
    seen = {goal.name}
    while isinstance(goal, Goal) and goal.parent is not None:
        if goal.parent not in goals or goal.parent in seen:
            break
        seen.add(goal.parent)
        goal = goals[goal.parent]
    return goal


def check_parent(goal: Goal, goals: Mapping[str, AnyGoal]) -> None:
    """BadInput when the parent is unknown or its window does not hold the goal's; Conflict when goals would run in a
    circle.
    """
    assert goal.parent is not None
    if goal.parent == ROUND and goal.name != ROUND:
        raise BadInput(
            "goals.round_moves",
            say("The window of '{name}' moves with each wave, so no goal can serve it.", name=goal.parent),
            remedy=say("Choose a goal whose window stays."),
            where={"value": goal.parent},
        )
    if goal.parent not in goals and goal.parent != goal.name:
        raise _unknown(goal.parent, goals)
    above: str | None = goal.parent
    seen = set()
    while above is not None and above not in seen:
        if above == goal.name:
            raise Conflict(
                "goals.circle",
                say(
                    "'{name}' cannot serve '{parent}', which serves '{name}' itself.",
                    name=goal.name,
                    parent=goal.parent,
                ),
                remedy=say("Choose a parent that does not depend on this goal."),
                where={"value": goal.parent},
            )
        seen.add(above)
        parent = goals.get(above)
        above = parent.parent if isinstance(parent, Goal) else None
    _check_window(goals[goal.parent], goal)


def _check_children(goal: AnyGoal, goals: Mapping[str, AnyGoal]) -> None:
    for child in list_children(goals, goal.name):
        _check_window(goal, child)


def _check_window(parent: AnyGoal, child: Goal) -> None:
    if child.window.start < parent.window.start or child.window.end > parent.window.end:
        raise BadInput(
            "goals.outside_parent",
            say(
                "The window of '{name}' ({start}, {days} days) is not within that of '{parent}' ({parent_start}, "
                "{parent_days} days).",
                name=child.name,
                start=child.start.isoformat(),
                days=child.days,
                parent=parent.name,
                parent_start=parent.start.isoformat(),
                parent_days=parent.days,
            ),
            remedy=say("Choose days within the parent's: only what happens there counts for it."),
            where={"value": child.name},
        )


def _unknown(name: str, goals: Mapping[str, AnyGoal]) -> BadInput:
    return BadInput(
        "goals.unknown_goal",
        say("There is no goal called '{name}'.", name=name),
        remedy=say("There are: {goals}.", goals=join_list(goals))
        if goals
        else say("Set one with: aimwell goals company, or aimwell goals set"),
        where={"value": name},
    )
