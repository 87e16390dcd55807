"""Typed yes/no rules about a customer: small frozen trees over tags and events, safe by construction.

They are kept as JSON in the store's definitions (``engine.specification_json``), checked against the known tags, and
turned into SQL by ``engine.compile_rules``. They read no table and write none.

Rules are two-valued: a comparison with an empty tag is false, whatever the operator (``!=`` too), and
``Not`` of it is therefore true. Only ``IsEmpty`` asks for emptiness. So a customer is in a segment or is not,
and ``Not`` of a segment is always everybody else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from aimwell.core.errors import BadInput
from aimwell.core.tables import Type
from aimwell.core.text import say
from aimwell.engine.specification import Operator, Value, Window, find_type, validate_value


@dataclass(frozen=True)
class Compare:
    """The tag compares so with a value; false when the tag is empty."""

    tag: str
    operator: Operator
    value: Value


@dataclass(frozen=True)
class OneOf:
    """The tag is one of these values; false when the tag is empty."""

    tag: str
    values: tuple[Value, ...]


@dataclass(frozen=True)
class Between:
    """The tag lies between two values, both ends included; false when the tag is empty."""

    tag: str
    low: Value
    high: Value


@dataclass(frozen=True)
class IsEmpty:
    """The tag is empty for this customer."""

    tag: str


@dataclass(frozen=True)
class All:
    """Every rule holds; true when there is none."""

    rules: tuple[Rule, ...]


@dataclass(frozen=True)
class Any:
    """At least one rule holds; false when there is none."""

    rules: tuple[Rule, ...]


@dataclass(frozen=True)
class Not:
    """The rule does not hold."""

    rule: Rule


@dataclass(frozen=True)
class EventRule:
    """The event happened at least so often in the last ``days`` days (None: ever)."""

    name: str
    at_least: int = 1
    days: int | None = None


Rule: TypeAlias = "Compare | OneOf | Between | IsEmpty | All | Any | Not | EventRule"


def validate_rule(rule: Rule, tags: Mapping[str, Type]) -> None:
    """Check every tag and value of ``rule``; BadInput names the nearest tags, or the type."""
    match rule:
        case All(rules=parts) | Any(rules=parts):
            for part in parts:
                validate_rule(part, tags)
        case Not(rule=inner):
            validate_rule(inner, tags)
        case Compare(tag=tag, operator=operator, value=value):
            validate_value(tag, find_type(tag, tags), operator, value)
        case OneOf(tag=tag, values=values):
            for value in values:
                validate_value(tag, find_type(tag, tags), "=", value)
        case Between(tag=tag, low=low, high=high):
            for value in (low, high):
                validate_value(tag, find_type(tag, tags), ">=", value)
        case IsEmpty(tag=tag):
            find_type(tag, tags)
        case EventRule():
            _validate_event_rule(rule)


def list_rule_tags(rule: Rule) -> tuple[str, ...]:
    """The tags that ``rule`` reads, each once, in order of appearance."""
    match rule:
        case All(rules=parts) | Any(rules=parts):
            found = [name for part in parts for name in list_rule_tags(part)]
        case Not(rule=inner):
            found = list(list_rule_tags(inner))
        case EventRule():
            found = []
        case Compare() | OneOf() | Between() | IsEmpty():
            found = [rule.tag]
    return tuple(dict.fromkeys(found))


def _validate_event_rule(rule: EventRule) -> None:
    if not rule.name or rule.at_least < 1:
        raise BadInput(
            "engine.bad_event_rule",
            say("A rule on events needs the event's name and a number of times from 1."),
            remedy=say("To ask for no such event, put not before the rule."),
            where={"value": rule.at_least},
        )
    if rule.days is not None:
        Window(rule.days)
