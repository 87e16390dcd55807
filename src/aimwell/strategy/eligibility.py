"""Whom an action is offered to on a day: validity, lead time, its rule, and what its group was given already.

A plan's contacts go out on its first day; an action with a lead time reaches customers so many days later. On that
day, which must lie in the plan's window, it must be valid. Of an exclusivity group a customer holds one action at a
time: whoever was sent one by a plan that still runs (its window of outcomes is not over) is offered no other of the
group; a delivery that failed or was skipped gave nothing.

Reads ``deliveries``, ``plans``, ``actions``, ``segment_members``, ``tags`` and whatever rules look at; writes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from aimwell.core.errors import AimwellError, BadInput
from aimwell.core.text import Text, say
from aimwell.engine.compile_rules import compile_rules
from aimwell.engine.rule import InSegment, Rule
from aimwell.engine.rule_json import rule_from_json
from aimwell.engine.rule_types import read_rule_types
from aimwell.engine.session import Queryable
from aimwell.strategy.actions import Action
from aimwell.strategy.load import read_members
from aimwell.strategy.problem import Flags

HELD_SQL = """
SELECT deliveries.customer_id, actions.exclusive_group, deliveries.action_id, plans.as_of, plans.days
FROM deliveries
JOIN plans ON plans.plan_id = deliveries.plan_id
JOIN actions ON actions.action_id = deliveries.action_id
WHERE deliveries.state NOT IN ('skipped', 'failed')
  AND actions.exclusive_group IS NOT NULL AND plans.as_of <= $as_of
"""


@dataclass(frozen=True)
class Held:
    """An action that a customer was given, and the last day of the plan that gave it."""

    customer_id: str
    group: str
    action_id: str
    until: date


@dataclass(frozen=True)
class Conditions:
    """What actions ask for beyond consent: customers × actions that meet it, and why some do not."""

    offered: Flags
    not_offered: Mapping[str, Text]
    """Action → why nobody is offered it on this day."""
    members: Mapping[str, frozenset[str]]
    """Action with a rule → its customers."""
    held: tuple[Held, ...]

    def explain(self, action: Action, customer: str) -> Text | None:
        """Why the customer is not offered the action; None where nothing here speaks against it."""
        if action.action_id in self.not_offered:
            return self.not_offered[action.action_id]
        if customer not in self.members.get(action.action_id, {customer}):
            return say("the rule of this action does not hold for this customer.")
        for one in self.held:
            if one.customer_id == customer and _excludes(one, action):
                return say(
                    "{other} was given, which excludes the others of the group '{group}' until {day}.",
                    other=one.action_id,
                    group=one.group,
                    day=one.until.isoformat(),
                )
        return None


def read_conditions(
    queryable: Queryable, actions: Sequence[Action], customers: Sequence[str], *, as_of: date, days: int
) -> Conditions:
    """Who meets what the actions ask for, of ``customers``, in a plan of ``days`` days from ``as_of``.

    BadInput when an action's rule does not fit the tags that there are.
    """
    not_offered = find_not_offered(actions, as_of=as_of, days=days)
    members = read_rule_members(queryable, actions, as_of=as_of)
    held = read_held(queryable, actions, as_of=as_of)
    offered = np.ones((len(customers), len(actions)), dtype=np.bool_)
    place = {customer: index for index, customer in enumerate(customers)}
    for column, action in enumerate(actions):
        if action.action_id in not_offered:
            offered[:, column] = False
        if action.action_id in members:
            inside = members[action.action_id]
            offered[:, column] &= np.array([customer in inside for customer in customers], dtype=np.bool_)
        excluded = [] if action.exclusive_group is None else [one for one in held if _excludes(one, action)]
        offered[[place[one.customer_id] for one in excluded if one.customer_id in place], column] = False
    return Conditions(offered, not_offered, members, held)


def find_not_offered(actions: Sequence[Action], *, as_of: date, days: int) -> dict[str, Text]:
    """Action → why it cannot be offered by a plan of ``days`` days from ``as_of``."""
    found = {}
    last = as_of + timedelta(days=days - 1)
    for action in actions:
        contact = as_of + timedelta(days=min(action.lead_days, 36_500))
        if contact > last:
            found[action.action_id] = say(
                "it takes {count} days to prepare, and the plan ends on {day}.",
                count=action.lead_days,
                day=last.isoformat(),
            )
        elif action.valid_from is not None and contact < action.valid_from:
            found[action.action_id] = say(
                "it is valid from {day} on only, and would go out on {contact}.",
                day=action.valid_from.isoformat(),
                contact=contact.isoformat(),
            )
        elif action.valid_to is not None and contact > action.valid_to:
            found[action.action_id] = say(
                "it is valid until {day} only, and would go out on {contact}.",
                day=action.valid_to.isoformat(),
                contact=contact.isoformat(),
            )
    return found


def read_rule_members(
    queryable: Queryable, actions: Sequence[Action], *, as_of: date
) -> dict[str, frozenset[str]]:
    """Action → the customers for whom its rule holds, for the actions that have one.

    A rule that is a saved segment's name takes its members as they were computed; any other is decided now.
    """
    found: dict[str, frozenset[str]] = {}
    rules: dict[str, Rule] = {}
    for action in actions:
        if action.rule is None:
            continue
        rule = _read_rule(action)
        if isinstance(rule, InSegment):
            found[action.action_id] = read_members(queryable, rule.segment, as_of=as_of)
        else:
            rules[action.action_id] = rule
    if not rules:
        return found
    names = {f"rule_{number}": action for number, action in enumerate(rules)}
    query = compile_rules(
        {name: rules[action] for name, action in names.items()}, read_rule_types(queryable), as_of=as_of
    )
    table = queryable.query(query.sql, query.parameters)
    ids = np.array(table["customer_id"].to_pylist(), dtype=object)
    for name, action_id in names.items():
        holds = np.array(table[name].to_pylist(), dtype=np.bool_)
        found[action_id] = frozenset(ids[holds].tolist())
    return found


def _read_rule(action: Action) -> Rule:
    try:
        return rule_from_json(action.rule)
    except AimwellError as error:
        raise BadInput(
            "strategy.bad_rule",
            say("The rule of the action '{action}' cannot be read.", action=action.action_id),
            remedy=say("Write it again: aimwell strategy actions add FILE"),
            where={"table": "actions", "column": "rule", "value": action.action_id},
        ) from error


def read_held(queryable: Queryable, actions: Sequence[Action], *, as_of: date) -> tuple[Held, ...]:
    """Who holds which action of a group that ``actions`` belong to, by plans that still run."""
    groups = {action.exclusive_group for action in actions if action.exclusive_group is not None}
    if not groups:
        return ()
    found = []
    for row in queryable.query(HELD_SQL, {"as_of": as_of}).to_pylist():
        until = row["as_of"] + timedelta(days=int(row["days"]) - 1)
        if row["exclusive_group"] in groups and until >= as_of:
            found.append(Held(row["customer_id"], row["exclusive_group"], row["action_id"], until))
    return tuple(sorted(found, key=lambda one: (one.customer_id, one.until, one.action_id)))


def _excludes(held: Held, action: Action) -> bool:
    return held.group == action.exclusive_group and held.action_id != action.action_id
