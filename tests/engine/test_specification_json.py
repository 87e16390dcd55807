"""Specifications survive the way through JSON, and what is none is refused with words."""

from __future__ import annotations

import json

import pytest
from hypothesis import given

from aimwell.analysis.catalogue import MEASURED_TAGS
from aimwell.core.errors import BadInput
from aimwell.engine.rule import Rule
from aimwell.engine.specification_json import rule_from_json, rule_to_json, tag_from_json, tag_to_json
from tests.engine.test_compile import RULES


@given(RULES)
def test_every_rule_comes_back_as_it_was(rule: Rule) -> None:
    assert rule_from_json(json.loads(json.dumps(rule_to_json(rule)))) == rule


def test_every_built_in_tag_comes_back_as_it_was() -> None:
    assert len(MEASURED_TAGS) > 40
    for tag in MEASURED_TAGS:
        assert tag.spec is not None
        assert tag_from_json(json.loads(json.dumps(tag_to_json(tag.spec)))) == tag.spec


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
    ],
)
def test_what_is_no_rule_is_refused(body: object) -> None:
    with pytest.raises(BadInput, match="not a specification"):
        rule_from_json(body)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"measure": {}},
        {"measure": {"table": "orders", "function": "median"}},
        {"trend": [1, 2]},
        {"expression": {"sql": "1", "type": "number"}},
        {"top_value": {"table": "orders", "colour": "red"}},
    ],
)
def test_what_is_no_tag_is_refused(body: object) -> None:
    with pytest.raises(BadInput, match="not a specification"):
        tag_from_json(body)
