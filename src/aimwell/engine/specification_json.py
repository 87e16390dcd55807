"""Specifications as plain JSON, for the store's definitions and for YAML files that people write.

Rules have a module of their own, ``engine.rule_json``. It reads no table and writes none.
"""

from __future__ import annotations

from typing import Any

from aimwell.core.errors import BadInput
from aimwell.core.tables import Type
from aimwell.core.text import say
from aimwell.engine.specification import (
    FUNCTIONS,
    Aggregate,
    Condition,
    DaysSince,
    Expression,
    Measure,
    Ratio,
    TagSpec,
    TopValue,
    Trend,
    Value,
    Window,
)


def tag_to_json(spec: TagSpec) -> dict[str, Any]:
    """``spec`` as it is kept in definitions and YAML files."""
    match spec:
        case Measure(of=aggregate):
            return {"measure": _aggregate_to_json(aggregate)}
        case Ratio(part=part, whole=whole):
            return {"ratio": [_aggregate_to_json(part), _aggregate_to_json(whole)]}
        case Trend(recent=recent, before=before):
            return {"trend": [_aggregate_to_json(recent), _aggregate_to_json(before)]}
        case DaysSince(table=table, which=which, conditions=conditions):
            return {
                "days_since": {"table": table, "which": which, "conditions": _conditions_to_json(conditions)}
            }
        case TopValue():
            fields = {name: getattr(spec, name) for name in ("table", "column", "weight", "output")}
            rest = {
                "window": _window_to_json(spec.window),
                "conditions": _conditions_to_json(spec.conditions),
            }
            return {"top_value": {**fields, **rest}}
        case Expression(sql=sql, type=kind):
            return {"expression": {"sql": sql, "type": kind.value}}


def tag_from_json(body: object) -> TagSpec:
    """Read back what ``tag_to_json`` wrote; BadInput when ``body`` is no tag."""
    try:
        match body:
            case {"measure": dict(aggregate)}:
                return Measure(_aggregate_from_json(aggregate))
            case {"ratio": [dict(part), dict(whole)]}:
                return Ratio(_aggregate_from_json(part), _aggregate_from_json(whole))
            case {"trend": [dict(recent), dict(before)]}:
                return Trend(_aggregate_from_json(recent), _aggregate_from_json(before))
            case {"days_since": dict(fields)}:
                return DaysSince(**{**fields, "conditions": _conditions_from_json(fields.get("conditions"))})
            case {"top_value": dict(fields)}:
                window, conditions = (
                    _window_from_json(fields.get("window")),
                    _conditions_from_json(fields.get("conditions")),
                )
                return TopValue(**{**fields, "window": window, "conditions": conditions})
            case {"expression": {"sql": str(sql), "type": str(kind)}}:
                return Expression(sql, Type(kind))
    except (KeyError, TypeError, ValueError) as error:
        raise _not_readable(body) from error
    raise _not_readable(body)


def _aggregate_to_json(aggregate: Aggregate) -> dict[str, Any]:
    return {
        "table": aggregate.table,
        "function": aggregate.function,
        "column": aggregate.column,
        "conditions": _conditions_to_json(aggregate.conditions),
        "window": _window_to_json(aggregate.window),
    }


def _aggregate_from_json(body: dict[str, Any]) -> Aggregate:
    if body["function"] not in FUNCTIONS:
        raise _not_readable(body)
    window, conditions = _window_from_json(body.get("window")), _conditions_from_json(body.get("conditions"))
    return Aggregate(**{**body, "window": window, "conditions": conditions})


def _conditions_to_json(conditions: tuple[Condition, ...]) -> list[list[Value]]:
    return [[condition.column, condition.operator, condition.value] for condition in conditions]


def _conditions_from_json(body: object) -> tuple[Condition, ...]:
    return tuple(Condition(*part) for part in body) if isinstance(body, list) else ()


def _window_to_json(window: Window | None) -> dict[str, int] | None:
    return None if window is None else {"days": window.days, "ending": window.ending}


def _window_from_json(body: object) -> Window | None:
    return Window(**body) if isinstance(body, dict) else None


def _not_readable(body: object) -> BadInput:
    return BadInput(
        "engine.bad_specification",
        say("This is not a specification that Aimwell knows: {body}.", body=str(body)[:200]),
        remedy=say("A tag is one of measure, ratio, trend, days_since, top_value, expression."),
        where={"value": str(body)[:200]},
    )
