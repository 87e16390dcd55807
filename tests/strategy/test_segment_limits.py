"""Limits by segment, minimums and shares: exact, the truth of HiGHS on small instances, the same in both forms."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import Bounds, LinearConstraint, milp

from aimwell.core.errors import BadInput, Conflict
from aimwell.core.text import say
from aimwell.strategy import scale
from aimwell.strategy.certificate import measure_excess
from aimwell.strategy.frontier import describe_frontier, trace_frontier
from aimwell.strategy.inputs import Limit, PlanInputs, Shares, Unit
from aimwell.strategy.large import solve
from aimwell.strategy.planner import make_pilot, make_rollout
from aimwell.strategy.problem import Sense
from aimwell.strategy.scale import optimise_inputs
from aimwell.strategy.traits import number_segments
from tests.strategy.world import make_inputs, without_exploration

NAME = say("Contacts")
REGIONS, TIERS = ("N", "S", "E"), ("best_20", "middle", "low")


def divide(
    inputs: PlanInputs, limits: list[Limit], *, seed: int = 0, budget: float | None = None
) -> PlanInputs:
    """The inputs with regions and tiers, and ``limits`` beside an overall budget."""
    random = np.random.default_rng(seed)
    region = tuple(random.choice(REGIONS, len(inputs.customers), p=[0.2, 0.5, 0.3]).tolist())
    kept = [replace(limit, limit=limit.limit if budget is None else budget) for limit in inputs.limits[:1]]
    traits = {"region": region, "tier": inputs.strata}
    return replace(inputs, limits=(*kept, *limits), traits=traits)


def by_channel(inputs: PlanInputs, channel: str) -> tuple[str, ...]:
    return tuple(action.action_id for action in inputs.actions if action.channel == channel)


def find_truth(inputs: PlanInputs) -> float | None:
    """The true optimum of everybody, or None when nothing keeps the limits."""
    customers, actions = np.nonzero(inputs.eligible & inputs.known)
    constraints = []
    for row in inputs.build_rows():
        low, high = (-np.inf, row.limit) if row.sense == "at_most" else (row.limit, np.inf)
        constraints.append(LinearConstraint(row.usage[customers, actions][None, :], low, high))
    mine = (customers[None, :] == np.arange(len(inputs.customers))[:, None]).astype(float)
    constraints.append(LinearConstraint(mine, -np.inf, 1))
    size = len(customers)
    found = milp(
        -inputs.competing[customers, actions],
        integrality=np.ones(size),
        bounds=Bounds(0, 1),
        constraints=constraints,
        options={"mip_rel_gap": 0.0},
    )
    return None if found.x is None else float(-found.fun)


@contextmanager
def many_from(customers: int, few: int = 5_000) -> Iterator[None]:
    before = scale.MANY, solve.FEW
    scale.MANY, solve.FEW = customers, few
    try:
        yield
    finally:
        scale.MANY, solve.FEW = before


def pick(
    inputs: PlanInputs, limit: Limit, customer: np.ndarray, action: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Which contacts a limit counts by their action, and which by their customer: from the traits themselves."""
    counted = [limit.actions is None or inputs.actions[a].action_id in limit.actions for a in action.tolist()]
    inside = [
        all(inputs.traits[column][c] in values for column, values in limit.where) for c in customer.tolist()
    ]
    return np.array(counted, dtype=np.bool_), np.array(inside, dtype=np.bool_)


def assert_kept(inputs: PlanInputs, customer: np.ndarray, action: np.ndarray) -> None:
    """Every limit, counted anew from the customers chosen."""
    for limit in inputs.limits:
        counted, inside = pick(inputs, limit, customer, action)
        mine = counted & inside
        costs = inputs.cost_cents[customer, action].astype(np.int64)
        used, most = {
            "contacts": (int(mine.sum()), limit.limit),
            "money": (int(costs[mine].sum()), round(100 * limit.limit)),
            # Ten-thousandths, in whole numbers.
            "percent": (10_000 * int(mine.sum()) - round(100 * limit.limit) * int(counted.sum()), 0),
        }[limit.unit]
        assert used <= most if limit.sense == "at_most" else used >= most


