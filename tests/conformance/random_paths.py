"""Rules, funnels, cohorts and figures by period that nobody wrote, drawn from all sources, steps and windows."""

from __future__ import annotations

from datetime import date, timedelta
from random import Random
from typing import Any

from aimwell.core.tables import Type
from aimwell.engine.funnel import TABLES_IN_ORDER, Breakdown, Cohort, Funnel, Series, Step
from aimwell.engine.rule import All, Between, Compare, IsEmpty, Measured, Not, OneOf, Rule, Sequence
from aimwell.engine.rule import Any as AnyOne
from aimwell.engine.rule import Step as Deed
from aimwell.engine.specification import (
    NUMERIC,
    OPERATORS,
    ORDERED,
    SOURCES,
    Aggregate,
    Condition,
    DaysSince,
    Operator,
    Window,
)
from tests.conformance.random_tags import VALUES, draw_aggregate, draw_conditions
from tests.conformance.rules import TYPES
from tests.conformance.world import AS_OF, NAMES

_WINDOWS = (None, Window(1), Window(29, 1), Window(91), Window(366))
_TAG_VALUES: dict[str, tuple[Any, ...]] = {
    "age": (-1, 0, 2),
    "spend": (-1.5, 0.0, 0.5),
    "word": ("", "o'brien", "茶", "back\\slash", "$p1"),
    "vip": (True, False),
    "born": ("2024-02-28", "1899-12-31", "0001-01-01"),
    "customers.city": ("上海", "Bonn", "bonn", ""),
    "customers.年龄": (18, 35.5, 0),
}


def draw_rules(seed: int, count: int) -> dict[str, Rule]:
    """``count`` rules by name, the same for a seed."""
    random = Random(seed)
    return {f"drawn_{number}": _draw_rule(random, 3) for number in range(count)}


def draw_funnel(seed: int) -> Funnel:
    """A funnel of one to four steps over any tables, some with an exclusion and a breakdown."""
    random = Random(seed)
    steps = tuple(_draw_step(random) for _ in range(random.choice((1, 2, 2, 3, 4))))
    window = timedelta(
        seconds=random.choice((1, 43_200, 86_400, 30 * 86_400, 500 * 86_400)),
        microseconds=random.choice((0, 0, 1)),
    )
    barred = tuple(_draw_step(random) for _ in range(random.choice((0, 0, 1, 2))))
    columns = [name for name, _ in SOURCES[steps[0].table].columns]
    parted = random.choice((None, Breakdown("attribute", "city"), Breakdown("step", random.choice(columns))))
    start = random.choice((None, date(2023, 6, 1)))
    return Funnel(steps, window, AS_OF, start, barred, parted)


def draw_cohort(seed: int) -> Cohort:
    """A cohort table over any two steps."""
    random = Random(seed)
    period = random.choice(("day", "week", "month"))
    attribute = random.choice((None, "city", "年龄"))
    return Cohort(_draw_step(random), _draw_step(random), period, AS_OF, attribute=attribute)


def draw_series(seed: int) -> Series:
    """A figure by period."""
    random = Random(seed)
    table = random.choice(TABLES_IN_ORDER)
    columns = dict(SOURCES[table].columns)
    column = random.choice([name for name, kind in columns.items() if kind in NUMERIC] or [None])
    function = random.choice(("sum", "average", "min", "max", "count_distinct")) if column else "count"
    of = Aggregate(table, function, column, draw_conditions(random, table))
    return Series(of, random.choice(("day", "week", "month")), date(2022, 12, 30), AS_OF)


def _draw_step(random: Random) -> Step:
    table = random.choice(TABLES_IN_ORDER)
    conditions = draw_conditions(random, table)
    if table == "events":
        conditions = random.choice(
            (
                (Condition("name", random.choice(("=", "=", "!=")), random.choice(NAMES)), *conditions),
                conditions,
            )
        )
    return Step(table, conditions)


def _draw_rule(random: Random, depth: int) -> Rule:
    form = random.choice(("leaf", "leaf", "not", "all", "any")) if depth else "leaf"
    if form == "leaf":
        return random.choice((_draw_tag_rule, _draw_figure, _draw_sequence))(random)
    if form == "not":
        return Not(_draw_rule(random, depth - 1))
    parts = tuple(_draw_rule(random, depth - 1) for _ in range(random.choice((0, 1, 2, 2, 3))))
    return All(parts) if form == "all" else AnyOne(parts)


def _draw_tag_rule(random: Random) -> Rule:
    tag = random.choice(sorted(_TAG_VALUES))
    values = _TAG_VALUES[tag]
    is_ordered = TYPES[tag] in ORDERED or not isinstance(values[0], str | bool)
    match random.choice(("compare", "compare", "one_of", "empty", *(["between"] if is_ordered else []))):
        case "compare":
            return Compare(
                tag, random.choice(OPERATORS if is_ordered else OPERATORS[:2]), random.choice(values)
            )
        case "one_of":
            return OneOf(tag, tuple(random.sample(values, random.choice((0, 1, 2)))))
        case "between":
            return Between(tag, random.choice(values), random.choice(values))
        case _:
            return IsEmpty(tag)


def _draw_figure(random: Random) -> Rule:
    table = random.choice(sorted(SOURCES))
    if random.choice((True, False, False)):
        since = DaysSince(table, random.choice(("first", "last")), _draw_named(random, table))
        return Measured(since, random.choice(OPERATORS), random.choice((1, 28, 90.5)))
    of = draw_aggregate(random, table, random.choice(_WINDOWS))
    if of.type not in ORDERED:
        of = Aggregate(table, "count", None, _draw_named(random, table), of.window)
    operator: Operator = random.choice(OPERATORS)
    kind = Type.INTEGER if of.function in ("count", "count_distinct") else of.type
    return Measured(of, operator, random.choice(VALUES[kind]))


def _draw_sequence(random: Random) -> Rule:
    steps = [_draw_deed(random, is_first=not number) for number in range(random.choice((1, 2, 2, 3)))]
    without = _draw_deed(random) if len(steps) == 1 or random.choice((True, False)) else None
    return Sequence(tuple(steps), without, random.choice(_WINDOWS))


def _draw_deed(random: Random, *, is_first: bool = False) -> Deed:
    table = random.choice(("events", "order_lines"))
    within = None if is_first else random.choice((None, 0, 7, 30, 365))
    conditions = draw_conditions(random, table)
    if table == "events":
        conditions = (Condition("name", "=", random.choice(NAMES)), *conditions)
    return Deed(table, conditions, within)


def _draw_named(random: Random, table: str) -> tuple[Condition, ...]:
    return tuple(one for one in draw_conditions(random, table) if one.value != "")
