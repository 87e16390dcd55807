"""Both optimisers against the whole truth on more than two thousand small instances, and at the edges of their input.

HiGHS solves each instance whole; where costs of a billionth stand beside costs of a billion, which its tolerance cannot
tell apart, every plan is counted in fractions instead. Limits are checked in fractions everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimwell.core.errors import BadInput, Conflict
from aimwell.strategy.large import solve
from aimwell.strategy.large.instance import Instance, TableRow
from aimwell.strategy.large.passes import Chosen
from aimwell.strategy.large.solve import Allocation, allocate
from aimwell.strategy.problem import Problem, Sense
from tests.strategy.large.world import make_instance, to_problem
from tests.strategy.test_optimiser import solve_whole

PLAY = 2e-6
"""Twice what HiGHS lets a limit be broken by, in parts of its largest usage."""


@pytest.fixture
def many() -> Iterator[None]:
    """Even a handful of customers are treated as many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solve, "FEW", 0)
        yield


@st.composite
def draw_instance(draw: st.DrawFn) -> tuple[Instance, bool]:
    """An instance of up to nine customers, and whether all that it counts are whole numbers."""
    n, a, m = draw(st.integers(1, 9)), draw(st.integers(1, 5)), draw(st.integers(0, 4))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind, whole = draw(st.sampled_from(["whole", "any", "equal", "tenths"])), draw(st.booleans())
    value = {
        "whole": random.integers(-3, 6, (n, a)).astype(float),
        "any": random.normal(0.5, 2, (n, a)),
        "equal": np.full((n, a), 2.0),
        "tenths": np.round(random.normal(0.5, 2, (n, a)), 1),
    }[kind].astype(np.float32)
    cost = (random.integers(0, 5, (n, a)) if whole else 4 * random.random((n, a))).astype(np.float32)
    if a > 1 and draw(st.booleans()):
        value[:, 1], cost[:, 1] = value[:, 0], cost[:, 0]
    value[random.random((n, a)) >= draw(st.sampled_from([0.0, 0.5, 1.0, 1.0]))] = -np.inf
    segment = random.integers(0, draw(st.integers(1, 3)), n).astype(np.int32)
    rows = tuple(_draw_row(draw, random, f"row{i}", segment, cost, whole) for i in range(m))
    offers = random.integers(0, 3, a) if draw(st.booleans()) else None
    return Instance(value, rows, segment, cost, offers, draw(st.integers(1, 3))), whole


def _draw_row(
    draw: st.DrawFn,
    random: np.random.Generator,
    name: str,
    segment: np.ndarray,
    cost: np.ndarray,
    whole: bool,
) -> TableRow:
    of_cost = draw(st.booleans())
    shape = (3, cost.shape[1])
    table = random.integers(0, 2 if of_cost else 5, shape) * (random.random(shape) < 0.7) * 1.0
    table *= 1.0 if whole or of_cost else 0.1
    sense: Sense = "at_least" if draw(st.integers(0, 4)) == 0 else "at_most"
    share = draw(st.sampled_from([0.0, 0.1, 0.3, 0.6, 1.0])) * (0.4 if sense == "at_least" else 1.0)
    limit = share * float((table[segment] * (cost if of_cost else 1.0)).max(axis=1).sum())
    return TableRow(name, table, float(np.floor(limit)) if whole else limit, sense, of_cost)


def count_use(instance: Instance, row: TableRow, chosen: Chosen) -> Fraction:
    """What a plan uses of a row, in fractions."""
    used = Fraction(0)
    for customer, slots in enumerate(chosen.tolist()):
        for action in (action for action in slots if action >= 0):
            use = Fraction(float(row.table[instance.segment[customer], action]))
            if row.of_cost and instance.cost is not None:
                use *= Fraction(float(instance.cost[customer, action]))
            used += use
    return used


def keeps_exactly(instance: Instance, chosen: Chosen) -> bool:
    """Whether a plan keeps every limit, every offer once and only what is allowed, in fractions."""
    for customer, slots in enumerate(chosen.tolist()):
        actions = [action for action in slots if action >= 0]
        if len(actions) > instance.per_customer or not np.all(np.isfinite(instance.value[customer, actions])):
            return False
        if len(set(instance.groups[actions].tolist())) < len(actions):
            return False
    return all(
        (count_use(instance, row, chosen) - Fraction(row.limit)) * int(row.sign) <= 0 for row in instance.rows
    )


def count_value(instance: Instance, chosen: Chosen) -> Fraction:
    """What a plan earns, in fractions."""
    return sum(
        (
            Fraction(float(instance.value[customer, action]))
            for customer, slots in enumerate(chosen.tolist())
            for action in slots
            if action >= 0
        ),
        Fraction(0),
    )


def tighten(problem: Problem) -> Problem:
    """The same with limits that even the solver's tolerance cannot break."""
    return replace(
        problem,
        rows=tuple(
            replace(row, limit=row.limit - row.sign * PLAY * max(1.0, float(row.usage.max(initial=0.0))))
            for row in problem.rows
        ),
    )


