"""The pilot's design: which action each participant gets, at random, within every limit.

Customers with the same allowed actions form a group. Each group gets a quota of every action, found by raising all
shares together until a limit binds (max–min fairness: Bertsekas & Gallager 1992), so actions are as even as the
limits let them be. Quotas are counted at the group's costliest customer: whoever is drawn, every limit is kept; where
a minimum asks for more than that gives, the nearest quotas that keep it are taken (``pilot_minimums``). Where limits
tell segments apart, so do groups. Inside a group the quotas are dealt out down a list that is ordered by stratum and
then at random, from a random start: each customer gets an action with probability exactly quota ÷ group. Reads and
writes no tables.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from aimwell.core.seeds import draw_uniform, draw_uniforms
from aimwell.strategy.inputs import PlanInputs
from aimwell.strategy.pilot_minimums import meet_minimums
from aimwell.strategy.problem import Flags, Integers, Reals, Row


@dataclass(frozen=True)
class Draw:
    """Who takes part in a pilot, with what, and the exact probability; parallel arrays."""

    customer: Integers
    action: Integers
    probability: Reals
    choices: Integers


@dataclass(frozen=True)
class _Group:
    members: Integers
    actions: Integers
    usage: Reals
    """Rows × actions of the group: the most that any member uses."""
    least: Reals
    """The least that any member uses."""


def draw_pilot(inputs: PlanInputs, considered: Integers, allowed: Flags, rows: tuple[Row, ...]) -> Draw:
    """Draw the pilot's actions; ``allowed``: customers × actions, of which ``considered`` count."""
    groups = _form_groups(inputs, considered, allowed, rows)
    quotas = fill_quotas(
        [len(group.members) for group in groups],
        [group.usage for group in groups],
        np.array([row.limit if row.sense == "at_most" else np.inf for row in rows]),
        inputs.shares.pilot,
    )
    quotas = meet_minimums(
        quotas,
        [_count_room(len(group.members), inputs.shares.pilot) for group in groups],
        [group.usage for group in groups],
        [group.least for group in groups],
        rows,
    )
    parts = [_deal(inputs, group, quota) for group, quota in zip(groups, quotas, strict=True)]
    if not parts:
        empty = np.zeros(0, dtype=np.int64)
        return Draw(empty, empty, np.zeros(0), empty)
    customer = np.concatenate([part.customer for part in parts])
    order = np.argsort(customer, kind="stable")
    return Draw(
        customer[order],
        np.concatenate([part.action for part in parts])[order],
        np.concatenate([part.probability for part in parts])[order],
        np.concatenate([part.choices for part in parts])[order],
    )


def fill_quotas(sizes: list[int], usages: list[Reals], limits: Reals, share: float) -> list[Integers]:
    """How many members of each group get each action; ``usages``: rows × actions of each group.

    No group gives out more than ``share`` of its members (one at least), and no limit is exceeded.
    """
    shares = _raise_shares(sizes, usages, limits, share)
    quotas = [np.floor(size * part + 1e-9).astype(np.int64) for size, part in zip(sizes, shares, strict=True)]
    left = limits.astype(np.float64)
    for usage, quota in zip(usages, quotas, strict=True):
        left = left - usage @ quota
    rest = [
        (float(size * part[a] - quota[a]), g, a)
        for g, (size, part, quota) in enumerate(zip(sizes, shares, quotas, strict=True))
        for a in range(len(quota))
    ]
    for fraction, g, a in sorted(rest, key=lambda item: (-item[0], item[1], item[2])):
        room = _count_room(sizes[g], share) - int(quotas[g].sum())
        if fraction > 1e-9 and room > 0 and share > 0 and np.all(usages[g][:, a] <= left):
            quotas[g][a] += 1
            left = left - usages[g][:, a]
    return quotas


def _count_room(size: int, share: float) -> int:
    return max(1, math.ceil(size * share))


def _raise_shares(sizes: list[int], usages: list[Reals], limits: Reals, share: float) -> list[Reals]:
    shares = [np.zeros(usage.shape[1]) for usage in usages]
    free = [np.ones(usage.shape[1], dtype=np.bool_) for usage in usages]
    for _ in range(len(limits) + len(sizes) + 1):
        speed, used = np.zeros(len(limits)), np.zeros(len(limits))
        for size, usage, part, still in zip(sizes, usages, shares, free, strict=True):
            speed += size * usage[:, still].sum(axis=1)
            used += size * (usage @ part)
        with np.errstate(divide="ignore", invalid="ignore"):
            by_row = np.where(speed > 0, np.maximum(limits - used, 0.0) / speed, np.inf)
        by_group = [
            (share - float(p.sum())) / int(f.sum()) if f.any() else math.inf
            for p, f in zip(shares, free, strict=True)
        ]
        step = max(0.0, min([*by_row, *by_group], default=math.inf))
        if not math.isfinite(step):
            break
        tight = by_row <= step * (1 + 1e-12) + 1e-15
        for g, usage in enumerate(usages):
            shares[g] = shares[g] + step * free[g]
            free[g] &= ~np.any(usage[tight] > 0, axis=0)
            if by_group[g] <= step * (1 + 1e-12) + 1e-15:
                free[g][:] = False
    return shares


def _form_groups(
    inputs: PlanInputs, considered: Integers, allowed: Flags, rows: tuple[Row, ...]
) -> list[_Group]:
    if not len(considered):
        return []
    segment = inputs.segments.number[considered]
    patterns, label = np.unique(np.column_stack([allowed[considered], segment]), axis=0, return_inverse=True)
    label = label.ravel()
    groups = []
    for index, pattern in enumerate(patterns):
        members, actions = considered[label == index], np.flatnonzero(pattern[:-1])
        if len(actions):
            shape = (len(rows), len(actions))
            usage = [row.usage[np.ix_(members, actions)] for row in rows]
            most = np.array([part.max(axis=0) for part in usage]).reshape(shape)
            least = np.array([part.min(axis=0) for part in usage]).reshape(shape)
            groups.append(_Group(members, actions, most, least))
    return groups


def _deal(inputs: PlanInputs, group: _Group, quota: Integers) -> Draw:
    size, given = len(group.members), int(quota.sum())
    salt = f"{inputs.salt}:{inputs.plan_id}:pilot"
    keys = [inputs.customers[index] for index in group.members]
    _, tier = np.unique([inputs.tiers[index] for index in group.members], return_inverse=True)
    order = np.lexsort((draw_uniforms(salt, keys), tier))
    counts = np.append(quota, size - given)
    # Each action is spread evenly down the list, so that every stratum gets its share of it.
    spread = np.concatenate([(np.arange(count) + 0.5) / max(count, 1) for count in counts])
    sequence = np.repeat(np.append(np.arange(len(quota)), -1), counts)[np.argsort(spread, kind="stable")]
    start = int(draw_uniform(f"{salt}:start", ",".join(map(str, group.actions))) * size)
    place = np.empty(size, dtype=np.int64)
    place[order] = np.roll(sequence, start)
    taking = np.flatnonzero(place >= 0)
    return Draw(
        group.members[taking],
        group.actions[place[taking]],
        quota[place[taking]] / size,
        np.full(len(taking), len(group.actions)),
    )
