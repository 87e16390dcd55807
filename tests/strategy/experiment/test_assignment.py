"""Arms by salted hash: balanced in every stratum, exact probabilities, and nobody moves when others join."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimwell.core.errors import BadInput
from aimwell.strategy.experiment.assignment import (
    Arms,
    assign_clusters,
    assign_units,
    cut_strata,
    measure_imbalance,
)

people = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=4), st.sampled_from("xyz"), min_size=1, max_size=60
)
shares = st.lists(st.integers(1, 9), min_size=2, max_size=4)


def make_arms(weights: list[int]) -> Arms:
    names = tuple(["control", *(f"t{number}" for number in range(len(weights) - 1))])
    return Arms(names, tuple(weight / sum(weights) for weight in weights))


@settings(max_examples=150, deadline=None)
@given(people, shares, st.text(max_size=3))
def test_arms_are_within_a_customer_of_their_share_of_every_stratum(
    strata: dict[str, str], weights: list[int], salt: str
) -> None:
    found = assign_units(list(strata), list(strata.values()), make_arms(weights), salt=salt)
    assert measure_imbalance(found, list(strata.values())) < (1 if len(weights) == 2 else 2) + 1e-9
    assert sum(found.count().values()) == len(strata)


@settings(max_examples=150, deadline=None)
@given(people, people, shares)
def test_nobody_moves_when_others_join_and_balance_holds(
    first: dict[str, str], second: dict[str, str], weights: list[int]
) -> None:
    arms = make_arms(weights)
    before = assign_units(list(first), list(first.values()), arms, salt="s")
    kept = {
        unit: (stratum, arms.names[arm])
        for (unit, stratum), arm in zip(first.items(), before.arm.tolist(), strict=True)
    }
    everybody = {**second, **first}
    after = assign_units(list(everybody), list(everybody.values()), arms, salt="s", earlier=kept)
    names = dict(zip(everybody, (arms.names[arm] for arm in after.arm.tolist()), strict=True))
    assert all(names[unit] == arm for unit, (_, arm) in kept.items())
    assert measure_imbalance(after, list(everybody.values())) < (1 if len(weights) == 2 else 2) + 1e-9
    # Those who left count where they were: the newcomers alone are drawn the same.
    fresh = [unit for unit in everybody if unit not in first]
    alone = assign_units(fresh, [everybody[unit] for unit in fresh], arms, salt="s", earlier=kept)
    assert [arms.names[arm] for arm in alone.arm.tolist()] == [names[unit] for unit in fresh]


@settings(max_examples=50, deadline=None)
@given(people, st.randoms(use_true_random=False))
def test_the_order_of_the_list_does_not_matter(strata: dict[str, str], random: object) -> None:
    arms, units = Arms.with_control(0.3), list(strata)
    found = dict(
        zip(units, assign_units(units, [strata[u] for u in units], arms, salt="s").arm.tolist(), strict=True)
    )
    random.shuffle(units)  # type: ignore[attr-defined]
    again = assign_units(units, [strata[u] for u in units], arms, salt="s").arm.tolist()
    assert [found[unit] for unit in units] == again


def test_every_customer_has_exactly_the_arms_share_as_chance() -> None:
    arms, units, strata = (
        Arms(("control", "a", "b"), (0.2, 0.5, 0.3)),
        [f"c{n}" for n in range(7)],
        list("xxxxyyz"),
    )
    rounds = 4000
    drawn = np.array([assign_units(units, strata, arms, salt=str(salt)).arm for salt in range(rounds)])
    for number, share in enumerate(arms.shares):
        often = (drawn == number).mean(axis=0)
        assert np.all(np.abs(often - share) < 4.5 * np.sqrt(share * (1 - share) / rounds))


def test_experiments_are_independent_of_each_other() -> None:
    units = [f"c{n}" for n in range(20_000)]
    strata = ["x"] * len(units)
    one, two = (assign_units(units, strata, Arms.with_control(0.5), salt=salt).arm for salt in ("a", "b"))
    assert abs(np.corrcoef(one, two)[0, 1]) < 4 / np.sqrt(len(units))


def test_customers_of_one_store_share_its_arm_also_those_who_join() -> None:
    stores = [f"s{n % 40}" for n in range(1000)]
    sizes = {f"s{n}": "large" if n < 20 else "small" for n in range(40)}
    arms = Arms.with_control(0.5)
    found = assign_clusters(stores, sizes, arms, salt="s")
    by_store = dict(zip(stores, found.arm.tolist(), strict=True))
    assert all(by_store[store] == arm for store, arm in zip(stores, found.arm.tolist(), strict=True))
    assert sum(by_store[f"s{n}"] == 0 for n in range(20)) == 10
    kept = {store: (sizes[store], arms.names[arm]) for store, arm in by_store.items()}
    more = assign_clusters([*stores, "s1", "new"], {**sizes, "new": "small"}, arms, salt="s", earlier=kept)
    assert more.arm[:1000].tolist() == found.arm.tolist()
    assert more.arm[1000] == by_store["s1"]


def test_strata_by_size_keep_ties_together_and_the_unknown_apart() -> None:
    values = np.array([0.0] * 50 + list(range(1, 51)) + [np.nan])
    strata = cut_strata(values)
    assert len(set(strata[:50])) == 1
    assert strata[-1] == "-"
    assert len(set(strata)) >= 4
    assert cut_strata(np.full(3, np.nan)) == ["-"] * 3


@pytest.mark.parametrize(
    ("names", "share"),
    [
        (("c",), (1.0,)),
        (("c", "t"), (0.5, 0.6)),
        (("c", "c"), (0.5, 0.5)),
        (("c", "t"), (0.0, 1.0)),
        (("c", "t"), (float("nan"), 0.5)),
    ],
)
def test_arms_that_do_not_add_up_are_refused(names: tuple[str, ...], share: tuple[float, ...]) -> None:
    with pytest.raises(BadInput):
        Arms(names, share)


def test_somebody_twice_or_in_an_unknown_arm_is_refused() -> None:
    with pytest.raises(BadInput):
        assign_units(["a", "a"], ["x", "x"], Arms.with_control(0.5), salt="s")
    with pytest.raises(BadInput) as refused:
        assign_units(["a"], ["x"], Arms.with_control(0.5), salt="s", earlier={"b": ("x", "placebo")})
    assert refused.value.code == "strategy.unknown_arm"
