"""Allocate a large audience: prices from a sample, one pass that decides most, an exact end, and a certificate.

1. ``prices.find_region``: the dual of a sample, with a box that holds everybody's prices.
2. ``prices.narrow``: a pass over all decides whoever decides alike in the whole box, and lists the others.
3. ``prices.find_prices`` on those, in boxes within the box; where prices leave it, it is laid around them anew.
4. The certificate: at prices in the box the decided are known without asking, so that no plan earns more than their sum
   and the others' best. (``certify`` finds the same bound by a pass over all.)
5. The few hundred who are nearest to another choice are decided together: a linear programme, rounded, repaired and
   improved, so that every row keeps its limit exactly. Of all others, only sums are needed.

Reads and writes no tables.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, milp
from threadpoolctl import threadpool_limits

from aimwell.core.errors import Conflict
from aimwell.strategy.certificate import find_usable, keeps, measure_gap, reduce_values
from aimwell.strategy.conflict import admit_failure, find_conflict, is_impossible, name_conflict
from aimwell.strategy.core import limit_customers, limit_rows, place_pairs, solve_core
from aimwell.strategy.large.audience import Audience, LocalAudience, pose
from aimwell.strategy.large.instance import Instance, Terms, make_problem
from aimwell.strategy.large.passes import (
    Choice,
    Chosen,
    People,
    bound,
    choose_in_box,
    make_box,
    make_tariff,
    measure_excess,
    measure_rounding,
    sum_use,
    tally_chosen,
)
from aimwell.strategy.large.prices import (
    BOXES,
    Box,
    Narrowed,
    find_prices,
    find_region,
    find_touched,
    narrow,
    scale_prices,
)
from aimwell.strategy.optimiser import optimise
from aimwell.strategy.problem import Flags, Integers, Problem, Reals
from aimwell.strategy.quiet import drop_solver_output
from aimwell.strategy.repair import Draft, improve, repair

FEW = 5_000
"""Customers up to whom the optimiser for few is better: a rounded customer weighs more among few."""
CORE = 600
POLISHED = (100, 200, 400)
"""Customers who are decided exactly, one core after the other."""
GOOD_GAP = 5e-5
SAMPLE = 2_000
"""Customers who are asked which limits conflict."""
SAMPLE_OF_SCALE = 10_000
"""Customers who tell how much a unit of each row is worth."""
MOST_PAIRS = 4_000
"""Pairs that the linear programme of a core is made of."""
MOST_CELLS = 50_000_000
"""Customers × actions × rows up to which a core is made: 400 MB."""


@dataclass(frozen=True)
class Allocation:
    """Who gets what, what it earns and uses, and the proof of how good it is."""

    chosen: Chosen
    """Customers × slots: the chosen actions; −1: none."""
    objective: float
    upper_bound: float
    gap: float
    used: Reals
    """What each row is used."""
    prices: Reals
    """Shadow prices, ≥ 0; money per unit of the row."""


def allocate(instance: Instance, *, start: Reals | None = None) -> Allocation:
    """Solve ``instance``; ``start``: prices of a similar one. Raises Conflict when its limits contradict each other."""
    return allocate_audience(LocalAudience.of(instance), start=start)


def allocate_audience(audience: Audience, *, start: Reals | None = None) -> Allocation:
    """``allocate`` wherever the customers' matrices lie: everything but the passes over all happens here."""
    if len(audience) <= FEW:
        return _allocate_few(audience, start)
    # A library of linear algebra whose threads wait for work by spinning doubled the CPU of the passes beside it.
    with threadpool_limits(1, user_api="blas"):
        return _allocate_many(audience, start)


def _allocate_many(audience: Audience, start: Reals | None) -> Allocation:
    draft = _find_draft(audience, start)
    found = _settle(audience, draft.prices, draft.choice, draft.nearest)
    found = _polish(audience, draft.prices, found, draft.nearest, draft.upper_bound)
    upper = max(draft.upper_bound, found.earned)
    gap = measure_gap(found.earned, upper)
    used = sum_use(audience.terms, found.counts, found.spent)
    return Allocation(found.chosen, found.earned, upper, gap, used, draft.prices)


def _allocate_few(audience: Audience, start: Reals | None) -> Allocation:
    limits = np.array([row.limit for row in audience.terms.rows])
    found = optimise(pose(audience, np.arange(len(audience)), limits), start=start)
    return Allocation(
        found.slots.astype(np.int16), found.objective, found.upper_bound, found.gap, found.used, found.prices
    )


