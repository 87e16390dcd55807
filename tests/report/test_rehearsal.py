"""The page of a rehearsal: intervals by round and policy, what is proven said in words, all labelled simulated."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from aimwell.report.charts import Axis, Band, Curves, Line
from aimwell.report.markup import Both
from aimwell.report.rehearsal import render_rehearsal
from tests.report.test_browser import browse, needs_browser


def make_estimate(middle: float, half: float) -> dict[str, Any]:
    return {"estimate": middle, "lower": middle - half, "upper": middle + half, "n": 9, "method": "simulated"}


def make_case(title: str) -> dict[str, Any]:
    def make_policy(name: str, profit: float, difference: tuple[float, float] | None) -> dict[str, Any]:
        by_round = [make_estimate(profit * at / 3, 5.0) for at in (1, 2, 3)]
        ahead = (
            None
            if difference is None
            else [make_estimate(difference[0] * at / 3, difference[1]) for at in (1, 2, 3)]
        )
        return {
            "title": {"en": name, "zh": f"策略{name}"},
            "profit": by_round[-1],
            "by_round": by_round,
            "ours_less_this": None if ahead is None else ahead[-1],
            "ours_less_by_round": ahead,
        }

    return {
        "title": {"en": title, "zh": f"市场{title}"},
        "lead": {"en": "9 markets", "zh": "9 个市场"},
        "policies": [
            make_policy("ours", 300.0, None),
            make_policy("worse", 100.0, (200.0, 50.0)),
            make_policy("alike", 290.0, (10.0, 50.0)),
            make_policy("better", 400.0, (-100.0, 50.0)),
        ],
        "sentences": [{"en": "All of it is simulated.", "zh": "全部为模拟。"}],
    }


PAYLOAD = {"cases": [make_case("still"), make_case("moving")]}


def test_the_page_says_what_is_proven_and_that_it_is_simulated() -> None:
    page = render_rehearsal(PAYLOAD, currency="USD")
    for said in (
        "ours is proven ahead",
        "not proven",
        "ours is proven behind",
        "simulated 模拟",
        "策略worse",
    ):
        assert said in page
    assert page.count('id="case-1"') == page.count('id="case-2"') == 1
    assert "+$200.00 [$150.00, $250.00]" in page


def test_nothing_is_drawn_of_nothing() -> None:
    page = render_rehearsal({"cases": [{"title": {"en": "empty", "zh": "空"}}]}, currency="CNY")
    assert "There is nothing to draw yet." in page
    assert "simulated 模拟" in render_rehearsal({}, currency="CNY")


def test_as_many_bands_as_lines_are_each_its_own_lines() -> None:
    names = [Both("a", "a"), Both("b", "b")]
    chart = Curves(
        Axis(Both("x", "x"), "count"),
        Axis(Both("y", "y"), "money"),
        [Line(name, [(1.0, 5.0 * at), (2.0, 6.0 * at)]) for at, name in enumerate(names, start=1)],
        [
            Band(name, [(1.0, 4.0 * at, 6.0 * at), (2.0, 5.0 * at, 7.0 * at)])
            for at, name in enumerate(names, start=1)
        ],
    )
    head, rows = chart.tabulate("USD")
    assert len(head) == 4
    assert [row[3].en for row in rows] == [
        "[$4.00, $6.00]",
        "[$5.00, $7.00]",
        "[$8.00, $12.00]",
        "[$10.00, $14.00]",
    ]


@needs_browser
@pytest.mark.parametrize("language", ["en", "zh"])
def test_both_charts_of_each_market_are_drawn(tmp_path: Path, language: str) -> None:
    path = tmp_path / "rehearsal.html"
    path.write_text(render_rehearsal(PAYLOAD, currency="USD"), encoding="utf-8")
    done = browse(path, language, "--dump-dom")
    assert "CONSOLE" not in done.stderr
    assert 'data-ready="4"' in done.stdout
    assert len(re.findall(r'class="chart [^>]*><div[^>]*><canvas', done.stdout)) == 4
