"""Says a rule in words, in both languages, for people who decide about segments and eligibility.

It reads no table and writes none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import TypeAlias

from aimwell.core.text import Text, say
from aimwell.engine.rule import (
    ATTRIBUTE,
    All,
    Between,
    Compare,
    InSegment,
    IsEmpty,
    Measured,
    Nearest,
    Not,
    OneOf,
    Rule,
    Sequence,
    is_attribute,
    list_rule_tags,
)
from aimwell.engine.rule import Any as AnyOne
from aimwell.engine.rule_words import describe_measured, describe_sequence, quote_words, say_comparison
from aimwell.engine.specification import Value

Titles: TypeAlias = Mapping[str, Text]
ValueTitles: TypeAlias = Mapping[str, Mapping[str, Text]]


def describe_rule(
    rule: Rule,
    titles: Titles | None = None,
    values: ValueTitles | None = None,
    segments: Titles | None = None,
) -> Text:
    """``rule`` in words.

    ``titles`` gives the tags' names for people, ``values`` those of a tag's values, ``segments`` those of segments;
    names in code where absent.
    """
    return _Wording(titles or {}, values or {}, segments or {}).describe(rule)


@dataclass(frozen=True)
class _Wording:
    titles: Titles
    values: ValueTitles
    segments: Titles

    def describe(self, rule: Rule) -> Text:
        match rule:
            case All(rules=()):
                return say("everybody")
            case AnyOne(rules=()) | OneOf(values=()):
                return say("nobody")
            case All(rules=parts):
                return reduce(
                    lambda left, right: say("{left} and {right}", left=left, right=right), self._list(parts)
                )
            case AnyOne(rules=parts):
                return reduce(
                    lambda left, right: say("{left} or {right}", left=left, right=right), self._list(parts)
                )
            case Not(rule=IsEmpty(tag=tag)):
                return say("{tag} is known", tag=self._name(tag))
            case Not(rule=InSegment(segment=segment)):
                return say("not in the segment {segment}", segment=self._name_segment(segment))
            case Not(rule=inner):
                return say("not ({rule})", rule=self.describe(inner))
            case Measured():
                return describe_measured(rule)
            case Sequence():
                return describe_sequence(rule)
            case InSegment(segment=segment):
                return say("in the segment {segment}", segment=self._name_segment(segment))
            case _:
                return self._describe_tag(rule)

    def _describe_tag(self, rule: Rule) -> Text:
        match rule:
            case IsEmpty(tag=tag):
                return say("{tag} is unknown", tag=self._name(tag))
            case Between(tag=tag, low=low, high=high):
                ends = (self._show(tag, low), self._show(tag, high))
                return say("{tag} is from {low} to {high}", tag=self._name(tag), low=ends[0], high=ends[1])
            case OneOf(tag=tag, values=values):
                listed = _enumerate([self._show(tag, value) for value in values])
                return say("{tag} is one of {values}", tag=self._name(tag), values=listed)
            case Compare(tag=tag, operator=operator, value=value):
                return say_comparison(self._name(tag), operator, value, self._show(tag, value))
            case Nearest(points=points, which=which):
                tags = _enumerate([self._name(tag) for tag in list_rule_tags(rule)])
                return say(
                    "nearest to point {number} of {count} by {tags}",
                    number=which + 1,
                    count=len(points),
                    tags=tags,
                )
            case _:
                raise AssertionError(rule)

    def _list(self, parts: tuple[Rule, ...]) -> list[Text]:
        return [self._enclose(part) if len(parts) > 1 else self.describe(part) for part in parts]

    def _enclose(self, rule: Rule) -> Text:
        """Brackets around a list inside a list, without which its reach would be unclear."""
        text = self.describe(rule)
        nested = isinstance(rule, All | AnyOne) and len(rule.rules) > 1
        return say("({rule})", rule=text) if nested else text

    def _name(self, tag: str) -> Text:
        if tag in self.titles:
            return self.titles[tag]
        if is_attribute(tag):
            name = tag.removeprefix(ATTRIBUTE)
            return say("Attribute {name}", name=say("region") if name == "region" else name.replace("_", " "))
        return quote_words(tag)

    def _name_segment(self, segment: str) -> Text:
        return self.segments.get(segment) or quote_words(segment)

    def _show(self, tag: str, value: Value) -> Text:
        named = self.values.get(tag, {}).get(str(value))
        return named or quote_words(f"{value:g}" if isinstance(value, float) else str(value))


def _enumerate(words: list[Text]) -> Text:
    return reduce(lambda left, right: say("{left}, {right}", left=left, right=right), words)
