"""Says a rule in words, in both languages, for people who decide about segments and eligibility.

It reads no table and writes none.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import reduce

from aimwell.core.text import Text, say
from aimwell.engine.specification import (
    All,
    Between,
    Compare,
    EventRule,
    IsEmpty,
    Not,
    OneOf,
    Operator,
    Rule,
    Value,
)
from aimwell.engine.specification import Any as AnyOne


def describe_rule(rule: Rule, titles: Mapping[str, Text] | None = None) -> Text:
    """``rule`` in words; ``titles`` gives the tags' names for people (their names in code when absent)."""
    names = titles or {}
    match rule:
        case All(rules=()):
            return say("everybody")
        case AnyOne(rules=()):
            return say("nobody")
        case All(rules=parts):
            return _join(parts, names, lambda left, right: say("{left} and {right}", left=left, right=right))
        case AnyOne(rules=parts):
            return _join(parts, names, lambda left, right: say("{left} or {right}", left=left, right=right))
        case Not(rule=IsEmpty(tag=tag)):
            return say("{tag} is known", tag=_name_tag(tag, names))
        case Not(rule=Compare(tag=tag, operator="=", value=bool() as value)):
            return describe_rule(Compare(tag, "!=", value), names)
        case Not(rule=inner):
            return say("not ({rule})", rule=describe_rule(inner, names))
        case IsEmpty(tag=tag):
            return say("{tag} is unknown", tag=_name_tag(tag, names))
        case Between(tag=tag, low=low, high=high):
            return say(
                "{tag} is from {low} to {high}",
                tag=_name_tag(tag, names),
                low=_show_value(low),
                high=_show_value(high),
            )
        case OneOf(tag=tag, values=values):
            listed = ", ".join(_show_value(value) for value in values)
            return say("{tag} is one of {values}", tag=_name_tag(tag, names), values=listed)
        case Compare(tag=tag, operator=operator, value=value):
            return _describe_comparison(_name_tag(tag, names), operator, value)
        case EventRule():
            return _describe_events(rule)


def _join(parts: tuple[Rule, ...], names: Mapping[str, Text], join: Callable[[Text, Text], Text]) -> Text:
    texts = [_enclose(part, names) if len(parts) > 1 else describe_rule(part, names) for part in parts]
    return reduce(join, texts)


def _enclose(rule: Rule, names: Mapping[str, Text]) -> Text:
    """Brackets around a choice inside a list, without which its reach would be unclear."""
    text = describe_rule(rule, names)
    nested = isinstance(rule, All | AnyOne) and len(rule.rules) > 1
    return say("({rule})", rule=text) if nested else text


def _describe_comparison(tag: Text, operator: Operator, value: Value) -> Text:
    if isinstance(value, bool):
        holds = value is (operator == "=")
        return say("{tag}: yes", tag=tag) if holds else say("{tag}: no", tag=tag)
    shown = _show_value(value)
    match operator:
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


def _describe_events(rule: EventRule) -> Text:
    if rule.days is None:
        return say("'{event}' at least {times} × ever", event=rule.name, times=rule.at_least)
    return say(
        "'{event}' at least {times} × in the last {days} days",
        event=rule.name,
        times=rule.at_least,
        days=rule.days,
    )


def _name_tag(tag: str, names: Mapping[str, Text]) -> Text:
    return names.get(tag) or Text(tag)


def _show_value(value: Value) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return str(value)
