"""Specifications of tags survive the way through JSON, and what is none is refused with words."""

from __future__ import annotations

import json

import pytest

from aimwell.analysis.catalogue import MEASURED_TAGS
from aimwell.core.errors import BadInput
from aimwell.engine.specification_json import tag_from_json, tag_to_json


def test_every_built_in_tag_comes_back_as_it_was() -> None:
    assert len(MEASURED_TAGS) > 40
    for tag in MEASURED_TAGS:
        assert tag.spec is not None
        assert tag_from_json(json.loads(json.dumps(tag_to_json(tag.spec)))) == tag.spec


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
