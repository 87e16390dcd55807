"""Ten simulated rounds from a cold start: the loop with exploration against what is done instead. All simulated.

    python -m bench.rounds [--seeds 200] [--first 2000] [--market steady|drifting|both] [--plot FILE.html]
                           [--customers 3000] [--rounds 10] [--strength 0.25]

Every seed is another market, drawn from the distributions of ``strategy.simulator`` (decision 19); within a seed all
policies meet the same customers. The claim is about steady markets, which never change. Drifting ones are a case of
their own: tastes move from round to round, and competitors answer. Prints cumulative profit by round and the paired
differences after the last round; with ``--plot``, both with intervals as a page.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Literal

import numpy as np

from aimwell.core.estimate import Estimate
from aimwell.core.text import Text
from aimwell.loop.report import write_rehearsal
from aimwell.strategy.problem import Reals
from aimwell.strategy.simulator.crowd import draw_crowd, draw_menu
from aimwell.strategy.simulator.policies import KINDS, Kind
from aimwell.strategy.simulator.rehearsal import DRIFTING, STEADY, Rehearsal
from aimwell.strategy.simulator.rounds import MarketWorld, compare_policies, estimate_mean
from aimwell.strategy.simulator.season import Rules
from aimwell.strategy.simulator.truth import Drift, Planting, plant_rounds
from bench.result import emit, measure

Market = Literal["steady", "drifting"]
PEERS: tuple[Kind, ...] = ("propensity", "naive_uplift", "no_exploration")
"""What must be beaten; ``pilot_only`` (random in the first round, never again) is shown beside them."""
MEMORY: dict[Market, float] = {"steady": 1.0, "drifting": 0.8}
"""What a past round still weighs one round later, in every policy: the business knows which kind of market it is in."""
TITLES: dict[Market, Text] = {"steady": STEADY, "drifting": DRIFTING}


def make_world(
    seed: int, *, customers: int, strength: float, drift: Drift | None = None, rounds: int = 10
) -> MarketWorld:
    """The market of one seed; without ``drift`` it stays as it is."""
    menu = draw_menu(customers)
    crowd = draw_crowd(customers, menu, seed=seed)
    planting = Planting(strength=strength)
    first, *later = plant_rounds(
        crowd, menu, seed=seed, rounds=rounds if drift else 1, drift=drift or Drift(), planting=planting
    )
    return MarketWorld(crowd, menu, first, Rules(), tuple(later))


def play_market(market: Market, given: argparse.Namespace) -> dict[Kind, Reals]:
    """Cumulative profit of every policy: seeds × rounds."""
    drift = Drift() if market == "drifting" else None

    def build(seed: int) -> MarketWorld:
        return make_world(
            seed, customers=given.customers, strength=given.strength, drift=drift, rounds=given.rounds
        )

    def report(seed: int) -> None:
        if (seed - given.first) % 10 == 9:
            print(f"{market}: {seed - given.first + 1} markets played", flush=True)

    return compare_policies(
        build,
        KINDS,
        rounds=given.rounds,
        seeds=range(given.first, given.first + given.seeds),
        memory=MEMORY[market],
        progress=report,
    )


def tell(market: Market, found: dict[Kind, Reals]) -> dict[Kind, Estimate]:
    """Print the curves and ours less each other after the last round."""
    print(f"{market}: mean cumulative profit by round (simulated)")
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
    return differences


def summarise(differences: dict[Kind, Estimate]) -> dict[str, list[int]]:
    """For the line: estimate, lower and upper end."""
    return {kind: [round(d.estimate), round(d.lower), round(d.upper)] for kind, d in differences.items()}


def read_arguments() -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--first", type=int, default=2000, help="the first seed")
    parser.add_argument("--customers", type=int, default=3_000)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--strength", type=float, default=Planting().strength)
    parser.add_argument("--market", choices=("steady", "drifting", "both"), default="both")
    parser.add_argument("--plot", type=Path, help="write the curves as a page to this file")
    return parser.parse_args()


def main() -> None:
    """Play, print the curves and the differences, and at the end one line for programs."""
    given = read_arguments()
    print(
        f"simulated markets: {Planting(strength=given.strength)}, {Rules()}; drifting: {Drift()}", flush=True
    )
    markets: list[Market] = ["steady", "drifting"] if given.market == "both" else [given.market]
    played, cost = measure(lambda: {market: play_market(market, given) for market in markets})
    told = {market: tell(market, played[market]) for market in markets}
    if given.plot:
        cases = [
            Rehearsal(played[market], False, given.customers, "USD", TITLES[market]).to_dict()
            for market in markets
        ]
        print(f"plotted: {write_rehearsal({'cases': cases}, given.plot, currency='USD')}")
    claimed = markets[0]
    found, differences = played[claimed], told[claimed]
    best = max(PEERS, key=lambda kind: float(found[kind][:, -1].mean()))
    more: dict[str, Any] = {}
    if "drifting" in told:
        more["drifting"] = summarise(told["drifting"])
    emit(
        claim=f"{given.rounds} rounds from a cold start, {claimed} markets: exploring earns most (simulated)",
        ours=float(found["ours"][:, -1].mean()),
        peer=float(found[best][:, -1].mean()),
        unit="money",
        holds=all(differences[kind].lower > 0 for kind in PEERS),
        simulated=True,
        best_peer=best,
        differences=summarise(differences),
        seeds=[given.first, given.first + given.seeds - 1],
        customers=given.customers,
        strength=given.strength,
        cpu_seconds=round(cost.cpu, 1),
        **more,
    )


if __name__ == "__main__":
    main()
