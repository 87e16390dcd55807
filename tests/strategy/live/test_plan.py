"""Live plans: what cannot be one, that they stay as they were opened, and how a plan's limits become a day's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimwell.core.errors import BadInput, Conflict, NotReady
from aimwell.engine.digest_table import ABSENT, DigestTable
from aimwell.strategy.live.plan import LivePlan, open_plan, read_plan, take_limit, take_limits
from aimwell.strategy.planner import make_rollout
from tests.strategy.large.world import make_instance
from tests.strategy.live.world import make_limit, make_plan, open_store
from tests.strategy.world import make_inputs


def test_a_plan_stays_as_it_was_opened(tmp_path: Path) -> None:
    limit = make_limit("budget", [1, 0, 2], 50, price=0.25, gain=0.5, of_cost=True)
    plan = make_plan(limits=(limit,), channels=("sms", None, None), rhythm=(0.0, 0.5, 1.0), cap=3)
    with open_store(tmp_path) as store:
        open_plan(store, plan)
        open_plan(store, plan)
        assert read_plan(store, "monday").to_json() == plan.to_json()
        with pytest.raises(Conflict, match="monday"):
            open_plan(store, make_plan(limits=()))
        with pytest.raises(NotReady, match="sunday"):
            read_plan(store, "sunday")


def test_a_day_without_limits_is_a_plan(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        open_plan(store, make_plan())
        assert read_plan(store, "monday").limits == ()


@pytest.mark.parametrize(
    "wrong",
    [
        {"actions": ()},
        {"actions": ("sms", "sms", "mail")},
        {"channels": ("sms",)},
        {"ends_ms": 0},
        {"exploration": 1.0},
        {"holdout": -0.1},
        {"near": 0.0},
        {"cap": 0},
        {"rhythm": (0.0,)},
        {"rhythm": (0.0, 0.7, 0.6, 1.0)},
        {"rhythm": (0.0, 0.5)},
        {"limits": (make_limit("a", [1, 1, 1], 1), make_limit("a", [1, 1, 1], 2))},
        {"limits": (make_limit("a", [1, 1], 1),)},
        {"limits": (make_limit("a", [1, 1, -1], 1),)},
        {"limits": (make_limit("a", [1, 1, 1 << 30], 1),)},
        {"limits": (make_limit("a", [1, 1, 1], -1),)},
        {"limits": (make_limit("a", [1, 1, 1], 1 << 50),)},
        {"limits": (make_limit("a", [1, 1, 1], 1, price=float("nan")),)},
    ],
)
def test_what_cannot_be_decided_by_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(BadInput) as caught:
        make_plan(**wrong)
    assert caught.value.code == "strategy.bad_live_plan"


def test_limits_of_a_plan_become_a_days_share_in_whole_units() -> None:
    inputs = make_inputs()
    result = make_rollout(inputs)
    limits = tuple(
        take_limit(inputs, limit, row.limit, float(price), profit=result.objective, share=0.1)
        for limit, row, price in zip(inputs.limits, inputs.build_rows(), result.prices, strict=True)
    )
    assert [limit.name for limit in limits] == [limit.limit_id for limit in inputs.limits]
    for limit, whole, price in zip(limits, inputs.limits, result.prices, strict=True):
        scale = {"money": 100, "minutes": 60}.get(whole.unit, 1)
        assert limit.bound == int(whole.limit * scale * 0.1 + 1e-6)
        assert limit.price == pytest.approx(price / (60 if whole.unit == "minutes" else 1))
        assert limit.gain > 0
        assert limit.of_cost == (whole.unit == "money")
    actions = tuple(action.action_id for action in inputs.actions)
    assert LivePlan("p", make_plan().day, 0, 1, actions, limits, "salt").segments == 1


def test_an_instance_that_is_not_counted_in_whole_numbers_is_refused() -> None:
    instance = make_instance(10)
    instance.rows[1].table[0, 0] = 0.5
    with pytest.raises(BadInput):
        take_limits(instance, np.zeros(6), profit=1.0, used=np.ones(6))


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 1000)), max_size=60), st.integers(1, 7))
def test_a_digest_table_is_a_dictionary(pairs: list[tuple[int, int]], step: int) -> None:
    # Few different first halves, so that searches run into each other.
    def digest(keys: list[int]) -> np.ndarray:
        return np.array([(key % 3, key) for key in keys], dtype=np.uint64).reshape(-1, 2)

    numbers, counts = DigestTable(), DigestTable()
    known: dict[int, int] = {}
    times: dict[int, int] = {}
    for start in range(0, len(pairs), step):
        part = pairs[start : start + step]
        keys = [key for key, _ in part]
        numbers.put(digest(keys), np.array([number for _, number in part], dtype=np.int64))
        counts.add(digest(keys))
        known |= dict(part)
        for key in keys:
            times[key] = times.get(key, 0) + 1
    every = list(range(41))
    assert numbers.find(digest(every)).tolist() == [known.get(key, ABSENT) for key in every]
    assert counts.find(digest(every)).tolist() == [times.get(key, ABSENT) for key in every]
    assert len(numbers) == len(known)


def test_a_digest_table_grows() -> None:
    table, keys = DigestTable(), np.random.default_rng(1).integers(0, 2**63, (20_000, 2)).astype(np.uint64)
    table.put(keys, np.arange(20_000))
    assert table.find(keys).tolist() == list(range(20_000))
    assert table.find(keys + np.uint64(1)).max() == ABSENT
