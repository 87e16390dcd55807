"""Figures for people: money with its sign and grouping (万/亿 for Chinese readers), percent, counts, dates.

A figure of effect never stands alone: ``show_interval`` and ``show_sample`` give what stands beside it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from typing import Literal, TypeAlias

from aimwell.core.money import show_money as write_money
from aimwell.core.text import say
from aimwell.report.markup import Both, make_both
from aimwell.report.reading import Figure

Unit: TypeAlias = Literal["money", "percent", "points", "count", "ratio", "plain"]
NONE = Both("—", "—")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def show(value: float | None, unit: Unit, currency: str, *, signed: bool = False) -> Both:
    """``value`` in ``unit``; ``signed`` puts a plus before a gain."""
    if value is None:
        return NONE
    writers: dict[Unit, Callable[[float], Both]] = {
        "money": lambda size: show_money(size, currency),
        "percent": show_percent,
        "points": show_points,
        "count": show_count,
        "ratio": show_ratio,
        "plain": show_plain,
    }
    text = writers[unit](value)
    return Both("+" + text.en, "+" + text.zh) if signed and value > 0 else text


def show_money(value: float, currency: str) -> Both:
    """Money in both languages."""
    return Both(write_money(value, currency, "en"), write_money(value, currency, "zh"))


def show_count(value: float) -> Both:
    """A count: grouped; 亿 for Chinese readers of very large ones."""
    size = abs(value)
    minus = "−" if value < 0 and round(size, 1) else ""
    english = f"{minus}{size:,.0f}" if size >= 100 or size == round(size) else f"{minus}{size:,.1f}"
    return Both(english, f"{minus}{size / 1e8:,.2f} 亿") if size >= 1e8 else Both(english, english)


def show_percent(value: float) -> Both:
    """A share as percent, with more places the smaller it is."""
    size = abs(value) * 100
    if 0 < size < 0.005:
        return Both("< 0.01%", "< 0.01%")
    places = 2 if size < 1 else 1
    text = f"{'−' if value < 0 else ''}{size:,.{places}f}%"
    text = text.replace(".00%", "%").replace(".0%", "%")
    return Both(text, text)


def show_points(value: float) -> Both:
    """A difference of shares in percentage points."""
    text = f"{'−' if value < 0 else ''}{abs(value) * 100:,.1f}"
    return Both(f"{text} pp", f"{text} 个百分点")


def show_ratio(value: float) -> Both:
    """A ratio, such as ROI."""
    text = f"{'−' if value < 0 else ''}{abs(value):,.2f}"
    return Both(text, text)


def show_plain(value: float) -> Both:
    """A number of unknown kind, with four significant places at most."""
    size = abs(value)
    text = f"{size:,.0f}" if size >= 1000 or size == round(size) else f"{size:.4g}"
    text = f"{'−' if value < 0 else ''}{text}"
    return Both(text, text)


def show_interval(figure: Figure, unit: Unit, currency: str) -> Both:
    """``[lower, upper]``; a dash where the interval is unknown."""
    low, high = show(figure.lower, unit, currency), show(figure.upper, unit, currency)
    if not figure.bounded:
        return make_both(say("interval unknown"))
    return Both(f"[{low.en}, {high.en}]", f"[{low.zh}, {high.zh}]")


def show_sample(figure: Figure) -> Both | None:
    """``n = 2,469``, where it is known; no line ends within it."""
    text = f"n\u00a0=\u00a0{figure.n or 0:,}"
    return None if figure.n is None else Both(text, text)


def show_effect(figure: Figure | None, unit: Unit, currency: str) -> Both:
    """Estimate and interval in one line."""
    if figure is None:
        return NONE
    value = show(figure.estimate, unit, currency, signed=True)
    if not figure.bounded:
        return value
    interval = show_interval(figure, unit, currency)
    return Both(f"{value.en} {interval.en}", f"{value.zh} {interval.zh}")


def show_date(value: object) -> Both:
    """An ISO date or instant in the reader's way; anything else as it is."""
    try:
        day = value if isinstance(value, date) else datetime.fromisoformat(str(value)).date()
    except ValueError:
        return Both(str(value), str(value))
    return Both(f"{day.day} {_MONTHS[day.month - 1]} {day.year}", f"{day.year}年{day.month}月{day.day}日")


def find_tone(figure: Figure | None) -> str:
    """The colour role of an effect: proven gains green, losses red, the rest grey."""
    return {1: "gain", -1: "loss", 0: "quiet"}[figure.sense if figure else 0]
