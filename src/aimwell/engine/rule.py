"""Typed yes/no rules about a customer: small frozen trees over tags, attributes, what was done, and other segments.

They are kept as JSON in the store's definitions (``engine.rule_json``), checked here against what is known, and
turned into SQL by ``engine.compile_rules``: safe by construction. They read no table and write none.

Rules are two-valued: a comparison with an empty tag is false, whatever the operator (``!=`` too), and
``Not`` of it is therefore true. Only ``IsEmpty`` asks for emptiness. So a customer is in a segment or is not,
and ``Not`` of a segment is always everybody else.

An attribute of a customer is written like a tag, with its table: ``customers.city``. Attributes are text as
delivered; compared with a number they are read as one, and what cannot be read is empty.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from aimwell.engine.specification import (
    Aggregate,
    Condition,
    DaysSince,
    Operator,
    Value,
    Window,
)

ATTRIBUTE = "customers."
"""What the name of an attribute begins with, where a rule says ``tag``."""


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
class Measured:
    """A figure of the customer compares so with a value: "viewed at least 3 times in 30 days".

    The figure is measured as a tag's would be: counts and sums are 0 where no row counts, the others empty, and
    an empty figure makes the rule false. Absence is ``Not`` of "at least once".
    """

    of: Aggregate | DaysSince
    operator: Operator
    value: Value


@dataclass(frozen=True)
class Step:
    """One thing that a customer did, in a sequence: a row of ``events`` or ``order_lines`` with these conditions.

    ``within`` are the most days from the step before; None: any time after.
    """

    table: str
    conditions: tuple[Condition, ...] = ()
    within: int | None = None


@dataclass(frozen=True)
class Sequence:
    """The steps were done one after the other, and ``without`` did not follow the last.

    The order is that of instants; what happened at one instant is ordered by table and id, so that it is total.
    The first step lies in ``window``. ``without`` must stay away for its ``within`` days after the last step, and
    those days must be over: nobody is said to have stayed away who still has time. Without ``within`` it must
    have stayed away until now.
    """

    steps: tuple[Step, ...]
    without: Step | None = None
    window: Window | None = None


@dataclass(frozen=True)
class InSegment:
    """The customer is in the segment of this name."""

    segment: str


@dataclass(frozen=True)
class Axis:
    """One coordinate of ``Nearest``: (tag − centre) ÷ scale, of ln(1 + tag) where ``log``.

    Below 0, ln(1 + tag) is taken as −ln(1 − tag), so that every number has a place.
    """

    tag: str
    centre: float
    scale: float
    log: bool = False


@dataclass(frozen=True)
class Nearest:
    """Of the points, the one with this number (from 0) is nearest; the first of several. False with an empty tag.

    So clusters are rules: exact, exclusive, and the same on every engine.
    """

    axes: tuple[Axis, ...]
    points: tuple[tuple[float, ...], ...]
    which: int


Rule: TypeAlias = (
    "Compare | OneOf | Between | IsEmpty | All | Any | Not | Measured | Sequence | InSegment | Nearest"
)
STEP_TABLES = ("events", "order_lines")
"""Where the steps of a sequence are found: the sources that know the instant of their rows."""


def did(
    event: str,
    at_least: int = 1,
    days: int | None = None,
    conditions: tuple[Condition, ...] = (),
) -> Measured:
    """The event happened at least so often in the last ``days`` days (None: ever), under these conditions."""
    window = None if days is None else Window(days)
    named = (Condition("name", "=", event), *conditions)
    return Measured(Aggregate("events", "count", None, named, window), ">=", at_least)


def bought(at_least: int = 1, days: int | None = None, conditions: tuple[Condition, ...] = ()) -> Measured:
    """At least so many orders with a line that is no return, under these conditions."""
    window = None if days is None else Window(days)
    sold = (Condition("is_return", "=", False), *conditions)
    return Measured(Aggregate("order_lines", "count_distinct", "order_id", sold, window), ">=", at_least)


def list_parts(rule: Rule) -> tuple[Rule, ...]:
    """The rules directly inside ``rule``."""
    match rule:
        case All(rules=parts) | Any(rules=parts):
            return parts
        case Not(rule=inner):
            return (inner,)
        case _:
            return ()


def walk_rule(rule: Rule) -> Iterator[tuple[Rule, int]]:
    """``rule`` and all inside it, each with its level from 1, in the order in which they are written."""
    waiting = [(rule, 1)]
    while waiting:
        part, level = waiting.pop()
        yield part, level
        waiting += [(inner, level + 1) for inner in reversed(list_parts(part))]


def list_rule_tags(rule: Rule) -> tuple[str, ...]:
    """The tags and attributes that ``rule`` reads itself (not its segments), each once, in order of appearance."""
    found: dict[str, None] = {}
    for part, _ in walk_rule(rule):
        match part:
            case Compare(tag=tag) | OneOf(tag=tag) | Between(tag=tag) | IsEmpty(tag=tag):
                found[tag] = None
            case Nearest(axes=axes):
                found |= dict.fromkeys(axis.tag for axis in axes)
            case _:
                pass
    return tuple(found)


def list_rule_segments(rule: Rule) -> tuple[str, ...]:
    """The segments that ``rule`` names itself, each once, in order of appearance."""
    names = [part.segment for part, _ in walk_rule(rule) if isinstance(part, InSegment)]
    return tuple(dict.fromkeys(names))


def list_rule_events(rule: Rule) -> tuple[str, ...]:
    """The names of events that ``rule`` asks for, each once, in order of appearance."""
    found: dict[str, None] = {}
    for part, _ in walk_rule(rule):
        for table, conditions in list_rows(part):
            if table == "events":
                found |= {
                    str(one.value): None for one in conditions if (one.column, one.operator) == ("name", "=")
                }
    return tuple(found)


def list_rows(rule: Rule) -> tuple[tuple[str, tuple[Condition, ...]], ...]:
    """Which rows of which source the rule itself looks at: table and conditions."""
    match rule:
        case Measured(of=of):
            return ((of.table, of.conditions),)
        case Sequence(steps=steps, without=without):
            every = steps if without is None else (*steps, without)
            return tuple((step.table, step.conditions) for step in every)
        case _:
            return ()


def collect_segments(rules: Mapping[str, Rule], segments: Mapping[str, Rule]) -> dict[str, Rule]:
    """The segments that ``rules`` need, each after those that it needs itself; they must have been checked."""
    ordered: dict[str, Rule] = {}

    def add(name: str) -> None:
        if name not in ordered:
            for needed in list_rule_segments(segments[name]):
                add(needed)
            ordered[name] = segments[name]

    for rule in rules.values():
        for name in list_rule_segments(rule):
            add(name)
    return ordered


def is_attribute(tag: str) -> bool:
    """Whether the name is that of an attribute rather than of a tag."""
    return tag.startswith(ATTRIBUTE)
