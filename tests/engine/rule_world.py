"""Random rules and customers, and what a rule means, written a second time in plain Python."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
from hypothesis import strategies as st

from aimwell.core.tables import TABLES, Type
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
    bought,
    did,
)
from aimwell.engine.rule import Any as AnyOne
from aimwell.engine.specification import OPERATORS, Aggregate, Condition, DaysSince, Window
from tests.engine.scratch import AS_OF, Scratch

TYPES = {
    "age": Type.INTEGER,
    "spend": Type.REAL,
    "city": Type.TEXT,
    "vip": Type.BOOLEAN,
    "born": Type.DATE,
    "customers.home": Type.TEXT,
}
ARROW = {
    "age": pa.int64(),
    "spend": pa.float64(),
    "city": pa.string(),
    "vip": pa.bool_(),
    "born": pa.date32(),
}
DAYS = [date(2024, 1, 1) + timedelta(days=n) for n in range(5)]
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "age": st.integers(-2, 4),
    "spend": st.sampled_from([-1.5, 0.0, 0.5, 2.0]),
    "city": st.sampled_from(["", "Bonn", "O'Brien", "北京", "$p1"]),
    "vip": st.booleans(),
    "born": st.sampled_from([day.isoformat() for day in DAYS]),
}
HOMES = ("Bonn", "北京", "12", "3.5", "")
EVENTS = ("Seen", "Bought")
CHANNELS = ("app", "web", None)
NAMES = tuple(f"c{number}" for number in range(4))
SEGMENTS = ("first", "second", "third")
SIGNS = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass
class Happened:
    """One event: when in minutes after midnight, so that ties are frequent."""

    customer: str
    name: str
    channel: str | None
    ago: int
    minute: int
    row_id: str = ""

    @property
    def day(self) -> date:
        return AS_OF - timedelta(days=self.ago)


@dataclass
class Line:
    """One order line; a negative amount of cents is a return."""

    customer: str
    order: str
    product: str | None
    cents: int | None
    ago: int
    minute: int
    row_id: str = ""

    @property
    def day(self) -> date:
        return AS_OF - timedelta(days=self.ago)


@dataclass
class World:
    """Everything that a rule may look at."""

    tags: list[dict[str, Any]]
    events: list[Happened] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)

    def open(self) -> Scratch:
        return Scratch(
            {
                "tags": build_tags(self.tags),
                "customers": self._build_customers(),
                "events": self._build_events(),
                "order_lines": self._build_lines(),
                "products": TABLES["products"].build(
                    [
                        {"product_id": "p1", "category": "TEA", "source": "t"},
                        {"product_id": "p2", "category": "CUPS", "source": "t"},
                    ]
                ),
            }
        )

    def _build_customers(self) -> pa.Table:
        # The last customer has tags and no row of customers.
        rows = self.tags[:-1]
        table = TABLES["customers"].build(
            [{"customer_id": f"c{number}", "source": "t"} for number in range(len(rows))]
        )
        return table.append_column("home", pa.array([row["customers.home"] for row in rows], pa.string()))

    def _build_events(self) -> pa.Table:
        return TABLES["events"].build(
            [
                {
                    "event_id": one.row_id,
                    "customer_id": one.customer,
                    "name": one.name,
                    "channel": one.channel,
                    "occurred_at": find_instant(one.day, one.minute),
                    "occurred_on": one.day,
                    "source": "test",
                    "simulated": False,
                }
                for one in self.events
            ]
        )

    def _build_lines(self) -> pa.Table:
        return TABLES["order_lines"].build(
            [
                {
                    "line_id": one.row_id,
                    "order_id": one.order,
                    "customer_id": one.customer,
                    "product_id": one.product,
                    "ordered_at": find_instant(one.day, one.minute),
                    "ordered_on": one.day,
                    "revenue": None if one.cents is None else Decimal(one.cents) / 100,
                    "source": "test",
                    "simulated": False,
                }
                for one in self.lines
            ]
        )


def find_instant(day: date, minute: int) -> datetime:
    return datetime(day.year, day.month, day.day, 12, minute, tzinfo=UTC)


def build_tags(rows: list[dict[str, Any]]) -> pa.Table:
    columns = {"customer_id": pa.array([f"c{number}" for number in range(len(rows))])}
    for name, kind in ARROW.items():
        values = [row.get(name) for row in rows]
        if name == "born":
            values = [None if value is None else date.fromisoformat(value) for value in values]
        columns[name] = pa.array(values, kind)
    return pa.table(columns)


# ---------------------------------------------------------------- random rules

DAY_COUNTS = st.sampled_from([1, 2, 3, 7, 30])
WINDOWS = st.none() | st.builds(Window, DAY_COUNTS, st.sampled_from([0, 0, 1, 5]))
EVENT_CONDITIONS = st.lists(
    st.builds(Condition, st.just("channel"), st.sampled_from(["=", "!="]), st.sampled_from(["app", "web"])),
    max_size=1,
).map(tuple)
LINE_CONDITIONS = st.lists(
    st.one_of(
        st.builds(Condition, st.just("category"), st.just("="), st.sampled_from(["TEA", "CUPS"])),
        st.builds(Condition, st.just("revenue"), st.sampled_from([">", "<="]), st.sampled_from([0, 5, 7.5])),
        st.builds(Condition, st.just("is_return"), st.just("="), st.booleans()),
    ),
    max_size=2,
).map(tuple)


@st.composite
def draw_tag_rule(draw: st.DrawFn) -> Rule:
    tag = draw(st.sampled_from(sorted(VALUES)))
    value = VALUES[tag]
    ordered = tag in ("age", "spend", "born")
    match draw(st.sampled_from(["compare", "one_of", "is_empty"] + (["between"] if ordered else []))):
        case "compare":
            return Compare(tag, draw(st.sampled_from(OPERATORS if ordered else OPERATORS[:2])), draw(value))
        case "one_of":
            return OneOf(tag, tuple(draw(st.lists(value, max_size=3))))
        case "between":
            return Between(tag, draw(value), draw(value))
        case _:
            return IsEmpty(tag)


ATTRIBUTE_RULES: st.SearchStrategy[Rule] = st.one_of(
    st.builds(Compare, st.just("customers.home"), st.sampled_from(OPERATORS[:2]), st.sampled_from(HOMES)),
    st.builds(Compare, st.just("customers.home"), st.sampled_from(OPERATORS), st.sampled_from([3, 12, 3.5])),
    st.just(OneOf("customers.home", ("Bonn", "12"))),
    st.just(OneOf("customers.home", (12, 3.5))),
    st.just(Between("customers.home", 3, 5)),
    st.just(IsEmpty("customers.home")),
)


@st.composite
def draw_measured(draw: st.DrawFn) -> Rule:
    window = draw(WINDOWS)
    match draw(st.sampled_from(["did", "bought", "events", "lines", "since"])):
        case "did":
            days = draw(st.none() | DAY_COUNTS)
            return did(draw(st.sampled_from(EVENTS)), draw(st.integers(1, 2)), days, draw(EVENT_CONDITIONS))
        case "bought":
            return bought(draw(st.integers(1, 2)), draw(st.none() | DAY_COUNTS), draw(LINE_CONDITIONS))
        case "events":
            column = draw(st.sampled_from([None, "channel"]))
            of = Aggregate(
                "events",
                "count" if column is None else "count_distinct",
                column,
                draw(EVENT_CONDITIONS),
                window,
            )
            return Measured(of, draw(st.sampled_from(OPERATORS)), draw(st.integers(0, 3)))
        case "lines":
            function = draw(st.sampled_from(["sum", "average", "min", "max"]))
            of = Aggregate("order_lines", function, "revenue", draw(LINE_CONDITIONS), window)
            return Measured(of, draw(st.sampled_from(OPERATORS)), draw(st.sampled_from([0, 5, 7.5, 12])))
        case _:
            table = draw(st.sampled_from(["events", "order_lines"]))
            conditions = draw(EVENT_CONDITIONS if table == "events" else LINE_CONDITIONS)
            since = DaysSince(table, draw(st.sampled_from(["last", "first"])), conditions)
            return Measured(since, draw(st.sampled_from(OPERATORS)), draw(st.sampled_from([1, 2, 7, 30])))


@st.composite
def draw_step(draw: st.DrawFn, *, first: bool = False) -> Step:
    within = None if first else draw(st.none() | st.integers(0, 4))
    if draw(st.integers(0, 3)) == 0:
        return Step("order_lines", (Condition("is_return", "=", False), *draw(LINE_CONDITIONS)), within)
    name = Condition("name", "=", draw(st.sampled_from(EVENTS)))
    return Step("events", (name, *draw(EVENT_CONDITIONS)), within)


@st.composite
def draw_sequence(draw: st.DrawFn) -> Rule:
    steps = (draw(draw_step(first=True)), *draw(st.lists(draw_step(), max_size=2)))
    without = draw(draw_step()) if len(steps) == 1 else draw(st.none() | draw_step())
    return Sequence(steps, without, draw(WINDOWS))


NEAREST: st.SearchStrategy[Rule] = st.builds(
    Nearest,
    st.just((Axis("age", 1.0, 2.0), Axis("spend", 0.25, 0.5, log=True))),
    st.just(((0.0, 0.0), (0.9, -0.7), (-0.4, 0.3))),
    st.integers(0, 2),
)
LEAVES = st.one_of(
    draw_tag_rule(), draw_tag_rule(), ATTRIBUTE_RULES, draw_measured(), draw_sequence(), NEAREST
)


def nest(leaves: st.SearchStrategy[Rule]) -> st.SearchStrategy[Rule]:
    return st.recursive(
        leaves,
        lambda inner: st.one_of(
            st.builds(Not, inner),
            st.builds(All, st.lists(inner, max_size=3).map(tuple)),
            st.builds(AnyOne, st.lists(inner, max_size=3).map(tuple)),
        ),
        max_leaves=8,
    )


RULES = nest(LEAVES)
LINKED = nest(st.one_of(LEAVES, st.builds(InSegment, st.sampled_from(SEGMENTS))))
"""Rules that name segments: ``first`` names none, ``second`` may name ``first``, ``third`` both."""


@st.composite
def draw_segments(draw: st.DrawFn) -> dict[str, Rule]:
    segments: dict[str, Rule] = {}
    for name in SEGMENTS:
        known = [st.builds(InSegment, st.sampled_from(sorted(segments)))] if segments else []
        segments[name] = draw(nest(st.one_of(LEAVES, *known)))
    return segments


TAG_ROWS = st.lists(
    st.fixed_dictionaries(
        {
            **{tag: st.none() | value for tag, value in VALUES.items()},
            "customers.home": st.none() | st.sampled_from(HOMES),
        }
    ),
    min_size=1,
    max_size=len(NAMES),
)
AGO = st.sampled_from([-1, 0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 30, 31, 35])


@st.composite
def draw_world(draw: st.DrawFn) -> World:
    happened = draw(
        st.lists(
            st.builds(
                Happened,
                st.sampled_from(NAMES),
                st.sampled_from(EVENTS),
                st.sampled_from(CHANNELS),
                AGO,
                st.integers(0, 1),
            ),
            max_size=14,
        )
    )
    lines = draw(
        st.lists(
            st.builds(
                Line,
                st.sampled_from(NAMES),
                st.sampled_from(["o1", "o2"]),
                st.sampled_from(["p1", "p2", "p9", None]),
                st.none() | st.sampled_from([-500, 0, 500, 750]),
                AGO,
                st.integers(0, 1),
            ),
            max_size=8,
        )
    )
    # Ids in another order than the rows, so that ties are decided by them.
    for number, one in enumerate(happened):
        one.row_id = f"e{number * 7 % 16:02d}"
    for number, line in enumerate(lines):
        line.row_id = f"l{number * 5 % 8}"
    return World(draw(TAG_ROWS), happened, lines)


# ---------------------------------------------------------------- what a rule means


def decide(
    rule: Rule, world: World, number: int, segments: Mapping[str, Rule] | None = None, as_of: date = AS_OF
) -> bool:
    """Whether ``rule`` holds for the customer of this number."""

    def ask(part: Rule) -> bool:
        return decide(part, world, number, segments, as_of)

    match rule:
        case All(rules=parts):
            return all(ask(part) for part in parts)
        case AnyOne(rules=parts):
            return any(ask(part) for part in parts)
        case Not(rule=inner):
            return not ask(inner)
        case InSegment(segment=segment):
            return ask((segments or {})[segment])
        case Measured(of=of, operator=sign, value=value):
            figure = measure(of, world, f"c{number}", as_of)
            return figure is not None and bool(SIGNS[sign](figure, value))
        case Sequence():
            return follow(rule, world, f"c{number}", as_of)
        case Nearest():
            return find_nearest(rule, world.tags[number])
        case _:
            return decide_tag(rule, world, number)


def decide_tag(rule: Rule, world: World, number: int) -> bool:
    def read(tag: str, like: Any) -> Any:
        value = world.tags[number][tag]
        if tag != "customers.home":
            return value
        if number == len(world.tags) - 1:
            return None
        if isinstance(like, str):
            return value
        try:
            return None if value is None else float(value)
        except ValueError:
            return None

    match rule:
        case IsEmpty(tag=tag):
            return read(tag, "") is None
        case Compare(tag=tag, operator=sign, value=value):
            found = read(tag, value)
            return found is not None and bool(SIGNS[sign](found, value))
        case OneOf(tag=tag, values=values):
            found = read(tag, values[0] if values else "")
            return found is not None and found in values
        case Between(tag=tag, low=low, high=high):
            found = read(tag, low)
            return found is not None and bool(low <= found <= high)
    raise AssertionError(rule)


def find_nearest(rule: Nearest, row: dict[str, Any]) -> bool:
    if any(row[axis.tag] is None for axis in rule.axes):
        return False
    place = []
    for axis in rule.axes:
        value = float(row[axis.tag])
        if axis.log:
            value = math.copysign(math.log(1 + abs(value)), value)
        place.append((value - axis.centre) / axis.scale)
    distances = [math.dist(place, point) for point in rule.points]
    return distances.index(min(distances)) == rule.which


CATEGORIES = {"p1": "TEA", "p2": "CUPS"}


def read_column(row: Happened | Line, column: str) -> Any:
    if isinstance(row, Happened):
        return {"name": row.name, "channel": row.channel}[column]
    return {
        "category": CATEGORIES.get(row.product or ""),
        "revenue": None if row.cents is None else row.cents / 100,
        "is_return": row.cents is not None and row.cents < 0,
        "order_id": row.order,
    }[column]


def fits(row: Happened | Line, conditions: tuple[Condition, ...]) -> bool:
    for one in conditions:
        value = read_column(row, one.column)
        if value is None or not SIGNS[one.operator](value, one.value):
            return False
    return True


def list_rows(world: World, table: str, customer: str, as_of: date) -> list[Happened | Line]:
    rows: list[Any] = world.events if table == "events" else world.lines
    return [row for row in rows if row.customer == customer and row.day < as_of]


def is_inside(day: date, window: Window | None, as_of: date) -> bool:
    if window is None:
        return True
    end = as_of - timedelta(days=window.ending)
    return end - timedelta(days=window.days) <= day < end


def measure(of: Aggregate | DaysSince, world: World, customer: str, as_of: date) -> float | None:
    rows = [row for row in list_rows(world, of.table, customer, as_of) if fits(row, of.conditions)]
    if isinstance(of, DaysSince):
        days = [row.day for row in rows]
        return None if not days else (as_of - (max(days) if of.which == "last" else min(days))).days
    rows = [row for row in rows if is_inside(row.day, of.window, as_of)]
    if of.column is None:
        return len(rows)
    values = [value for row in rows if (value := read_column(row, of.column)) is not None]
    match of.function:
        case "count_distinct":
            return len(set(values))
        case "sum":
            return sum(values)
        case _ if not values:
            return None
        case "average":
            return sum(values) / len(values)
        case "min":
            return float(min(values))
        case _:
            return float(max(values))


def place_of(row: Happened | Line) -> tuple[date, int, str, str]:
    return (row.day, row.minute, "events" if isinstance(row, Happened) else "order_lines", row.row_id)


def follow(rule: Sequence, world: World, customer: str, as_of: date) -> bool:
    """Tries every way of choosing a row for each step."""

    def find(step: Step) -> list[Happened | Line]:
        return [row for row in list_rows(world, step.table, customer, as_of) if fits(row, step.conditions)]

    def stays_away(last: Happened | Line) -> bool:
        if rule.without is None:
            return True
        after = [row for row in find(rule.without) if place_of(row) > place_of(last)]
        days = rule.without.within
        if days is None:
            return not after
        is_over = last.day + timedelta(days=days) < as_of
        return is_over and all((row.day - last.day).days > days for row in after)

    def go_on(last: Happened | Line, rest: tuple[Step, ...]) -> bool:
        if not rest:
            return stays_away(last)
        return any(
            go_on(row, rest[1:])
            for row in find(rest[0])
            if place_of(row) > place_of(last)
            and (rest[0].within is None or (row.day - last.day).days <= rest[0].within)
        )

    return any(
        is_inside(row.day, rule.window, as_of) and go_on(row, rule.steps[1:]) for row in find(rule.steps[0])
    )
