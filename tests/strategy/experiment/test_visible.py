"""What a test can see, against simulated tests with a planted effect: shares, skewed money, CUPED, clusters."""

from __future__ import annotations

import math

import numpy as np
import pytest

from aimwell.core.errors import BadInput
from aimwell.stats.cuped import compare_adjusted
from aimwell.stats.difference import compare_means
from aimwell.stats.moments import JointMoments, Moments
from aimwell.stats.power import (
    find_power,
    find_reach,
    find_share_error,
    find_smallest_effect,
    find_smallest_share_change,
)
from aimwell.strategy.experiment.visible import (
    find_audience,
    find_days,
    find_visible,
    measure_spread,
    try_on_past,
)

TESTS = 300
ERROR = math.sqrt(0.16 / TESTS)


def draw_money(random: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Spending of customers with habits: two fifths buy, a few buy for a lot; before and in the window."""
    habit = random.gamma(0.6, 1.5, size)
    before, now = (random.poisson(habit) * random.lognormal(3.0, 0.7, size) for _ in range(2))
    return before.astype(float), now.astype(float)


@pytest.mark.parametrize("share", [0.02, 0.15, 0.8])
def test_the_smallest_change_of_a_share_is_shown_in_four_of_five_tests(share: float) -> None:
    treated, control = 24_000, 8_000
    change = find_smallest_share_change(share, n_treatment=treated, n_control=control)
    random = np.random.default_rng(1)
    a = random.binomial(treated, share + change, 20_000) / treated
    b = random.binomial(control, share, 20_000) / control
    error = np.sqrt(a * (1 - a) / treated + b * (1 - b) / control)
    shown = ((a - b) / error > 1.959964).mean()
    # The normal approximation itself is good to about a point at these shares.
    assert abs(shown - 0.8) < 0.015
    exact = find_share_error(share, change, n_treatment=treated, n_control=control)
    assert find_power(change, standard_error=exact) == pytest.approx(0.8, abs=1e-6)


def test_a_share_near_one_has_no_room_to_rise() -> None:
    assert find_smallest_share_change(0.999, n_treatment=100, n_control=100) == math.inf
    assert find_smallest_share_change(0.5, n_treatment=0, n_control=100) == math.inf
    assert 0 < find_smallest_share_change(0.0, n_treatment=1000, n_control=1000) < 0.02


@pytest.mark.parametrize("adjusted", [False, True])
def test_skewed_money_is_seen_as_often_as_said_and_never_without_an_effect(adjusted: bool) -> None:
    random = np.random.default_rng(2)
    before, now = draw_money(random, 200_000)
    spread = measure_spread(now, before if adjusted else None)
    assert (spread.variance_removed > 0.1) == adjusted
    seen = find_visible(spread, "money", n_treatment=3000, n_control=1500)
    hits, alarms = 0, 0
    for _ in range(TESTS):
        past, spent = draw_money(random, 4500)
        for effect in (0.0, seen.smallest):
            values = spent + effect * (np.arange(4500) < 3000)
            arms = (slice(0, 3000), slice(3000, None))
            if adjusted:
                found = compare_adjusted(*(JointMoments.of(values[rows], past[rows]) for rows in arms)).effect
            else:
                found = compare_means(*(Moments.of(values[rows]) for rows in arms))
            hits += bool(effect and found.lower > 0)
            alarms += bool(not effect and found.proven)
    assert abs(hits / TESTS - 0.8) < 4 * ERROR
    assert alarms / TESTS < 0.05 + 4 * math.sqrt(0.05 * 0.95 / TESTS)


def test_clusters_make_the_smallest_effect_larger_by_what_simulated_tests_need() -> None:
    random, stores, size = np.random.default_rng(3), 60, 40
    store = np.repeat(np.arange(stores), size)

    def draw() -> np.ndarray:
        return random.normal(0, 0.3, stores)[store] + random.normal(0, 1, stores * size)

    spreads = [measure_spread(draw(), None, store) for _ in range(20)]
    n = stores * size // 2
    seen = float(np.mean([find_visible(s, "money", n_treatment=n, n_control=n).smallest for s in spreads]))
    naive = find_smallest_effect(sd=1.044, n_treatment=n, n_control=n)
    assert seen > 1.7 * naive
    hits = 0
    for _ in range(TESTS):
        means = (draw() + seen * (store < stores // 2)).reshape(stores, size).mean(axis=1)
        found = compare_means(Moments.of(means[: stores // 2]), Moments.of(means[stores // 2 :]))
        hits += found.lower > 0
    # The correlation itself is estimated from few clusters, hence three points of slack.
    assert abs(hits / TESTS - 0.8) < 0.03 + 4 * ERROR


def test_the_interval_of_the_smallest_effect_covers_it() -> None:
    random = np.random.default_rng(4)
    _, everybody = draw_money(random, 400_000)
    truth = find_visible(measure_spread(everybody), "money", n_treatment=900, n_control=300).smallest
    covered = 0
    for _ in range(60):
        seen = find_visible(
            measure_spread(draw_money(random, 8000)[1]), "money", n_treatment=900, n_control=300
        )
        covered += seen.lower <= truth <= seen.upper
    assert covered / 60 >= 0.93


def test_an_audience_that_is_said_to_be_enough_is_enough() -> None:
    before, now = draw_money(np.random.default_rng(5), 20_000)
    spread = measure_spread(now, before)
    for treatments, control in ((1, 0.25), (3, 0.4)):
        needed = find_audience(spread, 1.0, control_share=control, treatments=treatments)
        assert needed is not None
        seen = find_visible(
            spread,
            "money",
            n_treatment=round(needed * (1 - control) / treatments),
            n_control=round(needed * control),
        )
        assert seen.smallest == pytest.approx(1.0, rel=0.01)


def test_days_count_enrolling_and_watching() -> None:
    assert find_days(1000, audience=1000, per_day=0, window=28) == 28
    assert find_days(1001, audience=1000, per_day=10, window=28) == 29
    assert find_days(2000, audience=1000, per_day=10, window=28) == 128
    assert find_days(1001, audience=1000, per_day=0, window=28) is None


def test_tests_drawn_from_the_past_find_what_is_there() -> None:
    random = np.random.default_rng(6)
    before, now = draw_money(random, 20_000)
    seen = find_visible(measure_spread(now, before), "money", n_treatment=1500, n_control=1500)
    trial = try_on_past(
        now, before, "money", seen.smallest, n_treatment=1500, n_control=1500, generator=random
    )
    assert abs(trial.false_alarms - 0.05) < 4 * math.sqrt(0.05 * 0.95 / trial.repetitions)
    # A rise in proportion widens the treated arm's spread, so a little power is lost.
    assert 0.65 < trial.power < 0.88
    bought = (now > 0).astype(float)
    change = find_visible(measure_spread(bought), "share", n_treatment=1500, n_control=1500).smallest
    share = try_on_past(bought, None, "share", change, n_treatment=1500, n_control=1500, generator=random)
    assert abs(share.power - 0.8) < 4 * math.sqrt(0.16 / share.repetitions)


def test_the_reach_is_two_quantiles() -> None:
    assert find_reach() == pytest.approx(2.801585, abs=1e-5)
    assert find_reach(power=0.2) == pytest.approx(1.959964 - 0.841621, abs=1e-5)
    assert find_reach(degrees=10) > find_reach(degrees=100) > find_reach()


def test_an_outcome_that_does_not_vary_is_refused() -> None:
    with pytest.raises(BadInput) as refused:
        measure_spread(np.ones(10))
    assert refused.value.code == "stats.nothing_varies"