@dataclass(frozen=True)
class _Priced:
    """Prices, everybody's choice at them, the bound that they prove, and customers by how near another choice is."""

    prices: Reals
    choice: Choice
    upper_bound: float
    nearest: Integers


def _find_draft(audience: Audience, start: Reals | None) -> _Priced:
    terms = audience.terms
    scale = scale_prices(terms, audience.take(_spread_out(len(audience))))
    box, nothing = find_region(audience, scale, start), np.zeros(len(terms.rows))
    for _ in range(BOXES):
        narrowed = narrow(audience, box, scale, value=0.0, used=nothing)
        prices = find_prices(narrowed.dual, box)
        touched = find_touched(narrowed.dual, prices, box)
        if not np.any(touched):
            return _conclude(terms, box, narrowed, prices)
        # A limit that a sample does not reach has no price there, and none can be told from it.
        box = Box.around(prices, np.where(touched, 8 * box.width, box.width))
    return _Priced(prices, *_choose_in_order(audience, prices))


def _spread_out(count: int) -> Integers:
    return np.arange(0, count, max(1, count // SAMPLE_OF_SCALE))


def _conclude(terms: Terms, box: Box, narrowed: Narrowed, prices: Reals) -> _Priced:
    """The draft at prices of the box, for which only those who were undecided are asked again."""
    part, point = narrowed.dual.people, make_box(terms, np.zeros(len(prices)))
    final, margins = choose_in_box(part, make_tariff(terms, prices), point)
    choice = narrowed.everybody.replace_part(narrowed.undecided, narrowed.theirs, final)
    upper = narrowed.bound(box.centre, prices, final.reduced)
    return _Priced(prices, choice, upper, narrowed.undecided[np.argsort(margins, kind="stable")])


def _choose_in_order(audience: Audience, prices: Reals) -> tuple[Choice, float, Integers]:
    """What everybody chooses, what that proves, and their numbers from the nearest to another choice on."""
    terms = audience.terms
    point = make_box(terms, np.zeros(len(prices)))
    found, margins = audience.choose_in_box(make_tariff(terms, prices), point)
    upper = bound(terms, prices, found.reduced)
    return found, upper, np.argsort(margins, kind="stable")


def certify(audience: Audience, prices: Reals) -> float:
    """What no plan exceeds, by the dual at ``prices`` (one per row, ≥ 0) and a pass over all; money."""
    found = audience.choose(make_tariff(audience.terms, prices))
    return bound(audience.terms, prices, found.reduced)


def _settle(audience: Audience, prices: Reals, draft: Choice, nearest: Integers) -> Choice:
    """Decide the core again, in place, so that every row keeps its limit; what everybody's choices add up to."""
    terms = audience.terms
    size, cells = max(CORE, 12 * len(terms.rows)), max(1, len(terms.rows) * terms.actions)
    while True:
        core = _pick_core(audience, nearest, size)
        part, own = _tally_core(audience, core, draft)
        found = _decide_core(_take_core(terms, part, own, draft), prices, own.chosen.astype(np.int64))
        if found is not None:
            settled = draft.replace_part(core, own, tally_chosen(terms, part, found.astype(np.int16)))
            if all(excess <= 0 for excess in measure_excess(terms, settled)):
                return settled
            draft.chosen[core] = own.chosen
        if len(core) == len(audience) or len(core) * cells >= MOST_CELLS:
            raise _explain_failure(audience)
        size = min(4 * size, len(audience), MOST_CELLS // cells)
        if size > len(nearest):
            nearest = _choose_in_order(audience, prices)[-1]


def _polish(audience: Audience, prices: Reals, settled: Choice, nearest: Integers, upper: float) -> Choice:
    """Decide the nearest to another choice exactly, while more than ``GOOD_GAP`` is left: rounding weighs among few."""
    terms = audience.terms
    for size in POLISHED:
        left = upper - settled.earned
        if left <= GOOD_GAP * abs(upper):
            break
        core = np.sort(nearest[:size])
        part, own = _tally_core(audience, core, settled)
        problem = _take_core(terms, part, own, settled)
        usable, slots = find_usable(problem), own.chosen.astype(np.int64)
        reduced = np.where(usable, reduce_values(problem, prices), -np.inf)
        found = solve_core(problem, usable, slots, np.arange(len(core)), reduced, tolerance=0.1 * left)
        again = settled.replace_part(core, own, tally_chosen(terms, part, found.astype(np.int16)))
        kept = all(excess <= 0 for excess in measure_excess(terms, again))
        if kept and again.earned > settled.earned:
            settled = again
        else:
            settled.chosen[core] = own.chosen
    return settled


def _tally_core(audience: Audience, core: Integers, whole: Choice) -> tuple[People, Choice]:
    """The customers of a core, and what their choice adds up to."""
    part = audience.take(core)
    return part, tally_chosen(audience.terms, part, whole.chosen[core])


def _take_core(terms: Terms, part: People, own: Choice, whole: Choice) -> Problem:
    """The customers of a core, with what all others leave of the limits."""
    used = sum_use(terms, whole.counts - own.counts, whole.spent - own.spent)
    signs = np.array([row.sign for row in terms.rows])
    # As far from the limits as rounding reaches, so that the whole is surely kept.
    left = (
        np.array([row.limit for row in terms.rows]) - used - 2 * signs * measure_rounding(terms, whole.moved)
    )
    return make_problem(terms, part.value, part.cost, part.segment, left)


def _pick_core(audience: Audience, nearest: Integers, size: int) -> Integers:
    """Of the customers from the nearest to another choice on, half by that alone and half from every segment."""
    first, rest = nearest[: size // 2], nearest[size // 2 :]
    segment = audience.read_segments(rest)
    order = np.argsort(segment, kind="stable")
    starts = np.searchsorted(segment[order], segment[order])
    turn = np.empty(len(rest), dtype=np.int64)
    turn[order] = np.arange(len(rest)) - starts
    others = rest[np.argsort(turn, kind="stable")][: size - len(first)]
    return np.sort(np.concatenate([first, others]))


def _decide_core(problem: Problem, prices: Reals, slots: Integers) -> Integers | None:
    """The actions of a core that keep its limits; None when none were found."""
    usable = find_usable(problem)
    reduced = np.where(usable, reduce_values(problem, prices), -np.inf)
    draft = Draft.start(problem, usable, _round(problem, usable, reduced, slots))
    margins = np.zeros(problem.customers)
    if not repair(draft, prices, margins):
        # Minimums and maximums of the same people can send single moves in a circle: all together then.
        everybody = np.arange(problem.customers)
        found = solve_core(problem, usable, draft.slots, everybody, reduced, tolerance=np.inf, feasible=False)
        if not keeps(problem, found):
            return None
        draft = Draft.start(problem, usable, found)
    improve(draft, np.arange(problem.customers))
    if not keeps(problem, draft.slots) and not repair(draft, prices, margins):
        return None
    return draft.slots


def _round(problem: Problem, usable: Flags, reduced: Reals, slots: Integers) -> Integers:
    """The linear programme of the core, rounded down; the slots as they were where it has no answer."""
    core = np.arange(problem.customers)
    where, action = _list_near(usable, reduced, slots)
    if not len(where):
        return np.full_like(slots, -1)
    pairs = (where, action.astype(np.int64))
    constraints = [*limit_rows(problem, slots, core, pairs), *limit_customers(problem, core, pairs)]
    with drop_solver_output():
        found = milp(-problem.value[pairs], bounds=Bounds(0, 1), constraints=constraints)
    if found.x is None:
        return slots
    kept = np.asarray(found.x > 0.5)
    placed = place_pairs(slots, core, where[kept], pairs[1][kept], problem.slots)
    return slots if placed is None else placed


def _list_near(usable: Flags, reduced: Reals, slots: Integers) -> tuple[Integers, Integers]:
    """The pairs of a core that may be chosen, and of many those that lose least, beside the draft's own."""
    loss = np.where(usable, np.maximum(reduced.max(axis=1, initial=0.0), 0.0)[:, None] - reduced, np.inf)
    most = float(np.partition(loss, MOST_PAIRS, axis=None)[MOST_PAIRS]) if loss.size > MOST_PAIRS else np.inf
    near = usable & (loss <= most)
    customers, places = np.nonzero(slots >= 0)
    near[customers, slots[customers, places]] = True
    where, action = np.nonzero(near & usable)
    return where, action


def _explain_failure(audience: Audience) -> Conflict:
    """The limits that are proven to conflict; where nothing is proven, that no plan was found.

    A sample with limits in proportion is asked: what it cannot keep, all cannot, but for the rounding of one customer.
    """
    sample = np.arange(0, len(audience), max(1, len(audience) // SAMPLE))
    limits = np.array([row.limit for row in audience.terms.rows]) * len(sample) / max(1, len(audience))
    problem = pose(audience, sample, limits)
    if is_impossible(problem, problem.rows):
        return name_conflict(find_conflict(problem))
    return admit_failure()