@st.composite
def draw_limits(draw: st.DrawFn, inputs: PlanInputs) -> list[Limit]:
    found = []
    for index in range(draw(st.integers(1, 4))):
        where = draw(
            st.sampled_from(
                [
                    (("region", ("N",)),),
                    (("region", ("S", "E")),),
                    (("tier", ("low",)), ("region", ("S",))),
                    (("tier", ("best_20", "middle")),),
                ]
            )
        )
        unit: Unit = draw(st.sampled_from(["contacts", "money", "percent"]))
        sense: Sense = "at_most" if unit == "money" else draw(st.sampled_from(["at_most", "at_least"]))
        most = {"contacts": 6, "money": 4, "percent": 100}[unit]
        amount = float(draw(st.integers(0, most)))
        actions = draw(st.sampled_from([None, by_channel(inputs, "sms"), by_channel(inputs, "mail")]))
        found.append(Limit(f"limit{index}", NAME, unit, amount, sense, actions, where))
    return found


@settings(max_examples=100, deadline=None)
@given(st.data(), st.integers(0, 10_000), st.integers(3, 10))
def test_small_instances_keep_every_limit_and_their_bound_holds_the_truth(
    data: st.DataObject, seed: int, n: int
) -> None:
    inputs = without_exploration(make_inputs(n, seed=seed, budget="6", shares=Shares(holdout=0.0)))
    inputs = divide(inputs, data.draw(draw_limits(inputs)), seed=seed)
    truth, everybody = find_truth(inputs), np.arange(n)
    try:
        found = optimise_inputs(inputs, everybody)
    except Conflict as conflict:
        assert truth is None or conflict.code == "strategy.no_plan_found"
        return
    assert truth is not None
    customer = np.flatnonzero(found.action >= 0)
    assert_kept(inputs, customer, found.action[customer])
    assert all(measure_excess(row, found.slots) <= 0 for row in inputs.build_rows())
    slack = 1e-9 * max(1.0, abs(truth))
    assert found.objective <= truth + slack
    assert truth <= found.upper_bound + slack
    assert found.objective == pytest.approx(float(inputs.competing[customer, found.action[customer]].sum()))


@settings(max_examples=6, deadline=None)
@given(st.data(), st.integers(0, 10_000))
def test_the_form_for_many_keeps_what_the_form_for_few_keeps(data: st.DataObject, seed: int) -> None:
    inputs = without_exploration(make_inputs(150, seed=seed, budget="35", shares=Shares(holdout=0.0)))
    inputs = divide(inputs, data.draw(draw_limits(inputs)), seed=seed)
    everybody = np.arange(150)
    try:
        few = optimise_inputs(inputs, everybody)
    except Conflict:
        with many_from(10, few=50), pytest.raises(Conflict):
            optimise_inputs(inputs, everybody)
        return
    with many_from(10, few=50):
        many = optimise_inputs(inputs, everybody)
    for found in (few, many):
        customer = np.flatnonzero(found.action >= 0)
        assert_kept(inputs, customer, found.action[customer])
        assert found.objective <= found.upper_bound
    assert few.objective <= many.upper_bound * (1 + 1e-9) + 1e-9
    assert many.objective <= few.upper_bound * (1 + 1e-9) + 1e-9


