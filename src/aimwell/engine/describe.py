"""Says a rule in words, in both languages, for people who decide about segments and eligibility.

It reads no table and writes none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from typing import TypeAlias

from aimwell.core.text import Text, say
from aimwell.engine.rule import All, Between, Compare, EventRule, IsEmpty, Not, OneOf, Rule
from aimwell.engine.rule import Any as AnyOne
from aimwell.engine.specification import Value

Titles: TypeAlias = Mapping[str, Text]
ValueTitles: TypeAlias = Mapping[str, Mapping[str, Text]]


def describe_rule(rule: Rule, titles: Titles | None = None, values: ValueTitles | None = None) -> Text:
    """``rule`` in words.

    ``titles`` gives the tags' names for people, ``values`` those of a tag's values; names in code where absent.
    """
    return _Wording(titles or {}, values or {}).describe(rule)


@dataclass(frozen=True)
class _Wording:
    titles: Titles
    values: ValueTitles

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
            case Not(rule=inner):
                return say("not ({rule})", rule=self.describe(inner))
            case IsEmpty(tag=tag):
                return say("{tag} is unknown", tag=self._name(tag))
            case Between(tag=tag, low=low, high=high):
                ends = (self._show(tag, low), self._show(tag, high))
                return say("{tag} is from {low} to {high}", tag=self._name(tag), low=ends[0], high=ends[1])
            case OneOf(tag=tag, values=values):
                shown = [self._show(tag, value) for value in values]
                listed = reduce(lambda left, right: say("{left}, {right}", left=left, right=right), shown)
                return say("{tag} is one of {values}", tag=self._name(tag), values=listed)
            case Compare():
                return self._describe_comparison(rule)
            case EventRule():
                return _describe_events(rule)

    def _list(self, parts: tuple[Rule, ...]) -> list[Text]:
        return [self._enclose(part) if len(parts) > 1 else self.describe(part) for part in parts]

    def _enclose(self, rule: Rule) -> Text:
        """Brackets around a list inside a list, without which its reach would be unclear."""
        text = self.describe(rule)
        nested = isinstance(rule, All | AnyOne) and len(rule.rules) > 1
        return say("({rule})", rule=text) if nested else text

    def _describe_comparison(self, rule: Compare) -> Text:
        tag, shown = self._name(rule.tag), self._show(rule.tag, rule.value)
        if isinstance(rule.value, bool):
            holds = rule.value is (rule.operator == "=")
            return say("{tag}: yes", tag=tag) if holds else say("{tag}: no", tag=tag)
        match rule.operator:
            case "=":
                return say("{tag} is {value}", tag=tag, value=shown)
            case "!=":
                return say("{tag} is not {value}", tag=tag, value=shown)
            case "<":
                return say("{tag} is less than {value}", tag=tag, value=shown)
            case "<=":
                return say("{tag} is at most {value}", tag=tag, value=shown)
            case ">":
                return say("{tag} is more than {value}", tag=tag, value=shown)
            case ">=":
                return say("{tag} is at least {value}", tag=tag, value=shown)

    def _name(self, tag: str) -> Text:
        return self.titles.get(tag) or _quote(tag)

    def _show(self, tag: str, value: Value) -> Text:
        named = self.values.get(tag, {}).get(str(value))
        return named or _quote(f"{value:g}" if isinstance(value, float) else str(value))


def _quote(words: str) -> Text:
    """Names and values of users as they are: a bare ``Text`` would be translated where a message is so called."""
    return say("{words}", words=words)


def _describe_events(rule: EventRule) -> Text:
    if rule.days is None:
        return say("'{event}' at least {times} × ever", event=rule.name, times=rule.at_least)
    return say(
        "'{event}' at least {times} × in the last {days} days",
        event=rule.name,
        times=rule.at_least,
        days=rule.days,
    )
