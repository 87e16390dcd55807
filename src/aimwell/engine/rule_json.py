"""Rules as plain JSON, for the store's definitions and for YAML files that people write.

A rule is one of ``{tag, is, value}``, ``{tag, one_of}``, ``{tag, between}``, ``{tag, is_empty}``, ``{all}``,
``{any}``, ``{not}``, ``{event, at_least, days, where}``, ``{measure, is, value}``, ``{days_since, is, value}``,
``{sequence, without, window}``, ``{segment}`` and ``{nearest}``. It reads no table and writes none.
"""

from __future__ import annotations

from typing import Any, cast

from aimwell.core.errors import BadInput
from aimwell.core.text import say
from aimwell.engine.rule import (
    All,
    Axis,
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
    did,
)
from aimwell.engine.rule import Any as AnyOne
from aimwell.engine.rule_check import MOST_LEVELS
from aimwell.engine.specification import (
    FUNCTIONS,
    OPERATORS,
    Aggregate,
    Condition,
    DaysSince,
    Value,
    Window,
    is_number,
)


def rule_to_json(rule: Rule) -> dict[str, Any]:
    """``rule`` as it is kept in definitions and YAML files."""
    match rule:
        case Compare(tag=tag, operator=operator, value=value):
            return {"tag": tag, "is": operator, "value": value}
        case OneOf(tag=tag, values=values):
            return {"tag": tag, "one_of": list(values)}
        case Between(tag=tag, low=low, high=high):
            return {"tag": tag, "between": [low, high]}
        case IsEmpty(tag=tag):
            return {"tag": tag, "is_empty": True}
        case All(rules=parts):
            return {"all": [rule_to_json(part) for part in parts]}
        case AnyOne(rules=parts):
            return {"any": [rule_to_json(part) for part in parts]}
        case Not(rule=inner):
            return {"not": rule_to_json(inner)}
        case Measured():
            return _measured_to_json(rule)
        case Sequence(steps=steps, without=without, window=window):
            listed: dict[str, Any] = {"sequence": [_step_to_json(step) for step in steps]}
            after = {} if without is None else {"without": _step_to_json(without)}
            return {**listed, **after, **({} if window is None else {"window": _window_to_json(window)})}
        case InSegment(segment=segment):
            return {"segment": segment}
        case Nearest(axes=axes, points=points, which=which):
            places = [[axis.tag, axis.centre, axis.scale, axis.log] for axis in axes]
            return {"nearest": {"axes": places, "points": [list(point) for point in points], "which": which}}


def rule_from_json(body: object) -> Rule:
    """Read back what ``rule_to_json`` wrote; BadInput when ``body`` is no rule."""
    return _read_rule(body, 1)


def _read_rule(body: object, level: int) -> Rule:
    if level > 2 * MOST_LEVELS:
        raise BadInput(
            "engine.rule_too_deep",
            say("The rule has more than {most} levels inside each other.", most=2 * MOST_LEVELS),
            remedy=say("Keep a part of it as a segment, and name that segment in the rule."),
        )
    match body:
        case {"all": list(parts), **rest} if not rest:
            return All(tuple(_read_rule(part, level + 1) for part in parts))
        case {"any": list(parts), **rest} if not rest:
            return AnyOne(tuple(_read_rule(part, level + 1) for part in parts))
        case {"not": inner, **rest} if not rest:
            return Not(_read_rule(inner, level + 1))
        case {"tag": str()}:
            found = _read_comparison(body)
        case _:
            found = _read_deed(body)
    if found is None:
        raise _not_readable(body)
    return found


def _read_comparison(body: object) -> Rule | None:
    match body:
        case {"tag": str(tag), "is": str(operator), "value": value, **rest} if not rest and _are_values(
            [value]
        ):
            return Compare(tag, operator, cast(Value, value)) if operator in OPERATORS else None
        case {"tag": str(tag), "one_of": list(values), **rest} if not rest and _are_values(values):
            return OneOf(tag, tuple(values))
        case {"tag": str(tag), "between": [low, high], **rest} if not rest and _are_values([low, high]):
            return Between(tag, low, high)
        case {"tag": str(tag), "is_empty": True, **rest} if not rest:
            return IsEmpty(tag)
        case _:
            return None


def _read_deed(body: object) -> Rule | None:
    match body:
        case {"event": str(name), **rest} if set(rest) <= {"at_least", "days", "where"}:
            at_least, days = rest.get("at_least", 1), rest.get("days")
            if _is_whole(at_least) and (days is None or _is_whole(days)):
                conditions = _read_conditions(rest.get("where", []))
                return did(name, cast(int, at_least), cast("int | None", days), conditions)
        case {"measure": dict(figure), "is": str(operator), "value": value, **rest} if not rest:
            if operator in OPERATORS and _are_values([value]):
                return Measured(_read_aggregate(figure), operator, cast(Value, value))
        case {"days_since": dict(figure), "is": str(operator), "value": value, **rest} if not rest:
            if operator in OPERATORS and _are_values([value]):
                return Measured(_read_days_since(figure), operator, cast(Value, value))
        case {"sequence": list(steps), **rest} if set(rest) <= {"without", "window"}:
            without = None if rest.get("without") is None else _read_step(rest["without"])
            return Sequence(
                tuple(_read_step(step) for step in steps), without, _read_window(rest.get("window"))
            )
        case {"segment": str(segment), **rest} if not rest:
            return InSegment(segment)
        case {"nearest": dict(fields), **rest} if not rest and set(fields) == {"axes", "points", "which"}:
            return _read_nearest(fields)
    return None


