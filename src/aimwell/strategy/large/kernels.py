"""Compiled passes over customers: who gets what at given prices, and whose choice can change inside a box of prices.

A pair's reduced value is ``value − flat[segment, action] − rate[segment, action] × cost``. Each pass reads a block of
customers, releases the interpreter's lock, and adds up what was chosen by segment and action, from which every row's
use follows. Blocks are added in their order, so that the number of threads changes no bit. Cells are read by their
numbers: a view of a customer's row, made anew for each, took ten times as long as the row itself.
"""

from __future__ import annotations

import numpy as np
from numba import njit

_compile = njit(cache=True, nogil=True)
_unordered = njit(cache=True, nogil=True, fastmath={"nnan", "nsz"})
"""For numbers none of which is missing: the greatest is then found without asking each of them."""
_inlined = njit(cache=True, nogil=True, inline="always")
"""Within its caller: called for each customer, it took a third of the pass."""


@_compile
def decide_one(  # type: ignore[no-untyped-def]
    value, cost, costs, segment, flat, rate, chosen, counts, spent
) -> float:
    """Each customer's best action into ``chosen`` (−1: none); the sum of the best reduced values.

    ``costs``: whether ``cost`` holds any, else it is not read.
    """
    total = 0.0
    for c in range(value.shape[0]):
        s = segment[c]
        best, best_action = 0.0, -1
        for a in range(value.shape[1]):
            reduced = value[c, a] - flat[s, a]
            if costs:
                reduced -= rate[s, a] * cost[c, a]
            if reduced > best:
                best, best_action = reduced, a
        chosen[c, 0] = best_action
        if best_action >= 0:
            total += best
            counts[s, best_action] += 1
            if costs:
                spent[s, best_action] += cost[c, best_action]
    return total


@_compile
def decide_several(  # type: ignore[no-untyped-def]
    value, cost, costs, segment, offers, flat, rate, chosen, counts, spent
) -> float:
    """Each customer's best actions of different offers into ``chosen``, best first; the sum of reduced values."""
    total = 0.0
    reduced = np.empty(value.shape[1])
    for c in range(value.shape[0]):
        s = segment[c]
        for a in range(value.shape[1]):
            reduced[a] = value[c, a] - flat[s, a]
            if costs:
                reduced[a] -= rate[s, a] * cost[c, a]
        total += _take_slots(c, reduced, offers, chosen)
        for slot in range(chosen.shape[1]):
            a = chosen[c, slot]
            if a >= 0:
                counts[s, a] += 1
                if costs:
                    spent[s, a] += cost[c, a]
    return total


@_unordered
def _find_peak(numbers) -> float:  # type: ignore[no-untyped-def]
    """The greatest number; four run side by side, because each comparison waits for the one before."""
    first, second, third, fourth = -np.inf, -np.inf, -np.inf, -np.inf
    count = numbers.shape[0]
    for place in range(0, count - 3, 4):
        first = max(first, numbers[place])
        second = max(second, numbers[place + 1])
        third = max(third, numbers[place + 2])
        fourth = max(fourth, numbers[place + 3])
    for place in range(count - count % 4, count):
        first = max(first, numbers[place])
    return max(max(first, second), max(third, fourth))


@_compile
def _take_slots(c, reduced, offers, chosen) -> float:  # type: ignore[no-untyped-def]
    """The best actions of customer ``c`` into ``chosen``; the others of their offers are struck from ``reduced``."""
    total, slots = 0.0, chosen.shape[1]
    for slot in range(slots):
        best = _find_peak(reduced)
        if best <= 0.0:
            for rest in range(slot, slots):
                chosen[c, rest] = -1
            break
        a = 0
        while reduced[a] != best:
            a += 1
        chosen[c, slot] = a
        total += best
        if slot + 1 < slots:
            for other in range(reduced.shape[0]):
                if offers[other] == offers[a]:
                    reduced[other] = -np.inf
    return total


