"""A total as an exact identity of its drivers, and what each driver must do for the total to reach a target.

A tree of sums and products. A change of the total is shared out among the drivers by Shapley values (Shapley 1953; for
changes of products: Sun 1998, Albrecht, François and Schors 2002), node by node as Owen (1977) nests them: the parts of
every node add up to the node's own part, and all leaves to the change, whatever the values are, zero and negative ones
included. A logarithmic split (LMDI: Ang 2004) adds up, too, but has no value at zero. Reads and writes no table.

>>> root = Node("revenue", children=(Node("customers"), Node("spend")), kind="product")
>>> find_parts(root, {"customers": 10.0, "spend": 5.0}, {"customers": 12.0, "spend": 6.0})["customers"]
11.0
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal
from itertools import combinations
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import root as find_root

from aimwell.core.errors import BadInput
from aimwell.core.lists import join_list
from aimwell.core.money import CENT, to_money
from aimwell.core.text import Text, say

Kind = Literal["leaf", "sum", "product"]
Unit = Literal["money", "customers", "orders", "ratio"]
Values = Mapping[str, float]
"""A value for each leaf."""


@dataclass(frozen=True)
class Node:
    """A total or one of its drivers. ``sign``: how it enters the sum above it, +1 or −1.

    ``ceiling``: more than this a leaf cannot be; less than 0 no leaf can be, when a goal is split.
    """

    name: str
    title: Text | None = None
    unit: Unit = "money"
    kind: Kind = "leaf"
    children: tuple[Node, ...] = ()
    sign: int = 1
    ceiling: float = math.inf

    def walk(self) -> Iterator[Node]:
        """This node and all below it, each before its children."""
        yield self
        for child in self.children:
            yield from child.walk()

    def leaves(self) -> tuple[Node, ...]:
        """The nodes without children, from left to right."""
        return tuple(node for node in self.walk() if node.kind == "leaf")


def find_value(node: Node, values: Values) -> float:
    """The node's value by its identity."""
    if node.kind == "leaf":
        return values[node.name]
    found = [find_value(child, values) for child in node.children]
    if node.kind == "sum":
        return sum(child.sign * value for child, value in zip(node.children, found, strict=True))
    return math.prod(found)


def find_slopes(root: Node, values: Values) -> dict[str, float]:
    """By how much the total changes with one unit of each node (the total is linear in each by itself)."""
    slopes = {root.name: 1.0}
    for node in root.walk():
        found = [find_value(child, values) for child in node.children]
        for index, child in enumerate(node.children):
            others = math.prod(found[:index] + found[index + 1 :])
            slopes[child.name] = slopes[node.name] * (child.sign if node.kind == "sum" else others)
    return slopes


def find_parts(root: Node, before: Values, after: Values) -> dict[str, float]:
    """The part of each node in the total's change from ``before`` to ``after``, in the total's unit."""
    weights = {root.name: 1.0}
    parts: dict[str, float] = {}
    for node in root.walk():
        parts[node.name] = weights[node.name] * (find_value(node, after) - find_value(node, before))
        earlier, later = (
            [find_value(child, values) for child in node.children] for values in (before, after)
        )
        own = _weigh_factors(earlier, later) if node.kind == "product" else [c.sign for c in node.children]
        for child, weight in zip(node.children, own, strict=True):
            weights[child.name] = weights[node.name] * weight
    return parts


def _weigh_factors(before: Sequence[float], after: Sequence[float]) -> list[float]:
    """What one unit of each factor's change counts for: its Shapley value over its change, finite at no change."""
    count = len(before)
    weights = []
    for index in range(count):
        others = [other for other in range(count) if other != index]
        weight = 0.0
        for size in range(count):
            share = math.factorial(size) * math.factorial(count - size - 1) / math.factorial(count)
            for moved in combinations(others, size):
                weight += share * math.prod(after[o] if o in moved else before[o] for o in others)
        weights.append(weight)
    return weights


def reach_alone(root: Node, before: Values, target: float) -> dict[str, float | None]:
    """The value of each leaf at which the total is ``target`` while all others stay; None where none would do."""
    gap = target - find_value(root, before)
    slopes = find_slopes(root, before)
    found: dict[str, float | None] = {}
    for leaf in root.leaves():
        slope = slopes[leaf.name]
        needed = before[leaf.name] + gap / slope if slope else math.inf
        found[leaf.name] = needed if 0 <= needed <= leaf.ceiling and math.isfinite(needed) else None
    return found


