"""The experiment's design: holdout, treatment and control, and exploration, drawn before launch.

Every draw is a salted SHA-256 of the customer (weaker hashes correlate experiments), so it can be repeated by
anybody who knows the salt, and its probability is exact:

- *Holdout*: each customer by an own draw, with the workspace's salt only: the same people in every round.
- *Arms*: by ``experiment.assignment``, as every test's arms: one list in which the same tier and action stand
  together, so that each has its share of control to within one customer; or, for a plan with a saved design, by that
  design's strata or clusters, shares and salt. The arm's probability is conditional on not being held out.
- *Exploration*: a chosen customer is, with the exploration share e, given one of its S near-best actions, evenly
  (p = 1/S) or by Thompson sampling (p = the chance that it is the best of them, ``exploration``);
  an action is logged with (1 − e)·[it is the best] + e·p. A near-best action uses no more of any maximum (and no
  less of any minimum) than the best one, so whatever is drawn keeps every constraint.

Reads and writes no tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from aimwell.core.seeds import draw_uniforms
from aimwell.core.text import Text, say
from aimwell.strategy.experiment.assignment import Arms, assign_clusters, assign_units
from aimwell.strategy.exploration import draw_by_chance, find_best_chances
from aimwell.strategy.inputs import PlanInputs
from aimwell.strategy.problem import Flags, Integers, Reals, Row

SMALLEST_ARM = 30
"""Customers below which an arm says nothing dependable about money."""


@dataclass(frozen=True)
class Exploration:
    """What exploration made of the chosen actions; parallel to the chosen customers."""

    action: Integers
    probability: Reals
    explored: Flags
    choices: Integers
    """How many near-best actions there were, the best included."""


def draw_holdout(customers: Sequence[str], *, salt: str, share: float) -> Flags:
    """Who is kept out of all marketing: depends on the workspace's salt and the customer only."""
    return draw_uniforms(f"{salt}:holdout", customers) < share


def draw_arms(inputs: PlanInputs, customer: Integers, action: Integers) -> Flags:
    """Who of the chosen is treated; each with probability exactly 1 − the control share."""
    keys = [inputs.customers[index] for index in customer.tolist()]
    share, rule = inputs.shares.control, inputs.arm_rule
    if not keys or share == 0:
        return np.ones(len(keys), dtype=np.bool_)
    if rule is None:
        _, tier = np.unique([inputs.tiers[index] for index in customer.tolist()], return_inverse=True)
        cells = tier.ravel().astype(np.int64) * len(inputs.actions) + action
        salt, arms = f"{inputs.salt}:{inputs.plan_id}", Arms.with_control(share)
        return assign_units(keys, [""] * len(keys), arms, salt=salt, within=cells).arm > 0
    salt = f"{rule.salt}:{inputs.plan_id}"
    strata = [rule.strata[index] for index in customer.tolist()]
    if rule.clusters is None:
        return assign_units(keys, strata, rule.arms, salt=salt, within=action).arm > 0
    clusters = [rule.clusters[index] for index in customer.tolist()]
    strata_of = dict(zip(clusters, strata, strict=True))
    return assign_clusters(clusters, strata_of, rule.arms, salt=salt).arm > 0


def explore(
    inputs: PlanInputs, customer: Integers, action: Integers, rows: Sequence[Row], *, salt: str
) -> Exploration:
    """Give some of the chosen customers a random near-best action; see the module's first lines."""
    share = inputs.shares.exploration
    keys = [inputs.customers[index] for index in customer]
    near = find_near_best(inputs, customer, action, rows)
    choices = near.sum(axis=1).astype(np.int64)
    explored = draw_uniforms(f"{salt}:explore", keys) < share
    which = draw_uniforms(f"{salt}:which", keys)
    if not len(action):
        return Exploration(action, np.zeros(0), explored, choices)
    if inputs.exploring == "thompson":
        chances = find_best_chances(inputs.profit[customer], inputs.error[customer], near)
        drawn = draw_by_chance(chances, which)
    else:
        chances = near / np.maximum(choices, 1)[:, None]
        ranked = np.cumsum(near, axis=1) - 1
        drawn = np.argmax(near & (ranked == np.floor(which * choices)[:, None]), axis=1)
    final = np.where(explored, drawn, action).astype(np.int64)
    probability = share * chances[np.arange(len(final)), final] + (1 - share) * (final == action)
    return Exploration(final, probability, explored, choices)


def find_near_best(inputs: PlanInputs, customer: Integers, action: Integers, rows: Sequence[Row]) -> Flags:
    """Chosen customers × actions: allowed, profitable, within one standard error, and no harder on any limit."""
    profit = inputs.profit[customer]
    index = np.arange(len(customer))
    best = profit[index, action]
    near = inputs.eligible[customer] & inputs.known[customer] & (profit > 0)
    near &= profit >= (best - inputs.error[customer][index, action])[:, None]
    for row in rows:
        usage = row.usage[customer]
        near &= row.sign * usage <= (row.sign * usage[index, action])[:, None]
    near[index, action] = True
    return near


def check_design(inputs: PlanInputs, *, considered: int, chosen: int, treated: int) -> tuple[Text, ...]:
    """What the experiment lacks, each with the remedy."""
    lacks: list[Text] = []
    control = chosen - treated
    if considered == 0:
        lacks.append(
            say("Nobody may be contacted: add consents and the addresses or numbers that the channels need.")
        )
    elif chosen == 0:
        lacks.append(_explain_empty(inputs))
    elif control == 0:
        lacks.append(
            say(
                "There is no control group, so nothing can be measured: raise the control share or the audience."
            )
        )
    elif min(control, treated) < SMALLEST_ARM:
        lacks.append(
            say(
                "The smaller arm has {count} customers; below {least} an effect can hardly be shown: "
                "raise the control share, the budget or the audience.",
                count=min(control, treated),
                least=SMALLEST_ARM,
            )
        )
    return tuple(lacks)


def _explain_empty(inputs: PlanInputs) -> Text:
    if any(
        limit.unit == "money" and limit.limit == 0 and limit.sense == "at_most" for limit in inputs.limits
    ):
        return say("The budget is 0, so nobody is contacted: raise the budget.")
    return say("No action is expected to earn more than it costs within the limits, so nobody is contacted.")
