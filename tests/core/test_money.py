"""Money is exact to the cent, and shown as its reader expects."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimwell.core.money import show_money, to_cents, to_money

cents = st.integers(-(10**15), 10**15)


@given(cents)
def test_cents_make_the_round_trip(amount: int) -> None:
    assert to_cents(Decimal(amount).scaleb(-2)) == amount


@given(st.floats(-1e9, 1e9, allow_nan=False))
def test_rounding_never_moves_by_more_than_half_a_cent(amount: float) -> None:
    assert abs(to_money(amount) - Decimal(str(amount))) <= Decimal("0.005")


@pytest.mark.parametrize(
    ("given_value", "expected"),
    [
        (0.1, "0.10"),
        (2.675, "2.68"),  # the binary float lies below 2.675; what was written is meant
        ("0.005", "0.00"),
        ("0.015", "0.02"),
        (7, "7.00"),
        (Decimal("-1.005"), "-1.00"),
    ],
)
def test_halves_go_to_the_even_cent(given_value: float | str | Decimal, expected: str) -> None:
    assert str(to_money(given_value)) == expected


@given(st.lists(cents, max_size=50))
def test_a_sum_of_money_has_no_error(amounts: list[int]) -> None:
    assert to_cents(sum((to_money(Decimal(a).scaleb(-2)) for a in amounts), Decimal(0))) == sum(amounts)


def test_money_is_shown_in_the_readers_units() -> None:
    assert show_money(1234.5, "USD") == "$1,234"
    assert show_money(12.3, "EUR") == "€12.30"
    assert show_money(-3, "CNY", "zh") == "−￥3.00"
    assert show_money(1_234_567, "CNY", "zh") == "￥123.5 万"
    assert show_money(250_000_000, "CNY", "zh") == "￥2.50 亿"
    assert show_money(5, "CHF") == "CHF 5.00"
