"""The exact core improves a plan or leaves it, and keeps standard output clean."""

from __future__ import annotations

import os

import numpy as np
import pytest

from aimwell.strategy import core
from aimwell.strategy.certificate import find_usable, keeps, sum_value
from aimwell.strategy.quiet import drop_solver_output
from tests.strategy.world import make_problem


def test_a_core_only_improves() -> None:
    problem = make_problem(60, 8, seed=2)
    nothing = np.full((60, 1), -1, dtype=np.int64)
    usable = find_usable(problem)
    part = core.solve_core(problem, usable, nothing, np.arange(30), problem.value, tolerance=1e-9)
    whole = core.solve_core(problem, usable, part, np.arange(60), problem.value, tolerance=1e-9)
    assert keeps(problem, part)
    assert np.all(part[30:] == -1)
    assert 0 < sum_value(problem, part) < sum_value(problem, whole)
    again = core.solve_core(problem, usable, whole, np.arange(20), problem.value, tolerance=1e-9)
    assert sum_value(problem, again) >= sum_value(problem, whole)


def test_an_answer_cut_short_is_taken_only_if_it_keeps_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = make_problem(400, 16, seed=4)
    nothing = np.full((400, 1), -1, dtype=np.int64)
    monkeypatch.setattr(core, "SECONDS", 1e-6)
    slots = core.solve_core(
        problem, find_usable(problem), nothing, np.arange(400), problem.value, tolerance=1e-9
    )
    assert keeps(problem, slots)
    assert sum_value(problem, slots) >= 0


def test_only_the_solvers_lines_are_dropped(capfd: pytest.CaptureFixture[str]) -> None:
    with drop_solver_output():
        os.write(1, b"HighsMipSolverData::something\n")
        os.write(1, b"somebody else\n")
    print("after")
    assert capfd.readouterr().out == "somebody else\nafter\n"
