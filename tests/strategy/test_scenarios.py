"""What if: scenarios side by side, what limits cost, the margin, and intervals that hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aimwell.core.errors import BadInput
from aimwell.strategy.frontier import describe_frontier, find_reach, trace_frontier
from aimwell.strategy.inputs import PlanInputs, Shares
from aimwell.strategy.scenarios import (
    ask_minimum,
    change_budget,
    compare_scenarios,
    leave_out_channel,
    leave_out_limit,
    list_usual_scenarios,
    measure_difference,
    set_budget,
    solve,
)
from aimwell.strategy.worth import cost_limits, describe_margin, find_marginal
from tests.strategy.world import make_inputs


@pytest.fixture(scope="module")
def inputs() -> PlanInputs:
    return make_inputs(700, budget="120", shares=Shares(holdout=0.1))


def test_scenarios_stand_side_by_side_with_who_changes(inputs: PlanInputs) -> None:
    rows = compare_scenarios(
        inputs,
        [
            change_budget(inputs, 144.0),
            leave_out_channel(inputs, "call"),
            ask_minimum(inputs, "mail", 60),
            ask_minimum(inputs, "c_10", 5_000),
        ],
    )
    base, more, silent, least, impossible = rows
    assert base["difference"] is None
    assert more["difference"]["estimate"] > 0
    assert more["chosen"] - base["chosen"] == more["entered"] - more["left"]
    assert sum(row["entered"] for row in more["by_tier"]) == more["entered"]
    assert silent["difference"]["estimate"] <= silent["rounding"]
    assert {row["channel"]: row["customers"] for row in silent["by_channel"]}["call"] == 0
    assert {row["channel"]: row["customers"] for row in least["by_channel"]}["mail"] >= 60
    assert next(use for use in least["constraints"] if use["id"] == "minimum:mail")["used"] >= 60
    assert not impossible["possible"]
    assert "Minimum: c_10 (at least 5,000 customers)" in impossible["sentence"]["en"]
    for row in rows:
        assert row["sentence"]["zh"] != row["sentence"]["en"]
        if row["possible"]:
            assert row["expected_profit"]["estimate"] <= row["upper_bound"]
            assert row["gap"] <= 0.01


def test_the_same_scenario_changes_nothing(inputs: PlanInputs) -> None:
    row = compare_scenarios(inputs, [change_budget(inputs, 120.0)])[1]
    assert (row["entered"], row["left"], row["switched"]) == (0, 0, 0)
    assert row["difference"]["estimate"] == row["difference"]["lower"] == 0.0
    assert row["sentence"]["en"].startswith("Nothing changes")


def test_unknown_parts_are_named(inputs: PlanInputs) -> None:
    for ask in (
        lambda: leave_out_channel(inputs, "pigeon"),
        lambda: leave_out_limit(inputs, "pigeon"),
        lambda: ask_minimum(inputs, "pigeon", 1),
    ):
        with pytest.raises(BadInput) as error:
            ask()
        assert error.value.code == "strategy.unknown_part"


def test_the_usual_scenarios_are_more_and_less_money_and_each_channel_left_out(inputs: PlanInputs) -> None:
    names = [scenario.name for scenario in list_usual_scenarios(inputs)]
    assert names[:2] == ["budget=96.00", "budget=144.00"]
    assert set(names[2:]) == {f"without={channel}" for channel in ("email", "sms", "call", "mail")}


def test_what_a_limit_costs_is_what_the_plan_without_it_earns_more(inputs: PlanInputs) -> None:
    base = solve(inputs)
    costs = {cost.limit.limit_id: cost for cost in cost_limits(base)}
    free = solve(set_budget(inputs, None))
    expected = free.profit.estimate - base.profit.estimate
    assert costs["budget"].gain.estimate == pytest.approx(expected, rel=1e-2)
    assert costs["budget"].entered > 0
    assert costs["budget"].gain.lower < costs["budget"].gain.estimate < costs["budget"].gain.upper
    for cost, price in zip(costs.values(), base.solution.prices, strict=True):
        # A limit whose price is positive can cost something, and none can gain more than rounding.
        assert cost.gain.estimate >= -5e-3 * abs(base.profit.estimate)
        assert price > 0 or cost.gain.estimate <= 5e-3 * abs(base.profit.estimate)
        assert cost.explain("USD").render("zh") != cost.explain("USD").render("en")


def test_the_marginal_customers_are_the_least_in_and_the_best_out(inputs: PlanInputs) -> None:
    base = solve(inputs)
    last, following = find_marginal(base)
    assert last is not None
    assert following is not None
    place = inputs.customers.index(last.customer_id)
    assert base.chosen[place] == last.action
    assert base.chosen[inputs.customers.index(following.customer_id)] == -1
    assert following.profit > 0
    # At the margin little is left on either side.
    typical = float(np.mean(inputs.profit[base.customer, base.action]))
    assert abs(last.net) < typical
    assert abs(following.net) < typical
    assert len(describe_margin(base)) == 2


def test_nobody_is_in_line_when_money_is_plenty(inputs: PlanInputs) -> None:
    free = solve(replace(inputs, limits=()))
    last, following = find_marginal(free)
    assert last is not None
    assert following is None


def test_a_difference_is_surer_than_two_plans(inputs: PlanInputs) -> None:
    base, more = solve(inputs), solve(set_budget(inputs, 132.0))
    difference = measure_difference(base, more)
    width = difference.upper - difference.lower
    assert width < (more.profit.upper - more.profit.lower)
    assert measure_difference(base, base).upper == 0.0


def test_intervals_of_the_frontier_hold_for_all_points_at_once(inputs: PlanInputs) -> None:
    assert inputs.estimate is not None
    assert inputs.standard_error is not None
    points = trace_frontier(inputs, points=8)
    errors = np.array([solve(set_budget(inputs, point.budget)).errors.common for point in points])
    profits = np.array([point.profit for point in points])
    low, high = (np.array([getattr(p, name) for p in points]) for name in ("band_lower", "band_upper"))
    random = np.random.default_rng(7)
    covered = 0
    for _ in range(2_000):
        truth = profits + errors @ random.standard_normal(errors.shape[1])
        covered += bool(np.all((low <= truth) & (truth <= high)))
    assert covered / 2_000 == pytest.approx(0.95, abs=0.015)
    assert all(point.band_lower <= point.lower for point in points)


def test_a_band_is_wider_the_more_points_differ() -> None:
    same = np.ones((10, 1))
    assert find_reach(same) == pytest.approx(1.96, abs=0.06)
    assert find_reach(np.eye(10)) == pytest.approx(2.80, abs=0.1)
    assert find_reach(np.zeros((3, 2))) == pytest.approx(1.96, abs=0.01)


def test_gains_are_against_today_and_told_in_words(inputs: PlanInputs) -> None:
    points = trace_frontier(inputs, points=8)
    today = next(point for point in points if point.today)
    assert today.gain == 0.0
    for point in points:
        assert point.gain == pytest.approx(point.profit - today.profit)
        assert point.gain_lower is not None
        assert point.gain_upper is not None
        assert point.gain_lower <= point.gain <= point.gain_upper
    told = describe_frontier(points, "USD")
    assert len(told) == 4
    assert "$120" in told[0].render("en")
    assert all(text.render("zh") != text.render("en") for text in told)
