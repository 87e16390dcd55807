"""Typed specifications of tags: small frozen trees that say what is wanted, not how to compute it.

They are kept as JSON in the store's definitions (``engine.specification_json``), checked against the known
columns and tags, and turned into SQL by ``engine.compile_tags``. They read no table and write none.

Windows are whole business days before ``as_of``: ``Window(30)`` holds the 30 days that end just before
``as_of``, the day exactly 30 days before included, ``as_of`` itself not.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date
from difflib import get_close_matches
from typing import Literal, TypeAlias, get_args

from aimwell.core.errors import BadInput
from aimwell.core.lists import join_list
from aimwell.core.tables import Type
from aimwell.core.text import Text, say
from aimwell.engine.expression import find_expression_inputs, make_total

Value: TypeAlias = "str | int | float | bool"
Operator: TypeAlias = Literal["=", "!=", "<", "<=", ">", ">="]
Function: TypeAlias = Literal[
    "count", "count_distinct", "sum", "average", "deviation", "min", "max", "latest", "earliest"
]
OPERATORS: tuple[Operator, ...] = get_args(Operator)
FUNCTIONS: tuple[Function, ...] = get_args(Function)
_OWN_TYPE = ("min", "max", "latest", "earliest")
NUMERIC = (Type.INTEGER, Type.REAL, Type.MONEY)
ORDERED = (*NUMERIC, Type.DATE)
LARGEST = 2**63 - 1


@dataclass(frozen=True)
class Source:
    """A table that tags are measured on: its columns with their types, and when each of its rows was.

    ``instant`` names the column with the instant of a row, which decides what came first or last; it is nobody's to
    ask for. None: no two rows of a customer have the same day.
    """

    name: str
    day: str
    instant: str | None
    columns: tuple[tuple[str, Type], ...]

    @property
    def stored(self) -> tuple[str, ...]:
        """The names of all columns that a reading may need, the instant last."""
        return (*(name for name, _ in self.columns), *((self.instant,) if self.instant else ()))

    def type_of(self, column: str) -> Type:
        """The type of ``column``; BadInput that names the nearest columns when there is none."""
        known = dict(self.columns)
        if column not in known:
            raise BadInput(
                "engine.unknown_column",
                say("The table {table} has no column '{column}'.", table=self.name, column=column),
                remedy=_suggest(column, known),
                where={"table": self.name, "column": column},
            )
        return known[column]


_TEXT, _WHOLE, _REAL = Type.TEXT, Type.INTEGER, Type.REAL
SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        Source(
            "order_lines",
            "ordered_on",
            "ordered_at",
            (
                ("order_id", _TEXT),
                ("product_id", _TEXT),
                ("ordered_on", Type.DATE),
                ("ordered_hour", _WHOLE),
                ("quantity", _REAL),
                ("revenue", Type.MONEY),
                ("discount", Type.MONEY),
                ("store_id", _TEXT),
                ("is_return", Type.BOOLEAN),
                ("department", _TEXT),
                ("category", _TEXT),
                ("brand", _TEXT),
            ),
        ),
        Source(
            "orders",
            "ordered_on",
            "ordered_at",
            (
                ("order_id", _TEXT),
                ("ordered_on", Type.DATE),
                ("hour", _WHOLE),
                ("weekday", _WHOLE),
                ("store_id", _TEXT),
                ("lines", _WHOLE),
                ("units", _REAL),
                ("revenue", Type.MONEY),
                ("discount", Type.MONEY),
            ),
        ),
        Source(
            "events",
            "occurred_on",
            "occurred_at",
            (
                ("event_id", _TEXT),
                ("name", _TEXT),
                ("occurred_on", Type.DATE),
                ("product_id", _TEXT),
                ("campaign_id", _TEXT),
                ("channel", _TEXT),
                ("department", _TEXT),
                ("category", _TEXT),
                ("brand", _TEXT),
            ),
        ),
        Source(
            "order_days",
            "ordered_on",
            None,
            (
                ("ordered_on", Type.DATE),
                ("month", _WHOLE),
                ("gap", _WHOLE),
            ),
        ),
        Source(
            "signals",
            "given_on",
            "given_at",
            (
                ("kind", _TEXT),
                ("name", _TEXT),
                ("score", _REAL),
                ("text", _TEXT),
                ("given_on", Type.DATE),
            ),
        ),
    )
}
"""``order_lines`` and ``events`` carry their product's department, category and brand; ``orders`` has one row per
purchase (order_lines summed by order, at the instant of its first line; orders that hold nothing but returns are left
out; weekday 1 is Monday);
``order_days`` has one row per day with a purchase: its month as year × 12 + month, the days since the purchase
before (``gap``, empty for the first)."""
BASES: dict[str, tuple[str, ...]] = {
    "order_lines": ("order_lines",),
    "orders": ("order_lines",),
    "order_days": ("order_lines",),
    "events": ("events",),
    "signals": ("signals",),
}
"""The tables of the warehouse whose dated rows stand behind each source."""


@dataclass(frozen=True)
class Window:
    """The ``days`` days that end ``ending`` days before ``as_of``."""

    days: int
    ending: int = 0

    def __post_init__(self) -> None:
        if self.days < 1 or self.ending < 0 or self.days + self.ending > 36_500:
            raise BadInput(
                "engine.bad_window",
                say(
                    "A window of {days} days that ends {ending} days before today cannot be.",
                    days=self.days,
                    ending=self.ending,
                ),
                remedy=say("Use at least 1 and at most 36,500 days."),
                where={"value": self.days},
            )


@dataclass(frozen=True)
class Condition:
    """A row counts only if ``column`` compares so with ``value`` (an empty column never does)."""

    column: str
    operator: Operator
    value: Value


@dataclass(frozen=True)
class Aggregate:
    """One figure per customer from the rows of a source; ``column`` is None only for ``count`` (of rows).

    ``deviation`` is the sample standard deviation, empty for fewer than two rows; ``latest`` and ``earliest`` are the
    column's value at the last or first instant that has one; of several values at one instant the greatest or the
    smallest, as text. A row of which only the day is known stands at the day's beginning, where its table has it.
    """

    table: str
    function: Function
    column: str | None = None
    conditions: tuple[Condition, ...] = ()
    window: Window | None = None

    @property
    def type(self) -> Type:
        """The type of the figure: whole numbers for counts, the column's own for min and max, else real."""
        if self.function in ("count", "count_distinct"):
            return Type.INTEGER
        kind = find_source(self.table).type_of(self.column or "")
        return kind if self.function in _OWN_TYPE and kind is not Type.MONEY else Type.REAL


