"""Power and sizes agree with each other and with the textbook."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimwell.stats.power import (
    find_customers_for_buyers,
    find_needed_control,
    find_needed_customers,
    find_power,
    find_smallest_effect,
)


def test_the_textbook_case() -> None:
    # Half a standard deviation, 80 % power: 63 a group by the normal approximation (Cohen 1988: 64 by t).
    assert find_needed_customers(effect=0.5, sd=1.0, control_share=0.5) == 126


@given(st.floats(0.1, 50.0), st.integers(2, 5000), st.integers(2, 5000))
def test_the_smallest_effect_has_the_wanted_power(sd: float, one: int, two: int) -> None:
    effect = find_smallest_effect(sd=sd, n_treatment=one, n_control=two)
    assert find_power(effect=effect, sd=sd, n_treatment=one, n_control=two) == pytest.approx(0.8)


@given(st.floats(0.05, 0.5), st.floats(0.05, 1.0))
def test_the_needed_customers_show_the_effect(share: float, effect: float) -> None:
    n = find_needed_customers(effect=effect, sd=1.0, control_share=share)
    assert n is not None
    control = math.ceil(n * share)
    assert find_smallest_effect(sd=1.0, n_treatment=n - control, n_control=control) <= effect * 1.05


def test_the_needed_control_of_a_fixed_audience() -> None:
    control = find_needed_control(effect=0.2, sd=1.0, audience=2000)
    assert control is not None and control < 1000
    assert find_smallest_effect(sd=1.0, n_treatment=2000 - control, n_control=control) <= 0.2
    assert find_smallest_effect(sd=1.0, n_treatment=2001 - control, n_control=control - 1) > 0.2
    assert find_needed_control(effect=0.01, sd=1.0, audience=2000) is None


def test_the_ends_have_answers() -> None:
    assert find_smallest_effect(sd=1.0, n_treatment=0, n_control=5) == math.inf
    assert find_power(effect=1.0, sd=1.0, n_treatment=0, n_control=5) == 0.0
    assert find_needed_customers(effect=0.0, sd=1.0, control_share=0.5) is None
    assert find_customers_for_buyers(0.0) is None
    assert find_customers_for_buyers(0.1) == 4000
