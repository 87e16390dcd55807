"""Prices follow the pace of spending: the formula, and whole days beside what was best in hindsight."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from aimwell.core.seeds import generator
from aimwell.engine.store import Store
from aimwell.strategy.large.instance import Instance
from aimwell.strategy.large.solve import allocate
from aimwell.strategy.live.answer import find_prices
from aimwell.strategy.live.decide import LiveDecider
from aimwell.strategy.live.kernels import LEAST_LEFT, find_passed, set_prices
from aimwell.strategy.live.plan import LiveLimit, LivePlan, take_limits
from aimwell.strategy.live.requests import Decision
from tests.strategy.large.world import make_instance
from tests.strategy.live.world import (
    DAY_MS,
    ask,
    check_books,
    keep,
    list_requests,
    make_limit,
    make_plan,
    open_store,
    read_counters,
)

CUSTOMERS = 6_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path) as store:
        yield store


def price_at(used: int, passed: float, *, sign: int = 1, base: float = 2.0, gain: float = 3.0) -> float:
    prices = np.empty(1)
    whole = np.array([used]), np.array([100]), np.array([sign])
    set_prices(*whole, np.array([base]), np.array([gain]), passed, prices)
    return float(prices[0])


def test_a_price_rises_when_spending_is_ahead_and_falls_when_it_is_behind() -> None:
    assert price_at(50, 0.5) == 2.0
    assert price_at(60, 0.5) == pytest.approx(2 + 3 * 0.1 / 0.5)
    assert price_at(40, 0.5) == pytest.approx(2 - 3 * 0.1 / 0.5)
    assert price_at(0, 0.9) == 0.0
    assert price_at(100, 1.0) == 2.0
    assert price_at(99, 1.0) == pytest.approx(2 - 3 * 0.01 / LEAST_LEFT)


def test_the_price_of_a_minimum_rises_when_it_is_behind() -> None:
    assert price_at(40, 0.5, sign=-1) == pytest.approx(2 + 3 * 0.1 / 0.5)
    assert price_at(60, 0.5, sign=-1) == pytest.approx(2 - 3 * 0.1 / 0.5)


def test_the_rhythm_says_how_much_of_the_day_has_passed() -> None:
    rhythm = np.array([0.0, 0.1, 1.0])
    told = [find_passed(at, 0, 100, rhythm) for at in (-5, 0, 25, 50, 75, 100, 500)]
    assert told == pytest.approx([0, 0, 0.05, 0.1, 0.55, 1, 1])


def test_people_can_read_the_prices_of_now(store: Store) -> None:
    plan = keep(store, make_plan(limits=(make_limit("stock", [1, 1, 1], 10, price=0.5, gain=1.0),)))
    decider = LiveDecider(store, plan.plan_id, clock=lambda: DAY_MS / 2000)
    assert find_prices(plan, decider.read_used(), DAY_MS // 2) == [0.0]
    decider.decide_together([ask(f"r{n}", f"c{n}") for n in range(6)])
    assert find_prices(plan, decider.read_used(), DAY_MS // 2) == pytest.approx([0.5 + 0.1 / 0.5])
    elsewhere = LiveDecider(store, plan.plan_id)
    assert find_prices(plan, elsewhere.read_used(), DAY_MS // 4) == pytest.approx([0.5 + 0.35 / 0.75])


def replay(
    store: Store, name: str, day: Instance, limits: tuple[LiveLimit, ...], seed: int
) -> tuple[LivePlan, float]:
    """A day in random order, more of it in the evening; its plan and profit."""
    random = generator(seed, "live.day")
    actions = tuple(f"a{number}" for number in range(day.actions))
    plan = keep(store, make_plan(name, actions=actions, limits=limits, rhythm=(0.0, 0.25, 1.0)))
    share = np.sort(random.random(day.customers))
    at = np.interp(share, [0, 0.25, 1], [0, DAY_MS / 2, DAY_MS]).astype(np.int64)
    answers = LiveDecider(store, name).decide_together(
        list_requests(day, random.permutation(day.customers), at, prefix=name)
    )
    assert not any(answer.repeated for answer in answers if isinstance(answer, Decision))
    decisions = [answer for answer in answers if isinstance(answer, Decision)]
    assert len(decisions) == day.customers
    check_books(store, plan)
    return plan, sum(decision.expected_profit for decision in decisions)


@pytest.mark.parametrize("seed", [1])
def test_a_day_earns_nearly_what_was_best_in_hindsight(store: Store, seed: int) -> None:
    yesterday, today = make_instance(CUSTOMERS, seed=seed + 10), make_instance(CUSTOMERS, seed=seed)
    known, best = allocate(yesterday), allocate(today)
    limits = take_limits(today, known.prices, profit=known.objective, used=known.used)
    static = tuple(replace(limit, gain=0.0) for limit in limits)
    first_come = tuple(replace(limit, price=0.0) for limit in static)
    shares = {}
    for name, those in (("live", limits), ("static", static), ("first come", first_come)):
        plan, profit = replay(store, name, today, those, seed)
        shares[name] = profit / best.objective
        if name == "live":
            counters = read_counters(store, name)
            missed = [limit.name for limit in plan.limits if counters[limit.name][0] < 0.97 * limit.bound]
            assert not [name for name in missed if name in ("budget", "calls", "test volume")]
    assert shares["live"] > 0.99
    assert shares["live"] > shares["first come"] + 0.1
    assert shares["live"] > shares["static"] - 0.001


def test_a_day_unlike_yesterday_still_spends_its_budget_over_the_whole_day(store: Store) -> None:
    """A third fewer would be worth as much: at yesterday's prices a part of the budget would be left."""
    yesterday, today = make_instance(CUSTOMERS, seed=21), make_instance(CUSTOMERS, seed=22)
    dull = Instance(today.value * np.float32(0.7), today.rows, today.segment, today.cost, today.offers)
    known, best = allocate(yesterday), allocate(dull)
    limits = take_limits(dull, known.prices, profit=known.objective, used=known.used)
    static = tuple(replace(limit, gain=0.0) for limit in limits)
    _, followed = replay(store, "followed", dull, limits, 3)
    _, stayed = replay(store, "stayed", dull, static, 3)
    assert followed / best.objective > 0.98
    assert followed > 1.01 * stayed
    used, bound = read_counters(store, "followed")["budget"]
    assert used > 0.98 * bound
