"""The compiled heart of a live decision: prices that follow the pace, the best action that fits, and exploration.

The price of a limit is a function of what is used of it and of the time, and of nothing else: whoever reads the
counters knows it, in any process, and a day that is replayed request by request gives the same decisions however the
requests were put together. It is the plan's price, corrected by how far spending is ahead of its pace as a share of
what should be left by then (dual averaging, Nesterov 2009, with a step that grows as the day ends):

    price = max(0, base + gain × (used ÷ bound − passed) ÷ max(1 − passed, LEAST_LEFT))

``passed`` is the share of the day's customers who have come by then on a usual day. Amounts are whole numbers (cents,
seconds, pieces), so that what is used is exact.
"""

from __future__ import annotations

import numpy as np
from numba import njit

LEAST_LEFT = 0.02
"""Share of the day below which the correction grows no more: a single customer would throw the price about."""
MOST_COUNTED = 1 << 61
NO_ACTION = -1
CHOSEN, EXPLORED, NOT_WORTH, LIMIT, CAP, HOLDOUT, FORBIDDEN = range(7)
"""Why a decision came out as it did; ``decision.REASONS`` has the words."""

_compile = njit(cache=True, nogil=True)


@_compile
def find_passed(at, starts, ends, rhythm) -> float:  # type: ignore[no-untyped-def]
    """The share of the day's customers who have come at the instant ``at``; ``rhythm``: that share by equal slots."""
    place = (at - starts) / (ends - starts) * (rhythm.shape[0] - 1)
    if place <= 0.0:
        return 0.0
    slot = int(place)
    if slot >= rhythm.shape[0] - 1:
        return 1.0
    return float(rhythm[slot] + (place - slot) * (rhythm[slot + 1] - rhythm[slot]))


@_compile
def set_prices(used, bounds, signs, base, gains, passed, prices) -> None:  # type: ignore[no-untyped-def]
    """The prices at what is used by now, into ``prices``; money per unit of each limit, at least 0."""
    left = max(1.0 - passed, LEAST_LEFT)
    for row in range(bounds.shape[0]):
        ahead = 0.0
        if bounds[row] > 0:
            ahead = signs[row] * (used[row] / bounds[row] - passed) / left
        prices[row] = max(0.0, base[row] + gains[row] * ahead)


@_compile
def _fits(action, segment, cost, tables, of_cost, signs, bounds, used) -> bool:  # type: ignore[no-untyped-def]
    for row in range(bounds.shape[0]):
        if signs[row] > 0:
            more = tables[row, segment, action]
            if of_cost[row]:
                more *= cost
            if more > bounds[row] - used[row]:
                return False
    return True


@_compile
def _reduce(value, cost, c, segment, tables, of_cost, signs, prices, reduced) -> None:  # type: ignore[no-untyped-def]
    """Customer ``c``'s values less what each pair uses at these prices, into ``reduced``."""
    for a in range(value.shape[1]):
        reduced[a] = value[c, a]
    for row in range(prices.shape[0]):
        price = signs[row] * prices[row]
        if price == 0.0:
            continue
        for a in range(value.shape[1]):
            use = tables[row, segment, a]
            if use:
                reduced[a] -= price * use * (cost[c, a] if of_cost[row] else 1)


@_compile
def decide_in_order(  # type: ignore[no-untyped-def]
    value, cost, segment, at, person, contacts, cap, held, draws,
    tables, of_cost, signs, bounds, used, base, gains, rhythm, starts, ends, share, near,
    action, best, probability, choices, reason,
) -> None:  # fmt: skip
    """Decide customers one after the other; ``used`` (by row) and ``contacts`` (by person) move on with each.

    ``share`` of the customers who get an action get one drawn evenly from those whose reduced value is at least
    ``near`` times the best one's; ``draws`` (customers × 2): uniform numbers for whether, and which. A pair's
    probability is that of this rule given all decisions before it, so that a logged one is exact.
    """
    reduced, prices = np.empty(value.shape[1]), np.empty(bounds.shape[0])
    for c in range(value.shape[0]):
        action[c], best[c], probability[c], choices[c] = NO_ACTION, NO_ACTION, 1.0, 0
        if held[c] != CHOSEN:
            reason[c] = held[c]
            continue
        if contacts[person[c]] >= cap:
            reason[c] = CAP
            continue
        s = segment[c]
        set_prices(used, bounds, signs, base, gains, find_passed(at[c], starts, ends, rhythm), prices)
        _reduce(value, cost, c, s, tables, of_cost, signs, prices, reduced)
        reason[c] = _pick(
            c, s, cost, reduced, tables, of_cost, signs, bounds, used, draws, share, near,
            action, best, probability, choices,
        )  # fmt: skip
        if action[c] != NO_ACTION:
            contacts[person[c]] += 1
            for row in range(bounds.shape[0]):
                more = tables[row, s, action[c]]
                if of_cost[row]:
                    more *= cost[c, action[c]]
                # What a maximum is used never comes near this; a minimum may be exceeded by any amount.
                used[row] = min(used[row] + more, MOST_COUNTED)


@_compile
def _pick(  # type: ignore[no-untyped-def]
    c, s, cost, reduced, tables, of_cost, signs, bounds, used, draws, share, near,
    action, best, probability, choices,
) -> int:  # fmt: skip
    """The action of customer ``c`` and its probability; why."""
    top, top_action, full = 0.0, NO_ACTION, False
    for a in range(reduced.shape[0]):
        if reduced[a] > 0.0 and not _fits(a, s, cost[c, a], tables, of_cost, signs, bounds, used):
            reduced[a] = -np.inf
            full = True
        if reduced[a] > top:
            top, top_action = reduced[a], a
    if top_action == NO_ACTION:
        return LIMIT if full else NOT_WORTH
    count = 0
    for a in range(reduced.shape[0]):
        if reduced[a] > 0.0 and reduced[a] >= near * top:
            count += 1
    chosen, explored = top_action, draws[c, 0] < share
    if explored:
        place = min(int(draws[c, 1] * count), count - 1)
        for a in range(reduced.shape[0]):
            if reduced[a] > 0.0 and reduced[a] >= near * top:
                if place == 0:
                    chosen = a
                    break
                place -= 1
    action[c], best[c], choices[c] = chosen, top_action, count
    probability[c] = share / count + (1.0 - share if chosen == top_action else 0.0)
    return EXPLORED if explored else CHOSEN
