"""Estimates keep their interval in order whatever is done to them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from aimwell.core.estimate import Estimate

numbers = st.floats(-1e6, 1e6, allow_nan=False)


@st.composite
def estimates(draw: st.DrawFn) -> Estimate:
    lower, middle, upper = sorted(draw(st.tuples(numbers, numbers, numbers)))
    return Estimate(middle, lower, upper, draw(st.integers(1, 10**7)), "drawn")


@given(estimates(), st.floats(-100, 100, allow_nan=False))
def test_scaling_keeps_the_ends_in_order(estimate: Estimate, factor: float) -> None:
    scaled = estimate.scale(factor)
    assert scaled.lower <= scaled.estimate <= scaled.upper
    assert (scaled.n, scaled.method) == (estimate.n, estimate.method)


@given(estimates(), st.integers(-(10**6), 10**6))
def test_shifting_moves_all_three(estimate: Estimate, amount: int) -> None:
    shifted = estimate.shift(amount)
    assert shifted == Estimate(
        estimate.estimate + amount, estimate.lower + amount, estimate.upper + amount, estimate.n, "drawn"
    )


@given(estimates())
def test_proven_means_that_zero_is_not_covered(estimate: Estimate) -> None:
    assert estimate.proven == (not estimate.covers(0))
    assert estimate.covers(estimate.estimate)


@given(estimates(), st.floats(0.01, 100))
def test_units_prove_nothing(estimate: Estimate, factor: float) -> None:
    if abs(estimate.lower) > 1e-100 and abs(estimate.upper) > 1e-100:
        assert estimate.scale(-factor).proven == estimate.proven


def test_json_carries_all() -> None:
    assert Estimate(1.5, 0.5, 2.5, 10, "Welch").to_dict() == {
        "estimate": 1.5,
        "lower": 0.5,
        "upper": 2.5,
        "n": 10,
        "method": "Welch",
        "proven": True,
    }
