"""When a rule may change its mind about a customer although nothing happens: the days on which windows let rows go.

A row enters a window when its day is over and leaves it a fixed number of days later; the wait of a sequence ends
a fixed number of days after its last step. So every row that a rule looks at has a few due days, its own day plus a
fixed number each, and between them the rule cannot change. What is asked of rows here is no more than what the rule
asks: some customers may be due in vain, none is missed.
Reads the base tables of the sources of figures; writes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from aimwell.core.tables import Type
from aimwell.engine.rule import Measured, Rule, Sequence, collect_segments, walk_rule
from aimwell.engine.specification import BASES, Condition, DaysSince, find_source
from aimwell.engine.sql_text import Binder, Query, select, show_day

EPOCH = date(1970, 1, 1)
_OF_PRODUCTS = ("department", "category", "brand", "is_return")


@dataclass(frozen=True)
class Boundary:
    """Rows of a base table that meet the conditions are due ``offset`` days after their own day."""

    table: str
    conditions: tuple[Condition, ...]
    offset: int


def list_boundaries(rule: Rule, segments: Mapping[str, Rule] | None = None) -> frozenset[Boundary]:
    """The boundaries of ``rule`` and of the segments that it needs; none: it looks at tags and attributes only."""
    needed = collect_segments({"rule": rule}, segments or {})
    return frozenset(
        boundary
        for one in (rule, *needed.values())
        for part, _ in walk_rule(one)
        for boundary in _list_own_boundaries(part)
    )


def compile_due(
    rules: Mapping[str, Rule],
    *,
    after: date,
    until: date | None = None,
    segments: Mapping[str, Rule] | None = None,
) -> Query | None:
    """One query: ``segment``, ``customer_id`` and ``due`` (days since 1970-01-01), each once, ordered.

    Due days lie after ``after``, and not after ``until``. None when no rule has a boundary.
    """
    binder = Binder()
    parts = [
        _render_boundary(binder, name, boundary, after, until)
        for name, rule in rules.items()
        for boundary in sorted(list_boundaries(rule, segments), key=repr)
    ]
    if not parts:
        return None
    rows = "\n    UNION ALL\n".join(parts)
    sql = (
        f"WITH due_rows AS (\n{rows}\n)\nSELECT DISTINCT segment, customer_id, due\nFROM due_rows\n"
        "ORDER BY segment, due, customer_id"
    )
    return Query(sql, binder.values)


def read_due_day(number: int) -> date:
    """The day of a number of days since 1970-01-01."""
    return EPOCH + timedelta(days=number)


def _list_own_boundaries(part: Rule) -> Iterator[Boundary]:
    match part:
        case Measured(of=DaysSince() as since, value=value):
            edge = math.floor(float(value))
            for offset in {1, edge, edge + 1}:
                if offset >= 1:
                    yield from _locate(since.table, since.conditions, offset)
        case Measured(of=of):
            window = getattr(of, "window", None)
            yield from _locate(of.table, of.conditions, 1 if window is None else window.ending + 1)
            if window is not None:
                yield from _locate(of.table, of.conditions, window.ending + window.days + 1)
        case Sequence(steps=steps, without=without, window=window):
            for step in (*steps, *([without] if without else [])):
                yield from _locate(step.table, step.conditions, 1)
            if window is not None:
                first = steps[0]
                yield from _locate(first.table, first.conditions, window.ending + 1)
                yield from _locate(first.table, first.conditions, window.ending + window.days + 1)
            if without is not None and without.within is not None:
                yield from _locate(steps[-1].table, steps[-1].conditions, without.within + 1)
        case _:
            return


def _locate(table: str, conditions: tuple[Condition, ...], offset: int) -> Iterator[Boundary]:
    """The rows behind a source: those of its own table can be told by its own columns."""
    for base in BASES[table]:
        own = conditions if base == table else ()
        yield Boundary(base, tuple(one for one in own if one.column not in _OF_PRODUCTS), offset)


def _render_boundary(binder: Binder, name: str, boundary: Boundary, after: date, until: date | None) -> str:
    source = find_source(boundary.table)
    tests = [f"{source.day} > {show_day(after - timedelta(days=boundary.offset))}"]
    if until is not None:
        tests.append(f"{source.day} <= {show_day(until - timedelta(days=boundary.offset))}")
    for one in boundary.conditions:
        is_day = source.type_of(one.column) is Type.DATE
        value = date.fromisoformat(str(one.value)) if is_day else one.value
        tests.append(f"{one.column} {'<>' if one.operator == '!=' else one.operator} {binder.bind(value)}")
    columns = [
        f"{binder.bind(name)} AS segment",
        "customer_id",
        f"DATE_DIFF('day', {show_day(EPOCH)}, {source.day}) + {boundary.offset} AS due",
    ]
    return select(columns, [f"    FROM {boundary.table}", "    WHERE " + " AND ".join(tests)])