def check_against_highs(instance: Instance, *, whole: bool) -> None:
    problem = to_problem(instance)
    optimum = solve_whole(problem)
    try:
        found = allocate(instance)
    except Conflict:
        assert (optimum if whole else solve_whole(tighten(problem))) is None
        return
    assert optimum is not None
    check_promises(instance, found)
    assert found.objective <= optimum + 1e-6
    # What only the solver's tolerance allows, the bound need not cover.
    surely = optimum if whole else solve_whole(tighten(problem))
    assert surely is None or found.upper_bound >= surely - 1e-6


def check_promises(instance: Instance, found: Allocation) -> None:
    """The plan keeps all limits, earns what it says, and lies as far below its bound as its gap says."""
    assert keeps_exactly(instance, found.chosen)
    earned = count_value(instance, found.chosen)
    assert found.objective == pytest.approx(float(earned), rel=1e-12, abs=1e-12)
    assert found.objective <= found.upper_bound
    if np.isfinite(found.gap):
        allowed = found.gap * abs(found.upper_bound) * (1 + 1e-9)
        assert found.upper_bound - found.objective <= allowed
    for used, row in zip(found.used, instance.rows, strict=True):
        assert used == pytest.approx(float(count_use(instance, row, found.chosen)), rel=1e-12)
    assert np.all(found.prices >= 0)


@settings(max_examples=1_750)
@given(draw_instance())
def test_the_optimiser_for_few_against_highs(drawn: tuple[Instance, bool]) -> None:
    check_against_highs(drawn[0], whole=drawn[1])


@pytest.mark.usefixtures("many")
@settings(max_examples=200)
@given(draw_instance())
def test_the_optimiser_for_many_against_highs(drawn: tuple[Instance, bool]) -> None:
    check_against_highs(drawn[0], whole=drawn[1])


@st.composite
def draw_extremes(draw: st.DrawFn) -> Instance:
    """Values, costs and usages from a billionth to a billion, with limits that some plan meets exactly."""
    n, a = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    value = random.choice([1e-9, 1e-3, 1, 1e9], (n, a)) * random.integers(-1, 5, (n, a))
    cost = (random.choice([0, 1e-9, 0.1, 1, 1e9], (n, a)) * random.integers(0, 4, (n, a))).astype(np.float32)
    segment = random.integers(0, 2, n).astype(np.int32)
    instance = Instance(value.astype(np.float32), (), segment, cost)
    rows = []
    for index in range(draw(st.integers(1, 3))):
        of_cost = draw(st.booleans())
        table = random.choice([0, 1] if of_cost else [0, 1e-9, 0.1, 1, 1e9], (2, a)).astype(float)
        sense: Sense = "at_least" if draw(st.integers(0, 4)) == 0 else "at_most"
        row = TableRow(f"row{index}", table, 0.0, sense, of_cost)
        plan = random.integers(-1, a, (n, 1)).astype(np.int16)
        rows.append(replace(row, limit=float(count_use(instance, row, plan))))
    return replace(instance, rows=tuple(rows))


def check_against_counting(instance: Instance) -> None:
    plans = (
        np.array(plan, dtype=np.int16)[:, None]
        for plan in product(range(-1, instance.actions), repeat=instance.customers)
    )
    best = max((count_value(instance, plan) for plan in plans if keeps_exactly(instance, plan)), default=None)
    try:
        found = allocate(instance)
    except Conflict as conflict:
        # What HiGHS cannot tell from infeasible is at least not said to be proven.
        assert best is None or conflict.code == "strategy.no_plan_found"
        return
    assert best is not None
    check_promises(instance, found)
    assert Fraction(found.upper_bound) >= best


@settings(max_examples=150)
@given(draw_extremes())
def test_a_billionth_beside_a_billion_among_few(instance: Instance) -> None:
    check_against_counting(instance)


@pytest.mark.usefixtures("many")
@settings(max_examples=50)
@given(draw_extremes())
def test_a_billionth_beside_a_billion_among_many(instance: Instance) -> None:
    check_against_counting(instance)


def make_plain(customers: int, actions: int, *rows: TableRow, value: float = 2.0, slots: int = 1) -> Instance:
    """Every pair earns and costs the same."""
    values = np.full((customers, actions), value, dtype=np.float32)
    segment = np.zeros(customers, dtype=np.int32)
    return Instance(values, rows, segment, np.full_like(values, 3.0), None, slots)


def count(limit: float, actions: int, *, sense: Sense = "at_most", of_cost: bool = False) -> TableRow:
    """A limit on how many actions, or how much cost."""
    return TableRow(f"{sense} {limit:g}", np.ones((1, actions)), limit, sense, of_cost)