@_compile
def decide_one_in_box(  # type: ignore[no-untyped-def]
    value, cost, costs, segment, flat, rate, flat_box, rate_box, chosen, counts, spent, margins
) -> tuple[float, float]:
    """``decide_in_box`` for one action each, which is quicker."""
    total, earned = 0.0, 0.0
    actions = value.shape[1]
    reduced, highs = np.empty(actions), np.empty(actions)
    for c in range(value.shape[0]):
        s = segment[c]
        _weigh(c, s, value, cost, costs, flat, rate, flat_box, rate_box, reduced, highs)
        best, best_action = _find_peak(reduced), -1
        lowest, threshold = np.inf, 0.0
        if best > 0.0:
            best_action = 0
            while reduced[best_action] != best:
                best_action += 1
            total += best
            earned += value[c, best_action]
            counts[s, best_action] += 1
            lowest = best - (highs[best_action] - best)
            threshold = max(lowest, 0.0)
            highs[best_action] = -np.inf
            if costs:
                spent[s, best_action] += cost[c, best_action]
        chosen[c, 0] = best_action
        margins[c] = min(lowest, threshold - _find_peak(highs))
    return total, earned


@_compile
def decide_in_box(  # type: ignore[no-untyped-def]
    value, cost, costs, segment, offers, flat, rate, flat_box, rate_box, chosen, counts, spent, margins
) -> tuple[float, float]:
    """Choose, and find how far each choice is from another, money, when prices may move inside a box.

    ``flat_box`` and ``rate_box`` are the most by which the box moves ``flat`` and ``rate``. A margin below 0: some
    prices of the box choose otherwise. The sums of reduced values and of values.
    """
    total, earned = 0.0, 0.0
    actions, slots = value.shape[1], chosen.shape[1]
    reduced, left, highs = np.empty(actions), np.empty(actions), np.empty(actions)
    for c in range(value.shape[0]):
        s = segment[c]
        _weigh(c, s, value, cost, costs, flat, rate, flat_box, rate_box, reduced, highs)
        left[:] = reduced
        total += _take_slots(c, left, offers, chosen)
        lowest, nearest = np.inf, -np.inf
        for slot in range(slots):
            a = chosen[c, slot]
            if a < 0:
                break
            earned += value[c, a]
            counts[s, a] += 1
            if costs:
                spent[s, a] += cost[c, a]
            low = reduced[a] - (highs[a] - reduced[a])
            lowest = min(lowest, low)
            highs[a] = -np.inf
            for other in range(actions):
                if offers[other] == offers[a]:
                    # Of an offer that is chosen, another action can only come in its place.
                    nearest = max(nearest, highs[other] - low)
                    highs[other] = -np.inf
        threshold = max(lowest, 0.0) if chosen[c, slots - 1] >= 0 else 0.0
        margins[c] = min(lowest, -max(nearest, _find_peak(highs) - threshold))
    return total, earned


@_inlined
def _weigh(  # type: ignore[no-untyped-def]
    c, s, value, cost, costs, flat, rate, flat_box, rate_box, reduced, highs
) -> None:
    """The reduced values of customer ``c``, and the greatest that each can be in the box."""
    for a in range(value.shape[1]):
        each, play = value[c, a] - flat[s, a], flat_box[s, a]
        if costs:
            each -= rate[s, a] * cost[c, a]
            play += rate_box[s, a] * cost[c, a]
        reduced[a] = each
        highs[a] = each + play


@_compile
def tally(value, cost, costs, segment, chosen, counts, spent) -> float:  # type: ignore[no-untyped-def]
    """The sum of the chosen pairs' values; how often and at what cost each action was chosen, by segment."""
    total = 0.0
    for c in range(chosen.shape[0]):
        s = segment[c]
        for slot in range(chosen.shape[1]):
            a = chosen[c, slot]
            if a >= 0:
                total += value[c, a]
                counts[s, a] += 1
                if costs:
                    spent[s, a] += cost[c, a]
    return total
