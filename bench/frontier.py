"""Claim: the budget → profit frontier of a million customers, 20 budgets, in 10 CPU seconds.

Every point is a plan of its own that keeps all limits, with its certified gap; each starts from the prices of the
one before. The peer is the same 20 budgets solved one by one, each from nothing, in the same run. The instance is
that of ``bench.allocate`` (20 actions, at most one each, 5 constraints); times exclude making it and compiling.
Run it with ``python -m bench.frontier [--customers N] [--budgets 20]``.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np

from aimwell.strategy.large.instance import Instance
from aimwell.strategy.large.passes import People, measure_excess, tally_chosen
from aimwell.strategy.large.solve import Allocation, allocate
from bench.allocate import make_instance
from bench.result import emit, measure

LIMIT = 10.0
"""CPU seconds allowed for a million customers."""
SHARES = (0.05, 1.6)
"""The smallest and the largest budget, as shares of the instance's own."""


def set_budget(instance: Instance, budget: float) -> Instance:
    """The same instance with another overall budget (its first row)."""
    first, *others = instance.rows
    return replace(instance, rows=(replace(first, limit=float(np.floor(budget))), *others))


def is_kept(instance: Instance, found: Allocation) -> bool:
    """Whether every row keeps its limit, exactly."""
    seen = tally_chosen(instance, People.all(instance), found.chosen)
    return all(excess <= 0 for excess in measure_excess(instance, seen))


def main() -> None:
    """Trace the frontier warm and cold, check every point, and print both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--customers", type=int, default=1_000_000)
    parser.add_argument("--budgets", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    shape = {"actions": 20, "constraints": 5, "slots": 1}
    allocate(make_instance(6_000, seed=0, **shape))
    instance = make_instance(given.customers, seed=given.seed, **shape)
    budgets = instance.rows[0].limit * np.linspace(*SHARES, given.budgets)
    warm = cold = worst = spread = 0.0
    exact, profits, start = True, [], None
    for budget in budgets:
        changed = set_budget(instance, float(budget))
        found, cost = measure(lambda changed=changed, start=start: allocate(changed, start=start))
        alone, alone_cost = measure(lambda changed=changed: allocate(changed))
        start = found.prices
        exact &= is_kept(changed, found)
        warm, cold, worst = warm + cost.cpu, cold + alone_cost.cpu, max(worst, found.gap)
        spread = max(spread, abs(found.objective - alone.objective) / max(abs(alone.objective), 1e-9))
        profits.append(found.objective)
        print(
            f"budget {budget / 100:,.0f}: profit {found.objective:,.0f}, gap {found.gap:.1e}, "
            f"{cost.cpu:.2f} CPU s (from nothing {alone_cost.cpu:.2f})",
            flush=True,
        )
    rising = bool(np.all(np.diff(profits) >= -1e-4 * np.abs(profits[1:])))
    allowed = LIMIT if given.customers == 1_000_000 else np.inf
    emit(
        claim="20 budgets of the frontier at 1 M customers in 10 CPU s, every limit exact, certified gap <= 1e-4",
        ours=warm,
        peer=cold,
        unit="CPU s",
        holds=bool(exact and rising and worst <= 1e-4 and warm <= allowed),
        gap=worst,
        exact=exact,
        differs_from_cold=spread,
        customers=given.customers,
        budgets=given.budgets,
    )


if __name__ == "__main__":
    main()
