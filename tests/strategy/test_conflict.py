"""Contradictory limits are proven, and the smallest conflicting set is named."""

from __future__ import annotations

import numpy as np
import pytest

from aimwell.core.errors import Conflict
from aimwell.strategy.conflict import find_conflict, is_impossible
from aimwell.strategy.optimiser import optimise
from aimwell.strategy.problem import Problem, Row


def make_conflict(n: int) -> Problem:
    ones = np.ones((n, 2))
    rows = (
        Row("generous", ones, float(n)),
        Row("budget", 5 * ones, float(n)),
        Row("reach", ones, float(n // 2), "at_least"),
        Row("easy", ones, 1.0, "at_least"),
    )
    return Problem(ones, rows)


@pytest.mark.parametrize("n", [20, 3200])
def test_the_smallest_conflicting_set_is_named(n: int) -> None:
    problem = make_conflict(n)
    assert [row.name for row in find_conflict(problem)] == ["budget", "reach"]
    with pytest.raises(Conflict) as conflict:
        optimise(problem)
    assert conflict.value.code == "strategy.contradictory_limits"
    assert "budget, reach" in conflict.value.render("en")
    assert conflict.value.remedy is not None


@pytest.mark.parametrize("n", [20, 3200])
def test_no_conflict_where_there_is_none(n: int) -> None:
    problem = make_conflict(n)
    feasible = tuple(row for row in problem.rows if row.name != "reach")
    assert is_impossible(problem, problem.rows)
    assert not is_impossible(problem, feasible)


def test_a_minimum_that_only_fractions_could_keep_conflicts() -> None:
    usage = np.array([[2.0], [2.0]])
    rows = (Row("most", usage, 3.0), Row("least", usage, 3.0, "at_least"))
    with pytest.raises(Conflict):
        optimise(Problem(np.ones((2, 1)), rows))


def test_a_minimum_that_nobody_can_serve_conflicts() -> None:
    ones = np.ones((3, 1))
    nobody = np.zeros((3, 1), dtype=np.bool_)
    with pytest.raises(Conflict) as conflict:
        optimise(Problem(ones, (Row("reach", ones, 1.0, "at_least"),), nobody))
    assert "reach" in conflict.value.render("en")


def test_minimums_are_met_at_a_loss_and_priced() -> None:
    value = np.full((200, 2), [-1.0, 2.0])
    usage = np.zeros((200, 2))
    usage[:, 0] = 1.0
    solution = optimise(Problem(value, (Row("reach", usage, 30.0, "at_least"),)))
    assert solution.used.tolist() == [30.0]
    assert solution.objective == pytest.approx(170 * 2 - 30)
    assert solution.prices[0] == pytest.approx(3.0, rel=1e-3)
