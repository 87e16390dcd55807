"""Boxes of prices: what they decide is decided rightly, whatever prices of them are taken in the end."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from aimwell.strategy.certificate import keeps
from aimwell.strategy.large import prices as pricing
from aimwell.strategy.large.audience import LocalAudience
from aimwell.strategy.large.instance import Instance
from aimwell.strategy.large.passes import People, choose, make_box, make_tariff, sum_use, tally_chosen
from aimwell.strategy.large.prices import Box, PartDual, find_touched, narrow
from aimwell.strategy.large.solve import allocate, certify
from tests.strategy.large.world import draw_instance, make_instance, to_problem


@settings(max_examples=200)
@given(draw_instance())
def test_a_narrowed_dual_is_the_whole_one_anywhere_in_its_box(instance: Instance) -> None:
    rows = len(instance.rows)
    random = np.random.default_rng(instance.customers + 100 * rows)
    box = Box.around(random.random(rows), 0.4 * random.random(rows))
    audience, nothing = LocalAudience.of(instance), np.zeros(rows)
    found = narrow(audience, box, np.ones(rows), value=0.0, used=nothing)
    whole = PartDual(instance, audience.people, np.ones(rows), 0.0, nothing)
    for _ in range(8):
        prices = box.low + random.random(rows) * (box.high - box.low)
        for mine, all_of_it in zip(found.dual.evaluate(prices), whole.evaluate(prices), strict=True):
            assert mine == pytest.approx(all_of_it, abs=1e-6)
        theirs = choose(found.dual.people, make_tariff(instance, prices), keep=False).reduced
        bound = found.bound(box.centre, prices, theirs)
        assert bound == pytest.approx(certify(audience, prices), rel=1e-9, abs=1e-6)
        assert bound >= whole.evaluate(prices)[0]


@settings(max_examples=100)
@given(draw_instance())
def test_a_part_that_is_replaced_leaves_the_sums_of_all(instance: Instance) -> None:
    random = np.random.default_rng(instance.customers)
    prices = random.random(len(instance.rows))
    people, box = People.all(instance), make_box(instance, np.zeros(len(prices)))
    whole, _ = LocalAudience.of(instance).choose_in_box(make_tariff(instance, prices), box)
    some = np.flatnonzero(random.random(instance.customers) < 0.5)
    part = people.take(some)
    old = tally_chosen(instance, part, whole.chosen[some])
    new = tally_chosen(instance, part, np.full((len(some), people.slots), -1, dtype=np.int16))
    replaced = whole.replace_part(some, old, new)
    fresh = tally_chosen(instance, people, replaced.chosen)
    assert np.all(replaced.chosen[some] == -1) and np.array_equal(replaced.counts, fresh.counts)
    assert replaced.earned == pytest.approx(fresh.earned, abs=1e-9)
    assert sum_use(instance, replaced.counts, replaced.spent) == pytest.approx(
        sum_use(instance, fresh.counts, fresh.spent), abs=1e-9
    )
    assert np.all(replaced.moved >= whole.spent)


@pytest.mark.parametrize("slots", [1, 2])
def test_many_undecided_are_sampled_again(monkeypatch: pytest.MonkeyPatch, slots: int) -> None:
    instance = make_instance(30_000, slots=slots)
    straight = allocate(instance)
    depth: list[int] = []
    compare = pricing._compare

    def count(parts: list[PartDual], start: np.ndarray | None, within: Box | None) -> Box:
        depth.append(len(parts[0].people))
        return compare(parts, start, within)

    monkeypatch.setattr(pricing, "SAMPLE", 500)
    monkeypatch.setattr(pricing, "DIRECT", 1_000)
    monkeypatch.setattr(pricing, "_compare", count)
    found = allocate(instance)
    assert len(depth) > 1
    assert keeps(to_problem(instance), found.chosen.astype(np.int64))
    assert found.gap <= 1e-4 and found.objective == pytest.approx(straight.objective, rel=1e-4)
    assert found.upper_bound == pytest.approx(certify(LocalAudience.of(instance), found.prices), rel=1e-9)


def test_a_price_that_is_held_back_is_seen_where_customers_hang_on_it() -> None:
    instance = make_instance(20_000)
    people, rows = People.all(instance), len(instance.rows)
    right = allocate(instance).prices
    row = int(np.argmax(right))
    dual = PartDual(instance, people, np.ones(rows), 0.0, np.zeros(rows))
    low = right.copy()
    low[row] *= 0.5
    held = Box(low, np.zeros(rows), np.where(np.arange(rows) == row, low[row], np.inf))
    assert find_touched(dual, low, held).tolist() == [place == row for place in range(rows)]
    # Where the outer box ends there, too, nothing is gained by going on.
    assert not find_touched(dual, low, held, within=held).any()
    free = Box(right, np.zeros(rows), right * 2)
    assert not find_touched(dual, right, free).any()
