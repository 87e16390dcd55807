"""Prices of the rows of a large instance: the Lagrangian dual of a sample, then of those who are still undecided.

Parts of a sample give as many sets of prices; how far they lie apart says how far everybody's can be. One pass over
all customers then decides whoever decides alike in the whole of that box, and only the others are asked again: of many
again a sample first, which leaves a smaller box and fewer undecided. So the exact dual of everybody costs a few per
cent of its passes. Steps are quasi-Newton (L-BFGS-B, Byrd et al. 1995), then cutting planes in a moving box
(``strategy.dual.cut_down``). Reads and writes no tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, minimize

from aimwell.core.seeds import generator
from aimwell.strategy.dual import cut_down
from aimwell.strategy.large.audience import Audience, LocalAudience
from aimwell.strategy.large.instance import Terms
from aimwell.strategy.large.passes import (
    EPSILON,
    Choice,
    People,
    bound,
    choose,
    make_box,
    make_tariff,
    measure_largest,
    sum_use,
    tally_chosen,
)
from aimwell.strategy.problem import Flags, Integers, Reals

SAMPLE = 100_000
"""Customers in a sample."""
PARTS, PART = 8, 10_000
"""Parts of a sample: of two, one limit in seven has prices that agree by chance and lie far off. But parts of so many
customers at least, of whom each weighs little."""
DEAREST = 100.0
"""The most that the usual use of a row is thought to be worth, in usual values of a pair. Whoever could fill a small
minimum may all be missing from a part, whose price of it knows no end; everybody's own may then still be dearer."""
DIRECT = 250_000
"""Undecided customers who are asked all at once: to sample them would leave hardly fewer."""
USUAL = 10_000
"""Customers whose costs tell the usual one."""
STEPS = 60
ROUGH, FINE = 2e-9, 1e-12
"""The relative gain at which a descent ends. At the rough one, thousands of millions may still choose too much."""
PATIENCE = 5
"""Cutting planes in a row that may find nothing better: of many rows, the descent leaves hardly anything to them."""
SLIGHT = 10.0
"""Customers by whom a limit may be missed at a price that its box holds back: the exact end makes up for them."""
BOXES = 8
HAIR = 1e-9
"""As a share of it, how near a side of its box a price is that is held there."""


@dataclass(frozen=True)
class Box:
    """Prices from ``low`` to ``high`` around a centre; money per unit, by row."""

    centre: Reals
    low: Reals
    high: Reals

    @classmethod
    def around(cls, centre: Reals, width: Reals, *, within: Box | None = None) -> Box:
        """A box of a width to either side, as far as the outer one reaches; prices are never below 0."""
        floor = 0.0 if within is None else within.low
        ceiling = np.inf if within is None else within.high
        centre = np.clip(centre, floor, ceiling)
        return cls(centre, np.maximum(centre - width, floor), np.minimum(centre + width, ceiling))

    @property
    def width(self) -> Reals:
        """How far prices can be from the centre."""
        return np.maximum(self.high - self.centre, self.centre - self.low)


@dataclass(frozen=True)
class PartDual:
    """The dual in scaled prices of some customers; what all others choose is fixed: ``value`` and ``used``."""

    terms: Terms
    people: People
    scale: Reals
    value: float
    used: Reals
    weight: float = 1.0
    """How many undecided customers each of them stands for."""

    def evaluate(self, prices: Reals) -> tuple[float, Reals]:
        """The dual and one of its subgradients, in scaled prices."""
        money = prices * self.scale
        found = choose(self.people, make_tariff(self.terms, money), keep=False)
        signs = np.array([row.sign for row in self.terms.rows])
        limits = np.array([row.limit for row in self.terms.rows])
        left = signs * (limits - self.used - self.weight * sum_use(self.terms, found.counts, found.spent))
        fixed = self.value + float(money @ (signs * (limits - self.used)))
        return self.weight * found.reduced + fixed, left * self.scale


