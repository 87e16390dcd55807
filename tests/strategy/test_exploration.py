"""Thompson sampling: its chances are the integrals they claim to be, and what is logged is what was drawn."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from aimwell.strategy.design import explore, find_near_best
from aimwell.strategy.exploration import LEAST, draw_by_chance, find_best_chances
from aimwell.strategy.inputs import Shares
from tests.strategy.world import make_inputs


def test_of_two_actions_the_chance_is_the_normal_one() -> None:
    mean, deviation = (
        np.array([[1.0, 0.4], [0.0, 0.0], [5.0, 1.0]]),
        np.array([[0.5, 1.2], [1.0, 1.0], [0.1, 0.1]]),
    )
    found = find_best_chances(mean, deviation, np.ones((3, 2), dtype=bool))
    exact = norm.cdf((mean[:, 0] - mean[:, 1]) / np.sqrt((deviation**2).sum(axis=1)))
    np.testing.assert_allclose(found[:, 0], (1 - LEAST) * exact + LEAST / 2, atol=1e-6)


def test_of_many_actions_the_chance_is_how_often_each_draws_the_largest() -> None:
    random = np.random.default_rng(1)
    mean, deviation = random.normal(0, 1, (4, 6)), random.gamma(2, 0.4, (4, 6))
    candidate = random.random((4, 6)) < 0.8
    found = find_best_chances(mean, deviation, candidate)
    draws = np.where(candidate, mean + deviation * random.standard_normal((200_000, 4, 6)), -np.inf)
    best = draws.argmax(axis=2)
    often = np.array([np.bincount(best[:, row], minlength=6) for row in range(4)]) / 200_000
    even = candidate / candidate.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, (1 - LEAST) * often + LEAST * even, atol=0.005)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0.0, 1e-9, 1.0, 1e6]))
def test_chances_add_up_and_leave_out_what_is_no_candidate(seed: int, scale: float) -> None:
    random = np.random.default_rng(seed)
    shape = (7, int(random.integers(1, 9)))
    candidate = random.random(shape) < 0.6
    found = find_best_chances(random.normal(0, 10, shape), scale * random.random(shape), candidate)
    assert np.all(found[~candidate] == 0)
    assert np.all(found[candidate] > 0)
    np.testing.assert_allclose(found.sum(axis=1), candidate.any(axis=1), atol=1e-9)


def test_actions_are_drawn_with_the_chances_given() -> None:
    chances = np.array([0.0, 0.2, 0.0, 0.5, 0.3, 0.0])
    uniforms = (np.arange(1000) + 0.5) / 1000
    drawn = draw_by_chance(np.tile(chances, (1000, 1)), uniforms)
    np.testing.assert_array_equal(np.bincount(drawn, minlength=6), 1000 * chances)
    assert draw_by_chance(chances[None, :], np.array([0.0]))[0] == 1


@pytest.mark.parametrize("exploring", ["even", "thompson"])
def test_what_is_logged_is_how_often_it_is_drawn(exploring: str) -> None:
    inputs = make_inputs(40, shares=Shares(exploration=0.6))
    inputs = replace(inputs, exploring="thompson" if exploring == "thompson" else "even")
    value = np.where(inputs.eligible, inputs.profit, -np.inf)
    customer = np.flatnonzero(value.max(axis=1) > 0)
    action = value[customer].argmax(axis=1)
    near = find_near_best(inputs, customer, action, ())
    counts, logged = np.zeros(near.shape), np.zeros(near.shape)
    rows, repeats = np.arange(len(customer)), 200
    for salt in range(repeats):
        drawn = explore(inputs, customer, action, (), salt=str(salt))
        counts[rows, drawn.action] += 1
        logged[rows, drawn.action] = drawn.probability
    assert np.all(counts[~near] == 0)
    seen = logged > 0
    error = np.sqrt(logged[seen] * (1 - logged[seen]) / repeats)
    assert np.all(np.abs(counts[seen] / repeats - logged[seen]) <= 4.5 * error + 1e-12)
    assert np.mean(near.sum(axis=1) > 1) > 0.3


def test_thompson_prefers_what_may_be_best_to_an_even_draw() -> None:
    inputs = make_inputs(800, shares=Shares(exploration=0.99))
    value = np.where(inputs.eligible, inputs.profit, -np.inf)
    customer = np.flatnonzero(value.max(axis=1) > 0)
    action = value[customer].argmax(axis=1)
    even = explore(inputs, customer, action, (), salt="1")
    clever = explore(replace(inputs, exploring="thompson"), customer, action, (), salt="1")
    assert inputs.profit[customer, clever.action].sum() > inputs.profit[customer, even.action].sum()


def test_nobody_chosen_is_no_trouble() -> None:
    none = np.zeros(0, dtype=np.int64)
    for exploring in ("even", "thompson"):
        inputs = replace(make_inputs(5), exploring="thompson" if exploring == "thompson" else "even")
        assert len(explore(inputs, none, none, (), salt="1").action) == 0
