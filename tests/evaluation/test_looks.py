"""Looks by a rule fixed before launch: error as stated, power as designed, and peeking adds nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimwell.core.errors import Conflict
from aimwell.evaluation.designed import find_profit_so_far
from aimwell.evaluation.looks import Look, Seen, Test, find_z
from aimwell.evaluation.method import Comparison
from aimwell.goals.test_rule import GuardRule, TestRule
from aimwell.stats.difference import compare_means
from aimwell.stats.effect import Effect
from aimwell.stats.moments import Moments
from aimwell.stats.power import find_reach
from aimwell.stats.sequential import find_limits, find_needed_drift, space_looks

START = date(2026, 3, 2)
DAYS = 28
CUSTOMERS = 600


def make_rule(*, looks: int = 4, guards: tuple[str, ...] = (), shape: str = "obrien_fleming") -> TestRule:
    times = space_looks(looks)
    limits = find_limits(times, shape=shape)  # type: ignore[arg-type]
    return TestRule(
        design="d",
        version=1,
        metric="profit_per_customer",
        target=0.05,
        days=DAYS,
        needed=1000,
        arms={"control": 0.5, "treatment": 0.5},
        strata=None,
        cluster=None,
        segment=None,
        salt="s",
        shape=shape,  # type: ignore[arg-type]
        times=times,
        limits=tuple(limit if math.isfinite(limit) else None for limit in limits),
        alpha=0.05,
        guards=tuple(GuardRule(name, 0.1) for name in guards),
    )


def draw_days(random: np.random.Generator, lift: float = 0.0) -> np.ndarray:
    """Money so far by customer and day, customers × days: habits, many zeros, long tails; the first half treated."""
    habit = random.gamma(0.7, 0.12, (CUSTOMERS, 1))
    spent = random.poisson(habit, (CUSTOMERS, DAYS)) * random.lognormal(3.0, 0.7, (CUSTOMERS, DAYS))
    spent[: CUSTOMERS // 2] += lift
    return spent.cumsum(axis=1)


def see(spent: np.ndarray, day: int) -> Seen:
    """Both arms after so many days."""
    values = spent[:, day - 1]
    treated, control = values[: CUSTOMERS // 2], values[CUSTOMERS // 2 :]
    return Seen(compare_means(Moments.of(treated), Moments.of(control)), float(control.mean()))


def run_test(rule: TestRule, spent: np.ndarray, days: Iterable[int], guard: np.ndarray | None = None) -> Test:
    """Evaluate on each of ``days``, as often as somebody likes: the rule says which of them are looks."""
    test = Test(rule, START, ())
    for day in days:
        today = START + timedelta(days=day)
        if test.is_due(today):
            seen = [(one, see(spent if guard is None else guard, day)) for one in rule.guards]
            test = test.look(today, see(spent, day), seen)
    return test


@pytest.mark.parametrize("shape", ["obrien_fleming", "pocock"])
def test_without_an_effect_looking_as_planned_or_every_day_finds_one_in_twenty_at_most(shape: str) -> None:
    rule, random, tests = make_rule(shape=shape), np.random.default_rng(11), 1200
    planned = alarms = naive = 0
    for number in range(tests):
        spent = draw_days(random)
        found = run_test(rule, spent, (7, 14, 21, 28))
        planned += found.primary[-1].verdict in ("effect", "harm")
        alarms += found.primary[-1].verdict == "effect"
        if number < 200:
            # Evaluating twice a day is the same test: not one more look, not one more alarm.
            assert run_test(rule, spent, [day for day in range(1, 29) for _ in range(2)]) == found
            naive += any(see(spent, day).effect.p_value < 0.05 for day in range(3, 29, 5))
    slack = 4 * math.sqrt(0.05 * 0.95 / tests)
    assert planned / tests < 0.05 + slack
    assert alarms / tests < 0.025 + 4 * math.sqrt(0.025 * 0.975 / tests)
    assert naive / 200 > 0.08


def test_looks_that_come_late_hold_the_error_too() -> None:
    rule, random, tests = make_rule(), np.random.default_rng(12), 1000
    patterns = [sorted(random.choice(np.arange(1, 29), 6, replace=False).tolist()) for _ in range(12)]
    alarms = 0
    for number in range(tests):
        days = patterns[number % len(patterns)]
        alarms += run_test(rule, draw_days(random), [*days, 28]).primary[-1].verdict in ("effect", "harm")
    assert alarms / tests < 0.05 + 4 * math.sqrt(0.05 * 0.95 / tests)


def test_the_power_is_about_what_was_designed() -> None:
    rule, random, tests = make_rule(), np.random.default_rng(13), 500
    errors = [see(draw_days(random), 28).effect.standard_error for _ in range(60)]
    drift = find_needed_drift(rule.times, find_limits(rule.times))
    assert drift > find_reach()
    lift = drift * float(np.mean(errors)) / DAYS
    shown = early = 0
    for _ in range(tests):
        last = run_test(rule, draw_days(random, lift), (7, 14, 21, 28)).primary[-1]
        shown += last.verdict == "effect"
        early += last.verdict == "effect" and last.information < 1
    # Spending of the same customers is alike over weeks: the effect shows earlier, a little power is lost.
    assert abs(shown / tests - 0.8) < 0.03 + 4 * math.sqrt(0.16 / tests)
    assert early / tests > 0.3


def test_estimates_after_stopping_cover_the_truth() -> None:
    rule, random, tests = make_rule(looks=3), np.random.default_rng(14), 300
    covered = 0
    for _ in range(tests):
        spent = draw_days(random, 0.25)
        last = run_test(rule, spent, (10, 19, 28)).primary[-1]
        truth = 0.25 * DAYS * last.information
        covered += last.lower <= truth <= last.upper
    assert covered / tests > 0.95 - 4 * math.sqrt(0.05 * 0.95 / tests) - 0.01


def test_guards_share_the_error_and_find_harm() -> None:
    rule, random, tests = make_rule(guards=("orders_per_customer",)), np.random.default_rng(15), 1000
    false = found = 0
    for number in range(tests):
        spent = draw_days(random)
        false += bool(run_test(rule, spent, (7, 14, 21, 28)).harmed)
        if number < 100:
            harmed = run_test(rule, spent, (7, 14, 21, 28), guard=draw_days(random, -0.6))
            found += bool(harmed.harmed)
            assert harmed.over
    assert false / tests < 0.025 + 4 * math.sqrt(0.025 * 0.975 / tests)
    assert found > 60
    two = make_rule(guards=("orders_per_customer", "revenue_per_customer"))
    assert two.guard_alpha == pytest.approx(0.025)


def make_seen(z: float, level: float = 10.0) -> Seen:
    effect = Effect.from_t(
        z * 0.1, standard_error=0.1, degrees=math.inf, n_treatment=10, n_control=10, method="z"
    )
    return Seen(effect, level)


def test_a_look_is_taken_once_and_spends_once() -> None:
    test = Test(make_rule(guards=("orders_per_customer",)), START, ())
    first = START + timedelta(days=7)
    assert not test.is_due(first - timedelta(days=1)) and test.is_due(first)
    assert test.find_next_day() == first
    seen = test.look(first, make_seen(1.0), [(test.rule.guards[0], make_seen(0.5))])
    assert [look.verdict for look in seen.looks] == ["continue", "safe"]
    assert not seen.is_due(first) and not seen.is_due(first + timedelta(days=6))
    assert seen.looks[0].limit == pytest.approx(find_limits([0.25])[0])
    last = seen.look(START + timedelta(days=40), make_seen(1.0), [(test.rule.guards[0], make_seen(0.5))])
    assert last.over and last.primary[-1].information == 1.0 and last.primary[-1].verdict == "not_shown"
    assert last.primary[-1].spent == pytest.approx(0.05, abs=1e-6)
    assert not last.is_due(START + timedelta(days=60))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 28), min_size=1, max_size=28),
    st.lists(st.floats(-6, 6), min_size=28, max_size=28),
    st.integers(1, 8),
)
def test_whatever_days_it_is_evaluated_on_no_more_error_is_spent(
    days: list[int], scores: list[float], looks: int
) -> None:
    test = Test(make_rule(looks=looks), START, ())
    for day in sorted(days):
        today = START + timedelta(days=day)
        if test.is_due(today):
            test = test.look(today, make_seen(scores[day - 1]), [])
    assert len(test.primary) <= looks
    assert all(look.spent <= 0.05 + 1e-6 for look in test.primary)
    assert all(
        math.isfinite(value) for look in test.looks for value in (look.lower, look.estimate, look.upper)
    )
    assert all(look.lower <= look.estimate <= look.upper for look in test.looks)
    stopped = [look for look in test.primary if look.verdict in ("effect", "harm")]
    assert len(stopped) <= 1 and (not stopped or stopped[0] is test.primary[-1])


def test_a_look_is_kept_as_it_was() -> None:
    test = Test(make_rule(looks=12), START, ())
    seen = test.look(START + timedelta(days=3), make_seen(0.4), [])
    row = seen.looks[0].to_row()
    assert Look.from_row({**row, "plan_id": "p"}) == seen.looks[0]
    wide = replace(seen.looks[0], limit=math.inf)
    assert wide.to_row()["limit"] is None and Look.from_row(wide.to_row()) == wide


def test_contacts_that_were_paid_at_once_are_no_harm_before_they_could_bring_anything() -> None:
    # 100 treated bring 1 each in a quarter of the window; 200 were paid for contacts: 4 × 100 − 200 is a profit.
    effect = Effect.from_t(
        1.0, standard_error=0.1, degrees=math.inf, n_treatment=100, n_control=100, method="z"
    )
    found = Comparison(effect, 0.0, np.zeros(0), None)
    early = find_profit_so_far(found, 200.0, 0.25)
    assert early.p_value == 1.0 and find_z(early) == 0.0
    assert find_profit_so_far(found, 200.0, 1.0) == found.find_profit(200.0)
    assert find_profit_so_far(found, 50.0, 0.25).estimate == pytest.approx(50.0)
    loss = find_profit_so_far(found, 1000.0, 0.25)
    assert loss.estimate == pytest.approx(100 - 250) and find_z(loss) < -5


def test_a_p_value_becomes_a_z_of_the_effects_side() -> None:
    assert find_z(make_seen(2.5).effect) == pytest.approx(2.5)
    assert find_z(make_seen(-2.5).effect) == pytest.approx(-2.5)
    assert abs(find_z(make_seen(-90.0).effect)) < 40
    assert find_z(replace(make_seen(1.0).effect, p_value=1.0)) == 0.0


def test_a_rule_is_the_one_that_was_fixed() -> None:
    rule = make_rule(guards=("orders_per_customer",))
    row = rule.to_row("p1")
    assert TestRule.from_row(row) == rule
    for changed in ({"days": 29}, {"rule": row["rule"].replace("0.1", "0.2")}, {"version": 2}):
        with pytest.raises(Conflict) as refused:
            TestRule.from_row({**row, **changed})
        assert refused.value.code == "goals.rule_changed"


def test_two_looks_never_fall_on_one_day() -> None:
    rule = replace(make_rule(looks=10), days=4)
    assert rule.list_days(START) == tuple(START + timedelta(days=day) for day in (1, 2, 3, 4))
