"""How tags are brought up to date: which are measured together, counted on, or worked out from others.

A count of rows or days in a window goes on from what it was: those that enter are added, those that leave taken off.
A ratio or trend whose figures are tags is worked out from them; where only one of them is, the other alone is measured.
What was counted in the days before a window is the difference of two windows, where both are tags. All else is measured
anew, tags with the same tables and edges of windows together, for those who can have changed.
It reads no table and writes none.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

import pyarrow as pa
import pyarrow.compute as pc

from aimwell.engine.specification import (
    BASES,
    Aggregate,
    Condition,
    Measure,
    Ratio,
    TagSpec,
    Trend,
    Value,
    Window,
    find_source,
    list_aggregates,
)
from aimwell.engine.sql_text import Binder, quote_name, show_day
from aimwell.engine.tag_plan import Look, find_plain_conditions, list_looks, list_stored, render_conditions

FEW_DAYS = 7
"""Days that passed, up to which the rows on the edges of windows are taken into memory to be looked through."""
_NEVER_EMPTY = ("count", "count_distinct", "sum")


@dataclass(frozen=True)
class Figure:
    """What stands in the column ``name``, less what stands in ``without``."""

    name: str
    without: str | None = None

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it is read from."""
        return (self.name,) if self.without is None else (self.name, self.without)

    def read(self, columns: Mapping[str, pa.ChunkedArray]) -> pa.ChunkedArray:
        """The figure out of columns that count rows."""
        found = columns[self.name]
        return found if self.without is None else pc.subtract(found, columns[self.without])