def _measured_to_json(rule: Measured) -> dict[str, Any]:
    of = rule.of
    if isinstance(of, DaysSince):
        figure: dict[str, Any] = {
            "table": of.table,
            "which": of.which,
            "conditions": _conditions_to_json(of.conditions),
        }
        return {"days_since": figure, "is": rule.operator, "value": rule.value}
    counted = read_event_count(rule)
    if counted is not None:
        name, at_least, days, conditions = counted
        where = {"where": _conditions_to_json(conditions)} if conditions else {}
        return {"event": name, "at_least": at_least, "days": days, **where}
    figure = {
        "table": of.table,
        "function": of.function,
        "column": of.column,
        "conditions": _conditions_to_json(of.conditions),
        "window": None if of.window is None else _window_to_json(of.window),
    }
    return {"measure": figure, "is": rule.operator, "value": rule.value}


def read_event_count(rule: Measured) -> tuple[str, int, int | None, tuple[Condition, ...]] | None:
    """Event, times, days and conditions, when ``rule`` is what ``did`` makes; else None."""
    of = rule.of
    if not isinstance(of, Aggregate) or not of.conditions or not _is_whole(rule.value):
        return None
    name, days = str(of.conditions[0].value), None if of.window is None else of.window.days
    again = did(name, int(rule.value), days, of.conditions[1:])
    return (name, int(rule.value), days, of.conditions[1:]) if again == rule else None


def _step_to_json(step: Step) -> dict[str, Any]:
    within = {} if step.within is None else {"within": step.within}
    return {"table": step.table, "where": _conditions_to_json(step.conditions), **within}


def _conditions_to_json(conditions: tuple[Condition, ...]) -> list[list[Value]]:
    return [[one.column, one.operator, one.value] for one in conditions]


def _window_to_json(window: Window) -> dict[str, int]:
    return {"days": window.days, "ending": window.ending}


def _read_aggregate(body: dict[str, Any]) -> Aggregate:
    match body:
        case {"table": str(table), "function": str(function), **rest} if function in FUNCTIONS:
            column = rest.get("column")
            if set(rest) <= {"column", "conditions", "window"} and (
                column is None or isinstance(column, str)
            ):
                conditions = _read_conditions(rest.get("conditions") or [])
                return Aggregate(table, function, column, conditions, _read_window(rest.get("window")))
    raise _not_readable(body)


def _read_days_since(body: dict[str, Any]) -> DaysSince:
    match body:
        case {"table": str(table), **rest} if set(rest) <= {"which", "conditions"}:
            which = rest.get("which", "last")
            if which in ("last", "first"):
                return DaysSince(table, which, _read_conditions(rest.get("conditions") or []))
    raise _not_readable(body)


def _read_step(body: object) -> Step:
    match body:
        case {"table": str(table), **rest} if set(rest) <= {"where", "within"}:
            within = rest.get("within")
            if within is None or _is_whole(within):
                return Step(table, _read_conditions(rest.get("where", [])), cast("int | None", within))
    raise _not_readable(body)


def _read_window(body: object) -> Window | None:
    match body:
        case None:
            return None
        case {"days": int(days), **rest} if set(rest) <= {"ending"} and _is_whole(rest.get("ending", 0)):
            return Window(days, cast(int, rest.get("ending", 0)))
    raise _not_readable(body)


def _read_conditions(body: object) -> tuple[Condition, ...]:
    found = []
    for one in body if isinstance(body, list) else [body]:
        match one:
            case [str(column), str(operator), str() | int() | float() as value] if operator in OPERATORS:
                found.append(Condition(column, operator, value))
            case _:
                raise _not_readable(body)
    return tuple(found)


def _read_nearest(fields: dict[str, Any]) -> Nearest:
    axes, points = [], []
    for one in fields["axes"] if isinstance(fields["axes"], list) else [None]:
        match one:
            case [str(tag), int() | float() as centre, int() | float() as scale, bool(log)]:
                axes.append(Axis(tag, centre, scale, log))
            case _:
                raise _not_readable(fields)
    for point in fields["points"] if isinstance(fields["points"], list) else [None]:
        if not isinstance(point, list) or not all(is_number(value) for value in point):
            raise _not_readable(fields)
        points.append(tuple(point))
    if not _is_whole(fields["which"]):
        raise _not_readable(fields)
    return Nearest(tuple(axes), tuple(points), fields["which"])


def _are_values(values: list[Any]) -> bool:
    return all(isinstance(value, str | int | float) for value in values)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _not_readable(body: object) -> BadInput:
    return BadInput(
        "engine.bad_specification",
        say("This is not a specification that Aimwell knows: {body}.", body=str(body)[:200]),
        remedy=say(
            "A rule is one of tag+is+value, tag+one_of, tag+between, tag+is_empty, all, any, not, event, "
            "measure+is+value, days_since+is+value, sequence, segment, nearest."
        ),
        where={"value": str(body)[:200]},
    )
