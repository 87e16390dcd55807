"""Chart specifications: plain data, and the same figures as a table."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from aimwell.report.charts import Axis, Band, Bars, BarSeries, Curves, Line, thin_points
from aimwell.report.forest import Forest, ForestRow
from aimwell.report.heat import Cell, Heat
from aimwell.report.markup import Both
from aimwell.report.reading import Figure


def both(word: str) -> Both:
    return Both(word, word)


def test_a_curve_is_data_and_a_table() -> None:
    chart = Curves(
        Axis(both("budget"), "money", 0),
        Axis(both("profit"), "money"),
        [Line(both("plan"), [(0.0, 0.0), (100.0, 250.0)])],
        [Band(both("interval"), [(0.0, -1.0, 1.0), (100.0, 200.0, 300.0)])],
    )
    assert not chart.empty
    assert json.loads(json.dumps(chart.to_dict()))["lines"][0]["points"] == [[0.0, 0.0], [100.0, 250.0]]
    head, rows = chart.tabulate("USD")
    assert [cell.en for cell in head] == ["Series", "budget", "profit", "95% interval"]
    assert [cell.en for cell in rows[1]] == ["plan", "$100.00", "$250.00", "[$200.00, $300.00]"]


def test_one_point_is_no_curve() -> None:
    axis = Axis(both("x"), "plain")
    assert Curves(axis, axis, [Line(both("a"), [(1.0, 1.0)])]).empty
    assert Curves(axis, axis, []).empty


def test_bars_leave_a_gap_where_nothing_is_known() -> None:
    axis = Axis(both("share"), "percent")
    bars = Bars([both("a"), both("b")], [BarSeries(both("s"), [0.5, None])], axis)
    assert [row[1].en for row in bars.tabulate("USD")[1]] == ["50%", "—"]
    assert Bars([both("a")], [BarSeries(both("s"), [None])], axis).empty


def test_a_forest_says_what_is_proven_and_what_is_true() -> None:
    rows = [
        ForestRow(both("gain"), Figure(2, 1, 3, 10), truth=2.5),
        ForestRow(both("unclear"), Figure(2, -1, 3)),
        ForestRow(both("loss"), Figure(-2, -3, -1), promised=1.0),
    ]
    forest = Forest(rows, Axis(both("effect"), "money"))
    assert [row["tone"] for row in forest.to_dict()["rows"]] == ["gain", "quiet", "loss"]
    head, table = forest.tabulate("USD")
    assert [cell.en for cell in head][-2:] == ["Truth (simulated)", "Promised"]
    assert [cell.en for cell in table[0]] == ["gain", "$2.00", "[$1.00, $3.00]", "10", "$2.50", "—"]


def test_a_map_lists_its_squares() -> None:
    grades = [both("1"), both("2")]
    heat = Heat(grades, grades, [Cell(0, 1, 1200, None)], *map(both, "xyvm"))
    assert [cell.en for cell in heat.tabulate("USD")[1][0]] == ["1", "2", "1,200", "—"]


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=300))
def test_thinning_keeps_the_ends(points: list[tuple[float, float]]) -> None:
    thin = thin_points(points)
    assert len(thin) <= 80
    assert (thin[0], thin[-1]) == (points[0], points[-1])