@dataclass(frozen=True)
class Derived:
    """A ratio or trend, and its two figures."""

    spec: Ratio | Trend
    figures: tuple[Figure, Figure]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it is worked out from."""
        return tuple(name for figure in self.figures for name in figure.columns)

    def work_out(self, columns: Mapping[str, pa.ChunkedArray]) -> pa.ChunkedArray:
        """The tag from its figures, to the bit as ``TagPlan.render`` has it."""
        one, other = (figure.read(columns).cast(pa.float64()) for figure in self.figures)
        if isinstance(self.spec, Trend):
            one, other = (
                pc.divide(rate, float(of.window.days) if of.window else 1.0)
                for rate, of in ((one, self.spec.recent), (other, self.spec.before))
            )
            one, other = pc.subtract(one, other), pc.add(pc.abs(one), pc.abs(other))
        return pc.divide(one, pc.if_else(pc.equal(other, 0.0), pa.scalar(None, pa.float64()), other))


@dataclass
class Rows:
    """Which rows of a table concern a group: those that pass any of ``tests`` (each a conjunction)."""

    tests: set[tuple[Condition, ...]] = field(default_factory=set)

    def render(self, table: str, binder: Binder) -> list[str]:
        """The test as SQL, or nothing where every row passes."""
        tests = self._simplify()
        if not tests or () in tests:
            return []
        each = [
            " AND ".join(render_conditions(table, sorted(one, key=repr), binder))
            for one in sorted(tests, key=repr)
        ]
        return [f"({' OR '.join(f'({test})' for test in each)})"]

    def _simplify(self) -> set[tuple[Condition, ...]]:
        """The tests without those that another one holds already: what is B passes where all but A do.

        All but A, and A or all but B, are all rows that have a value; the others then come along: more rows may pass
        than count.
        """
        but: dict[str, set[Value]] = {}
        for test in self.tests:
            if len(test) == 1 and test[0].operator == "!=":
                but.setdefault(test[0].column, set()).add(test[0].value)
        alone = {
            (test[0].column, test[0].value) for test in self.tests if len(test) == 1 and _is_equal(test[0])
        }
        if any(len(values) > 1 or (name, *values) in alone for name, values in but.items()):
            return set()
        return {
            test
            for test in self.tests
            if not any(_is_equal(one) and one.value not in but.get(one.column, {one.value}) for one in test)
        }


def _is_equal(condition: Condition) -> bool:
    return condition.operator == "="


@dataclass(frozen=True)
class Group:
    """Tags that are measured together: ``specs`` say for whom, ``measured`` what, on ``tables``."""

    tables: frozenset[str]
    specs: dict[str, TagSpec] = field(default_factory=dict)
    measured: dict[str, TagSpec] = field(default_factory=dict)
    derived: dict[str, Derived] = field(default_factory=dict)
    """The tags that are worked out from what is measured and other tags."""

    def list_rows(self) -> dict[str, Rows]:
        """By table, the rows that count for any of the tags."""
        found: dict[str, Rows] = {}
        for spec in self.specs.values():
            for look in list_looks(spec):
                (table,) = BASES[look.source]
                found.setdefault(table, Rows()).tests.add(find_plain_conditions(look))
        return found

    def list_edges(self, before: date, as_of: date) -> dict[tuple[str, date, date], Rows]:
        """By table, first day and day after the last, the rows that enter or leave a window between the two days."""
        found: dict[tuple[str, date, date], Rows] = {}
        if before >= as_of:
            return found
        for spec in self.specs.values():
            for look in list_looks(spec):
                (table,) = BASES[look.source]
                for days in list_ends(look):
                    edge = (table, before - timedelta(days=days), as_of - timedelta(days=days))
                    found.setdefault(edge, Rows()).tests.add(find_plain_conditions(look))
        return found

    def list_columns(self) -> frozenset[str]:
        """The columns of its tables, as they are stored, that it is measured on."""
        looks = (look for spec in self.measured.values() for look in list_looks(spec))
        return frozenset(name for look in looks for name in list_stored(look))

    def unite(self, other: Group) -> Group:
        """Both measured together, on the same tables."""
        return Group(
            self.tables,
            self.specs | other.specs,
            self.measured | other.measured,
            self.derived | other.derived,
        )


@dataclass(frozen=True)
class Refresh:
    """What is done about each tag. ``counted`` go on from what they were."""

    groups: list[Group]
    counted: dict[str, Aggregate]
    derived: dict[str, Derived]

    def list_inputs(self, names: Mapping[str, TagSpec]) -> list[str]:
        """The tags that derived ones of ``names`` are worked out from."""
        found = [column for name in names if name in self.derived for column in self.derived[name].columns]
        hidden = {name for group in self.groups for name in group.measured if name not in group.specs}
        return [name for name in dict.fromkeys(found) if name not in hidden]


def plan_refresh(specs: Mapping[str, TagSpec], before: date | None, as_of: date) -> Refresh:
    """What to do about each tag from the day ``before`` to ``as_of``.

    Tags are grouped by the tables that they are measured on; when days have passed also by the edges of their windows:
    who stands on an edge is measured anew in the tags that have this edge, and in no others.
    """
    passed = (as_of - before).days if before is not None else 0
    few = before is not None and passed <= FEW_DAYS
    counted = {name: spec.of for name, spec in specs.items() if few and passed and _goes_on(spec)}  # type: ignore[union-attr]
    derived, hidden = _derive(specs) if few else ({}, {})
    groups: dict[tuple[frozenset[str], frozenset[int], bool], Group] = {}
    for name, spec in specs.items():
        looks = list_looks(spec)
        edges = frozenset(days for look in looks for days in list_ends(look) if passed and days)
        measured: dict[str, TagSpec] = {name: spec}
        if name in derived:
            measured = {column: hidden[column] for column in derived[name].columns if column in hidden}
        if not measured:
            continue
        tables = frozenset(BASES[look.source][0] for one in measured.values() for look in list_looks(one))
        # What is counted on needs no look at rows that enter: only new rows make it be measured.
        key = (tables, edges, name in counted)
        group = groups.setdefault(key, Group(tables))
        group.specs[name] = spec
        group.measured.update(measured)
        if name in derived:
            group.derived[name] = derived[name]
    return Refresh(list(groups.values()), counted, derived)


def _derive(specs: Mapping[str, TagSpec]) -> tuple[dict[str, Derived], dict[str, TagSpec]]:
    """The ratios and trends of which a figure is a tag, and by name the figures that are not."""
    known = {spec.of: name for name, spec in specs.items() if isinstance(spec, Measure)}
    hidden: dict[Aggregate, str] = {}
    derived: dict[str, Derived] = {}
    for name, spec in specs.items():
        if not isinstance(spec, Ratio | Trend):
            continue
        aggregates = list_aggregates(spec)
        figures = [_find_figure(one, known) for one in aggregates]
        if not any(figures) or not all(one.function in _NEVER_EMPTY for one in aggregates):
            continue
        for one, figure in zip(aggregates, figures, strict=True):
            if figure is None:
                # No name of a tag has a blank in it.
                hidden.setdefault(one, f"figure {len(hidden)}")
        first, second = (
            figure or Figure(hidden[one]) for one, figure in zip(aggregates, figures, strict=True)
        )
        derived[name] = Derived(spec, (first, second))
    return derived, {name: Measure(one) for one, name in hidden.items()}


def _find_figure(wanted: Aggregate, known: Mapping[Aggregate, str]) -> Figure | None:
    """Where tags hold ``wanted``: as it is, or as the difference of two windows that end today."""
    if wanted in known:
        return Figure(known[wanted])
    window = wanted.window
    if window is None or not window.ending or wanted.function != "count":
        return None
    longer = replace(wanted, window=Window(window.days + window.ending))
    shorter = replace(wanted, window=Window(window.ending))
    return Figure(known[longer], known[shorter]) if longer in known and shorter in known else None


def _goes_on(spec: TagSpec) -> bool:
    """Whether a tag counts rows that can be told to count by themselves, or the days with such rows, in a window."""
    if not isinstance(spec, Measure) or spec.of.table not in BASES[spec.of.table]:
        return False
    is_count = spec.of.function == "count" and spec.of.column is None
    if not is_count and not _counts_days(spec.of):
        return False
    (look,) = list_looks(spec)
    plain = len(find_plain_conditions(look)) == len(look.conditions)
    return plain and look.window is not None


def _counts_days(one: Aggregate) -> bool:
    return one.function == "count_distinct" and one.column == find_source(one.table).day


def compile_counts(
    counted: Mapping[str, Aggregate], *, table: str, relation: str, before: date, as_of: date, binder: Binder
) -> str:
    """One query: per customer, how many rows more than before each of ``counted`` counts, out of ``relation``."""
    day = find_source(table).day
    columns = []
    for name, one in counted.items():
        assert one.window is not None
        ending = one.window.ending
        tests = render_conditions(table, one.conditions, binder)
        sums = []
        for days in (ending, ending + one.window.days):
            start, end = before - timedelta(days=days), as_of - timedelta(days=days)
            span = (f"{day} >= {show_day(start)}", f"{day} < {show_day(end)}")
            counts = f"COUNT(CASE WHEN {' AND '.join((*span, *tests))} THEN 1 END)"
            sums.append(_count_days(day, start, end, tests) if _counts_days(one) else counts)
        columns.append(f"CAST({sums[0]} - {sums[1]} AS BIGINT) AS {quote_name(name)}")
    return (
        f"SELECT customer_id, {', '.join(columns)} FROM {relation} GROUP BY customer_id ORDER BY customer_id"
    )


def _count_days(day: str, start: date, end: date, tests: list[str]) -> str:
    """How many of these few days have a row: a day enters or leaves as a whole, for no other row has it."""
    days = (start + timedelta(days=number) for number in range((end - start).days))
    each = (" AND ".join((f"{day} = {show_day(one)}", *tests)) for one in days)
    return f"({' + '.join(f'MAX(CASE WHEN {test} THEN 1 ELSE 0 END)' for test in each)})"


def list_ends(look: Look) -> set[int]:
    """How many days ago rows enter or leave the window of ``look``."""
    window = look.window
    ends = set() if window is None else {window.ending, window.ending + window.days}
    # A late line of an order changes the order wherever in time it stands.
    return ends | {0} if window is None or look.source in ("orders", "order_days") else ends
