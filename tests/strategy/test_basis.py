"""What plans rest on: promises kept over planted worlds, joint errors, proof, and one basis for all questions."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from aimwell.core.text import say
from aimwell.strategy.basis import Evidence, join_errors, make_alike, prepare
from aimwell.strategy.fallback import CAUTION
from aimwell.strategy.frontier import trace_frontier
from aimwell.strategy.inputs import PlanInputs
from aimwell.strategy.joint import JointErrors, sum_errors
from aimwell.strategy.optimism import OWN_MODEL, Kept
from aimwell.strategy.planner import JOINT_METHOD, METHOD, make_rollout
from aimwell.strategy.scenarios import compare_scenarios, measure_difference, set_budget, solve
from tests.strategy.world import make_inputs

Reals = NDArray[np.float64]
OWN = {"source": "plans", "proven": False, "n": 900, "p_value": 0.3, "slope": 0.4}


def draw_joint(inputs: PlanInputs, *, seed: int = 0) -> JointErrors:
    random = np.random.default_rng(seed)
    loading = random.normal(0, 0.3, (2 * len(inputs.actions), 3)) + np.array([0.4, 0.0, 0.0])
    loading /= np.maximum(1.05 * np.sqrt(np.sum(loading**2, axis=1, keepdims=True)), 1.0)
    return JointErrors(random.integers(0, 2, inputs.eligible.shape), loading)


def draw_errors(inputs: PlanInputs, joint: JointErrors, seed: int) -> Reals:
    """Errors of all pairs as the joint errors say; money."""
    random = np.random.default_rng(seed)
    cells = np.arange(len(inputs.actions)) * joint.groups + joint.group
    own = np.sqrt(1 - np.sum(joint.loading**2, axis=1))
    common = (joint.loading @ random.standard_normal(joint.loading.shape[1]))[cells]
    return np.asarray(inputs.error * (common + own[cells] * random.standard_normal(cells.shape)))


def test_intervals_of_plans_and_differences_hold_with_joint_errors() -> None:
    plain = make_inputs(300, budget="120")
    inputs = replace(plain, joint=draw_joint(plain))
    assert inputs.joint is not None
    one, two = solve(inputs), solve(set_budget(inputs, 60.0))
    assert one.profit.method == JOINT_METHOD
    assert solve(plain).profit.method == METHOD
    difference, points = measure_difference(two, one), trace_frontier(inputs, points=6)
    band = np.array([(point.profit, point.band_lower, point.band_upper) for point in points])
    plans = [solve(set_budget(inputs, point.budget)) for point in points]
    held = np.zeros(3)
    for seed in range(400):
        errors = draw_errors(inputs, inputs.joint, seed)
        first, second = (errors[plan.customer, plan.action].sum() for plan in (one, two))
        moved = np.array([errors[plan.customer, plan.action].sum() for plan in plans])
        held += (
            one.profit.covers(one.profit.estimate + first),
            difference.covers(difference.estimate + first - second),
            np.all((band[:, 1] <= band[:, 0] + moved) & (band[:, 0] + moved <= band[:, 2])),
        )
    assert held / 400 == pytest.approx([0.95, 0.95, 0.95], abs=0.03)


def test_without_a_model_of_errors_an_actions_errors_add_up() -> None:
    error, action = np.array([1.0, 2.0, 3.0]), np.array([0, 0, 1])
    assert sum_errors(None, error, np.arange(3), action, 2).spread == pytest.approx(np.hypot(3, 3))


def test_loadings_are_found_by_action_and_estimate() -> None:
    inputs = make_inputs(50)
    assert inputs.estimate is not None
    names = tuple(action.action_id for action in reversed(inputs.actions))
    loading = np.zeros((len(names), 2, 1))
    loading[:, 1, 0] = np.linspace(0.1, 0.9, len(names))
    evidence = Evidence(names, np.zeros((len(names), 1)), loading)
    joint = join_errors(inputs, evidence)
    assert joint is not None
    np.testing.assert_array_equal(joint.group, inputs.estimate > 0)
    np.testing.assert_allclose(joint.loading.reshape(-1, 2)[:, 1], loading[::-1, 1, 0])
    assert join_errors(inputs, replace(evidence, actions=names[1:], loading=loading[1:])) is None
    assert join_errors(inputs, Evidence()) is None


def test_frontier_comparison_and_plan_say_the_same() -> None:
    broken = [Kept(1000.0, 300.0, 50.0)]
    basis = prepare(make_inputs(500, budget="120"), Evidence(personalising=OWN), broken)
    assert basis.inputs.caution == CAUTION
    assert basis.careful
    assert basis.kept_share < 0.5
    plan = make_rollout(basis.inputs)
    today = next(point for point in trace_frontier(basis.inputs, points=6) if point.today)
    base = compare_scenarios(basis.inputs, [])[0]
    assert today.profit == base["expected_profit"]["estimate"] == pytest.approx(plan.objective, rel=1e-12)
    assert today.chosen == base["chosen"] == len(plan.customer)


def test_before_a_plan_was_measured_effects_of_our_own_plans_count_less() -> None:
    inputs = make_inputs(60)
    fresh = prepare(inputs, Evidence(personalising=OWN), ())
    assert fresh.kept_share == pytest.approx(OWN_MODEL)
    assert any("85 %: no plan was measured here yet" in text.render("en") for text in fresh.describe())
    assert prepare(inputs, Evidence(), ()).inputs.estimate is inputs.estimate


def test_until_personalising_is_proven_everybody_has_the_mean_effect_if_so_asked() -> None:
    inputs = make_inputs(300)
    assert inputs.estimate is not None
    same = make_alike(inputs)
    assert same.estimate is not None
    assert np.all(np.ptp(same.estimate, axis=0) < 1e-12)
    counted = inputs.eligible[:, 2]
    assert same.estimate[0, 2] == pytest.approx(inputs.estimate[counted, 2].mean())
    for verdict, alike in ((None, True), (OWN, True), ({**OWN, "proven": True}, False)):
        evidence = Evidence(personalising=verdict)
        assert prepare(inputs, evidence, (), personalising="proven").alike is alike
        assert not prepare(inputs, evidence, ()).alike


@pytest.mark.parametrize(
    ("verdict", "start"),
    [
        (None, "Whether personalising is proven cannot be told"),
        (OWN, "Personalising is not proven: on 900 answers"),
        ({**OWN, "proven": True}, "Personalising is proven: on 900 answers"),
        ({"source": "experiment", "proven": True, "sentence": say("nothing").to_json()}, "nothing"),
    ],
)
def test_the_basis_says_whether_personalising_is_proven(
    verdict: dict[str, object] | None, start: str
) -> None:
    basis = prepare(make_inputs(40), Evidence(personalising=verdict), ())
    told = [text.both() for text in basis.describe()]
    assert any(text["en"].startswith(start) for text in told)
    assert all(text["zh"] != text["en"] for text in told)
    assert basis.to_dict()["joint_errors"] is False


def test_as_long_as_nothing_is_known_there_is_nothing_to_tell() -> None:
    basis = prepare(make_inputs(40, effects=False), Evidence(), ())
    assert basis.describe() == ()
