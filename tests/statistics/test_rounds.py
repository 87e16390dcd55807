"""Over many seeds: the second round earns more than the first, and intervals cover the truth.

The seeds are 1000 to 1049: none is chosen, and none was looked at while methods were chosen (decision 9). Each runs
two rounds of two waves on the simulated market, with the loop's own learning, planning and measuring; the truth is
what the reached customers really did more.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from aimwell.core.estimate import Estimate
from aimwell.engine.settings import check_settings
from aimwell.engine.workspace import Workspace
from aimwell.loop.demo import list_demo_waves
from aimwell.loop.payload import sum_estimates
from aimwell.loop.simulated_market import SimulatedMarket
from aimwell.loop.simulation import WaveOutcome, read_world, simulate_rounds
from aimwell.strategy.simulator.rounds import estimate_mean

SEEDS = range(1000, 1050)
Rounds = list[list[WaveOutcome]]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> Rounds:
    """Four waves (two rounds) for each seed."""
    business = {"name": "Complete Journey", "zone": "America/New_York", "currency": "USD"}
    settings = check_settings({"business": business}, "test")
    workspace = Workspace.create(tmp_path_factory.mktemp("world") / "workspace", settings=settings)
    waves = list_demo_waves(2)
    SimulatedMarket(0).open(workspace, waves[-1].end)
    world = read_world(workspace, [wave.as_of for wave in waves])
    workspace.close()
    return [simulate_rounds(world, seed=seed, waves=[wave.name for wave in waves]) for seed in SEEDS]


def sum_truth(waves: Sequence[WaveOutcome]) -> float:
    return sum(wave.truth for wave in waves)


def sum_estimate(waves: Sequence[WaveOutcome]) -> Estimate:
    return sum_estimates([wave.estimated.to_dict() for wave in waves])


@pytest.mark.slow
def test_the_second_round_truly_earns_more_than_the_first(outcomes: Rounds) -> None:
    gained = np.array([sum_truth(waves[2:]) - sum_truth(waves[:2]) for waves in outcomes])
    # Of the mean over all seeds, not of a few of them: a single market's second round may be unlucky.
    assert estimate_mean(gained).lower > 0
    assert np.mean(gained > 0) > 2 / 3


@pytest.mark.slow
def test_intervals_of_a_hundred_rounds_cover_the_truth(outcomes: Rounds) -> None:
    rounds = [half for waves in outcomes for half in (waves[:2], waves[2:])]
    assert len(rounds) == 100
    covered = sum(sum_estimate(half).covers(sum_truth(half)) for half in rounds)
    assert 90 <= covered <= 99


@pytest.mark.slow
def test_intervals_of_single_waves_cover_the_truth(outcomes: Rounds) -> None:
    waves = [wave for found in outcomes for wave in found]
    covered = sum(wave.estimated.covers(wave.truth) for wave in waves) / len(waves)
    assert 0.90 <= covered <= 0.99


@pytest.mark.slow
def test_every_optimised_plan_is_certified_and_promises_about_what_it_earns(outcomes: Rounds) -> None:
    planned = [wave for waves in outcomes for wave in waves if wave.gap is not None]
    assert len(planned) == 3 * len(SEEDS)
    assert max(wave.gap for wave in planned if wave.gap is not None) <= 0.001
    ratio = sum_truth(planned) / sum(wave.promised.estimate for wave in planned)
    assert 0.9 < ratio < 1.1
