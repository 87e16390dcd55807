"""A plan for many customers asks the same question as one for few, and keeps the same promises."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aimwell.core.errors import Conflict
from aimwell.core.text import say
from aimwell.strategy import scale
from aimwell.strategy.certificate import bound_profit, keeps
from aimwell.strategy.inputs import Limit, PlanInputs
from aimwell.strategy.planner import make_rollout
from aimwell.strategy.scale import MANY, build_instance, build_problem, optimise_inputs
from tests.strategy.world import make_inputs, without_exploration


def make_many(customers: int = MANY + 2_000) -> PlanInputs:
    inputs = make_inputs(customers, budget="4000")
    limits = [replace(limit, limit=30 * limit.limit) for limit in inputs.limits[1:]]
    return without_exploration(replace(inputs, limits=(inputs.limits[0], *limits)))


def test_an_instance_asks_what_the_problem_asks() -> None:
    inputs = make_inputs(300)
    considered = np.arange(0, 300, 2)
    problem, instance = build_problem(inputs, considered), build_instance(inputs, considered)
    limits = np.array([row.limit for row in instance.rows])
    dense = instance.take(np.arange(len(considered)), limits)
    assert np.array_equal(dense.mask, problem.mask)
    assert np.allclose(dense.value[dense.mask], problem.value[problem.mask], rtol=1e-7)
    for one, other in zip(dense.rows, problem.rows, strict=True):
        assert (one.name, one.limit, one.sense) == (other.name, other.limit, other.sense)
        assert np.array_equal(one.usage[dense.mask], other.usage[dense.mask])


def test_many_customers_are_planned_within_the_certified_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    inputs = make_many()
    considered = np.arange(len(inputs.customers))
    many = optimise_inputs(inputs, considered)
    monkeypatch.setattr(scale, "MANY", len(considered))
    few = optimise_inputs(inputs, considered, effort="quick")
    problem = build_problem(inputs, considered)
    assert keeps(problem, many.slots)
    assert 0 <= many.gap <= 1e-4
    # The bound is the dual's in double precision, and no smaller.
    dual = min(bound_profit(problem, at, problem.mask) for at in (many.prices, np.zeros_like(many.prices)))
    assert dual * (1 - 1e-12) <= many.upper_bound <= dual * (1 + 1e-6)
    # Each plan is below the other's bound.
    assert many.objective <= few.upper_bound * (1 + 1e-12)
    assert few.objective <= many.upper_bound * (1 + 1e-12)
    assert many.objective >= few.objective * (1 - 1e-4)
    assert many.prices == pytest.approx(few.prices, rel=0.05, abs=2e-4)


@pytest.mark.parametrize("budget", [0.0, 40.0, 900.0])
def test_many_alike_customers_use_the_whole_budget(budget: float) -> None:
    inputs = make_many()
    shape = inputs.eligible.shape
    alike = replace(
        inputs,
        eligible=np.ones(shape, dtype=np.bool_),
        estimate=np.tile(np.linspace(0.5, 2.0, shape[1]), (shape[0], 1)),
        redemption=np.zeros(shape),
        limits=(replace(inputs.limits[0], limit=budget),),
    )
    considered = np.arange(shape[0])
    found = optimise_inputs(alike, considered)
    problem = build_problem(alike, considered)
    assert keeps(problem, found.slots)
    assert found.objective <= found.upper_bound
    if budget:
        assert found.gap <= 1e-3
        assert found.used[0] >= 100 * budget - alike.cost_cents.max()


def test_what_single_precision_hides_is_in_the_bound() -> None:
    inputs = make_many()
    shape = inputs.eligible.shape
    # Halves of halves, which single precision holds, and a trace that it rounds away.
    worth = 1.0 + np.random.default_rng(3).integers(0, 1 << 14, (shape[0], 1)) / (1 << 14) + 5e-8
    hidden = replace(
        inputs,
        eligible=np.ones(shape, dtype=np.bool_),
        estimate=worth + inputs.unit_cost,
        redemption=np.zeros(shape),
        limits=(replace(inputs.limits[0], limit=100.07),),
    )
    considered = np.arange(shape[0])
    problem = build_problem(hidden, considered)
    assert np.all(build_instance(hidden, considered).value < problem.value)
    found = optimise_inputs(hidden, considered)
    duals = [bound_profit(problem, at, problem.mask) for at in (found.prices, np.zeros_like(found.prices))]
    assert found.upper_bound >= min(duals) * (1 - 1e-12)


def test_a_rollout_of_many_keeps_its_limits() -> None:
    result = make_rollout(make_many())
    assert all(use.kept for use in result.uses)
    assert result.gap is not None and result.gap <= 1e-4


def test_contradictions_of_many_are_named() -> None:
    inputs = make_many()
    least = Limit("least", say("Contacts"), "contacts", float(len(inputs.customers)), "at_least")
    with pytest.raises(Conflict) as caught:
        make_rollout(replace(inputs, limits=(replace(inputs.limits[0], limit=5.0), least)))
    assert caught.value.code == "strategy.contradictory_limits"
