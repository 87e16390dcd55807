"""Exact money: decimals with two places wherever it is kept or summed for a person."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal

from aimwell.core.text import Language

CENT = Decimal("0.01")
_SIGNS = {"CNY": "¥", "USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥", "HKD": "HK$", "TWD": "NT$"}


def to_money(value: Decimal | float | int | str) -> Decimal:
    """``value`` rounded half-even to cents. Floats go through ``repr``, so 0.1 is ten cents exactly."""
    exact = value if isinstance(value, Decimal) else Decimal(str(value))
    return exact.quantize(CENT, rounding=ROUND_HALF_EVEN)


def to_cents(value: Decimal | float | int | str) -> int:
    """``value`` in whole cents."""
    return int(to_money(value) * 100)


def show_money(value: Decimal | float | int, currency: str, language: Language = "en") -> str:
    """Money for a person: sign, grouping, and 万/亿 for Chinese readers of large amounts."""
    sign = _SIGNS.get(currency, currency + " ")
    if currency == "CNY" and language == "zh":
        sign = "￥"
    amount = float(value)
    minus = "−" if amount < 0 else ""
    size = abs(amount)
    if language == "zh" and size >= 1e8:
        return f"{minus}{sign}{size / 1e8:,.2f} 亿"
    if language == "zh" and size >= 1e5:
        return f"{minus}{sign}{size / 1e4:,.1f} 万"
    return f"{minus}{sign}{size:,.0f}" if size >= 1000 else f"{minus}{sign}{size:,.2f}"
