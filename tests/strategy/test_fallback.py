"""After a wave: broken promises are found, honest ones are left alone, and the plan grows careful by itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from aimwell.strategy.fallback import CAUTION, fall_back, judge_promise
from aimwell.strategy.optimism import Kept
from aimwell.strategy.planner import make_rollout
from tests.strategy.world import make_inputs, without_exploration

BROKEN, FINE = Kept(1000.0, 300.0, 100.0), Kept(1000.0, 950.0, 100.0)


def test_without_a_measured_plan_nothing_changes() -> None:
    inputs = make_inputs(20)
    assert judge_promise([]) is None
    assert judge_promise([Kept(-5.0, 1.0, 1.0), Kept(5.0, 1.0, 0.0)]) is None
    assert fall_back(inputs, []) == (inputs, ())


def test_an_honest_wave_is_seldom_called_broken_and_a_broken_one_mostly() -> None:
    draws = np.random.default_rng(1).normal(1000, 100, 20_000)
    alarms = [judge_promise([Kept(1000.0, float(x), 100.0)]) for x in draws]
    assert abs(np.mean([verdict is not None and verdict.broken for verdict in alarms]) - 0.01) < 0.003
    found = [judge_promise([Kept(1500.0, float(x), 100.0)]) for x in draws[:2000]]
    assert np.mean([verdict is not None and verdict.broken for verdict in found]) > 0.98


def test_only_the_last_wave_counts_so_that_trust_comes_back() -> None:
    inputs = make_inputs(20)
    careful, texts = fall_back(inputs, [FINE, BROKEN])
    assert careful.caution == CAUTION
    assert "1,000" in texts[0].render("en") and "300" in texts[0].render("zh")
    assert fall_back(inputs, [BROKEN, FINE]) == (inputs, ())


def test_who_is_careful_already_stays_so() -> None:
    inputs = replace(make_inputs(20), caution=2.0)
    assert fall_back(inputs, [BROKEN]) == (inputs, ())
    assert fall_back(make_inputs(20, effects=False), [BROKEN])[1] == ()


def test_the_careful_plan_earns_more_where_errors_were_understated() -> None:
    gains = []
    for seed in range(5):
        known = without_exploration(make_inputs(900, seed=seed, budget="200"))
        truth, random = known.estimate, np.random.default_rng([seed, 3])
        assert truth is not None
        # Some effects are known well and some hardly; all errors are said to be half of what they are.
        error = truth.std() * np.where(random.random(truth.shape) < 0.5, 0.2, 2.0)
        noisy = truth + error * random.standard_normal(truth.shape)
        told = replace(known, estimate=noisy, standard_error=error / 2)
        careful, _ = fall_back(told, [BROKEN])
        earned = []
        for inputs in (told, careful):
            plan = make_rollout(inputs)
            earned.append(float(known.profit[plan.customer, plan.action].sum()))
        gains.append(earned[1] / earned[0] - 1)
    assert min(gains) > 0
    assert np.mean(gains) > 0.1
