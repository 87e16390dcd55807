"""Customers who are all alike: as many are chosen as the limits allow, with a small gap."""

from __future__ import annotations

import numpy as np
import pytest

from aimwell.strategy.optimiser import optimise
from aimwell.strategy.problem import Problem, Row
from aimwell.strategy.ties import has_ties, optimise_apart
from tests.strategy.world import make_problem


def make_alike(n: int, limit: float) -> Problem:
    return Problem(np.tile([0.27, 0.12], (n, 1)), (Row("budget", np.ones((n, 2)), limit),))


@pytest.mark.parametrize("limit", [0, 1, 9_000, 15_000, 20_000, 50_000])
def test_alike_customers_use_the_whole_limit(limit: int) -> None:
    problem = make_alike(20_000, float(limit))
    assert has_ties(problem.value, problem.mask)
    found = optimise_apart(problem, effort="quick")
    assert found.used[0] == min(limit, 20_000)
    assert found.objective == pytest.approx(0.27 * min(limit, 20_000))
    assert found.objective <= found.upper_bound <= found.objective * 1.0002 + 1e-9


def test_two_kinds_of_customers_are_served_best_first() -> None:
    problem = make_alike(12_000, 9_000.0)
    problem.value[::3] *= 2
    found = optimise_apart(problem, effort="quick")
    assert np.all(found.action[::3] == 0)
    assert found.objective == pytest.approx(4_000 * 0.54 + 5_000 * 0.27)


def test_minimums_are_kept_among_alike_customers() -> None:
    usage = np.zeros((8_000, 2))
    usage[:, 1] = 1.0
    rows = (Row("budget", np.ones((8_000, 2)), 6_000.0), Row("least", usage, 2_500.0, "at_least"))
    found = optimise_apart(Problem(np.tile([0.27, 0.12], (8_000, 1)), rows), effort="quick")
    assert found.used[1] == 2_500
    assert found.objective == pytest.approx(3_500 * 0.27 + 2_500 * 0.12, rel=1e-3)


def test_without_ties_nothing_is_touched() -> None:
    problem = make_problem(3_000, 4, seed=1)
    assert not has_ties(problem.value, problem.mask)
    one, two = optimise(problem, effort="quick"), optimise_apart(problem, effort="quick")
    assert np.array_equal(one.slots, two.slots)
    assert one.upper_bound == two.upper_bound
