"""Checks rules against what is known: tags, attributes, sources, segments and events. It reads no table.

A rule that passes can be compiled: every name is known, every value is of its type, no segment waits for itself,
and the tree is no deeper than a person, a parser and a database can follow.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from difflib import get_close_matches

from aimwell.core.errors import BadInput
from aimwell.core.lists import join_list
from aimwell.core.tables import Type
from aimwell.core.text import Text, say
from aimwell.engine.rule import (
    STEP_TABLES,
    Between,
    Compare,
    InSegment,
    IsEmpty,
    Measured,
    Nearest,
    OneOf,
    Rule,
    Sequence,
    Step,
    is_attribute,
    list_rule_events,
    list_rule_segments,
    walk_rule,
)
from aimwell.engine.specification import (
    NUMERIC,
    OPERATORS,
    Condition,
    DaysSince,
    Measure,
    Operator,
    Value,
    find_source,
    find_tag_type,
    find_type,
    validate_tag,
    validate_value,
)

MOST_LEVELS = 60
MOST_PARTS = 2_000
MOST_STEPS = 10
MOST_POINTS = 50
LONGEST_WAIT = 36_500


def validate_rule(
    rule: Rule,
    tags: Mapping[str, Type],
    *,
    segments: Mapping[str, Rule] | None = None,
    events: Collection[str] | None = None,
) -> None:
    """Check every name and value of ``rule``, and of the segments that it needs.

    ``tags`` gives the types of tags and attributes. ``events`` are the names that the data know; None: any name
    may come yet. BadInput names what is wrong and the nearest names, or the circle of segments.
    """
    known = segments or {}
    check_size(rule)
    for part, _ in walk_rule(rule):
        _validate_part(part, tags)
    if events is not None:
        for name in list_rule_events(rule):
            if name not in events:
                raise _unknown(
                    "engine.unknown_event", say("No event is called '{name}'.", name=name), name, events
                )
    checked: set[str] = set()
    for name in list_rule_segments(rule):
        _validate_segment(name, tags, known, (), checked)


def check_size(rule: Rule) -> None:
    """BadInput when the tree is too deep or too large."""
    for parts, (_, level) in enumerate(walk_rule(rule), 1):
        if level > MOST_LEVELS:
            raise BadInput(
                "engine.rule_too_deep",
                say("The rule has more than {most} levels inside each other.", most=MOST_LEVELS),
                remedy=say("Keep a part of it as a segment, and name that segment in the rule."),
            )
        if parts > MOST_PARTS:
            raise BadInput(
                "engine.rule_too_large",
                say("The rule has more than {most} parts.", most=MOST_PARTS),
                remedy=say("Use one list of values instead of many comparisons, or several segments."),
            )


def _validate_segment(
    name: str, tags: Mapping[str, Type], known: Mapping[str, Rule], path: tuple[str, ...], checked: set[str]
) -> None:
    if name in path:
        circle = (*path[path.index(name) :], name)
        raise BadInput(
            "engine.segment_circle",
            say("These segments wait for each other: {names}.", names=" → ".join(circle)),
            remedy=say("Write one of these segments without the others."),
            where={"value": name},
        )
    if name not in known:
        raise _unknown("engine.unknown_segment", say("There is no segment '{name}'.", name=name), name, known)
    if name in checked:
        return
    if len(path) >= MOST_LEVELS:
        raise BadInput(
            "engine.rule_too_deep",
            say("The rule has more than {most} levels inside each other.", most=MOST_LEVELS),
            remedy=say("Keep a part of it as a segment, and name that segment in the rule."),
        )
    check_size(known[name])
    for part, _ in walk_rule(known[name]):
        _validate_part(part, tags)
    for needed in list_rule_segments(known[name]):
        _validate_segment(needed, tags, known, (*path, name), checked)
    checked.add(name)


def _validate_part(part: Rule, tags: Mapping[str, Type]) -> None:
    match part:
        case Compare(tag=tag, operator=operator, value=value):
            _validate_tag_value(tag, tags, operator, value)
        case OneOf(tag=tag, values=values):
            for value in values:
                _validate_tag_value(tag, tags, "=", value)
            if len({isinstance(value, str) for value in values}) > 1:
                raise _mixed(tag)
        case Between(tag=tag, low=low, high=high):
            for value in (low, high):
                _validate_tag_value(tag, tags, ">=", value)
        case IsEmpty(tag=tag):
            find_type(tag, tags)
        case Measured():
            _validate_measured(part)
        case Sequence():
            _validate_sequence(part)
        case Nearest():
            _validate_nearest(part, tags)
        case InSegment() | _:
            pass


def _validate_tag_value(tag: str, tags: Mapping[str, Type], operator: Operator, value: Value) -> None:
    kind = find_type(tag, tags)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    validate_value(tag, Type.REAL if is_attribute(tag) and is_number else kind, operator, value)


def _validate_measured(rule: Measured) -> None:
    spec = rule.of if isinstance(rule.of, DaysSince) else Measure(rule.of)
    validate_tag(spec, {})
    validate_value(rule.of.table, find_tag_type(spec), rule.operator, rule.value)
    for one in rule.of.conditions:
        _require_words(one)


def _validate_sequence(rule: Sequence) -> None:
    if not rule.steps or len(rule.steps) > MOST_STEPS:
        raise BadInput(
            "engine.bad_sequence",
            say("A sequence has from 1 to {most} steps.", most=MOST_STEPS),
            remedy=say("An example: did 'Product Viewed' then 'Product Added' within 3 days."),
        )
    if rule.steps[0].within is not None:
        raise _bad_wait(rule.steps[0].within)
    for step in (*rule.steps, *([rule.without] if rule.without else [])):
        _validate_step(step)


def _validate_step(step: Step) -> None:
    if step.table not in STEP_TABLES:
        raise _unknown(
            "engine.unknown_source",
            say("The steps of a sequence cannot be rows of '{table}'.", table=step.table),
            step.table,
            STEP_TABLES,
        )
    source = find_source(step.table)
    for one in step.conditions:
        validate_value(one.column, source.type_of(one.column), one.operator, one.value)
        _require_words(one)
    if step.table == "events" and not any(
        (one.column, one.operator) == ("name", "=") for one in step.conditions
    ):
        raise _bad_event("")
    if step.within is not None and not 0 <= step.within <= LONGEST_WAIT:
        raise _bad_wait(step.within)


def _validate_nearest(rule: Nearest, tags: Mapping[str, Type]) -> None:
    for axis in rule.axes:
        if find_type(axis.tag, tags) not in NUMERIC:
            validate_value(axis.tag, tags[axis.tag], ">", axis.centre)
    fits = all(len(point) == len(rule.axes) for point in rule.points) and all(
        axis.scale > 0 for axis in rule.axes
    )
    if not (fits and rule.axes and 0 <= rule.which < len(rule.points) <= MOST_POINTS):
        raise BadInput(
            "engine.bad_points",
            say("The points of a cluster do not fit its tags."),
            remedy=say("Build the clusters again with: aimwell analysis segment build --by clusters"),
        )


def _require_words(condition: Condition) -> None:
    """An event without a name is nobody's event."""
    if condition.operator not in OPERATORS or (condition.column == "name" and condition.value == ""):
        raise _bad_event(condition.value)


def _bad_event(value: Value) -> BadInput:
    return BadInput(
        "engine.bad_event_rule",
        say("A rule on events needs the event's name."),
        remedy=say("To ask for no such event, put not before the rule."),
        where={"value": str(value)},
    )


def _bad_wait(days: int | None) -> BadInput:
    return BadInput(
        "engine.bad_wait",
        say("A step cannot wait {days} days for the one before.", days=days),
        remedy=say("Use whole days from 0 to 36,500; the first step waits for none."),
        where={"value": days},
    )


def _mixed(tag: str) -> BadInput:
    return BadInput(
        "engine.mixed_values",
        say("The values of '{name}' are partly text and partly numbers.", name=tag),
        remedy=say("Write all of them in quotes, or none."),
        where={"column": tag},
    )


def _unknown(code: str, message: Text, name: str, known: Iterable[str]) -> BadInput:
    names = sorted(known)
    nearest = get_close_matches(name, names, n=3, cutoff=0.4) or names[:5]
    remedy = (
        say("The nearest names are: {names}.", names=join_list(nearest))
        if nearest
        else say("None is known yet.")
    )
    return BadInput(code, message, remedy=remedy, where={"value": name})
