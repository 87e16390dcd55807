"""Exploration: the probabilities that are logged are those of the draws, limits hold whatever is drawn, and it pays."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimwell.core.seeds import generator
from aimwell.strategy.simulator.crowd import draw_crowd, draw_menu
from aimwell.strategy.simulator.exploring import Test, choose_challengers, design, shrink, spread_lots
from aimwell.strategy.simulator.policies import CONTROL, KINDS, Kind, Policy, Sight
from aimwell.strategy.simulator.rounds import MarketWorld, run_rounds
from aimwell.strategy.simulator.season import Rules, State, play
from aimwell.strategy.simulator.truth import plant


def play_first(kind: Kind, rounds: int) -> tuple[Policy, Sight]:
    """A policy after some rounds, and what it sees before the next."""
    menu = draw_menu(300)
    crowd = draw_crowd(300, menu, seed=2)
    world = MarketWorld(crowd, menu, plant(crowd, menu, seed=2), Rules())
    policy, state = Policy(kind, crowd, menu), State.start(len(crowd))
    for place in range(rounds + 1):
        sight = Sight(crowd.allowed & state.subscribed[:, None], state.count_recent(world.rules), place + 1)
        if place == rounds:
            break
        action = policy.plan(sight, generator(1, "played", place)).action
        found = play(
            crowd, menu, world.truth, world.rules, state, action[:, None], seed=2, round_number=place
        )
        policy.observe(sight, action, found)
    return policy, sight


@pytest.mark.parametrize("rounds", [0, 1])
def test_what_is_logged_is_how_often_it_is_drawn(rounds: int) -> None:
    policy, sight = play_first("ours", rounds)
    n, times = len(policy.crowd), 80
    counts, logged = np.zeros((n, 9)), np.full((n, 9), np.nan)
    explored, rows = 0, np.arange(n)
    for number in range(times):
        random = generator(number, "drawn")
        withheld = random.random(n) < CONTROL
        draft = policy.plan(sight, random)
        sent, probability = draft.withhold(withheld)
        counts[rows, sent] += 1
        explored += int(draft.explored.sum())
        # Of an action in a state there is one probability, whatever else was drawn.
        known = logged[rows, sent]
        assert np.all(np.isnan(known) | (known == probability))
        logged[rows, sent] = probability
    assert explored > 0.01 * n * times
    seen = ~np.isnan(logged)
    assert np.allclose(np.where(seen, logged, 0.0).sum(axis=1), 1.0)
    chanced = seen & (logged < 1)
    away = (counts / times - logged)[chanced] / np.sqrt(logged * (1 - logged) / times)[chanced]
    # As far off as binomial counts are, in all and at the worst of some thousand.
    assert abs(np.mean(away**2) - 1) < 0.15
    assert np.abs(away).max() < 5.5


@pytest.mark.parametrize("kind", KINDS)
def test_planning_twice_plans_the_same(kind: Kind) -> None:
    policy, sight = play_first(kind, 1)
    before = copy.deepcopy(policy)
    first = policy.plan(sight, generator(3, "a"))
    again = policy.plan(sight, generator(3, "a"))
    fresh = before.plan(sight, generator(3, "a"))
    assert np.array_equal(first.action, again.action)
    assert np.array_equal(first.action, fresh.action)
    assert np.array_equal(first.probability, again.probability)


def test_every_draw_uses_the_limits_alike() -> None:
    policy, sight = play_first("ours", 0)
    used = set()
    for number in range(5):
        action = policy.plan(sight, generator(number, "b")).action
        used.add(tuple(np.bincount(action + 1, minlength=9).tolist()))
    assert len(used) == 1
    counts = np.array(used.pop())[1:]
    for _, usage, limit in policy.menu.usage:
        assert usage @ counts <= limit


def test_nothing_is_explored_when_no_round_follows() -> None:
    policy, sight = play_first("ours", 0)
    last = Policy("ours", policy.crowd, policy.menu, horizon=1)
    assert policy.plan(sight, generator(0, "c")).explored.any()
    assert not last.plan(sight, generator(0, "c")).explored.any()


def test_only_the_undecided_have_a_challenger_and_it_is_one_they_may_get() -> None:
    random = np.random.default_rng(5)
    means = np.array([[1.0, -3.0, -3.0], [1.0, 0.9, -3.0], [1.0, 0.9, 0.9], [0.2, -3.0, -3.0]])
    values = means[:, :, None] + 0.3 * random.standard_normal((4, 3, 400))
    allowed = np.ones((4, 3), dtype=np.bool_)
    allowed[2, 1] = False
    found, difference = choose_challengers(
        values, allowed, np.zeros(4, dtype=np.int64), np.full(4, 0.1), least=0.05
    )
    assert found.tolist() == [-2, 1, 2, -1]
    assert difference[1].mean() == pytest.approx(-0.1, abs=0.06)
    assert difference[3] == pytest.approx(-values[3, 0])


def test_a_longer_horizon_and_a_larger_doubt_explore_more_and_a_sure_loss_nothing() -> None:
    size = 400
    random = np.random.default_rng(6)

    def count(mean: float, spread: float, horizon: float) -> int:
        shared = mean + spread * random.standard_normal(256)
        test = design(
            np.zeros(size, dtype=np.int64),
            np.ones(size, dtype=np.int64),
            np.tile(shared, (size, 1)),
            np.ones(size),
            np.ones(size),
            actions=2,
            most=0.5,
            horizon=horizon,
        )
        return round(float(test.share.sum()))

    assert count(-0.1, 0.1, 0.0) == 0
    assert 0 < count(-0.05, 0.1, 2.0) < count(-0.05, 0.1, 60.0)
    assert count(-0.1, 0.01, 9.0) == 0
    assert count(-1.0, 0.1, 9.0) == 0


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(1, 60), groups=st.integers(0, 4))
def test_counts_are_fixed_and_halving_ends(seed: int, n: int, groups: int) -> None:
    random = np.random.default_rng(seed)
    group = random.integers(-1, groups, n) if groups else np.full(n, -1)
    incumbent, challenger, share = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64), np.zeros(n)
    for name in range(groups):
        members = np.flatnonzero(group == name)
        incumbent[members], challenger[members] = name, 4 if name % 2 else -1
        if len(members):
            share[members] = random.integers(0, len(members) + 1) / len(members)
    test = Test(incumbent, challenger, group.astype(np.int64), share)
    usage = random.integers(0, 9, (2, 5)).astype(float)
    action, taken = test.draw(random)
    inside = (group >= 0) & (action >= 0)
    assert np.allclose(usage[:, action[inside]].sum(axis=1), test.count_usage(usage))
    assert np.all(test.find_chance(action) > 0)
    assert not taken[group < 0].any()
    for _ in range(8):
        test = shrink(test)
    assert not (test.group >= 0).any()


def test_lots_are_even() -> None:
    for number in range(1, 11):
        lots = np.sort(spread_lots(1_000, number))
        assert np.abs(lots - (np.arange(1_000) + 0.5) / 1_000).max() < 0.01


def test_exploring_earns_more_where_the_start_misleads() -> None:
    """What everybody believes at first is wrong here: one action is far better than its cost suggests."""
    ahead = []
    for seed in range(4):
        menu = draw_menu(1_500)
        crowd = draw_crowd(1_500, menu, seed=seed)
        truth = plant(crowd, menu, seed=seed)
        respond = truth.respond * 0.2
        respond[:, 6] = 0.4
        world = MarketWorld(crowd, menu, type(truth)(respond, truth.redeem, truth.margin), Rules())
        played = {
            kind: run_rounds(world, kind, rounds=6, seed=seed).profit.sum()
            for kind in ("ours", "no_exploration")
        }
        ahead.append(played["ours"] - played["no_exploration"])
    assert np.mean(ahead) > 0
