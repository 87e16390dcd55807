"""Whole rounds with a policy on the simulated market, and what they earned over many seeds. All of it simulated.

Reads and writes no table.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from aimwell.core.estimate import Estimate
from aimwell.core.seeds import generator
from aimwell.stats.distribution import find_normal_quantile
from aimwell.strategy.problem import Integers, Reals
from aimwell.strategy.simulator.crowd import Crowd, Menu
from aimwell.strategy.simulator.policies import CONTROL, Kind, Policy, Sight
from aimwell.strategy.simulator.season import Rules, State, play
from aimwell.strategy.simulator.truth import Truth


@dataclass(frozen=True)
class MarketWorld:
    """One market: who lives in it, what can be sent, what is true, and how attention works."""

    crowd: Crowd
    menu: Menu
    truth: Truth
    rules: Rules
    later: tuple[Truth, ...] = ()
    """Where the market drifts: what is true in the rounds after the first; the last of them stays."""

    def find_truth(self, place: int) -> Truth:
        """What is true in round ``place`` (0, 1, …)."""
        return self.later[min(place, len(self.later)) - 1] if place and self.later else self.truth


@dataclass(frozen=True)
class Played:
    """What a policy earned in each round of one market: arrays by round. Always simulated."""

    profit: Reals
    """Incremental profit, known exactly because the market is simulated; money."""
    contacts: Integers
    subscribed: Integers
    """Customers who could still be contacted when the round ended."""
    simulated: bool = True


def run_rounds(world: MarketWorld, kind: Kind, *, rounds: int, seed: int, memory: float = 1.0) -> Played:
    """Let a policy play ``rounds`` rounds from a cold start; all policies of one seed meet the same customers.

    It knows how many rounds are planned, and lets a past round weigh ``memory`` of what it did one round before.
    """
    policy = Policy(kind, world.crowd, world.menu, horizon=rounds, memory=memory)
    state = State.start(len(world.crowd))
    profit, contacts, subscribed = np.zeros(rounds), np.zeros(rounds, np.int64), np.zeros(rounds, np.int64)
    for place in range(rounds):
        random = generator(seed, "policy", place)
        allowed = world.crowd.allowed & state.subscribed[:, None]
        sight = Sight(allowed, state.count_recent(world.rules), place + 1)
        withheld = random.random(len(world.crowd)) < CONTROL
        sent, _ = policy.plan(sight, random).withhold(withheld)
        found = play(
            world.crowd,
            world.menu,
            world.find_truth(place),
            world.rules,
            state,
            sent[:, None],
            seed=seed,
            round_number=place,
        )
        policy.observe(sight, sent, found)
        profit[place], contacts[place] = found.profit, int((sent >= 0).sum())
        subscribed[place] = int(state.subscribed.sum())
    return Played(profit, contacts, subscribed)


def compare_policies(
    make_world: Callable[[int], MarketWorld],
    kinds: Sequence[Kind],
    *,
    rounds: int,
    seeds: Sequence[int],
    memory: float = 1.0,
    progress: Callable[[int], None] = lambda seed: None,
) -> dict[Kind, Reals]:
    """Cumulative profit of each policy: seeds × rounds; money. Seed s is the same market for every policy."""
    found: dict[Kind, list[Reals]] = {kind: [] for kind in kinds}
    for seed in seeds:
        world = make_world(seed)
        for kind in kinds:
            found[kind].append(
                np.cumsum(run_rounds(world, kind, rounds=rounds, seed=seed, memory=memory).profit)
            )
        progress(seed)
    return {kind: np.array(values) for kind, values in found.items()}


def estimate_mean(values: Reals) -> Estimate:
    """The mean over seeds with its 95 % interval; give it differences by seed to compare two policies.

    The interval is normal with Student's correction: the sample is of seeds, which are independent.
    """
    n = len(values)
    mean = float(values.mean())
    # Cornish–Fisher to the first order: exact to 1 % from ten seeds on.
    z = find_normal_quantile(0.975)
    half = (
        (z + (z**3 + z) / (4 * max(n - 1, 1))) * float(values.std(ddof=1)) / np.sqrt(n) if n > 1 else np.inf
    )
    return Estimate(mean, float(mean - half), float(mean + half), n, "simulated, mean over seeds")