def make_limits(inputs: PlanInputs, n: int) -> list[Limit]:
    low, north = (("tier", ("low",)),), (("region", ("N",)),)
    return [
        Limit("sms", NAME, "money", n * 0.02, "at_most", by_channel(inputs, "sms"), (("region", ("S",)),)),
        Limit("north", NAME, "contacts", float(n // 12), "at_least", None, north),
        Limit("south", NAME, "contacts", float(n // 5), "at_most", None, (("region", ("S",)), *low)),
        Limit("fair", NAME, "percent", 42.5, "at_least", None, low),
        Limit("east", NAME, "percent", 30.0, "at_most", by_channel(inputs, "mail"), (("region", ("E",)),)),
    ]


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("shares", [False, True])
def test_few_and_many_agree_within_their_certified_gaps(seed: int, shares: bool) -> None:
    n = 1_500
    inputs = without_exploration(make_inputs(n, seed=seed, budget=str(n // 5)))
    limits = make_limits(inputs, n)
    inputs = divide(inputs, limits if shares else limits[:3], seed=seed)
    everybody = np.arange(n)
    few = optimise_inputs(inputs, everybody)
    with many_from(100, few=200):
        many = optimise_inputs(inputs, everybody)
    for found in (few, many):
        customer = np.flatnonzero(found.action >= 0)
        assert_kept(inputs, customer, found.action[customer])
        assert 0 <= found.gap <= 2e-3
    assert few.objective <= many.upper_bound * (1 + 1e-9)
    assert many.objective <= few.upper_bound * (1 + 1e-9)


def test_a_plan_reports_shares_in_per_cent_and_what_a_point_costs() -> None:
    n = 900
    inputs = without_exploration(make_inputs(n, budget="180"))
    inputs = divide(inputs, [Limit("fair", NAME, "percent", 60.0, "at_least", None, (("tier", ("low",)),))])
    result = make_rollout(inputs)
    use = next(use for use in result.uses if use.limit.limit_id == "fair")
    tiers = np.array(inputs.tiers)[result.customer]
    assert use.used == pytest.approx(100 * float(np.mean(tiers == "low")))
    assert 60.0 <= use.used < 61.0
    assert use.kept
    # One point less asked for earns about the price that was told.
    freer = replace(inputs, limits=(inputs.limits[0], replace(inputs.limits[1], limit=59.0)))
    gain = make_rollout(freer).objective - result.objective
    assert gain == pytest.approx(use.shadow_price, rel=0.2)
    assert make_rollout(replace(inputs, limits=inputs.limits[:1])).objective > result.objective


def test_exploration_keeps_shares_and_segments() -> None:
    inputs = make_inputs(900, budget="180", shares=Shares(exploration=0.5))
    inputs = divide(inputs, make_limits(inputs, 900))
    result = make_rollout(inputs)
    assert result.explored.any()
    assert_kept(inputs, result.customer, result.action)
    assert all(use.kept for use in result.uses)


@pytest.mark.parametrize("seed", range(4))
def test_a_pilot_meets_minimums_and_stays_as_it_was_without(seed: int) -> None:
    inputs = make_inputs(400, seed=seed, effects=False, budget="120")
    plain = make_pilot(inputs)
    least = Limit("north", NAME, "contacts", 25.0, "at_least", None, (("region", ("N",)),))
    test = Limit("test", NAME, "contacts", 30.0, "at_least", by_channel(inputs, "call"))
    most = Limit("east", NAME, "contacts", 20.0, "at_most", None, (("region", ("E",)),))
    asked = divide(inputs, [least, test, most], seed=seed)
    asked = replace(asked, limits=(*inputs.limits[:1], *asked.limits[1:]))
    result = make_pilot(asked)
    assert_kept(asked, result.customer, result.action)
    assert all(use.kept for use in result.uses)
    assert np.all((result.probability > 0) & (result.probability <= 1))
    assert result.treated.any()
    again = make_pilot(replace(inputs, traits={}))
    assert np.array_equal(plain.customer, again.customer)
    assert np.array_equal(plain.action, again.action)


def test_a_pilot_that_cannot_reach_its_minimum_says_so() -> None:
    inputs = make_inputs(100, effects=False, shares=Shares(pilot=0.2))
    limit = Limit("all", say("Contacts"), "contacts", 90.0, "at_least")
    with pytest.raises(Conflict) as caught:
        make_pilot(replace(inputs, limits=(*inputs.limits, limit)))
    assert caught.value.code == "strategy.pilot_minimums"
    assert "at least 90 customers" in caught.value.render("en")
    assert "至少 90 位客户" in caught.value.render("zh")


def test_a_test_minimum_needs_room_and_then_holds() -> None:
    inputs = without_exploration(make_inputs(300, budget="90"))
    sms = by_channel(inputs, "sms")[:1]
    least = Limit("minimum", NAME, "contacts", 40.0, "at_least", sms, (), if_room=True)
    held = make_rollout(replace(inputs, limits=(*inputs.limits, least)))
    use = next(use for use in held.uses if use.limit is least)
    assert use.used >= 40
    # With the action allowed to fewer, the minimum asks for nothing, and the plan is as without it.
    column = [action.action_id for action in inputs.actions].index(sms[0])
    scarce = inputs.eligible.copy()
    scarce[39:, column] = False
    narrow = replace(inputs, eligible=scarce)
    found = make_rollout(replace(narrow, limits=(*inputs.limits, least)))
    assert np.array_equal(found.action, make_rollout(narrow).action)
    assert all(use.kept for use in found.uses)
    with many_from(10, few=10):
        assert optimise_inputs(
            replace(narrow, limits=(*inputs.limits, least)), np.arange(300)
        ).objective == pytest.approx(optimise_inputs(narrow, np.arange(300)).objective, rel=1e-3)


def test_contradictory_limits_are_told_with_their_names_in_chinese() -> None:
    inputs = without_exploration(make_inputs(200, budget="90"))
    low = (("tier", ("low",)),)
    least = Limit("least", say("Contacts"), "contacts", 30.0, "at_least", None, low)
    most = Limit("most", say("{name}", name="华北预算"), "money", 0.05, "at_most", None, low)
    with pytest.raises(Conflict) as caught:
        make_rollout(divide(inputs, [least, most]))
    assert caught.value.code == "strategy.contradictory_limits"
    told = caught.value.message.render("zh")
    assert told.startswith("没有计划能同时满足这些限额：")
    assert "触达（至少 30 位客户）" in told
    assert "华北预算（至多 $0.05）" in told
    fair = Limit("fair", say("Share"), "percent", 90.0, "at_least", None, low)
    others = Limit("others", say("Contacts"), "contacts", 50.0, "at_least", None, (("tier", ("middle",)),))
    with pytest.raises(Conflict) as caught:
        make_rollout(divide(inputs, [fair, others]))
    assert "（至少 90%）" in caught.value.message.render("zh")


def test_a_frontier_begins_where_the_minimums_can_be_kept() -> None:
    inputs = without_exploration(make_inputs(200, budget="60"))
    least = Limit("least", say("Contacts"), "contacts", 40.0, "at_least", by_channel(inputs, "mail"))
    points = trace_frontier(replace(inputs, limits=(*inputs.limits, least)), points=6)
    assert points[0].budget > 0
    assert sum(point.today for point in points) == 1
    told = describe_frontier(points, "USD")[0]
    assert "smallest with which all minimums are kept" in told.render("en")
    assert told.render("zh") != told.render("en")
    with pytest.raises(Conflict):
        trace_frontier(replace(inputs, limits=(replace(inputs.limits[0], limit=1.0), least)), points=6)


def test_contact_pressure_is_charged_before_actions_compete() -> None:
    inputs = without_exploration(make_inputs(400, budget="1000"))
    tired = np.zeros(400)
    tired[::2] = 0.6
    pressed = replace(inputs, pressure=tired)
    plain, result = make_rollout(inputs), make_rollout(pressed)
    fresh = [customer for customer in plain.customer.tolist() if customer % 2 == 0]
    now = [customer for customer in result.customer.tolist() if customer % 2 == 0]
    assert len(now) < len(fresh)
    best = inputs.profit[result.customer, result.action]
    assert np.all(best[result.customer % 2 == 0] > 0.6 - 1e-9)
    # The promise is what will be measured: without the charge.
    assert result.profit == pytest.approx(best)
    assert result.upper_bound is not None
    assert result.objective <= result.upper_bound
    none = make_rollout(replace(inputs, pressure=np.zeros(400)))
    assert np.array_equal(none.action, plain.action)
    with pytest.raises(BadInput):
        replace(inputs, pressure=np.full(400, np.nan))


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from("xy")), max_size=30))
def test_segments_are_the_combinations_that_occur(pairs: list[tuple[str, str]]) -> None:
    traits = {"one": tuple(one for one, _ in pairs), "two": tuple(two for _, two in pairs), "other": ()}
    found = number_segments(traits, ["one", "two", "one"], len(pairs))
    told = [found.values[number] for number in found.number.tolist()]
    assert told == [{"one": one, "two": two} for one, two in pairs]
    if pairs:
        assert len(found.values) == len(set(pairs))
    assert (
        found.find_inside((("one", ("a", "b")), ("two", ("x",)))).tolist()
        == [value.get("one") in ("a", "b") and value.get("two") == "x" for value in found.values]
        or not pairs
    )