def reach_together(root: Node, before: Values, target: float, shares: Values) -> dict[str, float]:
    """The values of all leaves at which the total is ``target`` and each leaf's part is its share of the change.

    ``shares`` name leaves, are not negative and add up to 1. BadInput when a driver cannot give what is asked.
    """
    _check_shares(root, shares)
    weight = {
        node.name: math.fsum(shares.get(leaf.name, 0.0) for leaf in node.leaves()) for node in root.walk()
    }
    goals = {root.name: target}
    for node in root.walk():
        _hand_down(node, before, goals, weight)
    found = {leaf.name: goals[leaf.name] for leaf in root.leaves()}
    for leaf in root.leaves():
        if not -1e-9 <= found[leaf.name] <= leaf.ceiling + 1e-9:
            raise _cannot_give(leaf)
    return found


def _hand_down(node: Node, before: Values, goals: dict[str, float], weight: Values) -> None:
    """Give each child of ``node`` the value that it is to reach, from the value that the node is to reach."""
    now = [find_value(child, before) for child in node.children]
    asked = [weight[child.name] / weight[node.name] if weight[node.name] else 0.0 for child in node.children]
    change = goals[node.name] - find_value(node, before)
    if node.kind == "product":
        if change and not math.isfinite(_ratio(goals[node.name], math.prod(now))):
            raise _cannot_give(node)
        later = _split_product(now, change, asked) if change else now
    else:
        later = [
            value + child.sign * share * change
            for child, value, share in zip(node.children, now, asked, strict=True)
        ]
    goals.update({child.name: value for child, value in zip(node.children, later, strict=True)})


def _ratio(later: float, now: float) -> float:
    return later / now if now and later / now > 0 else math.inf


def _split_product(now: Sequence[float], change: float, shares: Sequence[float]) -> list[float]:
    """Factors whose Shapley values are ``shares`` of ``change``; starts from the logarithmic split, which is near."""
    values, wanted = np.asarray(now), np.asarray(shares) * change
    moving = np.flatnonzero(wanted)
    growth = math.log1p(change / math.prod(now))

    def miss(logs: NDArray[np.float64]) -> NDArray[np.float64]:
        later = values.copy()
        later[moving] = values[moving] * np.exp(logs)
        weights = np.asarray(_weigh_factors(list(now), later.tolist()))
        missed: NDArray[np.float64] = ((weights * (later - values) - wanted) / change)[moving]
        return missed

    solved = find_root(miss, np.asarray(shares)[moving] * growth, tol=1e-13)
    later = values.copy()
    later[moving] = values[moving] * np.exp(solved.x)
    if not np.allclose(miss(solved.x), 0.0, atol=1e-8):
        raise BadInput(
            "goals.no_split",
            say("The goal is so far away that it cannot be split in these shares."),
            remedy=say("Lower the target, or give the shares to fewer drivers."),
        )
    # One factor takes up what rounding left, so that the product is the target to the last digit.
    last = int(moving[np.argmax(wanted[moving] / change)])
    later[last] *= (math.prod(now) + change) / float(np.prod(later))
    return [float(value) for value in later]


def _check_shares(root: Node, shares: Values) -> None:
    names = [leaf.name for leaf in root.leaves()]
    unknown = [name for name in shares if name not in names]
    if unknown:
        raise BadInput(
            "goals.unknown_driver",
            say("There is no driver called '{driver}'.", driver=unknown[0]),
            remedy=say("The drivers are: {drivers}.", drivers=join_list(names)),
            where={"value": unknown[0]},
        )
    total = math.fsum(shares.values())
    if any(not math.isfinite(share) or share < 0 for share in shares.values()) or abs(total - 1) > 1e-6:
        raise BadInput(
            "goals.bad_shares",
            say("The shares of the drivers add up to {total}.", total=f"{total:.4g}"),
            remedy=say("Give shares of at least 0 that add up to 1, such as retained=0.5,order_value=0.5."),
        )


def _cannot_give(node: Node) -> BadInput:
    return BadInput(
        "goals.driver_cannot",
        say("'{driver}' cannot give its share of the goal.", driver=node.title or node.name),
        remedy=say("Give its share to other drivers, or lower the target."),
        where={"value": node.name},
    )


def round_parts(parts: Mapping[str, float], total: Decimal) -> dict[str, Decimal]:
    """``parts`` in whole cents that add up to ``total`` exactly: what is lost to rounding goes where it is largest
    (Hamilton's method).
    """
    if not parts:
        return {}
    exact = {name: Decimal(repr(part)) for name, part in parts.items()}
    rounded = {name: part.quantize(CENT, rounding=ROUND_DOWN) for name, part in exact.items()}
    left = int((to_money(total) - sum(rounded.values(), Decimal(0))) / CENT)
    step = CENT if left > 0 else -CENT
    order = sorted(
        parts, key=lambda name: (exact[name] - rounded[name]) * (1 if left > 0 else -1), reverse=True
    )
    for place in range(abs(left)):
        rounded[order[place % len(order)]] += step
    return rounded
