"""The holdout that earns the most: against simulated programmes, and where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimwell.core.errors import BadInput
from aimwell.strategy.experiment.holdout import (
    Prior,
    Programme,
    find_expected_gain,
    find_preposterior_sd,
    find_value,
    size_holdout,
)


def simulate(programme: Programme, share: float, rounds: int, seed: int) -> tuple[float, float]:
    """Mean profit of simulated programmes that decide by the posterior mean, and its standard error."""
    random, prior, count = np.random.default_rng(seed), programme.prior, programme.customers
    truth = random.normal(prior.mean, prior.sd, rounds)
    variance = programme.noise**2 * (1 / (share * count) + 1 / ((1 - share) * count))
    seen = random.normal(truth, np.sqrt(variance))
    posterior = (prior.mean / prior.sd**2 + seen / variance) / (1 / prior.sd**2 + 1 / variance)
    later = (programme.windows - 1) * count * (1 if programme.released else 1 - share)
    profit = count * (1 - share) * truth + later * truth * (posterior > 0)
    return float(profit.mean()), float(profit.std() / np.sqrt(rounds))


@pytest.mark.parametrize("released", [True, False])
@pytest.mark.parametrize(("mean", "share"), [(0.02, 0.1), (-0.03, 0.3), (0.0, 0.5)])
def test_the_formula_is_what_simulated_programmes_earn(mean: float, share: float, released: bool) -> None:
    programme = Programme(20_000, 6, 8.0, Prior(mean, 0.1), released)
    earned, error = simulate(programme, share, 400_000, 1)
    assert abs(find_value(programme, share) - earned) < 4 * error


def test_no_share_earns_more_than_the_chosen_one() -> None:
    programme = Programme(50_000, 10, 10.0, Prior(0.05, 0.15))
    best = size_holdout(programme)
    grid = np.linspace(1e-4, 0.5, 4001)
    assert best.value >= max(find_value(programme, float(share)) for share in grid) - 1e-6 * abs(best.value)
    assert 0 < best.share < 0.5
    assert best.gain > 0


@settings(max_examples=100, deadline=None)
@given(
    st.integers(4, 10**7), st.integers(1, 50), st.floats(0.01, 1e4), st.floats(-100, 100), st.floats(0, 100)
)
def test_measuring_is_never_worse_than_belief_alone(
    n: int, windows: int, noise: float, mean: float, sd: float
) -> None:
    found = size_holdout(Programme(n, windows, noise, Prior(mean, sd)))
    assert 0 <= found.share <= 0.5
    assert found.gain >= 0
    assert 0 <= found.chance_to_go_on <= 1


def test_nobody_is_held_out_where_nothing_can_be_learnt_or_nothing_depends_on_it() -> None:
    assert size_holdout(Programme(1000, 10, 5.0, Prior(1.0, 0.0))).share == 0
    assert size_holdout(Programme(1000, 1, 5.0, Prior(1.0, 1.0))).share == 0
    assert size_holdout(Programme(1000, 10, 5.0, Prior(-100.0, 1.0))).share == 0


def test_more_customers_need_a_smaller_share() -> None:
    sizes = [
        size_holdout(Programme(n, 10, 10.0, Prior(0.1, 0.1))).share for n in (10**5, 10**6, 10**7, 10**8)
    ]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < 0.05


def test_what_is_expected_of_the_better_choice() -> None:
    draws = np.random.default_rng(2).normal(0.3, 0.7, 1_000_000)
    assert find_expected_gain(0.3, 0.7) == pytest.approx(np.maximum(draws, 0).mean(), abs=0.003)
    assert find_expected_gain(0.3, 0.0) == 0.3
    assert find_expected_gain(-0.3, 0.0) == 0.0
    assert find_preposterior_sd(Programme(10**9, 2, 1.0, Prior(0.0, 0.4)), 0.5) == pytest.approx(
        0.4, abs=1e-6
    )


@pytest.mark.parametrize("noise", [0.0, float("nan"), float("inf")])
def test_figures_that_cannot_be_are_refused(noise: float) -> None:
    with pytest.raises(BadInput):
        Programme(1000, 2, noise, Prior(0.0, 1.0))
