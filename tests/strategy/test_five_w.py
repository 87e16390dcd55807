"""A plan in five sentences, in both languages, with its own figures."""

from __future__ import annotations

from datetime import date

import numpy as np

from aimwell.strategy.five_w import tell_five_w
from aimwell.strategy.planner import make_pilot, make_rollout
from tests.strategy.world import make_inputs

DAY = date(2024, 3, 1)


def test_a_plan_is_told_in_five_sentences() -> None:
    inputs = make_inputs(300)
    result = make_rollout(inputs)
    told = tell_five_w(inputs, result, as_of=DAY, days=28)
    assert list(told) == ["who", "what", "when", "where", "why"]
    assert f"{len(result.customer)} of {len(result.considered)}" in told["who"]["en"]
    assert "2024-03-01 to 2024-03-28" in told["when"]["en"]
    channels = np.array([action.channel for action in inputs.actions])[result.action]
    assert f"SMS ({int((channels == 'sms').sum())} customers)" in told["where"]["en"]
    assert "expected to earn $" in told["why"]["en"]
    assert all(text["zh"] != text["en"] for text in told.values())


def test_a_pilot_learns_and_an_empty_plan_says_so() -> None:
    pilot = make_inputs(200, effects=False)
    assert "at random" in tell_five_w(pilot, make_pilot(pilot), as_of=DAY, days=7)["why"]["en"]
    empty = make_inputs(100, budget="0")
    told = tell_five_w(empty, make_rollout(empty), as_of=DAY, days=7)
    assert told["what"]["en"] == "What: nothing."
    assert told["where"]["en"] == "Where: nowhere."