def find_touched(dual: PartDual, prices: Reals, box: Box, *, within: Box | None = None) -> Flags:
    """Rows whose price is held by a side of the box, and not of the outer one, though beyond it they were kept better.

    A limit that hardly matters has hardly a price, and a sample's says little of everybody's: it need not be found.
    """
    floor = 0.0 if within is None else within.low
    ceiling = np.inf if within is None else within.high
    _, gradient = dual.evaluate(prices / dual.scale)
    missed = gradient / dual.scale / measure_usual_use(dual.terms, dual.people)
    # Scaled and back, a price that a side holds can lie a rounding beside it.
    above = (prices >= box.high * (1 - HAIR)) & (box.high < ceiling) & (missed < -SLIGHT)
    below = (prices <= box.low * (1 + HAIR)) & (box.low > floor) & (missed > SLIGHT)
    return np.asarray(above | below)


@dataclass(frozen=True)
class Narrowed:
    """Customers once a box of prices has decided most of them."""

    everybody: Choice
    """What all choose at the centre."""
    undecided: Integers
    """Who chooses otherwise somewhere in the box."""
    theirs: Choice
    """What those choose at the centre."""
    dual: PartDual
    """The dual of those."""

    def bound(self, centre: Reals, prices: Reals, theirs: float) -> float:
        """What no plan exceeds, by the dual at prices of the box; ``theirs``: the sum of their best reduced values."""
        terms, dual = self.dual.terms, self.dual
        signs = np.array([row.sign for row in terms.rows])
        linear = float((centre + prices) @ sum_use(terms, self.everybody.counts, self.everybody.spent))
        decided = dual.value - float(prices @ (signs * dual.used))
        return bound(terms, prices, decided + theirs, summed=2 * (self.everybody.reduced + linear + theirs))


def narrow(audience: Audience, box: Box, scale: Reals, *, value: float, used: Reals) -> Narrowed:
    """One pass: who decides alike in the whole box is decided; ``value`` and ``used`` are decided already."""
    terms = audience.terms
    everybody, margins = audience.choose_in_box(make_tariff(terms, box.centre), make_box(terms, box.width))
    undecided = np.flatnonzero(margins <= measure_hidden(terms, box.high))
    part = audience.take(undecided)
    theirs = tally_chosen(terms, part, everybody.chosen[undecided])
    more = sum_use(terms, everybody.counts - theirs.counts, everybody.spent - theirs.spent)
    dual = PartDual(terms, part, scale, value + everybody.earned - theirs.earned, used + more)
    return Narrowed(everybody, undecided, theirs, dual)


def measure_hidden(terms: Terms, prices: Reals) -> float:
    """How far a margin can be from the true one by rounding; money."""
    return 4 * EPSILON * (len(terms.rows) + 4) * measure_largest(terms, prices)


def measure_usual_use(terms: Terms, people: People) -> Reals:
    """What a pair that counts usually uses of each row; 1 where none does."""
    cost = 1.0
    if people.cost is not None and people.cost.size:
        # Not the mean, which a few very dear pairs make.
        cost = float(np.median(people.cost[:USUAL].astype(np.float64)))
    used = [
        float(row.table[row.table > 0].mean()) * (cost if row.of_cost else 1.0)
        if np.any(row.table > 0)
        else 1.0
        for row in terms.rows
    ]
    # Of what costs nothing, any unit is as good.
    return np.array([each if each > 0 else 1.0 for each in used])


def scale_prices(terms: Terms, people: People) -> Reals:
    """Money per unit of each row at which one unit of scaled price weighs about as much as a pair's value."""
    positive = people.value[(people.value > 0) & np.isfinite(people.value)]
    worth = float(positive.mean(dtype=np.float64)) if positive.size else 1.0
    return worth / measure_usual_use(terms, people)


