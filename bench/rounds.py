"""Ten simulated rounds from a cold start: the loop with exploration against what is done instead. All simulated.

    python -m bench.rounds [--seeds 50] [--customers 3000] [--rounds 10] [--strength 0.25]

Every seed is another market, drawn from the distributions of ``strategy.simulator`` (decision 19); within a seed all
policies meet the same customers. Prints cumulative profit by round and the paired differences after the last round.
"""

from __future__ import annotations

import argparse

import numpy as np

from aimwell.core.estimate import Estimate
from aimwell.strategy.simulator.crowd import draw_crowd, draw_menu
from aimwell.strategy.simulator.policies import KINDS, Kind
from aimwell.strategy.simulator.rounds import MarketWorld, compare_policies, estimate_mean
from aimwell.strategy.simulator.season import Rules
from aimwell.strategy.simulator.truth import Planting, plant
from bench.result import emit, measure

PEERS: tuple[Kind, ...] = ("propensity", "naive_uplift", "no_exploration")
"""What must be beaten; ``pilot_only`` (random in the first round, never again) is shown beside them."""


def make_world(seed: int, *, customers: int, strength: float) -> MarketWorld:
    """The market of one seed."""
    menu = draw_menu(customers)
    crowd = draw_crowd(customers, menu, seed=seed)
    truth = plant(crowd, menu, seed=seed, planting=Planting(strength=strength))
    return MarketWorld(crowd, menu, truth, Rules())


def main() -> None:
    """Play, print the curves and the differences, and at the end one line for programs."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("--seeds", type=int, default=50)
    parser.add_argument("--customers", type=int, default=3_000)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--strength", type=float, default=Planting().strength)
    given = parser.parse_args()
    print(f"simulated markets: {Planting(strength=given.strength)}, {Rules()}", flush=True)

    def build(seed: int) -> MarketWorld:
        return make_world(seed, customers=given.customers, strength=given.strength)

    def report(seed: int) -> None:
        if seed % 10 == 9:
            print(f"{seed + 1} markets played", flush=True)

    found, cost = measure(
        lambda: compare_policies(build, KINDS, rounds=given.rounds, seeds=range(given.seeds), progress=report)
    )
    print("mean cumulative profit by round (simulated)")
    for kind in KINDS:
        print(f"{kind:>15}: " + " ".join(f"{value:9,.0f}" for value in found[kind].mean(axis=0)))
    differences: dict[Kind, Estimate] = {
        kind: estimate_mean(found["ours"][:, -1] - found[kind][:, -1]) for kind in KINDS if kind != "ours"
    }
    for kind, difference in differences.items():
        won = float(np.mean(found["ours"][:, -1] > found[kind][:, -1]))
        print(
            f"ours − {kind}: {difference.estimate:,.0f} [{difference.lower:,.0f}, {difference.upper:,.0f}], "
            f"ahead in {won:.0%} of markets"
        )
    best = max(PEERS, key=lambda kind: float(found[kind][:, -1].mean()))
    emit(
        claim="ten rounds from a cold start: the loop with exploration earns most (simulated)",
        ours=float(found["ours"][:, -1].mean()),
        peer=float(found[best][:, -1].mean()),
        unit="money",
        holds=all(differences[kind].lower > 0 for kind in PEERS),
        simulated=True,
        best_peer=best,
        differences={
            kind: [round(d.estimate), round(d.lower), round(d.upper)] for kind, d in differences.items()
        },
        seeds=given.seeds,
        customers=given.customers,
        strength=given.strength,
        cpu_seconds=round(cost.cpu, 1),
    )


if __name__ == "__main__":
    main()
