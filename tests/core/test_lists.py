"""Lists are joined as the reader's language joins them, of any length, and survive being kept in a table."""

from __future__ import annotations

import pytest

from aimwell.core.lists import join_list
from aimwell.core.text import Text, say


@pytest.mark.parametrize("count", [1, 2, 3, 7, 2_000])
def test_every_item_stands_there_once_in_its_order(count: int) -> None:
    words = [f"column_{number}" for number in range(count)]
    text = say("The fields are: {fields}.", fields=join_list(iter(words)))
    for kept in (text, Text.from_json(text.to_json())):
        assert kept.render("en") == f"The fields are: {', '.join(words)}."
        assert "、".join(words) in kept.render("zh")


def test_a_list_of_nothing_gives_way_to_a_word_for_it() -> None:
    assert (join_list([]) or "–") == "–"


def test_one_item_is_shown_as_it_is() -> None:
    # As a message of its own, a name would be looked for in the catalogue.
    assert join_list(["revenue"]) == "revenue"


def test_items_are_told_in_the_language_of_the_list() -> None:
    joined = join_list([say("satisfaction"), "{brace}", say("complaint")])
    assert isinstance(joined, Text)
    assert joined.both() == {"en": "satisfaction, {brace}, complaint", "zh": "满意度、{brace}、投诉"}