@dataclass(frozen=True)
class Measure:
    """A tag that is one aggregate. Counts and sums are 0, the others empty, where no row counts."""

    of: Aggregate


@dataclass(frozen=True)
class Ratio:
    """A tag that divides one aggregate by another; empty where the latter is 0 or empty."""

    part: Aggregate
    whole: Aggregate


@dataclass(frozen=True)
class Trend:
    """A tag that compares two windows per day: (a − b) ÷ (|a| + |b|), from −1 (stopped) to 1 (started).

    It is empty when both are 0.
    """

    recent: Aggregate
    before: Aggregate

    def __post_init__(self) -> None:
        if self.recent.window is None or self.before.window is None:
            raise BadInput(
                "engine.trend_without_window",
                say("A trend compares two windows, and one of them is missing."),
                remedy=say("Give both aggregates a window in days."),
            )


@dataclass(frozen=True)
class DaysSince:
    """A tag that counts the days from the last (or first) row to ``as_of``; empty where there is none."""

    table: str
    which: Literal["last", "first"] = "last"
    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True)
class TopValue:
    """A tag that names the value of ``column`` with the greatest weight, or that value's share of all weight.

    The weight is the sum of ``weight``, or the number of rows; ties go to the value that sorts first.
    Values whose weight is not above 0 do not count.
    """

    table: str
    column: str
    weight: str | None = None
    window: Window | None = None
    conditions: tuple[Condition, ...] = ()
    output: Literal["value", "share"] = "value"


@dataclass(frozen=True)
class Expression:
    """A tag that is an SQL expression over other tags: names, literals, operators and a few functions."""

    sql: str
    type: Type

    @property
    def inputs(self) -> tuple[str, ...]:
        """The tags that it reads, in order of appearance; BadInput when it holds more than it may."""
        return find_expression_inputs(self.sql)


TagSpec: TypeAlias = "Measure | Ratio | Trend | DaysSince | TopValue | Expression"


def find_source(name: str) -> Source:
    """The source called ``name``; BadInput that names the nearest when there is none."""
    if name not in SOURCES:
        raise BadInput(
            "engine.unknown_source",
            say("Tags cannot be measured on a table '{table}'.", table=name),
            remedy=_suggest(name, SOURCES),
            where={"table": name},
        )
    return SOURCES[name]


def find_tag_type(spec: TagSpec) -> Type:
    """The type of the values of a tag so specified."""
    match spec:
        case Measure(of=aggregate):
            return aggregate.type
        case DaysSince():
            return Type.INTEGER
        case TopValue(output="value"):
            return find_source(spec.table).type_of(spec.column)
        case Expression():
            return spec.type
        case _:
            return Type.REAL


