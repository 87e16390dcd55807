"""Paths are what the KPI says of a part of its window; forecasts hold the end; measured and observed are kept apart."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import pytest

from aimwell.core.errors import NotReady
from aimwell.core.tables import PLANS, RESULTS, SEGMENT_MEMBERS
from aimwell.core.time import Window
from aimwell.engine.workspace import Workspace
from aimwell.goals.curves import read_curves
from aimwell.goals.goal import Goal
from aimwell.goals.metrics import METRICS, bind_window
from aimwell.goals.overview import Asked, read_pace, set_company_goal
from aimwell.goals.pace import judge
from aimwell.goals.step import set_goal
from aimwell.goals.summary import summarise_pace
from aimwell.stats.forecast import EndForecast
from tests.goals.market import FIRST, make_orders, open_shop

DAYS = 280
TODAY = FIRST + timedelta(days=DAYS)
START = TODAY - timedelta(days=14)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    workspace = Workspace.create(tmp_path_factory.mktemp("pace") / "shop")
    open_shop(workspace, make_orders(days=DAYS), members=120)
    return workspace


def make_goal(metric: str, segment: str | None = None) -> Goal:
    return Goal("g", metric, START, 28, Decimal(0), 0.05, segment=segment)


@pytest.mark.parametrize("metric", list(METRICS))
def test_a_path_ends_where_the_kpi_is(shop: Workspace, metric: str) -> None:
    goal = make_goal(metric)
    with shop.read("goals") as reader:
        curves = read_curves(reader, goal, first=FIRST, until=TODAY, margin_rate=0.3)
        assert len(curves.so_far) == 15
        assert len(curves.past.starts) > 20
        for place in (0, len(curves.past.starts) - 1):
            start = date.fromordinal(int(curves.past.starts[place]))
            window = Window.after(start, 28)
            found = reader.query(METRICS[metric].sql, bind_window(METRICS[metric], window, 0.3))
            values = found["value"].to_pylist()
            assert curves.past.values[place, -1] == pytest.approx(sum(values) / len(values))
            assert start.weekday() == START.weekday()
            assert window.end <= TODAY


@pytest.mark.parametrize("metric", ["revenue_per_customer", "active_rate", "retention_rate", "repeat_rate"])
def test_a_segment_s_path_is_its_members_(shop: Workspace, metric: str) -> None:
    goal = make_goal(metric, "friends")
    with shop.read("goals") as reader:
        curves = read_curves(reader, goal, first=FIRST, until=TODAY, margin_rate=0.3)
        start = date.fromordinal(int(curves.past.starts[-1]))
        window = Window.after(start, 28)
        found = reader.query(METRICS[metric].sql, bind_window(METRICS[metric], window, 0.3)).to_pylist()
    values = [row["value"] for row in found if int(row["customer_id"][1:]) < 120]
    assert curves.past.values[-1, -1] == pytest.approx(sum(values) / len(values))


def test_a_segment_without_a_past_has_no_forecast(shop: Workspace) -> None:
    with shop.run("analysis", as_of=TODAY) as run:
        rows = [
            {
                "segment": "young",
                "customer_id": f"c{n}",
                "entered_on": TODAY,
                "left_on": None,
                "run_id": run.id,
            }
            for n in range(40)
        ]
        run.append("segment_members", SEGMENT_MEMBERS.build(rows))
    result = set_goal(shop, as_of=START, name="young", metric="active_rate", segment="young")
    said = " ".join(text["en"] for text in result.summary["feasibility"]["sentences"])
    assert "younger than the baseline" in said
    pace = read_pace(shop, "young", as_of=TODAY)
    assert (pace.forecast, pace.status, pace.expected) == (None, "unclear", None)
    assert "No forecast" in summarise_pace(pace, "CNY")["sentences"][1]["en"]


@pytest.mark.parametrize("measure", ["revenue", "contribution", "orders"])
def test_a_running_company_goal_is_forecast(shop: Workspace, measure: str) -> None:
    known = TODAY - timedelta(days=14)
    start = TODAY - timedelta(days=28)
    asked = Asked(f"c_{measure}", measure, start, 28, target=0.5)
    goal = set_company_goal(shop, asked, as_of=known)
    pace = read_pace(shop, goal.name, as_of=known)
    assert (pace.elapsed, pace.days_left, pace.status) == (14, 14, "behind")
    assert pace.forecast is not None
    ended = read_pace(shop, goal.name, as_of=TODAY)
    assert ended.status == "missed"
    assert pace.forecast.to_estimate().covers(ended.observed)
    assert pace.chance is not None
    assert pace.chance < 0.05
    assert pace.required == pytest.approx((pace.target - pace.observed) / 14)
    with shop.read() as reader:
        rows = "FROM order_lines WHERE ordered_on >= $day"
        sql = f"SELECT SUM(revenue) AS revenue, COUNT(DISTINCT order_id) AS orders {rows}"
        row = reader.query(sql, {"day": start}).to_pylist()[0]
    total = float(row["revenue"]) * 0.3 if measure == "contribution" else float(row[measure])
    assert ended.observed == pytest.approx(total)


def test_the_expected_path_knows_weekdays(shop: Workspace) -> None:
    set_company_goal(shop, Asked("path", "orders", START, 28, target=0.0), as_of=START)
    path = read_pace(shop, "path", as_of=TODAY).expected_path
    steps = [later - earlier for earlier, later in pairwise(path)]
    assert path[-1] == pytest.approx(read_pace(shop, "path", as_of=TODAY).target)
    # START is a Monday; Saturdays have twice the orders of Mondays.
    assert steps[5] > 1.6 * steps[0]
    assert steps[0] == pytest.approx(steps[7], rel=0.1)


def test_what_experiments_measured_stands_beside_what_was_observed(shop: Workspace) -> None:
    set_company_goal(shop, Asked("measured", "revenue", START, 28, target=0.05), as_of=START)
    set_goal(shop, as_of=START, days=14, name="wave", metric="revenue_per_customer", parent="measured")
    before = summarise_pace(read_pace(shop, "measured", as_of=TODAY), "CNY")
    assert before["measured"] is None
    assert "No experiment" in before["sentences"][-1]["en"]
    with shop.run("evaluation", as_of=START) as run:
        plan = {
            "goal": "wave", "round_number": 1, "wave": "pilot", "method": "randomised", "as_of": START, "days": 14,
            "audience": 9, "chosen": 9, "expected_profit": 0.0, "expected_profit_se": 0.0, "cost": Decimal(0),
            "fingerprint": "f", "simulated": False, "run_id": run.id,
        }  # fmt: skip
        run.append("plans", PLANS.build([{**plan, "plan_id": name} for name in ("p1", "p2")]))
        result = {
            "metric": "incremental_revenue", "segment": "all", "n_treatment": 5, "n_control": 4, "unit": "money",
            "method": "m", "look": 1, "simulated": False, "run_id": run.id,
        }  # fmt: skip
        ends = {"p1": (100.0, 70.0, 130.0), "p2": (50.0, 10.0, 90.0)}
        rows = [
            {**result, "plan_id": name, "estimate": middle, "lower": lower, "upper": upper}
            for name, (middle, lower, upper) in ends.items()
        ]
        run.append("results", RESULTS.build(rows))
    for name in ("measured", "wave"):
        pace = read_pace(shop, name, as_of=TODAY)
        assert pace.increments is not None
        total = pace.increments.total
        # 30² + 40² = 50²: separate experiments, so their errors add in squares.
        assert (total.estimate, total.lower, total.upper) == (150.0, 100.0, 200.0)
        said = [text["en"] for text in summarise_pace(pace, "CNY")["sentences"]]
        assert said[-2].startswith("Observed is everything")
        assert "¥150.00 more in total among the treated" in said[-1]
        assert "simulated" not in said[-1]


def test_judgement_needs_the_whole_interval_on_one_side() -> None:
    end = EndForecast(100.0, 5.0, 20.0, "m", 30, 10, 10)
    assert judge(50.0, 80.0, 10, 18, end) == "ahead"
    assert judge(50.0, 120.0, 10, 18, end) == "behind"
    assert judge(50.0, 105.0, 10, 18, end) == "unclear"
    assert judge(50.0, 105.0, 10, 18, None) == "unclear"
    assert judge(0.0, 105.0, 0, 28, end) == "not_started"
    assert (judge(80.0, 80.0, 28, 0, None), judge(79.0, 80.0, 28, 0, None)) == ("reached", "missed")


def test_without_orders_there_is_no_pace(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "none")
    set_goal(workspace, as_of=START)
    with pytest.raises(NotReady) as lacking:
        read_pace(workspace, "round", as_of=TODAY)
    assert lacking.value.code == "goals.no_orders"
    open_shop(workspace, make_orders(customers=5, days=20, rate=0.5), customers=5)
    set_goal(workspace, as_of=FIRST, name="early")
    with pytest.raises(NotReady) as early:
        read_pace(workspace, "early", as_of=TODAY)
    assert early.value.code == "goals.no_pace"
