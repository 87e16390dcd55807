"""The simulated market: what is planted is what happens, nothing is made of nothing, and fatigue only ever harms."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from aimwell.core.errors import BadInput
from aimwell.core.seeds import generator
from aimwell.strategy.simulator.crowd import draw_crowd, draw_menu
from aimwell.strategy.simulator.launch import predict_launch
from aimwell.strategy.simulator.learning import Learner, Prior
from aimwell.strategy.simulator.policies import KINDS, Kind, Policy, Sight
from aimwell.strategy.simulator.rounds import MarketWorld, estimate_mean, run_rounds
from aimwell.strategy.simulator.season import Outcome, Rules, State, play
from aimwell.strategy.simulator.truth import Drift, Planting, fit, plant, plant_rounds

REST = Rules(fatigue=1.0, attention=1.0, unsubscribe=0.0)


def make_world(
    n: int = 800, *, seed: int = 0, strength: float = 0.25, rules: Rules | None = None
) -> MarketWorld:
    menu = draw_menu(n)
    crowd = draw_crowd(n, menu, seed=seed)
    truth = plant(crowd, menu, seed=seed, planting=Planting(strength=strength))
    return MarketWorld(crowd, menu, truth, rules or Rules())


def play_once(
    world: MarketWorld, slots: np.ndarray, *, contacts: int = 0, number: int = 0
) -> tuple[Outcome, State]:
    state = State.start(len(world.crowd))
    state.history.append(np.full(len(world.crowd), contacts))
    found = play(world.crowd, world.menu, world.truth, world.rules, state, slots, seed=5, round_number=number)
    return found, state


@pytest.mark.parametrize("action", [0, 1, 5])
def test_the_mean_gain_is_the_stated_expectation(action: int) -> None:
    world = make_world(rules=REST)
    slots = np.full((len(world.crowd), 1), action)
    means = [float(play_once(world, slots, number=number)[0].gain.mean()) for number in range(80)]
    expected = float(world.truth.expect(world.menu)[:, action].mean())
    assert abs(np.mean(means) - expected) < 4 * np.std(means) / np.sqrt(len(means))


def test_whoever_gets_nothing_gains_nothing_and_does_not_leave() -> None:
    world = make_world(rules=Rules(unsubscribe=1.0))
    found, state = play_once(world, np.full((len(world.crowd), 2), -1))
    assert not found.gain.any()
    assert not found.unsubscribed.any()
    assert state.subscribed.all()


def test_more_contacts_in_the_window_earn_less_and_lose_more() -> None:
    world = make_world(3_000, strength=0.5, rules=Rules(unsubscribe=0.02))
    slots = np.zeros((len(world.crowd), 1), dtype=np.int64)
    found = [play_once(world, slots, contacts=contacts)[0] for contacts in range(5)]
    bought = [float((outcome.gain + outcome.offer_cost + outcome.contact_cost).sum()) for outcome in found]
    left = [int(outcome.unsubscribed.sum()) for outcome in found]
    assert bought == sorted(bought, reverse=True)
    assert bought[4] < 0.7 * bought[0]
    assert left == sorted(left)
    assert left[4] > 3 * left[0]


def test_a_second_message_in_a_round_shares_the_attention() -> None:
    world = make_world(3_000, strength=0.5)
    two = np.zeros((len(world.crowd), 2), dtype=np.int64)
    two[:, 1] = 4
    gains = []
    for attention in (1.0, 0.6):
        tired = replace(world, rules=Rules(attention=attention, unsubscribe=0.0))
        found = play_once(tired, two)[0]
        gains.append(float((found.gain + found.offer_cost + found.contact_cost).sum()))
    assert 0.5 < gains[1] / gains[0] < 0.7


def test_whoever_unsubscribed_is_never_sent_anything_again() -> None:
    world = make_world(rules=Rules(unsubscribe=0.3))
    state = State.start(len(world.crowd))
    slots = np.zeros((len(world.crowd), 1), dtype=np.int64)
    for number in range(4):
        before = state.subscribed.copy()
        found = play(
            world.crowd, world.menu, world.truth, world.rules, state, slots, seed=1, round_number=number
        )
        assert not found.contact_cost[~before].any()
        assert np.all(state.subscribed <= before)
    assert state.subscribed.mean() < 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_every_policy_keeps_the_limits_and_logs_probabilities(kind: Kind) -> None:
    world = make_world()
    policy, state = Policy(kind, world.crowd, world.menu), State.start(len(world.crowd))
    for number in range(3):
        sight = Sight(
            world.crowd.allowed & state.subscribed[:, None], state.count_recent(world.rules), number + 1
        )
        draft = policy.plan(sight, generator(0, "test", number))
        chosen = np.flatnonzero(draft.action >= 0)
        assert sight.allowed[chosen, draft.action[chosen]].all()
        assert np.all((draft.probability > 0) & (draft.probability <= 1))
        for _, usage, limit in world.menu.usage:
            assert usage[draft.action[chosen]].sum() <= limit
        found = play(
            world.crowd,
            world.menu,
            world.truth,
            world.rules,
            state,
            draft.action[:, None],
            seed=0,
            round_number=number,
        )
        policy.observe(sight, draft.action, found)


@pytest.mark.parametrize("kind", KINDS)
def test_zero_effects_are_not_turned_into_profit(kind: Kind) -> None:
    earned = []
    for seed in range(3):
        played = run_rounds(make_world(500, seed=seed, strength=0.0), kind, rounds=5, seed=seed)
        assert played.simulated
        assert np.all(played.profit <= 0)
        earned.append(float(played.profit.sum()))
    assert max(earned) < 0


def test_ours_stops_spending_where_nothing_works_and_propensity_does_not() -> None:
    losses: dict[Kind, float] = {}
    for kind in ("ours", "propensity"):
        played = [
            run_rounds(make_world(1_000, seed=s, strength=0.0), kind, rounds=6, seed=s) for s in range(3)
        ]
        losses[kind] = float(np.mean([p.profit[-1] for p in played]))
    assert losses["ours"] > 0.4 * losses["propensity"]


def test_the_same_seed_plays_the_same_rounds() -> None:
    first = run_rounds(make_world(400), "ours", rounds=3, seed=4)
    again = run_rounds(make_world(400), "ours", rounds=3, seed=4)
    other = run_rounds(make_world(400), "ours", rounds=3, seed=5)
    assert np.array_equal(first.profit, again.profit)
    assert not np.array_equal(first.profit, other.profit)


def test_a_market_without_drift_stays_and_a_drifting_one_keeps_its_spread() -> None:
    menu = draw_menu(50)
    crowd = draw_crowd(50, menu, seed=0)
    still = Drift(persistence=1.0, answered=0.0)
    first, *later = plant_rounds(crowd, menu, seed=3, rounds=4, drift=still)
    assert np.array_equal(first.respond, plant(crowd, menu, seed=3).respond)
    assert all(np.allclose(truth.respond, first.respond) for truth in later)
    moved = [plant_rounds(crowd, menu, seed=seed, rounds=8, drift=Drift(answered=0.0)) for seed in range(60)]
    start, end = (np.log([played[at].respond[:, 0].mean() for played in moved]) for at in (0, 7))
    assert abs(end.std() / start.std() - 1) < 0.3
    assert abs(np.corrcoef(start, end)[0, 1] - 0.85**7) < 0.3


def test_competitors_answer_for_so_many_rounds() -> None:
    menu = draw_menu(20)
    crowd = draw_crowd(20, menu, seed=0)
    drift = Drift(persistence=1.0, answered=1.0, answer=0.5, answer_rounds=3)
    truths = plant_rounds(crowd, menu, seed=1, rounds=6, drift=drift)
    shares = [float(truth.respond.sum() / truths[0].respond.sum()) for truth in truths]
    assert shares == pytest.approx([1, 0.5, 0.5, 0.5, 1, 0.5])


def test_a_round_meets_the_truth_of_its_time() -> None:
    world = make_world()
    later = (
        replace(world.truth, respond=world.truth.respond * 2),
        replace(world.truth, respond=world.truth.respond * 3),
    )
    drifting = replace(world, later=later)
    assert [drifting.find_truth(place) for place in (0, 1, 2, 9)] == [world.truth, *later, later[-1]]
    assert world.find_truth(5) is world.truth


def test_a_fitted_truth_gives_back_the_effects_it_was_fitted_to() -> None:
    world = make_world()
    planted = world.truth
    estimate = planted.expect(world.menu) + world.menu.unit_cost
    redemption = planted.respond + (1 - planted.respond) * planted.redeem
    found = fit(world.crowd, world.menu, estimate, np.zeros_like(estimate), redemption, seed=1)
    assert np.allclose(found.expect(world.menu), planted.expect(world.menu))
    nothing = fit(world.crowd, world.menu, np.full_like(estimate, np.nan), estimate, redemption, seed=1)
    assert not nothing.respond.any()


def test_the_learner_finds_what_was_planted_and_shrinks_what_was_not_tried() -> None:
    random = np.random.default_rng(3)
    n, truth = 20_000, np.array([0.5, 0.1, -0.2])
    action = random.integers(-1, 2, n)
    traits, habits = random.standard_normal((n, 2)), np.ones((n, 1))
    effect = np.where(action >= 0, truth[action] + 0.3 * traits[:, 0], 0.0)
    learner = Learner(actions=3, traits=2, habits=1, prior=Prior(0.1, 0.3, 0.1, 1.0))
    learner.add(2 + effect + random.standard_normal(n), habits, traits, action)
    learner.learn()
    found = learner.predict(np.zeros((1, 3, 2)))[0]
    assert found[:2] == pytest.approx(truth[:2], abs=0.08)
    assert 0.0 < found[2] < 0.5
    draws = learner.draw(np.zeros((1, 3, 2)), random, 400)[0]
    assert draws[2].std() > 3 * draws[0].std()


def test_weights_make_estimates_sharper_and_memory_forgets() -> None:
    random = np.random.default_rng(4)
    n, noise = 2_000, np.repeat([0.5, 5.0], 1_000)
    errors: list[list[float]] = [[], []]
    for _ in range(30):
        action = random.integers(-1, 1, n)
        outcome = np.where(action >= 0, 0.3, 0.0) + noise * random.standard_normal(n)
        for place, weight in enumerate((None, 1 / noise**2 / np.mean(1 / noise**2))):
            learner = Learner(actions=1, traits=1, habits=1, prior=Prior(0.0, 1.0, 1.0, 1.0))
            learner.add(outcome, np.ones((n, 1)), np.zeros((n, 1)), action, weight)
            learner.learn()
            errors[place].append(float(learner.predict(np.zeros((1, 1, 1)))[0, 0]) - 0.3)
    assert np.std(errors[1]) < 0.5 * np.std(errors[0])
    action = np.tile([-1, 0], 500)
    found = []
    for memory in (1.0, 0.2):
        learner = Learner(actions=1, traits=1, habits=1, prior=Prior(0.0, 1.0, 1.0, 0.1), memory=memory)
        for effect in (0.0, 1.0):
            learner.add(np.where(action >= 0, effect, 0.0), np.ones((1_000, 1)), np.zeros((1_000, 1)), action)
        learner.learn()
        found.append(float(learner.predict(np.zeros((1, 1, 1)))[0, 0]))
    assert found[0] == pytest.approx(0.5, abs=0.05)
    assert found[1] == pytest.approx(1 / 1.2, abs=0.05)


def test_the_interval_of_a_launch_covers_the_truth() -> None:
    covered = []
    for seed in range(240):
        random = np.random.default_rng(seed)
        pilot, launch = 500, 2_000
        before = random.lognormal(2, 0.8, pilot + launch)
        quiet = 0.5 * before + random.lognormal(1.5, 0.8, pilot + launch)
        gain = (random.random(pilot + launch) < 0.1) * random.lognormal(2.5, 0.5, pilot + launch) - 0.4
        treated = random.random(pilot) < 0.6
        found = predict_launch(
            quiet[:pilot] + np.where(treated, gain[:pilot], 0.0), treated, before[:pilot], customers=launch
        )
        covered.append(found.covers(float(gain[pilot:].sum())))
        assert "simulated" in found.method
    assert 0.92 <= np.mean(covered) <= 0.98


def test_a_pilot_too_small_is_refused() -> None:
    with pytest.raises(BadInput, match="fewer than 30"):
        predict_launch(np.ones(100), np.arange(100) < 10, np.ones(100), customers=10)


def test_the_interval_over_seeds_is_students() -> None:
    found = estimate_mean(np.arange(11.0))
    assert found.upper - found.estimate == pytest.approx(2.228 * np.sqrt(11) / np.sqrt(11), rel=0.02)
    assert "simulated" in found.method
