"""The optimiser for many against HiGHS on whole instances, against its small twin, and at the edges of its input."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from aimwell.core.errors import BadInput, Conflict
from aimwell.strategy.certificate import bound_profit, find_usable, keeps, sum_usage, sum_value
from aimwell.strategy.large import passes, solve
from aimwell.strategy.large.audience import LocalAudience
from aimwell.strategy.large.instance import Instance, TableRow
from aimwell.strategy.large.passes import People, choose, choose_in_box, make_box, make_tariff, sum_use
from aimwell.strategy.large.solve import allocate, certify
from aimwell.strategy.optimiser import optimise
from tests.strategy.large.world import draw_instance, make_instance, to_problem
from tests.strategy.test_optimiser import solve_whole


@pytest.fixture(autouse=True, scope="module")
def many() -> Iterator[None]:
    """Even a handful of customers are treated as many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solve, "FEW", 0)
        yield


@settings(max_examples=200)
@given(draw_instance())
def test_a_plan_keeps_every_limit_and_the_truth_lies_below_the_bound(instance: Instance) -> None:
    problem = to_problem(instance)
    optimum = solve_whole(problem)
    if optimum is None:
        with pytest.raises(Conflict):
            allocate(instance)
        return
    found = allocate(instance)
    slots = found.chosen.astype(np.int64)
    assert keeps(problem, slots)
    assert found.objective == pytest.approx(sum_value(problem, slots), abs=1e-9)
    assert found.objective <= optimum + 1e-6 <= found.upper_bound + 2e-6
    assert found.objective >= found.upper_bound - found.gap * abs(found.upper_bound) - 1e-6
    assert list(found.used) == pytest.approx([sum_usage(row, slots) for row in problem.rows])


@settings(max_examples=100)
@given(draw_instance())
def test_a_pass_is_what_the_dense_dual_is(instance: Instance) -> None:
    problem = to_problem(instance)
    prices = np.random.default_rng(len(instance.rows)).random(len(instance.rows))
    people = People.all(instance)
    found = choose(people, make_tariff(instance, prices))
    linear = sum(price * row.sign * row.limit for price, row in zip(prices, instance.rows, strict=True))
    dense = bound_profit(problem, prices, problem.mask)
    assert found.reduced + linear == pytest.approx(dense, abs=1e-9)
    assert found.reduced + linear <= certify(LocalAudience.of(instance), prices) <= dense + 1e-7
    slots = found.chosen.astype(np.int64)
    used = [sum_usage(row, slots) for row in problem.rows]
    assert list(sum_use(instance, found.counts, found.spent)) == pytest.approx(used)
    assert find_usable(problem).shape == problem.mask.shape


@settings(max_examples=200)
@given(draw_instance())
def test_whoever_has_room_in_a_box_chooses_the_same_anywhere_in_it(instance: Instance) -> None:
    random = np.random.default_rng(instance.customers + 100 * len(instance.rows))
    prices, width = random.random(len(instance.rows)), 0.3 * random.random(len(instance.rows))
    people = People.all(instance)
    found, margins = choose_in_box(people, make_tariff(instance, prices), make_box(instance, width))
    assert np.array_equal(found.chosen, choose(people, make_tariff(instance, prices)).chosen)
    for corner in np.sign(random.normal(size=(8, len(prices)))):
        elsewhere = choose(people, make_tariff(instance, np.maximum(prices + corner * width, 0.0))).chosen
        same = np.all(np.sort(elsewhere) == np.sort(found.chosen), axis=1)
        assert np.all(same | (margins <= 1e-6))


@pytest.mark.parametrize("slots", [1, 2])
@pytest.mark.parametrize("seed", [0, 1])
def test_thousands_are_allocated_within_a_ten_thousandth(slots: int, seed: int) -> None:
    instance = make_instance(20_000, slots=slots, seed=seed)
    found = allocate(instance)
    assert keeps(to_problem(instance), found.chosen.astype(np.int64))
    assert 0 <= found.gap <= 1e-4
    again = allocate(instance, start=found.prices)
    assert again.gap <= 1e-4


def test_a_minimum_that_hardly_anybody_can_fill_is_met() -> None:
    plain = make_instance(120_000)
    random, value = np.random.default_rng(3), plain.value.copy()
    last = plain.actions - 1
    value[:, last] = -np.inf
    value[random.choice(len(value), 25, replace=False), last] = -20.0
    table = np.zeros_like(plain.rows[0].table)
    table[:, last] = 1.0
    rare = TableRow("rare", table, 10.0, "at_least")
    # Parts of a sample have one or two of them, or none, and then no price is high enough.
    found = allocate(replace(plain, value=value, rows=(*plain.rows, rare)))
    assert found.used[-1] == 10.0 and found.gap <= 1e-4
    assert found.prices[-1] >= 20.0


def test_it_agrees_with_the_optimiser_for_few() -> None:
    instance = make_instance(3_000)
    few, many = optimise(to_problem(instance)), allocate(instance)
    assert many.objective == pytest.approx(few.objective, rel=3e-4)
    assert many.upper_bound == pytest.approx(few.upper_bound, rel=1e-4)


def test_threads_and_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    instance = make_instance(6_000, slots=2)
    first = allocate(instance)
    monkeypatch.setattr(passes, "THREADS", 1)
    second = allocate(instance)
    assert np.array_equal(first.chosen, second.chosen) and first.upper_bound == second.upper_bound


@pytest.mark.parametrize(
    ("change", "column"),
    [
        ({"value": np.full((3, 2), np.nan, np.float32)}, "value"),
        ({"value": np.full((3, 2), np.inf, np.float32)}, "value"),
        ({"cost": np.full((3, 2), -1, np.float32)}, "cost"),
        ({"per_customer": 0}, "per_customer"),
        ({"segment": np.array([0, -1, 0], np.int32)}, "segment"),
        ({"rows": (TableRow("r", np.full((1, 2), -1.0), 1.0),)}, "r"),
        ({"rows": (TableRow("r", np.ones((1, 2)), np.inf),)}, "r"),
        ({"rows": (TableRow("r", np.ones((1, 3)), 1.0),)}, "r"),
        ({"rows": (TableRow("r", np.ones((1, 2)), 1.0),) * 2}, "rows"),
    ],
)
def test_numbers_that_cannot_be_used_are_refused(change: dict[str, object], column: str) -> None:
    usual: dict[str, object] = {
        "value": np.ones((3, 2), np.float32),
        "rows": (),
        "segment": np.zeros(3, np.int32),
        "cost": np.ones((3, 2), np.float32),
    }
    with pytest.raises(BadInput) as refused:
        Instance(**{**usual, **change})  # type: ignore[arg-type]
    assert refused.value.where["column"] == column
