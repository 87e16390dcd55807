"""The catalogue of built-in tags, in the order of the columns of ``tags``. It reads no table and writes none."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from aimwell.analysis.browsing_tags import BROWSING_TAGS
from aimwell.analysis.contact_tags import EVENT_TAGS, KNOWN_TAGS, define_attributes
from aimwell.analysis.habit_tags import HABIT_TAGS
from aimwell.analysis.lifecycle import LIFECYCLE_TAG
from aimwell.analysis.opinion_tags import OPINION_TAGS
from aimwell.analysis.person_tags import PERSON_TAGS
from aimwell.analysis.preference_tags import PREFERENCE_TAGS
from aimwell.analysis.purchase_tags import PURCHASE_TAGS
from aimwell.analysis.rfm import RFM_TAGS
from aimwell.analysis.tag import Tag
from aimwell.analysis.value import VALUE_TAGS
from aimwell.analysis.value_titles import VALUE_TITLES
from aimwell.core.text import Text
from aimwell.engine.describe import describe_rule
from aimwell.engine.rule import Rule, list_rule_tags

_REMEMBERED = ("lifecycle_stage", "value_tier")
STANDING_TAGS: tuple[Tag, ...] = tuple(
    replace(tag, keeps_history=tag.name in _REMEMBERED) for tag in (*RFM_TAGS, *VALUE_TAGS, LIFECYCLE_TAG)
)
"""Tags that compare a customer with all others, or with the usual rhythm."""
MEASURED_TAGS: tuple[Tag, ...] = (
    *PURCHASE_TAGS,
    *HABIT_TAGS,
    *PREFERENCE_TAGS,
    *EVENT_TAGS,
    *BROWSING_TAGS,
    *OPINION_TAGS,
)
"""Tags that the compiler measures on order_lines, events and signals."""
CATALOGUE: tuple[Tag, ...] = (*MEASURED_TAGS, *STANDING_TAGS, *KNOWN_TAGS, *PERSON_TAGS)
"""All built-in tags; each delivered attribute adds one (``contact_tags.define_attributes``)."""


def find_tags(columns: Iterable[str]) -> tuple[Tag, ...]:
    """The tags that stand in a table with these columns: the catalogue, and one per ``attribute_`` column."""
    delivered = [name.removeprefix("attribute_") for name in columns if name.startswith("attribute_")]
    return (*CATALOGUE, *define_attributes(delivered))


def describe_tag_rule(rule: Rule) -> Text:
    """``rule`` in words, tags and stages by their names for people."""
    titles = {tag.name: tag.title for tag in find_tags(list_rule_tags(rule))}
    return describe_rule(rule, titles, VALUE_TITLES)
