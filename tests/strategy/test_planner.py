"""The planner: what a plan promises, what it keeps, and what it says."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from aimwell.core.errors import BadInput
from aimwell.strategy.explain import explain_plan, explain_use, price_usage, rank_alternatives
from aimwell.strategy.frontier import trace_frontier
from aimwell.strategy.handover import fingerprint_plan
from aimwell.strategy.inputs import Limit, Shares
from aimwell.strategy.planner import estimate_profit, make_pilot, make_rollout
from tests.strategy.world import make_inputs, without_exploration


def test_a_rollout_keeps_every_limit_and_proves_its_gap() -> None:
    inputs = make_inputs(2000, budget="300")
    result = make_rollout(inputs)
    assert result.gap is not None and result.gap <= 0.001
    assert result.upper_bound is not None and result.objective <= result.upper_bound
    assert all(use.kept for use in result.uses)
    assert np.all(inputs.eligible[result.customer, result.action])
    assert not set(result.customer.tolist()) & set(result.holdout.tolist())
    cents = int(inputs.cost_cents[result.customer, result.action].sum())
    assert cents <= 30_000
    assert result.expected_profit.n == int(result.treated.sum())
    assert result.lacks == ()


def test_a_pilot_keeps_every_limit_and_needs_no_effects() -> None:
    result = make_pilot(make_inputs(2000, budget="300", effects=False))
    assert result.method == "randomised"
    assert all(use.kept for use in result.uses)
    assert result.uses[0].used > 290
    assert 0.24 < 1 - result.treated.mean() < 0.26
    assert len(set(result.action.tolist())) == 16
    assert result.gap is None
    # Nothing is known, so nothing but the cost is expected.
    assert result.expected_profit.estimate < 0


def test_nobody_gets_two_actions_and_the_same_inputs_give_the_same_plan() -> None:
    inputs = make_inputs(500)
    first, second = make_rollout(inputs), make_rollout(inputs)
    assert len(set(first.customer.tolist())) == len(first.customer)
    assert fingerprint_plan(inputs, first) == fingerprint_plan(inputs, second)
    other = replace(inputs, salt="43")
    assert fingerprint_plan(inputs, first) != fingerprint_plan(other, make_rollout(other))


def test_a_budget_of_zero_gives_an_empty_plan_that_says_so() -> None:
    result = make_rollout(make_inputs(400, budget="0"))
    assert len(result.customer) == 0
    assert result.gap == 0.0
    assert result.uses[0].shadow_price > 0
    assert "budget is 0" in result.lacks[0].render("en")


def test_nothing_profitable_gives_an_empty_plan() -> None:
    inputs = make_inputs(100)
    assert inputs.estimate is not None
    result = make_rollout(replace(inputs, estimate=np.full_like(inputs.estimate, -5.0)))
    assert len(result.customer) == 0
    assert result.gap == 0.0
    assert len(result.lacks) == 1


def test_without_effects_a_rollout_is_refused() -> None:
    with pytest.raises(BadInput) as refused:
        make_rollout(make_inputs(50, effects=False))
    assert refused.value.code == "strategy.no_effects"


def test_unusable_effects_are_refused_and_unknown_ones_not_chosen() -> None:
    inputs = make_inputs(200)
    assert inputs.estimate is not None and inputs.standard_error is not None
    infinite = inputs.estimate.copy()
    infinite[0, 0] = np.inf
    with pytest.raises(BadInput):
        replace(inputs, estimate=infinite)
    with pytest.raises(BadInput):
        replace(inputs, standard_error=-inputs.standard_error)
    with pytest.raises(BadInput):
        replace(inputs, redemption=np.full(inputs.eligible.shape, 1.5))
    with pytest.raises(BadInput):
        replace(inputs, strata=("one",))
    unknown = inputs.estimate.copy()
    unknown[:, :8] = np.nan
    result = make_rollout(replace(inputs, estimate=unknown))
    assert np.all(result.action >= 8)


def test_a_minimum_is_met() -> None:
    inputs = make_inputs(600, budget="200")
    mails = tuple(action.action_id for action in inputs.actions if action.channel == "mail")
    least = Limit("least_mail", inputs.limits[0].title, "contacts", 60, "at_least", mails)
    result = make_rollout(replace(inputs, limits=(*inputs.limits, least)))
    assert result.uses[-1].used >= 60
    assert result.uses[-1].kept


def test_caution_avoids_uncertain_effects() -> None:
    inputs = without_exploration(make_inputs(800))
    bold, cautious = make_rollout(inputs), make_rollout(replace(inputs, caution=2.0))
    assert cautious.standard_error.mean() < bold.standard_error.mean()
    assert cautious.objective < bold.objective
    assert cautious.upper_bound is not None and cautious.upper_bound >= cautious.objective


def test_the_promise_lies_between_independent_and_fully_correlated() -> None:
    error = np.full(100, 2.0)
    estimate = estimate_profit(np.ones(100), error, np.repeat(np.arange(4), 25))
    spread = (estimate.upper - estimate.estimate) / 1.96
    assert np.sqrt(100) * 2.0 < spread < 200.0
    assert estimate.estimate == 100.0
    nobody = estimate_profit(np.zeros(0), np.zeros(0), np.zeros(0, dtype=np.int64))
    assert (nobody.estimate, nobody.lower, nobody.n) == (0.0, 0.0, 0)


def test_the_frontier_rises_ever_more_slowly_with_today_on_it() -> None:
    inputs = without_exploration(make_inputs(600))
    points = trace_frontier(inputs, points=8)
    profits = [point.profit for point in points]
    assert points[0].budget == 0.0
    assert all(later >= earlier * 0.999 for earlier, later in pairwise(profits))
    assert [point.budget for point in points if point.today] == [150.0]
    for point in points:
        assert point.spent <= point.budget
        assert point.lower <= point.profit <= point.upper
        assert point.profit <= point.upper_bound <= point.profit * 1.005 + 1e-9
    today = next(point for point in points if point.today)
    assert today.profit == pytest.approx(make_rollout(inputs).objective, rel=1e-3)


def test_shadow_prices_are_what_a_little_more_money_earns() -> None:
    inputs = without_exploration(make_inputs(2000, budget="300", shares=Shares(holdout=0.0)))
    less, more = trace_frontier(inputs, budgets=(300.0, 310.0))
    assert (more.profit - less.profit) / 10 == pytest.approx(less.shadow_price, rel=0.25)


def test_every_choice_is_explained_in_both_languages() -> None:
    inputs = make_inputs(300)
    result = make_rollout(inputs)
    reasons = explain_plan(inputs, result)
    assert len(reasons) == len(result.customer)
    for reason in reasons:
        assert "$" in reason.reason.render("en")
        assert reason.reason.render("zh") != reason.reason.render("en")
        assert "{" not in reason.why_not.render("zh")
    for use in result.uses:
        assert explain_use(use, "USD").render("zh")


def test_alternatives_are_ranked_by_what_is_left_after_scarce_resources() -> None:
    inputs = without_exploration(make_inputs(300))
    result = make_rollout(inputs)
    priced = price_usage(inputs.build_rows(), result.prices, result.customer)
    best = 0
    for place, customer in enumerate(result.customer):
        ranked = rank_alternatives(inputs, priced[:, place], int(customer))
        assert [item.net for item in ranked] == sorted((item.net for item in ranked), reverse=True)
        best += ranked[0].action == result.action[place]
    # All but the few near-ties that the limits decide.
    assert best >= 0.95 * len(result.customer)


def test_a_limit_below_zero_is_refused() -> None:
    title = make_inputs(2).limits[0].title
    for value in (-1.0, float("nan"), float("inf")):
        with pytest.raises(BadInput):
            Limit("budget", title, "money", value)
