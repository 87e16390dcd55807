"""Re-randomisation: invariances, strata, agreement with Student where Student is right."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from aimwell.stats.difference import compare_means
from aimwell.stats.moments import Moments
from aimwell.stats.permutation import Rerandomisation, rerandomise


def draw(n: int = 80, seed: int = 2, effect: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    treated = np.zeros(n, dtype=bool)
    treated[random.permutation(n)[: int(n * 0.7)]] = True
    return random.normal(0, 1, n) + effect * treated, treated


def redraw(y: np.ndarray, treated: np.ndarray, **options: object) -> Rerandomisation:
    found = rerandomise(y, treated, generator=np.random.default_rng(4), **options)  # type: ignore[arg-type]
    assert found is not None
    return found


def test_normal_outcomes_give_students_interval() -> None:
    y, treated = draw(400)
    found = redraw(y, treated, repetitions=4000).to_effect(method="p")
    known = compare_means(Moments.of(y[treated]), Moments.of(y[~treated]))
    assert_allclose(found.estimate, known.estimate)
    assert_allclose([found.lower, found.upper], [known.lower, known.upper], atol=0.03)


@given(st.floats(0.01, 1000.0), st.floats(-100.0, 100.0))
def test_units_scale_the_interval_and_a_level_changes_nothing(factor: float, level: float) -> None:
    y, treated = draw()
    plain = redraw(y, treated, repetitions=300)
    moved = redraw(y * factor + level, treated, repetitions=300)
    assert_allclose(
        moved.find_interval(), np.array(plain.find_interval()) * factor, rtol=1e-4, atol=1e-6 * factor
    )
    assert moved.find_p_value() == pytest.approx(plain.find_p_value(), abs=2 / 301)


def test_the_interval_holds_what_the_test_does_not_reject() -> None:
    y, treated = draw()
    draws = redraw(y, treated, repetitions=999)
    lower, upper = draws.find_interval()
    for inside in (lower + 1e-6, upper - 1e-6):
        assert draws.find_p_value(inside) > 0.05
    for outside in (lower - 1e-6, upper + 1e-6):
        assert draws.find_p_value(outside) <= 0.05


def test_shifting_the_treated_shifts_the_interval() -> None:
    y, treated = draw()
    plain, moved = redraw(y, treated), redraw(y + 5.0 * treated, treated)
    assert_allclose(np.array(moved.find_interval()) - 5.0, plain.find_interval(), atol=1e-6)


def test_the_p_value_is_that_of_all_arrangements() -> None:
    y = np.array([0.1, 0.5, 0.9, 2.3, 2.8, 3.4, 0.3, 4.1])
    treated = np.array([False, False, False, True, True, True, False, True])

    def find_statistic(rows: tuple[int, ...]) -> float:
        inside = np.isin(np.arange(8), rows)
        one, two = Moments.of(y[inside]), Moments.of(y[~inside])
        return compare_means(one, two).estimate / compare_means(one, two).standard_error

    observed = find_statistic(tuple(np.flatnonzero(treated)))
    every = [find_statistic(rows) for rows in combinations(range(8), 4)]
    exact = np.mean([value >= observed - 1e-9 for value in every])
    assert redraw(y, treated, repetitions=20_000).find_tails()[0] == pytest.approx(exact, abs=0.003)


def test_arms_are_drawn_again_within_strata() -> None:
    random = np.random.default_rng(8)
    strata = np.repeat([0, 1], 100)
    treated = np.concatenate([random.permutation(100) < 80, random.permutation(100) < 20])
    y = 10.0 * strata + random.normal(0, 1, 200)
    wrong = redraw(y, treated)
    right = redraw(y, treated, strata=strata, groups=strata)
    assert wrong.find_p_value() < 0.01
    assert right.find_p_value() > 0.05
    assert abs(right.estimate) < 0.5


def test_nothing_to_draw_is_none() -> None:
    generator = np.random.default_rng(0)
    assert rerandomise(np.ones(10), np.arange(10) < 5, generator=generator) is None
    assert rerandomise(np.arange(10.0), np.ones(10, dtype=bool), generator=generator) is None