def descend(
    dual: PartDual,
    start: Reals,
    *,
    floor: Reals | float = 0.0,
    ceiling: Reals | float = np.inf,
    reduction: float = ROUGH,
) -> Reals:
    """Scaled prices near the least of the dual, between ``floor`` and ``ceiling``."""
    size = max(1.0, dual.weight * len(dual.people))
    best: list[tuple[float, Reals]] = []

    def measure(point: Reals) -> tuple[float, Reals]:
        total, gradient = dual.evaluate(point)
        if not best or total < best[0][0]:
            best[:] = [(total, point.copy())]
        return total / size, gradient / size

    minimize(
        measure,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=Bounds(np.broadcast_to(floor, start.shape), np.broadcast_to(ceiling, start.shape)),
        options={"maxiter": STEPS, "maxfun": 2 * STEPS, "ftol": reduction, "gtol": 1e-7},
    )
    return best[0][1]


def find_region(audience: Audience, scale: Reals, start: Reals | None) -> Box:
    """Prices from a sample, and how far everybody's may be from them; ``start``: prices that may be near."""
    terms, count = audience.terms, len(audience)
    if not terms.rows:
        return Box.around(np.zeros(0), np.zeros(0))
    drawn = _draw_parts(count, generator(0, "strategy.large", count))
    nothing = np.zeros(len(terms.rows))
    parts = [
        PartDual(terms, people, scale, 0.0, nothing, count / len(people))
        for people in map(audience.take, drawn)
    ]
    return _compare(parts, start, None)


def find_prices(dual: PartDual, box: Box) -> Reals:
    """The prices in the box at which the dual is least; money per unit."""
    count = len(dual.people)
    if count <= DIRECT or not len(box.centre):
        return _refine(dual, box)
    inner = _compare(_sample(dual), box.centre, box)
    audience = LocalAudience(dual.terms, dual.people)
    prices = inner.centre
    for _ in range(BOXES):
        part = narrow(audience, inner, dual.scale, value=dual.value, used=dual.used).dual
        prices = find_prices(part, inner) if len(part.people) < count else _refine(part, inner)
        touched = find_touched(part, prices, inner, within=box)
        if not np.any(touched):
            break
        inner = Box.around(prices, np.where(touched, 8 * inner.width, inner.width), within=box)
    return prices


def _sample(dual: PartDual) -> list[PartDual]:
    """Parts of a sample of those who are undecided."""
    count = len(dual.people)
    return [
        PartDual(dual.terms, dual.people.take(part), dual.scale, dual.value, dual.used, count / len(part))
        for part in _draw_parts(count, generator(0, "strategy.large.part", count))
    ]


def _draw_parts(count: int, random: np.random.Generator) -> list[Integers]:
    """Disjoint samples in ascending order, drawn one customer from each of as many equal stretches."""
    size = min(count, SAMPLE)
    drawn = np.minimum(((np.arange(size) + random.random(size)) * (count / size)).astype(np.int64), count - 1)
    parts = min(max(2, min(size // PART, PARTS)), size)
    part = random.permutation(size) % parts
    return [drawn[part == number] for number in range(parts)]


def _compare(parts: Sequence[PartDual], start: Reals | None, within: Box | None) -> Box:
    """A box around the parts' prices, as wide as everybody's may be from their mean."""
    scale = parts[0].scale
    floor = 0.0 if within is None else within.low / scale
    ceiling = DEAREST if within is None else within.high / scale
    point, found = np.zeros(len(scale)) if start is None else start / scale, []
    for part in parts:
        point = descend(part, point, floor=floor, ceiling=ceiling)
        found.append(point)
    centre = np.mean(found, axis=0)
    spread = np.std(found, axis=0, ddof=1) if len(found) > 1 else centre
    # Of eight, 4.2 standard errors of their mean: Student's t leaves out one limit in 250. Never a point.
    width = (1 + 4 / len(found)) * spread + 1e-3 * (centre + float(np.mean(centre)))
    return Box.around(centre * scale, width * scale, within=within)


def _refine(dual: PartDual, box: Box) -> Reals:
    if not len(box.centre):
        return box.centre
    floor, ceiling = box.low / dual.scale, box.high / dual.scale
    point = descend(dual, box.centre / dual.scale, floor=floor, ceiling=ceiling, reduction=FINE)
    found = cut_down(
        dual, point, radius=1e-3, floor=floor, ceiling=ceiling, tolerance=1e-8, patience=PATIENCE
    )
    return np.clip(found * dual.scale, box.low, box.high)
