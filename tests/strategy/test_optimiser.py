"""The optimiser against the whole truth: HiGHS on the entire instance, and the edges of its input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp

from aimwell.core.errors import BadInput, Conflict
from aimwell.strategy.certificate import keeps
from aimwell.strategy.optimiser import optimise
from aimwell.strategy.problem import Problem, Row, Sense
from tests.strategy.world import make_problem


def solve_whole(problem: Problem) -> float | None:
    """The true optimum, or None when nothing keeps the limits."""
    customers, actions = np.nonzero(problem.mask)
    if not len(customers):
        return 0.0 if all(row.sense == "at_most" or row.limit <= 0 for row in problem.rows) else None
    constraints = []
    for row in problem.rows:
        low, high = (-np.inf, row.limit) if row.sense == "at_most" else (row.limit, np.inf)
        constraints.append(LinearConstraint(row.usage[customers, actions][None, :], low, high))
    mine = (customers[None, :] == np.arange(problem.customers)[:, None]).astype(float)
    constraints.append(LinearConstraint(mine, -np.inf, problem.slots))
    cell = customers * (int(problem.groups.max()) + 1) + problem.groups[actions]
    same = (cell[None, :] == np.unique(cell)[:, None]).astype(float)
    constraints.append(LinearConstraint(same, -np.inf, 1))
    value = problem.value[customers, actions]
    found = milp(
        -value,
        integrality=np.ones(len(value)),
        bounds=Bounds(0, 1),
        constraints=constraints,
        options={"mip_rel_gap": 0.0},
    )
    return None if found.status == 2 else float(-found.fun)


@st.composite
def draw_problem(draw: st.DrawFn) -> Problem:
    n, a, m = draw(st.integers(1, 9)), draw(st.integers(1, 5)), draw(st.integers(0, 4))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    coarse = draw(st.booleans())
    value = random.integers(-3, 6, (n, a)).astype(float) if coarse else random.normal(0.5, 2, (n, a))
    rows = []
    for index in range(m):
        usage = random.integers(0, 5, (n, a)).astype(float) * (random.random((n, a)) < 0.7)
        sense: Sense = "at_least" if draw(st.integers(0, 4)) == 0 else "at_most"
        total = usage.max(axis=1).sum()
        share = draw(st.sampled_from([0.0, 0.1, 0.3, 0.6, 1.0]))
        rows.append(
            Row(f"row{index}", usage, float(np.floor(total * share * (0.4 if sense == "at_least" else 1))))
        )
        rows[-1] = replace(rows[-1], sense=sense)
    allowed = random.random((n, a)) < draw(st.sampled_from([0.5, 1.0]))
    offers = random.integers(0, 3, a) if draw(st.booleans()) else None
    return Problem(value, tuple(rows), allowed, offers, draw(st.integers(1, 3)))


@settings(max_examples=300)
@given(draw_problem())
def test_plan_is_kept_below_the_truth_and_the_truth_below_the_bound(problem: Problem) -> None:
    optimum = solve_whole(problem)
    if optimum is None:
        with pytest.raises(Conflict):
            optimise(problem)
        return
    solution = optimise(problem)
    assert keeps(problem, solution.slots)
    assert solution.objective <= optimum + 1e-6
    assert solution.upper_bound >= optimum - 1e-6 * max(1.0, abs(optimum))
    assert solution.objective >= optimum * (1 - solution.gap) - 1e-6 or optimum <= 0
    assert np.all(solution.prices >= 0)
    # Small instances are decided exactly.
    assert solution.objective == pytest.approx(optimum, abs=1e-6)


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("seed", range(2))
def test_realistic_size_has_a_small_certified_gap(seed: int, k: int) -> None:
    problem = make_problem(2500, 16, seed=seed, k=k, tight=(0.05, 0.3)[seed % 2])
    solution = optimise(problem)
    assert solution.gap <= 0.001
    assert solution.objective <= solution.upper_bound
    assert keeps(problem, solution.slots)


def test_many_customers_are_planned_from_a_sample() -> None:
    problem = make_problem(12_000, 20, seed=1, tight=0.05)
    solution = optimise(problem)
    assert solution.gap <= 0.001
    assert keeps(problem, solution.slots)


def test_same_input_gives_the_same_plan_and_start_does_not_harm() -> None:
    problem = make_problem(1200, 16, seed=7)
    first, second = optimise(problem), optimise(problem)
    assert np.array_equal(first.slots, second.slots)
    assert first.upper_bound == second.upper_bound
    warm = optimise(problem, start=first.prices, effort="quick")
    assert warm.gap <= 0.001
    assert keeps(problem, warm.slots)


def test_budget_of_zero_gives_the_empty_plan_and_says_what_money_would_earn() -> None:
    value = np.array([[4.0, 1.0], [3.0, 6.0]])
    cost = np.array([[2.0, 1.0], [1.0, 2.0]])
    solution = optimise(Problem(value, (Row("budget", cost, 0.0),)))
    assert np.all(solution.slots == -1)
    assert solution.objective == solution.upper_bound == solution.gap == 0.0
    assert solution.prices[0] == pytest.approx(3.0, rel=1e-3)


def test_nothing_profitable_gives_the_empty_plan_without_gap() -> None:
    value = -np.ones((5, 3))
    solution = optimise(Problem(value, (Row("budget", np.ones((5, 3)), 2.0),)))
    assert np.all(solution.slots == -1)
    assert solution.gap == 0.0
    assert solution.prices.tolist() == [0.0]


def test_one_customer_and_nobody() -> None:
    solution = optimise(Problem(np.array([[1.0, 2.0]]), (Row("budget", np.array([[1.0, 3.0]]), 2.0),)))
    assert solution.slots.tolist() == [[0]]
    nobody = optimise(Problem(np.zeros((0, 2)), (Row("budget", np.zeros((0, 2)), 1.0),)))
    assert nobody.objective == nobody.gap == 0.0


@pytest.mark.parametrize("n", [50, 5000])
def test_ties_everywhere_are_settled(n: int) -> None:
    problem = Problem(np.full((n, 4), 10.0), (Row("budget", np.ones((n, 4)), float(n // 2)),))
    solution = optimise(problem)
    assert solution.objective == 10.0 * (n // 2)
    assert solution.gap <= 1e-5
    assert solution.used.tolist() == [n // 2]


def test_fractional_usages_keep_the_limit_exactly() -> None:
    random = np.random.default_rng(3)
    usage = random.random((150, 6))
    problem = Problem(random.random((150, 6)), (Row("budget", usage, 12.3), Row("other", usage[::-1], 14.1)))
    solution = optimise(problem)
    assert keeps(problem, solution.slots)
    assert solution.gap <= 0.002


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(bad: float) -> None:
    value = np.ones((2, 2))
    value[1, 1] = bad
    with pytest.raises(BadInput) as refused:
        Problem(value)
    assert refused.value.code == "strategy.bad_finite"
    with pytest.raises(BadInput):
        Problem(np.ones((2, 2)), (Row("budget", value, 1.0),))
    with pytest.raises(BadInput):
        Problem(np.ones((2, 2)), (Row("budget", np.ones((2, 2)), bad),))


def test_negative_costs_and_wrong_shapes_are_refused() -> None:
    ones = np.ones((2, 2))
    with pytest.raises(BadInput) as refused:
        Problem(ones, (Row("budget", -ones, 1.0),))
    assert refused.value.code == "strategy.bad_negative"
    assert refused.value.where == {"column": "budget"}
    for problem in (
        lambda: Problem(np.ones(3)),
        lambda: Problem(ones, (Row("budget", np.ones((3, 2)), 1.0),)),
        lambda: Problem(ones, allowed=np.ones((1, 2), dtype=np.bool_)),
        lambda: Problem(ones, per_customer=0),
        lambda: Problem(ones, offers=np.array([0])),
        lambda: Problem(ones, (Row("same", ones, 1.0), Row("same", ones, 2.0))),
    ):
        with pytest.raises(BadInput):
            problem()
