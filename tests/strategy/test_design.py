"""The experiment's draws: logged probabilities are the true ones, arms are balanced, the holdout persists."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aimwell.core.errors import BadInput
from aimwell.strategy.design import draw_arms, draw_holdout, find_near_best
from aimwell.strategy.inputs import PlanInputs, Shares
from aimwell.strategy.pilot import fill_quotas
from aimwell.strategy.planner import make_pilot, make_rollout
from aimwell.strategy.problem import Reals
from tests.strategy.world import make_inputs


def test_the_holdout_is_the_same_people_whoever_else_is_there() -> None:
    people = [f"c{index}" for index in range(20_000)]
    held = draw_holdout(people, salt="42", share=0.1)
    assert abs(held.mean() - 0.1) < 0.01
    assert np.array_equal(draw_holdout(people[::-1], salt="42", share=0.1), held[::-1])
    smaller = draw_holdout(people, salt="42", share=0.05)
    assert np.all(held[smaller])
    assert not draw_holdout(people, salt="42", share=0.0).any()


def make_chosen(strata: list[str], control: float) -> PlanInputs:
    shares = Shares(holdout=0.0, control=control)
    return replace(make_inputs(len(strata), shares=shares), strata=tuple(strata))


def test_arms_are_balanced_in_every_stratum_and_action() -> None:
    random = np.random.default_rng(1)
    strata = random.choice(["a", "b", "c"], 4000)
    actions = random.integers(0, 5, 4000)
    treated = draw_arms(make_chosen(strata.tolist(), 0.25), np.arange(4000), actions)
    assert abs((~treated).sum() - 1000) <= 1
    for stratum in "abc":
        for action in range(5):
            cell = (strata == stratum) & (actions == action)
            assert abs((~treated[cell]).sum() - 0.25 * cell.sum()) <= 1


def test_control_has_exactly_the_logged_probability() -> None:
    actions = np.array([0, 1, 0, 1, 0, 1, 1])
    inputs = make_chosen(["a", "a", "b", "b", "b", "a", "c"], 0.3)
    rounds = 6000
    times = sum(
        (~draw_arms(replace(inputs, plan_id=str(salt)), np.arange(7), actions)).astype(int)
        for salt in range(rounds)
    )
    assert np.all(np.abs(times / rounds - 0.3) < 4 * np.sqrt(0.21 / rounds))


def count_draws(inputs: PlanInputs, rounds: int, *, pilot: bool) -> tuple[Reals, Reals]:
    """How often each pair was drawn over many salts, and the probability that was logged for it (NaN: never)."""
    shape = (len(inputs.customers), len(inputs.actions))
    times, logged = np.zeros(shape), np.full(shape, np.nan)
    for salt in range(rounds):
        plan = replace(inputs, plan_id=str(salt))
        result = make_pilot(plan) if pilot else make_rollout(plan, effort="quick")
        times[result.customer, result.action] += 1
        seen = logged[result.customer, result.action]
        assert np.all(np.isnan(seen) | np.isclose(seen, result.probability))
        logged[result.customer, result.action] = result.probability
    return times / rounds, logged


@pytest.mark.parametrize("pilot", [True, False])
def test_actions_are_drawn_with_exactly_the_logged_probability(pilot: bool) -> None:
    shares = Shares(holdout=0.1, exploration=0.5)
    inputs = make_inputs(60, budget="12", seed=5, effects=not pilot, shares=shares)
    rounds = 300 if pilot else 80
    share, logged = count_draws(inputs, rounds, pilot=pilot)
    known = ~np.isnan(logged)
    error = np.sqrt(logged[known] * (1 - logged[known]) / rounds)
    z = (share[known] - logged[known]) / np.maximum(error, 1e-12)
    # Pairs that were never drawn are missing from ``known``: allow for the most extreme of hundreds.
    assert np.all(np.abs(z[error > 1e-6]) < 5)
    assert abs(float(z[error > 1e-6].mean())) < 0.4


def test_exploration_keeps_every_limit_and_only_near_best_actions() -> None:
    inputs = make_inputs(800, budget="80", shares=Shares(exploration=0.6))
    result = make_rollout(inputs)
    assert all(use.kept for use in result.uses)
    assert result.explored.sum() > 50
    assert np.all((result.probability > 0) & (result.probability <= 1))
    near = find_near_best(inputs, result.customer, result.action, inputs.build_rows())
    assert near[np.arange(len(result.action)), result.action].all()
    assert np.all(result.profit > 0)


def test_quotas_are_even_until_a_limit_binds() -> None:
    # Two actions; the second alone uses a scarce unit, of which there are 10.
    usage = np.array([[1.0, 1.0], [0.0, 1.0]])
    (quota,) = fill_quotas([100], [usage], np.array([1000.0, 10.0]), 0.5)
    assert quota.tolist() == [40, 10]
    (free,) = fill_quotas([100], [usage], np.array([1000.0, 1000.0]), 0.5)
    assert free.tolist() == [25, 25]
    (poor,) = fill_quotas([100], [usage], np.array([7.0, 1000.0]), 0.5)
    assert sorted(poor.tolist()) == [3, 4]
    (none,) = fill_quotas([100], [usage], np.array([0.0, 10.0]), 0.5)
    assert none.tolist() == [0, 0]


def test_a_pilot_without_control_is_refused() -> None:
    with pytest.raises(BadInput) as refused:
        make_pilot(make_inputs(50, effects=False, shares=Shares(control=0.0)))
    assert refused.value.code == "strategy.no_control"


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_shares_out_of_range_are_refused(share: float) -> None:
    with pytest.raises(BadInput):
        Shares(control=share)


def test_an_audience_of_three_says_what_is_missing() -> None:
    result = make_pilot(make_inputs(3, effects=False, shares=Shares(holdout=0.0)))
    assert len(result.customer) <= 3
    assert result.lacks
    assert all(text.render("zh") != text.render("en") for text in result.lacks)