@pytest.fixture(params=["few", "many"])
def both(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each test once with either optimiser."""
    monkeypatch.setattr(solve, "FEW", {"few": 5_000, "many": 0}[request.param])
    return str(request.param)


@pytest.mark.usefixtures("both")
class TestEdges:
    """Inputs at the edge have an exact answer or a clear error, among few and among many."""

    def test_nobody_is_eligible(self) -> None:
        found = allocate(make_plain(5, 3, count(9, 3), value=-np.inf))
        assert np.all(found.chosen == -1) and found.objective == 0.0 == found.gap
        with pytest.raises(Conflict) as conflict:
            allocate(make_plain(5, 3, count(1, 3, sense="at_least"), value=-np.inf))
        assert "at_least 1" in conflict.value.render("en") and conflict.value.remedy is not None

    def test_a_budget_below_the_cheapest_action_buys_nothing(self) -> None:
        found = allocate(make_plain(5, 3, count(2.99, 3, of_cost=True)))
        assert np.all(found.chosen == -1) and found.used.tolist() == [0.0]

    def test_a_capacity_of_zero(self) -> None:
        found = allocate(make_plain(6, 2, count(0, 2)))
        assert np.all(found.chosen == -1) and found.objective == 0.0 <= found.upper_bound <= 1e-9

    def test_minimums_that_contradict(self) -> None:
        with pytest.raises(Conflict) as conflict:
            allocate(make_plain(6, 2, count(3, 2), count(4, 2, sense="at_least"), count(99, 2, of_cost=True)))
        assert conflict.value.code == "strategy.contradictory_limits"
        assert "at_most 3, at_least 4" in conflict.value.render("en")

    def test_one_customer(self) -> None:
        assert allocate(make_plain(1, 1, count(3, 1, of_cost=True))).chosen.tolist() == [[0]]
        assert allocate(make_plain(1, 4, count(5, 4, of_cost=True), slots=3)).objective == 2.0

    def test_nobody(self) -> None:
        found = allocate(make_plain(0, 2, count(1, 2)))
        assert found.objective == 0.0 == found.gap and found.chosen.shape == (0, 1)

    @pytest.mark.parametrize("slots", [1, 2])
    def test_ties_everywhere_and_actions_twice(self, slots: int) -> None:
        found = allocate(make_plain(200, 4, count(300.0, 4, of_cost=True), slots=slots))
        assert found.used.tolist() == [300.0] and found.objective == 200.0
        assert found.gap <= 1e-9

    def test_money_beyond_what_an_integer_holds(self) -> None:
        greatest = float(np.float32(3e38))
        value = np.full((7, 2), greatest, dtype=np.float32)
        segment = np.zeros(7, dtype=np.int32)
        rows = (TableRow("budget", np.ones((1, 2)), 3 * greatest, of_cost=True),)
        instance = Instance(value, rows, segment, value)
        found = allocate(instance)
        check_promises(instance, found)
        # Among many, a plan that meets such a limit exactly cannot be told from one that breaks it by a trace.
        assert found.objective >= 2 * greatest * (1 - 1e-12)


@pytest.mark.usefixtures("both")
@pytest.mark.parametrize("extreme", [False, True])
def test_costs_that_are_not_whole_keep_a_budget_exactly(extreme: bool) -> None:
    instance = make_instance(2_000)
    random = np.random.default_rng(7)
    cost = random.uniform(20, 400, instance.value.shape).astype(np.float32)
    if extreme:
        cost[random.random(cost.shape) < 0.1] = 1e-9
        cost[random.random(cost.shape) < 0.1] = 1e9
    instance = replace(instance, cost=cost)
    found = allocate(instance)
    check_promises(instance, found)
    assert found.gap <= (5e-3 if extreme else 2e-3)


def test_no_actions_and_more_than_can_be_numbered_are_refused() -> None:
    for actions in (0, 32_768):
        with pytest.raises(BadInput) as refused:
            make_plain(2, actions)
        assert refused.value.where["column"] == "value"
    with pytest.raises(BadInput) as refused:
        Problem(np.ones((2, 0)))
    assert refused.value.code == "strategy.bad_actions"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["value", "cost", "table", "limit"])
def test_what_is_not_finite_is_refused_by_name(name: str, bad: float) -> None:
    if (name, bad) == ("value", -np.inf):
        return
    usual = make_plain(3, 2, count(2, 2))
    matrix = np.full((3, 2), 1, dtype=np.float32)
    matrix[1, 1] = bad
    table = np.array([[1.0, bad]])
    with pytest.raises(BadInput) as refused:
        if name == "value":
            replace(usual, value=matrix)
        elif name == "cost":
            replace(usual, cost=matrix)
        else:
            row = {"table": {"table": table}, "limit": {"limit": bad}}[name]
            replace(usual, rows=(replace(usual.rows[0], **row),))  # type: ignore[arg-type]
    assert refused.value.where["column"] == (name if name in {"value", "cost"} else "at_most 2")
    assert refused.value.remedy is not None
