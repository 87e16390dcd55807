"""What past plans kept of their promises is where the next one starts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimwell.strategy.optimism import GREATEST, LEAST, Kept, measure_kept_share, start_from_lessons
from tests.strategy.world import make_inputs

MONEY = st.floats(-1e6, 1e6, allow_subnormal=False)


def test_without_lessons_a_promise_is_taken_as_it_is() -> None:
    inputs = make_inputs(20)
    assert measure_kept_share([]) == 1.0
    assert start_from_lessons(inputs, []) is inputs


def test_a_plan_that_promised_nothing_says_nothing() -> None:
    assert measure_kept_share([Kept(-300.0, 2000.0, 500.0), Kept(1000.0, 0.0, 0.0)]) == 1.0


def test_many_measured_plans_outweigh_the_belief() -> None:
    assert measure_kept_share([Kept(1000.0, 600.0, 50.0)] * 40) == pytest.approx(0.6, abs=0.01)


def test_a_noisy_measurement_moves_little() -> None:
    assert measure_kept_share([Kept(1000.0, 0.0, 5000.0)]) == pytest.approx(1.0, abs=0.01)


@given(st.lists(st.builds(Kept, MONEY, MONEY, st.floats(0, 1e6)), max_size=8))
def test_the_share_stays_within_its_bounds(plans: list[Kept]) -> None:
    assert LEAST <= measure_kept_share(plans) <= GREATEST


def test_effects_and_their_errors_shrink_alike() -> None:
    inputs = make_inputs(30)
    assert inputs.estimate is not None
    assert inputs.standard_error is not None
    share = measure_kept_share([Kept(1000.0, 500.0, 100.0)])
    started = start_from_lessons(inputs, [Kept(1000.0, 500.0, 100.0)])
    assert started.estimate is not None
    assert started.standard_error is not None
    np.testing.assert_allclose(started.estimate, share * inputs.estimate, equal_nan=True)
    np.testing.assert_allclose(started.standard_error, share * inputs.standard_error, equal_nan=True)
