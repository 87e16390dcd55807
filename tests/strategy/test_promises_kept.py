"""Promises against known truth, through the planner's own path, over 200 planted worlds."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from aimwell.strategy.basis import Evidence, prepare
from aimwell.strategy.inputs import PlanInputs
from aimwell.strategy.planner import make_rollout
from tests.strategy.world import make_inputs, without_exploration

Reals = NDArray[np.float64]
FIRST_SEED = 5_000
WORLDS = 50
"""At each of four levels of noise: 200 in all."""


def plant(seed: int) -> tuple[PlanInputs, Reals]:
    """Inputs without noise and the true effects: skewed, in proportion to the customer's size, alike by action."""
    inputs = without_exploration(make_inputs(240, seed=seed, budget="90"))
    random = np.random.default_rng([seed, 3])
    shape = inputs.eligible.shape
    size, taste = random.lognormal(0, 0.7, (shape[0], 1)), random.normal(0, 0.4, shape[1])
    return inputs, size * (random.gamma(1.2, 1.2, shape) + taste) - 0.4


def measure(inputs: PlanInputs, truth: Reals, level: float, seed: int) -> PlanInputs:
    """The same inputs with effects as an experiment measures them; noise in units of the effects' spread."""
    random = np.random.default_rng([seed, 4])
    error = level * truth.std() * np.broadcast_to(random.uniform(0.6, 1.4, truth.shape[1]), truth.shape)
    noisy = truth + error * random.standard_normal(truth.shape)
    return replace(inputs, estimate=noisy, standard_error=error, measured=True)


@pytest.mark.parametrize("level", [0.25, 0.5, 1.0, 2.0])
def test_over_two_hundred_planted_worlds_promised_is_realised(level: float) -> None:
    ours, naive = np.zeros(2), np.zeros(2)
    for seed in range(FIRST_SEED, FIRST_SEED + WORLDS):
        inputs, truth = plant(seed)
        raw = measure(inputs, truth, level, seed)
        ours += promise_and_earn(prepare(raw, Evidence(), ()).inputs, truth)
        if seed < FIRST_SEED + 15:
            naive += promise_and_earn(replace(raw, measured=False), truth)
    assert 0.9 <= ours[0] / ours[1] <= 1.1
    assert abs(ours[0] / ours[1] - 1) < naive[0] / naive[1] - 1


def promise_and_earn(inputs: PlanInputs, truth: Reals) -> Reals:
    """What a plan promises of the treated, and what they truly earn."""
    plan = make_rollout(inputs, effort="quick")
    assert all(use.kept for use in plan.uses)
    earned = (truth - inputs.unit_cost)[plan.customer, plan.action]
    return np.array([plan.expected_profit.estimate, float(earned[plan.treated].sum())])


def test_posteriors_keep_their_promise_and_would_promise_too_little_if_shrunken_again() -> None:
    once, twice = np.zeros(2), np.zeros(2)
    for seed in range(8):
        inputs, _ = plant(seed)
        random = np.random.default_rng([seed, 9])
        truth = random.normal(0.6, 1.0, inputs.eligible.shape)
        noisy = truth + 1.5 * random.standard_normal(truth.shape)
        keep = 1 / (1 + 1.5**2)
        posterior = replace(
            inputs, estimate=0.6 + keep * (noisy - 0.6), standard_error=np.full(truth.shape, 1.5 * keep**0.5)
        )
        for sums, asked in ((once, posterior), (twice, replace(posterior, measured=True))):
            sums += promise_and_earn(prepare(asked, Evidence(), ()).inputs, truth)
    assert once[0] / once[1] == pytest.approx(1, abs=0.08)
    assert twice[0] / twice[1] < 0.9


def test_a_plan_and_a_prepared_plan_of_measured_effects_are_one() -> None:
    inputs, truth = plant(1)
    raw = measure(inputs, truth, 1.0, 1)
    direct, prepared = make_rollout(raw), make_rollout(prepare(raw, Evidence(), ()).inputs)
    assert direct.expected_profit == prepared.expected_profit
    np.testing.assert_array_equal(direct.action, prepared.action)
    basis = prepare(raw, Evidence(), ())
    assert basis.correction is not None
    assert basis.describe()[0].render("en").startswith("Effects came as measured")
