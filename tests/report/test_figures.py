"""Figures as people of both languages write them."""

from __future__ import annotations

import pytest

from aimwell.report.figures import find_tone, show, show_date, show_effect, show_interval, show_sample
from aimwell.report.markup import Both
from aimwell.report.reading import Figure


@pytest.mark.parametrize(
    ("value", "unit", "english", "chinese"),
    [
        (1234567.8, "money", "+$1,234,568", "+$123.5 万"),
        (250_000_000.0, "money", "+$250,000,000", "+$2.50 亿"),
        (-4.5, "money", "−$4.50", "−$4.50"),
        (1469307, "count", "+1,469,307", "+1,469,307"),
        (0.0003, "percent", "+0.03%", "+0.03%"),
        (0.00001, "percent", "+< 0.01%", "+< 0.01%"),
        (0.25, "percent", "+25%", "+25%"),
        (-0.0125, "percent", "−1.2%", "−1.2%"),
        (0.106, "points", "+10.6 pp", "+10.6 个百分点"),
        (1.566, "ratio", "+1.57", "+1.57"),
        (0.87312, "plain", "+0.8731", "+0.8731"),
        (0.0, "ratio", "0.00", "0.00"),
        (None, "money", "—", "—"),
    ],
)
def test_a_figure_in_both_languages(value: float | None, unit: str, english: str, chinese: str) -> None:
    assert show(value, unit, "USD", signed=True) == Both(english, chinese)  # type: ignore[arg-type]


def test_an_effect_never_stands_alone() -> None:
    figure = Figure(3911.0, 1707.0, 6115.0, 1480)
    assert show_effect(figure, "money", "USD").en == "+$3,911 [$1,707, $6,115]"
    sample = "n\u00a0=\u00a01,480"
    assert show_sample(figure) == Both(sample, sample)
    assert show_interval(Figure(1.0), "money", "USD").en == "interval unknown"


def test_dates_in_the_readers_way() -> None:
    assert show_date("2017-09-01") == Both("1 Sep 2017", "2017年9月1日")
    assert show_date("2026-03-02T08:00:00+00:00").en == "2 Mar 2026"
    assert show_date("soon").en == "soon"


def test_grey_is_whatever_is_not_proven() -> None:
    assert find_tone(Figure(1, 0.2, 2)) == "gain"
    assert find_tone(Figure(-1, -2, -0.2)) == "loss"
    assert find_tone(Figure(1, -0.2, 2)) == "quiet"
    # One of many effects looked at together: its own interval is not the last word.
    assert find_tone(Figure(1, 0.2, 2, proven=False)) == "quiet"
    assert find_tone(None) == "quiet"
