"""Typed specifications of analyses over time: a funnel, a cohort table, a metric by period.

Small frozen trees like those of ``engine.specification``: they say what is wanted and are turned into SQL by
``engine.compile_funnel`` and ``engine.compile_cohort``. They read no table and write none.

A funnel's steps happen in their order, each at a later place than the one before it; places are the total order of
a customer's rows by instant, then table (events, orders, order lines), then id. The whole attempt fits into the
window, which starts with its first step (both ends included). An exclusion ends every attempt that is under way.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal, TypeAlias, get_args

from aimwell.core.errors import BadInput
from aimwell.core.tables import Type
from aimwell.core.text import say
from aimwell.engine.specification import (
    Aggregate,
    Condition,
    Value,
    find_source,
    validate_value,
)

FunnelTable: TypeAlias = Literal["events", "orders", "order_lines"]
Period: TypeAlias = Literal["day", "week", "month"]
BreakdownKind: TypeAlias = Literal["step", "tag", "attribute"]
TABLES_IN_ORDER: tuple[FunnelTable, ...] = get_args(FunnelTable)
PERIODS: tuple[Period, ...] = get_args(Period)
KEYS: dict[FunnelTable, str] = {"events": "event_id", "orders": "order_id", "order_lines": "line_id"}
INSTANTS: dict[FunnelTable, str] = {
    "events": "occurred_at",
    "orders": "ordered_at",
    "order_lines": "ordered_at",
}
PROPERTY = "properties."
"""What stands before the name of an event's property where a column is asked for."""
MOST_STEPS = 12
LONGEST = timedelta(days=36_500)
_PROPERTY_NAME = re.compile(r"[^'\"\\\[\]$]{1,100}")


@dataclass(frozen=True)
class Step:
    """Rows of one table that meet every condition; ``title`` is its name for people."""

    table: FunnelTable
    conditions: tuple[Condition, ...] = ()
    title: str = ""

    @property
    def name(self) -> str:
        """The title, else the event's name, else the table's."""
        named = [str(one.value) for one in self.conditions if one.column == "name" and one.operator == "="]
        return self.title or (named[0] if named else self.table)


@dataclass(frozen=True)
class Breakdown:
    """By which value the customers are parted: a column of their first step's row, a tag, or an attribute."""

    kind: BreakdownKind
    column: str


@dataclass(frozen=True)
class Funnel:
    """Ordered steps within a window; first steps of the days from ``start`` (included) to ``end`` (not included).

    ``start`` None: from the beginning. Nothing from ``end`` on is read: what starts late had less time.
    """

    steps: tuple[Step, ...]
    window: timedelta
    end: date
    start: date | None = None
    exclusions: tuple[Step, ...] = ()
    breakdown: Breakdown | None = None


@dataclass(frozen=True)
class Cohort:
    """Customers by the period of their first row of ``begin``, or by an attribute; active by rows of ``activity``.

    With ``attribute`` the label is its value and the periods are counted from the customer's first row of ``begin``.
    Revenue is summed over the rows of ``activity`` where its table has any.
    """

    begin: Step
    activity: Step
    period: Period
    end: date
    attribute: str | None = None


@dataclass(frozen=True)
class Series:
    """One aggregate per period of the days from ``start`` to before ``end``; its window must be empty."""

    of: Aggregate
    period: Period
    start: date
    end: date


def match_event(name: str, *conditions: Condition, title: str = "") -> Step:
    """The step 'the event ``name`` happened'."""
    return Step("events", (Condition("name", "=", name), *conditions), title)


def build_stages(column: str, values: tuple[str, ...], *, end: date, start: date | None = None) -> Funnel:
    """The funnel of a sales process: an event for each stage that a customer enters, whatever time it takes.

    ``column`` of events (or ``properties.stage``) names the stage: lead, opportunity, offer, contract.
    """
    steps = tuple(Step("events", (Condition(column, "=", value),), value) for value in values)
    return Funnel(steps, LONGEST, end, start)


def validate_funnel(funnel: Funnel) -> None:
    """BadInput when a step, the window or the days cannot be."""
    if not 1 <= len(funnel.steps) <= MOST_STEPS:
        raise BadInput(
            "engine.funnel_steps",
            say(
                "A funnel has from 1 to {most} steps, not {count}.", most=MOST_STEPS, count=len(funnel.steps)
            ),
            remedy=say("Give the steps in their order, each with --step."),
            where={"value": len(funnel.steps)},
        )
    if not timedelta(0) < funnel.window <= LONGEST:
        raise BadInput(
            "engine.funnel_window",
            say("A funnel's window must be longer than nothing and at most 36,500 days."),
            remedy=say("Write it as hours or days, such as 48h or 7d."),
            where={"value": str(funnel.window)},
        )
    if funnel.start is not None and funnel.start >= funnel.end:
        raise BadInput(
            "engine.funnel_days",
            say(
                "There is no day from {start} to before {end}.",
                start=funnel.start.isoformat(),
                end=funnel.end.isoformat(),
            ),
            remedy=say("Choose an end after the start."),
            where={"value": funnel.start.isoformat()},
        )
    for step in (*funnel.steps, *funnel.exclusions):
        validate_step(step)
    if funnel.breakdown is not None and funnel.breakdown.kind == "step":
        find_column_type(funnel.steps[0].table, funnel.breakdown.column)


def validate_step(step: Step) -> None:
    """BadInput when the table, a column or a value of ``step`` does not fit."""
    find_source(step.table)
    for one in step.conditions:
        validate_value(one.column, find_column_type(step.table, one.column), one.operator, one.value)


def find_column_type(table: str, column: str) -> Type:
    """The type of a column; properties of events (``properties.NAME``) are text."""
    if table == "events" and column.startswith(PROPERTY):
        check_property(column.removeprefix(PROPERTY))
        return Type.TEXT
    return find_source(table).type_of(column)


def show_property(properties: str, name: str) -> str:
    """SQL for the property ``name`` of the JSON column ``properties``; BadInput when no property can be named so."""
    check_property(name)
    path = f"$.{name}" if name.isidentifier() and name.isascii() else f'$."{name}"'
    return f"JSON_EXTRACT_STRING({properties}, '{path}')"


def check_property(name: str) -> None:
    """BadInput when ``name`` cannot stand in SQL as the name of an event's property."""
    if not _PROPERTY_NAME.fullmatch(name):
        raise BadInput(
            "engine.bad_property",
            say("'{name}' cannot be the name of a property.", name=name),
            remedy=say("Use letters, digits and _."),
            where={"column": name},
        )


def list_needed_columns(steps: tuple[Step, ...], table: FunnelTable) -> set[str]:
    """The columns of ``table`` that conditions of ``steps`` read."""
    return {one.column for step in steps if step.table == table for one in step.conditions}


__all__ = [
    "Breakdown",
    "Cohort",
    "Condition",
    "Funnel",
    "Series",
    "Step",
    "Value",
    "build_stages",
    "match_event",
    "validate_funnel",
]