def list_aggregates(spec: TagSpec) -> tuple[Aggregate, ...]:
    """The aggregates that a tag is made of."""
    match spec:
        case Measure(of=aggregate):
            return (aggregate,)
        case Ratio(part=part, whole=whole):
            return (part, whole)
        case Trend(recent=recent, before=before):
            return (recent, before)
        case _:
            return ()


def validate_tag(spec: TagSpec, tags: Mapping[str, Type]) -> None:
    """Check tables, columns, functions and values (``tags``: for expressions); BadInput says what is wrong."""
    for aggregate in list_aggregates(spec):
        _validate_aggregate(aggregate)
    if isinstance(spec, DaysSince | TopValue):
        source = find_source(spec.table)
        for condition in spec.conditions:
            validate_value(
                condition.column, source.type_of(condition.column), condition.operator, condition.value
            )
    if isinstance(spec, TopValue):
        source.type_of(spec.column)
        if spec.weight is not None:
            _require_numeric(spec.weight, source.type_of(spec.weight))
    if isinstance(spec, Expression):
        for name in spec.inputs:
            find_type(name, tags)
        make_total(spec.sql)


def _validate_aggregate(aggregate: Aggregate) -> None:
    source = find_source(aggregate.table)
    if aggregate.column is None and aggregate.function != "count":
        raise BadInput(
            "engine.aggregate_without_column",
            say("The function {function} needs a column.", function=aggregate.function),
            remedy=say("Name the column, or use count."),
        )
    if aggregate.column is not None:
        kind = source.type_of(aggregate.column)
        if aggregate.function in ("sum", "average", "deviation"):
            _require_numeric(aggregate.column, kind)
    for condition in aggregate.conditions:
        validate_value(
            condition.column, source.type_of(condition.column), condition.operator, condition.value
        )


def find_type(tag: str, tags: Mapping[str, Type]) -> Type:
    """The type of ``tag``; BadInput that names the nearest tags when there is none."""
    if tag not in tags:
        raise BadInput(
            "engine.unknown_tag",
            say("There is no tag '{tag}'.", tag=tag),
            remedy=_suggest(tag, tags),
            where={"column": tag},
        )
    return tags[tag]


def validate_value(name: str, kind: Type, operator: Operator, value: Value) -> None:
    """BadInput when ``value`` of a condition on ``name`` is not of its type, or has no order."""
    if operator not in OPERATORS:
        raise _wrong_type(name, kind, operator)
    if operator not in ("=", "!=") and kind not in ORDERED:
        raise _wrong_type(name, kind, f"{operator} {value}")
    fits = {
        Type.BOOLEAN: isinstance(value, bool),
        Type.DATE: isinstance(value, str) and _is_day(value),
        **{numeric: is_number(value) for numeric in NUMERIC},
    }.get(kind, isinstance(value, str) and _is_unicode(value))
    if not fits:
        raise _wrong_type(name, kind, repr(value))


def is_number(value: object) -> bool:
    """Whether every engine can hold ``value`` as a number: whole ones have 64 bits, real ones an end."""
    if isinstance(value, bool):
        return False
    return (
        abs(value) <= LARGEST if isinstance(value, int) else isinstance(value, float) and math.isfinite(value)
    )


def _is_unicode(value: str) -> bool:
    """JSON may spell half a character, which no file and no database can hold."""
    return not any("\ud800" <= sign <= "\udfff" for sign in value)


def _is_day(value: str) -> bool:
    try:
        date.fromisoformat(value)
    except ValueError:
        return False
    return True


def _require_numeric(column: str, kind: Type) -> None:
    if kind not in NUMERIC:
        raise _wrong_type(column, kind, "sum")


def _wrong_type(name: str, kind: Type, value: str) -> BadInput:
    return BadInput(
        "engine.wrong_type",
        say(
            "'{name}' holds {kind}, which does not go with {value}.",
            name=name,
            kind=_name_type(kind),
            value=value,
        ),
        remedy=say("Text goes in quotes, dates as '2024-12-31'; only numbers and dates have an order."),
        where={"column": name, "value": value},
    )


def _name_type(kind: Type) -> Text:
    if kind in NUMERIC:
        return say("numbers")
    if kind is Type.BOOLEAN:
        return say("true or false")
    return say("dates") if kind is Type.DATE else say("text")


def _suggest(name: str, known: Iterable[str]) -> Text:
    names = sorted(known)
    nearest = get_close_matches(name, names, n=3, cutoff=0.4) or names[:5]
    return (
        say("The nearest names are: {names}.", names=join_list(nearest))
        if nearest
        else say("None is known yet.")
    )
