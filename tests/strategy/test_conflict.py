"""Contradictory limits are proven, and the smallest conflicting set is named."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from aimwell.core.errors import Conflict
from aimwell.strategy.conflict import find_conflict, is_impossible
from aimwell.strategy.optimiser import optimise
from aimwell.strategy.planner import make_rollout
from aimwell.strategy.problem import Problem, Row
from aimwell.strategy.scenarios import ask_minimum
from tests.strategy.world import make_inputs


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


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 3, 0, 2)])
def test_no_smaller_set_conflicts_in_whatever_order_limits_stand(order: tuple[int, ...]) -> None:
    ones = np.ones((10, 2))
    first = np.zeros((10, 2))
    first[:, 0] = 1.0
    rows = (
        Row("few", ones, 5.0),
        Row("some of the first", first, 3.0, "at_least"),
        Row("some of the second", ones - first, 3.0, "at_least"),
        Row("more than there are", ones, 11.0, "at_least"),
    )
    problem = Problem(ones, tuple(rows[place] for place in order))
    assert [row.name for row in find_conflict(problem)] == ["more than there are"]


def test_sets_are_as_small_as_trying_all_of_them_shows() -> None:
    random = np.random.default_rng(3)
    for _ in range(25):
        shape = (6, 2)
        rows = tuple(
            Row(
                f"r{place}",
                random.integers(0, 3, shape).astype(float),
                float(random.integers(0, 12)),
                "at_least" if random.random() < 0.5 else "at_most",
            )
            for place in range(5)
        )
        problem = Problem(np.ones(shape), rows)
        if not is_impossible(problem, rows):
            continue
        found = find_conflict(problem)
        assert is_impossible(problem, tuple(found))
        smaller = (some for size in range(1, len(found)) for some in combinations(rows, size))
        assert not any(is_impossible(problem, some) for some in smaller)


def test_a_conflict_is_told_with_titles_and_amounts_in_both_languages() -> None:
    inputs = ask_minimum(make_inputs(200, budget="5"), "call", 60).inputs
    with pytest.raises(Conflict) as conflict:
        make_rollout(inputs)
    told = conflict.value.render("en")
    assert "at least 60 customers" in told
    assert "Call minutes (at most 80 minutes)" in told or "Budget (at most $5.00)" in told
    assert conflict.value.render("zh") != told


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
