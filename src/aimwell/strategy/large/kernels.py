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


@_compile
def _take_slots(c, reduced, offers, chosen) -> float:  # type: ignore[no-untyped-def]
    """The best actions of customer ``c`` into ``chosen``; the others of their offers are struck from ``reduced``."""
    total, slots = 0.0, chosen.shape[1]
    for slot in range(slots):
        best, best_action = 0.0, -1
        for a in range(reduced.shape[0]):
            if reduced[a] > best:
                best, best_action = reduced[a], a
        chosen[c, slot] = best_action
        if best_action < 0:
            for rest in range(slot + 1, slots):
                chosen[c, rest] = -1
            break
        total += best
        if slot + 1 < slots:
            for a in range(reduced.shape[0]):
                if offers[a] == offers[best_action]:
                    reduced[a] = -np.inf
    return total


@_compile
def decide_one_in_box(  # type: ignore[no-untyped-def]
    value, cost, costs, segment, flat, rate, flat_box, rate_box, chosen, counts, spent, margins
) -> float:
    """``decide_in_box`` for one action each, which is quicker."""
    total = 0.0
    actions = value.shape[1]
    highs = np.empty(actions)
    for c in range(value.shape[0]):
        s = segment[c]
        best, best_action = 0.0, -1
        for a in range(actions):
            reduced = value[c, a] - flat[s, a]
            play = flat_box[s, a]
            if costs:
                reduced -= rate[s, a] * cost[c, a]
                play += rate_box[s, a] * cost[c, a]
            highs[a] = reduced + play
            if reduced > best:
                best, best_action = reduced, a
        chosen[c, 0] = best_action
        lowest, threshold = np.inf, 0.0
        if best_action >= 0:
            total += best
            counts[s, best_action] += 1
            lowest = best - (highs[best_action] - best)
            threshold = max(lowest, 0.0)
            highs[best_action] = -np.inf
            if costs:
                spent[s, best_action] += cost[c, best_action]
        nearest = -np.inf
        for a in range(actions):
            if highs[a] > nearest:
                nearest = highs[a]
        margins[c] = min(lowest, threshold - nearest)
    return total


@_compile
def decide_in_box(  # type: ignore[no-untyped-def]
    value, cost, costs, segment, offers, flat, rate, flat_box, rate_box, chosen, counts, spent, margins
) -> float:
    """Choose, and find how far each choice is from another, money, when prices may move inside a box.

    ``flat_box`` and ``rate_box`` are the most by which the box moves ``flat`` and ``rate``. A margin below 0: some
    prices of the box choose otherwise.
    """
    total = 0.0
    actions, slots = value.shape[1], chosen.shape[1]
    reduced, left, play = np.empty(actions), np.empty(actions), np.empty(actions)
    for c in range(value.shape[0]):
        s = segment[c]
        for a in range(actions):
            reduced[a] = value[c, a] - flat[s, a]
            play[a] = flat_box[s, a]
            if costs:
                reduced[a] -= rate[s, a] * cost[c, a]
                play[a] += rate_box[s, a] * cost[c, a]
            left[a] = reduced[a]
        total += _take_slots(c, left, offers, chosen)
        lowest = np.inf
        for slot in range(slots):
            a = chosen[c, slot]
            if a >= 0:
                lowest = min(lowest, reduced[a] - play[a])
                counts[s, a] += 1
                if costs:
                    spent[s, a] += cost[c, a]
        threshold = max(lowest, 0.0) if chosen[c, slots - 1] >= 0 else 0.0
        nearest = -np.inf
        for a in range(actions):
            rival = threshold
            for slot in range(slots):
                other = chosen[c, slot]
                if other == a:
                    rival = np.inf
                elif slots > 1 and other >= 0 and offers[other] == offers[a]:
                    # Of an offer that is chosen, another action can only come in its place.
                    rival = reduced[other] - play[other]
            nearest = max(nearest, reduced[a] + play[a] - rival)
        margins[c] = min(lowest, -nearest)
    return total


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
