"""Rules written as the text that ``rule_text.parse_rule`` reads. It reads no table and writes none."""

from __future__ import annotations

import re

from aimwell.analysis.rule_text import RESERVED
from aimwell.engine.rule import (
    All,
    Any,
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
    Step,
)
from aimwell.engine.rule_json import read_event_count
from aimwell.engine.specification import Condition, DaysSince, Value, Window

_PLAIN = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)?", re.ASCII)


def write_rule(rule: Rule) -> str:
    """``rule`` as text that ``parse_rule`` reads back as a rule of the same meaning."""
    match rule:
        case All(rules=()):
            return "everybody"
        case Any(rules=()):
            return "nobody"
        case All(rules=parts):
            return _join(" and ", parts)
        case Any(rules=parts):
            return _join(" or ", parts)
        case Not(rule=IsEmpty(tag=tag)):
            return f"{_write_name(tag)} is not empty"
        case Not(rule=inner):
            return f"not ({write_rule(inner)})"
        case IsEmpty(tag=tag):
            return f"{_write_name(tag)} is empty"
        case Between(tag=tag, low=low, high=high):
            return f"{_write_name(tag)} between {_write_value(low)} and {_write_value(high)}"
        case OneOf(tag=tag, values=values):
            return f"{_write_name(tag)} in ({', '.join(_write_value(value) for value in values)})"
        case Compare(tag=tag, operator=operator, value=value):
            return f"{_write_name(tag)} {operator} {_write_value(value)}"
        case InSegment(segment=segment):
            return f"in segment {_write_name(segment)}"
        case Measured():
            return _write_measured(rule)
        case Sequence():
            return _write_sequence(rule)
        case Nearest(axes=axes, points=points, which=which):
            places = [
                f"{'log ' if axis.log else ''}{_write_name(axis.tag)} {axis.centre!r} {axis.scale!r}"
                for axis in axes
            ]
            listed = [" ".join(repr(value) for value in point) for point in points]
            return f"nearest({which}, ({', '.join(places)}), ({', '.join(listed)}))"


def _write_measured(rule: Measured) -> str:
    counted = read_event_count(rule)
    if counted is not None and counted[1] >= 1:
        name, times, days, conditions = counted
        repeated = "" if times == 1 else f" {times} times"
        reach = "" if days is None else f" in {days} days"
        return f"did {_write_value(name)}{repeated}{reach}{_write_where(conditions)}"
    of = rule.of
    tests = " and ".join(_write_condition(one) for one in of.conditions)
    where = f" where {tests}" if tests else ""
    if isinstance(of, DaysSince):
        figure = f"days_since_{of.which}({_write_name(of.table)}{where})"
    else:
        rows = of.table if of.column is None else f"{of.table}.{of.column}"
        figure = f"{of.function}({_write_name(rows)}{where}{_write_window(of.window)})"
    return f"{figure} {rule.operator} {_write_value(rule.value)}"


def _write_sequence(rule: Sequence) -> str:
    text = "did " + " then ".join(_write_step(step) for step in rule.steps)
    if rule.without is not None:
        text += f" without {_write_step(rule.without)}"
    return text + _write_window(rule.window)


def _write_step(step: Step) -> str:
    within = "" if step.within is None else f" within {step.within} days"
    first, rest = step.conditions[:1], step.conditions[1:]
    if step.table == "order_lines" and first == (Condition("is_return", "=", False),):
        return f"bought{within}{_write_where(rest)}"
    if step.table == "events" and first and (first[0].column, first[0].operator) == ("name", "="):
        return f"{_write_value(first[0].value)}{within}{_write_where(rest)}"
    tests = " and ".join(_write_condition(one) for one in step.conditions)
    return f"({_write_name(step.table)} where {tests}){within}"


def _write_where(conditions: tuple[Condition, ...]) -> str:
    tests = [_write_condition(one) for one in conditions]
    if not tests:
        return ""
    return f" where {tests[0]}" if len(tests) == 1 else f" where ({' and '.join(tests)})"


def _write_condition(one: Condition) -> str:
    return f"{_write_name(one.column)} {one.operator} {_write_value(one.value)}"


def _write_window(window: Window | None) -> str:
    if window is None:
        return ""
    ending = f" ending {window.ending} days ago" if window.ending else ""
    return f" in {window.days} days{ending}"


def _join(word: str, parts: tuple[Rule, ...]) -> str:
    texts = [f"({write_rule(part)})" if isinstance(part, All | Any) else write_rule(part) for part in parts]
    return word.join(texts) if len(texts) > 1 else f"({texts[0]})"


def _write_name(name: str) -> str:
    plain = _PLAIN.fullmatch(name) and name.lower() not in RESERVED
    return name if plain else '"' + name.replace('"', '""') + '"'


def _write_value(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "'" + value.replace("'", "''") + "'" if isinstance(value, str) else repr(value)
