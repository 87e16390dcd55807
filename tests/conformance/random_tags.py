"""Tags by form that nobody wrote: drawn from all sources, columns, functions, conditions and windows."""

from __future__ import annotations

from random import Random
from typing import Any

from aimwell.core.tables import Type
from aimwell.engine.specification import (
    NUMERIC,
    SOURCES,
    Aggregate,
    Condition,
    DaysSince,
    Measure,
    Ratio,
    TagSpec,
    TopValue,
    Trend,
    Window,
)

_WINDOWS = (
    None,
    Window(1),
    Window(7),
    Window(29, 1),
    Window(30),
    Window(90, 90),
    Window(365),
    Window(400, 2),
)
VALUES: dict[Type, tuple[Any, ...]] = {
    Type.TEXT: ("Product Viewed", "web", "S1", "p1", "新事件's", "Own", "nps"),
    Type.INTEGER: (0, 1, 6, 12),
    Type.REAL: (0, 0.375, 1),
    Type.MONEY: (0, 19.99, 0.3),
    Type.BOOLEAN: (True, False),
    Type.DATE: ("2023-12-31", "2024-02-29"),
}
_PLAIN = ("count", "count_distinct", "min", "max", "latest", "earliest")
_OF_NUMBERS = (*_PLAIN, "sum", "average", "deviation")


def draw_tags(seed: int, count: int) -> dict[str, TagSpec]:
    """``count`` specifications by name, the same for a seed."""
    random = Random(seed)
    return {f"drawn_{number}": _draw_tag(random) for number in range(count)}


def _draw_tag(random: Random) -> TagSpec:
    table = random.choice(sorted(SOURCES))
    match random.choice(("measure", "measure", "ratio", "trend", "since", "top")):
        case "measure":
            return Measure(draw_aggregate(random, table, random.choice(_WINDOWS)))
        case "ratio":
            other = random.choice(sorted(SOURCES))
            whole = Aggregate(other, "count", None, draw_conditions(random, other), random.choice(_WINDOWS))
            return Ratio(_draw_number(random, table, random.choice(_WINDOWS)), whole)
        case "trend":
            days = random.choice((7, 30, 365))
            recent = _draw_number(random, table, Window(days))
            return Trend(recent, Aggregate(table, "count", None, recent.conditions, Window(days, days)))
        case "since":
            return DaysSince(table, random.choice(("first", "last")), draw_conditions(random, table))
        case _:
            column = random.choice([name for name, _ in SOURCES[table].columns])
            weights = [None, *(name for name, kind in SOURCES[table].columns if kind in NUMERIC)]
            output = random.choice(("value", "share"))
            shown = (random.choice(weights), random.choice(_WINDOWS), draw_conditions(random, table))
            return TopValue(table, column, *shown, output)


def draw_aggregate(random: Random, table: str, window: Window | None) -> Aggregate:
    column, kind = random.choice(SOURCES[table].columns)
    function = random.choice(_OF_NUMBERS if kind in NUMERIC else _PLAIN)
    return Aggregate(table, function, column, draw_conditions(random, table), window)


def _draw_number(random: Random, table: str, window: Window | None) -> Aggregate:
    """An aggregate that is a number, never below 0 by more than returns take off."""
    numbers = [name for name, kind in SOURCES[table].columns if kind in NUMERIC]
    column = random.choice([None, *numbers])
    function = "count" if column is None else random.choice(("count", "sum"))
    return Aggregate(table, function, column, draw_conditions(random, table), window)


def draw_conditions(random: Random, table: str) -> tuple[Condition, ...]:
    conditions = []
    for column, kind in random.sample(SOURCES[table].columns, random.choice((0, 0, 1, 1, 2))):
        ordered = kind in (*NUMERIC, Type.DATE)
        operator = random.choice(("=", "!=", "<", "<=", ">", ">=") if ordered else ("=", "!="))
        conditions.append(Condition(column, operator, random.choice(VALUES[kind])))
    return tuple(conditions)
