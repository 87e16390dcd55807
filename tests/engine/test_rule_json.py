"""Rules survive the way through JSON, the older spelling is read, and what is none is refused with words."""

from __future__ import annotations

import json

import pytest
from hypothesis import given

from aimwell.core.errors import BadInput
from aimwell.engine.rule import Measured, Rule, did
from aimwell.engine.rule_json import rule_from_json, rule_to_json
from aimwell.engine.specification import Aggregate, Condition, Window
from tests.engine.rule_world import LINKED


@given(LINKED)
def test_every_rule_comes_back_as_it_was(rule: Rule) -> None:
    assert rule_from_json(json.loads(json.dumps(rule_to_json(rule)))) == rule


def test_the_older_spelling_of_events_is_read_and_written() -> None:
    body = {"event": "Seen", "at_least": 2, "days": 30}
    named = (Condition("name", "=", "Seen"),)
    expected = Measured(Aggregate("events", "count", None, named, Window(30)), ">=", 2)
    assert rule_from_json(body) == did("Seen", 2, 30) == expected
    assert rule_to_json(expected) == body
    assert rule_from_json({"event": "Seen"}) == did("Seen")


@pytest.mark.parametrize(
    "body",
    [
        None,
        [],
        {},
        {"tag": "x"},
        {"tag": "x", "is": "~", "value": 1},
        {"tag": "x", "is": "=", "value": None},
        {"tag": "x", "is": "=", "value": 1, "more": 2},
        {"tag": "x", "one_of": [[1]]},
        {"all": {"tag": "x"}},
        {"event": "Seen", "at_least": True},
        {"event": "Seen", "at_least": 1, "days": "7"},
        {"event": "Seen", "where": [["channel", "~", 1]]},
        {"measure": {"table": "events", "function": "median"}, "is": ">", "value": 1},
        {"measure": {"table": "events", "function": "count", "window": {"days": "x"}}, "is": ">", "value": 1},
        {"days_since": {"table": "events", "which": "middle"}, "is": ">", "value": 1},
        {"sequence": [{"where": []}]},
        {"sequence": [], "within": 3},
        {"segment": 3},
        {"nearest": {"axes": 1, "points": 2, "which": 3}},
        {"nearest": {"axes": [["age", 0, 1, False]], "points": [["x"]], "which": 0}},
    ],
)
def test_what_is_no_rule_is_refused(body: object) -> None:
    with pytest.raises(BadInput, match="not a specification"):
        rule_from_json(body)


def test_a_tree_without_bottom_is_refused_in_words() -> None:
    body: dict[str, object] = {"tag": "x", "is_empty": True}
    for _ in range(500):
        body = {"not": body}
    with pytest.raises(BadInput) as caught:
        rule_from_json(body)
    assert caught.value.code == "engine.rule_too_deep"
