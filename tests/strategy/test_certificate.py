"""The certificate is exact: sums do not round in anybody's favour."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aimwell.strategy.certificate import (
    bound_profit,
    choose_best,
    find_usable,
    keeps,
    measure_excess,
    measure_gap,
    sum_value,
)
from aimwell.strategy.problem import Problem, Row
from tests.strategy.world import make_problem


def test_a_limit_is_checked_without_tolerance() -> None:
    usage = np.full((10, 1), 0.1)
    slots = np.zeros((10, 1), dtype=np.int64)
    # Ten times the double nearest to 0.1 is more than 1, although their rounded sum is 1.
    assert measure_excess(Row("most", usage, 1.0), slots) > 0
    assert measure_excess(Row("most", usage, math.nextafter(1.0, 2.0)), slots) <= 0
    assert measure_excess(Row("least", usage, 1.0, "at_least"), slots) <= 0


@given(st.integers(0, 10_000), st.integers(1, 3))
def test_the_bound_holds_at_any_prices(seed: int, k: int) -> None:
    problem = make_problem(40, 8, seed=seed, k=k)
    random = np.random.default_rng(seed)
    usable = find_usable(problem)
    plan = np.full((40, problem.slots), -1, dtype=np.int64)
    for customer in random.permutation(40):
        changed = plan.copy()
        changed[customer] = choose_best(problem.value, usable, problem)[customer]
        plan = changed if keeps(problem, changed) else plan
    prices = random.exponential(0.1, len(problem.rows)) * (random.random(len(problem.rows)) < 0.7)
    assert bound_profit(problem, prices, usable) >= sum_value(problem, plan)


def test_an_action_twice_or_an_offer_twice_is_not_kept() -> None:
    problem = Problem(np.ones((1, 3)), offers=np.array([0, 0, 1]), per_customer=2)
    assert keeps(problem, np.array([[0, 2]]))
    assert not keeps(problem, np.array([[0, 1]]))
    assert not keeps(problem, np.array([[2, 2]]))


def test_gap() -> None:
    assert measure_gap(0.0, 0.0) == 0.0
    assert measure_gap(99.0, 100.0) == 0.01
    assert measure_gap(-11.0, -10.0) == 0.1
    assert measure_gap(-1.0, 0.0) == math.inf
