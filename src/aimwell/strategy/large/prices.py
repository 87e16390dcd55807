"""Prices of the rows of a large instance: the Lagrangian dual of a sample, then of those who are still undecided.

Two halves of a sample give two sets of prices; how far they lie apart says how far everybody's can be. One pass over
all customers then decides whoever decides alike in the whole of that box, and only the others are asked again: the
exact dual of everybody at the cost of a few per cent. Steps are quasi-Newton (L-BFGS-B, Byrd et al. 1995), then
cutting planes in a moving box (``strategy.dual.cut_down``). Reads and writes no tables.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import Bounds, minimize

from aimwell.core.seeds import generator
from aimwell.strategy.dual import cut_down
from aimwell.strategy.large.audience import Audience
from aimwell.strategy.large.instance import Terms
from aimwell.strategy.large.passes import People, choose, make_tariff, sum_use
from aimwell.strategy.problem import Reals

SAMPLE = 50_000
"""Customers in each half of the sample."""
STEPS = 60


@dataclass(frozen=True)
class PartDual:
    """The dual in scaled prices of some customers; what all others choose is fixed: ``value`` and ``used``."""

    terms: Terms
    people: People
    share: float
    """The part of the limits that is theirs, and the others' whose choice is fixed."""
    scale: Reals
    value: float
    used: Reals

    def evaluate(self, prices: Reals) -> tuple[float, Reals]:
        """The dual and one of its subgradients, in scaled prices."""
        money = prices * self.scale
        found = choose(self.people, make_tariff(self.terms, money), keep=False)
        signs = np.array([row.sign for row in self.terms.rows])
        limits = np.array([row.limit for row in self.terms.rows]) * self.share
        left = signs * (limits - self.used - sum_use(self.terms, found.counts, found.spent))
        fixed = self.value + float(money @ (signs * (limits - self.used)))
        return found.reduced + fixed, left * self.scale


def scale_prices(terms: Terms, people: People) -> Reals:
    """Money per unit of each row at which one unit of scaled price weighs about as much as a pair's value."""
    positive = people.value[(people.value > 0) & np.isfinite(people.value)]
    worth = float(positive.mean(dtype=np.float64)) if positive.size else 1.0
    cost = 1.0 if people.cost is None else float(people.cost.mean(dtype=np.float64))
    used = [
        float(row.table[row.table > 0].mean()) * (cost if row.of_cost else 1.0)
        if np.any(row.table > 0)
        else 1.0
        for row in terms.rows
    ]
    # Of what costs nothing, any scale is as good.
    return np.array([worth / each if each > 0 else worth for each in used])


def descend(
    dual: PartDual,
    start: Reals,
    *,
    floor: Reals | float = 0.0,
    ceiling: Reals | float = np.inf,
    steps: int = STEPS,
) -> Reals:
    """Scaled prices near the least of the dual, between ``floor`` and ``ceiling``."""
    size = max(1.0, float(len(dual.people)))
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
        options={"maxiter": steps, "maxfun": 2 * steps},
    )
    return best[0][1]


def find_region(audience: Audience, start: Reals | None) -> tuple[Reals, Reals, Reals]:
    """Prices from a sample, how far everybody's may be from them, and their scale; by row, money per unit."""
    terms, count = audience.terms, len(audience)
    random = generator(0, "strategy.large", count)
    drawn = random.choice(count, min(count, 2 * SAMPLE), replace=False)
    halves = [np.sort(drawn[:SAMPLE]), np.sort(drawn[SAMPLE:])]
    parts = [audience.take(half) for half in halves if len(half)]
    scale = scale_prices(terms, parts[0])
    if not terms.rows:
        return np.zeros(0), np.zeros(0), scale
    found: list[Reals] = []
    point = np.zeros(len(terms.rows)) if start is None else start / scale
    for people in parts:
        part = PartDual(terms, people, len(people) / count, scale, 0.0, np.zeros(len(point)))
        point = cut_down(part, descend(part, point), radius=0.02, tolerance=1e-5)
        found.append(point)
    centre = np.mean(found, axis=0)
    spread = np.max(found, axis=0) - np.min(found, axis=0)
    # Two halves lie about 1.1 standard errors of one of them apart; a floor keeps the box from being a point.
    width = 1.5 * spread + 2e-3 * (centre + float(np.mean(centre)))
    return centre * scale, width * scale, scale
