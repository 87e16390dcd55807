"""Power and sizes agree with each other and with the textbook."""

from __future__ import annotations

import math
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimwell.stats.power import (
    find_customers_for_buyers,
    find_needed_customers,
    find_smallest_effect,
)


def test_the_textbook_case() -> None:
    # Half a standard deviation, 80 % power: 63 a group by the normal approximation (Cohen 1988: 64 by t).
    assert find_needed_customers(effect=0.5, sd=1.0, control_share=0.5) == 126


def test_the_smallest_effect_is_shown_in_four_of_five_experiments() -> None:
    effect = find_smallest_effect(sd=2.0, n_treatment=300, n_control=100)
    error = 2.0 * math.sqrt(1 / 300 + 1 / 100)
    assert NormalDist().cdf(effect / error - NormalDist().inv_cdf(0.975)) == pytest.approx(0.8)


@given(st.floats(0.05, 0.5), st.floats(0.05, 1.0))
def test_the_needed_customers_show_the_effect(share: float, effect: float) -> None:
    n = find_needed_customers(effect=effect, sd=1.0, control_share=share)
    assert n is not None
    control = math.ceil(n * share)
    assert find_smallest_effect(sd=1.0, n_treatment=n - control, n_control=control) <= effect * 1.05


def test_the_ends_have_answers() -> None:
    assert find_smallest_effect(sd=1.0, n_treatment=0, n_control=5) == math.inf
    assert find_needed_customers(effect=0.0, sd=1.0, control_share=0.5) is None
    assert find_customers_for_buyers(0.0) is None
    assert find_customers_for_buyers(0.1) == 4000
