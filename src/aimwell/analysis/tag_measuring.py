"""Measures tags: of all customers range by range, or only of those who can have changed.

A tag changes for a customer when a row of theirs is new, or when a row enters or leaves its window because the day
moved on. Tags that look at the same tables in the same windows form a group: who has a row that counts for the group
and is new, or stands on an edge of its windows, is measured anew, in the group's tags only, with the same query that
measures everybody. "Days since" are shifted by the days that passed. What was measured is laid over the columns as
they were, so the result is the same to the bit as computing everything.
Reads order_lines, products, events, signals, customers, and tags as they were; writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from aimwell.analysis.aligned import align_rows, cut_range, find_rows, lay_over, sort_rows
from aimwell.analysis.tag_changes import Changes
from aimwell.engine.compile_tags import compile_tags
from aimwell.engine.specification import BASES, Condition, DaysSince, TagSpec, find_source
from aimwell.engine.sql_text import Binder, show_day
from aimwell.engine.tag_plan import (
    Among,
    Look,
    find_plain_conditions,
    find_reach,
    list_looks,
    list_stored,
    render_conditions,
)
from aimwell.engine.workspace import Run

EVERYBODY = "tags_everybody"
BEFORE = "tags_before"
_CELLS_IN_A_RANGE = 12_000_000
"""Values that are measured at a time: more customers of few tags, fewer of many, in about a gigabyte."""
_FEW_ROWS = 2_000_000
"""Rows of a table that may be taken into memory to be measured, rather than looked for by every group."""
_FEW_DAYS = 7
"""Days that passed, up to which the rows on the edges of windows are taken into memory to be looked through."""
_GATHERED = "some_"
_EVERYBODY = """\
SELECT customer_id FROM customers
UNION
SELECT customer_id FROM order_lines WHERE ordered_on < {as_of}
UNION
SELECT customer_id FROM events WHERE occurred_on < {as_of}
ORDER BY customer_id"""


@dataclass
class _Rows:
    """Which rows of a table concern a group: those that pass any of ``tests`` (each a conjunction)."""

    tests: set[tuple[Condition, ...]] = field(default_factory=set)

    def render(self, table: str, binder: Binder) -> list[str]:
        """The test as SQL, or nothing where every row passes."""
        if not self.tests or () in self.tests:
            return []
        each = [
            " AND ".join(render_conditions(table, sorted(one, key=repr), binder))
            for one in sorted(self.tests, key=repr)
        ]
        return [f"({' OR '.join(f'({test})' for test in each)})"]


@dataclass(frozen=True)
class _Group:
    """Tags that are measured together."""

    tables: frozenset[str]
    specs: Mapping[str, TagSpec]

    def list_rows(self) -> dict[str, _Rows]:
        """By table, the rows that count for any of the tags."""
        found: dict[str, _Rows] = {}
        for spec in self.specs.values():
            for look in list_looks(spec):
                (table,) = BASES[look.source]
                found.setdefault(table, _Rows()).tests.add(find_plain_conditions(look))
        return found

    def list_edges(self, before: date, as_of: date) -> dict[tuple[str, date, date], _Rows]:
        """By table, first day and day after the last, the rows that enter or leave a window between the two days."""
        found: dict[tuple[str, date, date], _Rows] = {}
        if before >= as_of:
            return found
        for spec in self.specs.values():
            for look in list_looks(spec):
                (table,) = BASES[look.source]
                for days in _list_ends(look):
                    edge = (table, before - timedelta(days=days), as_of - timedelta(days=days))
                    found.setdefault(edge, _Rows()).tests.add(find_plain_conditions(look))
        return found


class Measuring:
    """Answers the measured tags of a range of customers; made once per run.

    ``added``: relations with the rows that are new (``tag_changes.show_added``). ``people``: a table of the only
    customers to be measured, for those who know that all others stay what they are. ``earlier``: the relation with
    their tags as they were.
    """

    def __init__(
        self,
        run: Run,
        specs: Mapping[str, TagSpec],
        changes: Changes,
        added: Mapping[str, Sequence[str]],
        people: pa.Table | None = None,
        earlier: str = BEFORE,
    ) -> None:
        self._run = run
        self._specs = dict(specs)
        self._changes = changes
        self._earlier = earlier
        self._customers = changes.state.customers if changes.state is not None else 1
        self._measured: list[pa.Table] = []
        self._groups = [] if changes.is_full else _group_tags(self._specs, changes.before, run.as_of)
        for table, relations in added.items():
            self._show_changed(table, relations)
        listed = self._list_everybody() if people is None else people
        self.everybody = pa.table({"customer_id": listed["customer_id"].combine_chunks()})
        run.register(EVERYBODY, self.everybody)
        if not changes.is_full:
            self._measure_groups()

    def split(self) -> list[Among]:
        """Ranges of customers, in the order of their ids, that hold everybody."""
        return split_customers(self.everybody["customer_id"], len(self._specs), EVERYBODY)

    def measure(
        self, among: Among, names: Iterable[str] | None = None, *, before: pa.Table | None = None
    ) -> pa.Table:
        """A row per customer of the range, a column per tag (of ``names``, or all that are measured).

        ``before``: what ``read_before`` answers for the range.
        """
        chosen = self._specs if names is None else {name: self._specs[name] for name in names}
        if not self._changes.is_full:
            return self._merge(chosen, among, before)
        query = compile_tags(chosen, as_of=self._run.as_of, among=among)
        return self._run.query(query.sql, query.parameters)

    def read_before(self, among: Among, names: Iterable[str] = ("*",)) -> pa.Table:
        """Tags as they were, a row for each customer of the range in their order; empty for who is new."""
        binder = Binder()
        tests = Among(among.low, among.high).render("customer_id", binder)
        where = f" WHERE {' AND '.join(tests)}" if tests else ""
        columns = ", ".join(name if name == "*" else f'"{name}"' for name in dict.fromkeys(names))
        sql = f"SELECT {columns} FROM {self._earlier}{where}"
        found = sort_rows(self._run.query(sql, binder.values))
        return align_rows(found, cut_range(self.everybody, among)["customer_id"])

    # ------------------------------------------------------------ only what changed

    def _show_changed(self, table: str, relations: Sequence[str]) -> None:
        """Take the rows that are new into memory, by customer."""
        columns = [name for name in ("customer_id", *self._list_columns(table)) if name != "customer_id"]
        shown = "".join(f", d.{name}" for name in columns)
        # Who was joined to another record counts as the person.
        parts = [f"{_render_owners(view, shown)}" for view in relations]
        nothing = f"SELECT customer_id{''.join(f', {name}' for name in columns)} FROM {table} WHERE 1 = 0"
        self._run.register(f"changed_{table}", self._run.query(" UNION ALL ".join(parts) or nothing))

    def _list_columns(self, table: str) -> list[str]:
        """The day of a row of ``table``, and what groups ask of it."""
        tests = [test for group in self._groups for test in group.list_rows().get(table, _Rows()).tests]
        asked = {one.column for test in tests for one in test}
        return [find_source(table).day, *sorted(asked - {find_source(table).day})]

    def _list_everybody(self) -> pa.Table:
        as_of = show_day(self._run.as_of)
        before = self._changes.before
        if before is None or self._changes.customers_replaced:
            return self._run.query(_EVERYBODY.format(as_of=as_of))
        known = self._known
        parts = [] if self._changes.same_people else ["SELECT customer_id FROM customers"]
        for table in ("order_lines", "events"):
            day = find_source(table).day
            parts.append(f"SELECT customer_id FROM changed_{table} WHERE {day} < {as_of}")
            if before < self._run.as_of:
                parts.append(
                    f"SELECT customer_id FROM {table} WHERE {day} >= {show_day(before)} AND {day} < {as_of}"
                )
        found = self._run.query(f"{' UNION '.join(parts)} ORDER BY customer_id")
        new = found.filter(pc.invert(find_rows(found["customer_id"], known["customer_id"])))
        return sort_rows(pa.concat_tables([known, new.cast(known.schema)])) if new.num_rows else known

    def _measure_groups(self) -> None:
        before, as_of = self._changes.before, self._run.as_of
        assert before is not None
        self._run.register("tags_new", pa.table({"customer_id": self._find_new()}))
        edges = [group.list_edges(before, as_of) for group in self._groups]
        sources = self._gather_edges({edge for found in edges for edge in found})
        affected: dict[str, list[str]] = {}
        for number, group in enumerate(self._groups, 1):
            people = self._find_affected(group, edges[number - 1], sources)
            if people.num_rows:
                self._run.register(f"affected_{number}", people)
                for table in group.tables:
                    affected.setdefault(table, []).append(f"affected_{number}")
        gathered = {table for table, names in affected.items() if self._gather(table, names)}
        for number, group in enumerate(self._groups, 1):
            people_name = f"affected_{number}"
            if not any(people_name in affected.get(table, ()) for table in group.tables):
                continue
            facts = _GATHERED if group.tables <= gathered else ""
            query = compile_tags(group.specs, as_of=as_of, among=Among(table=people_name, facts=facts))
            self._measured.append(self._run.query(query.sql, query.parameters))

    @cached_property
    def _known(self) -> pa.Table:
        """Who had tags before, sorted."""
        return sort_rows(self._run.query(f"SELECT customer_id FROM {self._earlier}"))

    def _find_new(self) -> pa.ChunkedArray:
        names, known = self.everybody["customer_id"], self._known["customer_id"]
        return names.slice(0, 0) if names.equals(known) else names.filter(pc.invert(find_rows(names, known)))

    def _gather_edges(self, edges: set[tuple[str, date, date]]) -> dict[str, str]:
        """Where rows on the edges of windows are looked for: by table, in memory or, if they are many, in the table."""
        sources = {}
        for table in sorted({table for table, _, _ in edges}):
            sources[table] = table
            day = find_source(table).day
            spans = sorted({(start, end) for name, start, end in edges if name == table})
            if (spans[0][1] - spans[0][0]).days <= _FEW_DAYS:
                tests = [f"({day} >= {show_day(start)} AND {day} < {show_day(end)})" for start, end in spans]
                columns = ", ".join(["customer_id", *self._list_columns(table)])
                sql = f"SELECT {columns} FROM {table} WHERE {' OR '.join(tests)}"
                sources[table] = f"edges_{table}"
                self._run.register(sources[table], self._run.query(sql))
        return sources

    def _find_affected(
        self, group: _Group, edges: Mapping[tuple[str, date, date], _Rows], sources: Mapping[str, str]
    ) -> pa.Table:
        """The customers, sorted, for whom any tag of the group can be another than before."""
        binder = Binder()
        parts = ["SELECT customer_id FROM tags_new"]
        for table, rows in group.list_rows().items():
            tests = rows.render(table, binder)
            where = f" WHERE {' AND '.join(tests)}" if tests else ""
            parts.append(f"SELECT customer_id FROM changed_{table}{where}")
        for (table, start, end), rows in sorted(edges.items(), key=lambda item: item[0]):
            day = find_source(table).day
            tests = [f"{day} >= {show_day(start)}", f"{day} < {show_day(end)}", *rows.render(table, binder)]
            parts.append(f"SELECT customer_id FROM {sources[table]} WHERE {' AND '.join(tests)}")
        people = self._run.query(f"{' UNION '.join(parts)} ORDER BY customer_id", binder.values)
        # Rows of days to come, and what somebody said who never bought or did anything, make nobody a customer.
        return people.filter(find_rows(people["customer_id"], self.everybody["customer_id"]))

    def _gather(self, table: str, people: Sequence[str]) -> bool:
        """Take the rows of few customers out of ``table`` once, rather than search for them with every figure."""
        everybody = " UNION ".join(f"SELECT customer_id FROM {name}" for name in people)
        few = self._run.query(f"SELECT COUNT(*) AS n FROM ({everybody}) AS few")["n"][0].as_py()
        everything = self._run.query(f"SELECT COUNT(*) AS n FROM {table}")["n"][0].as_py()
        # Whom rows concern who changed has more of them than others: about twice as many.
        if 2 * everything * few > _FEW_ROWS * self._customers:
            return False
        source, rows, needs = find_source(table), _Rows(), set()
        reaches: list[int | None] = []
        numbers = {int(name.removeprefix("affected_")) for name in people}
        for number in numbers:
            for spec in self._groups[number - 1].specs.values():
                for look in list_looks(spec):
                    if BASES[look.source] == (table,):
                        rows.tests.add(find_plain_conditions(look))
                        needs |= list_stored(look)
                        whole = look.source in ("orders", "order_days")
                        reaches.append(None if whole else find_reach(look.window))
        known = [reach for reach in reaches if reach is not None]
        binder = Binder()
        tests = [f"{source.day} < {show_day(self._run.as_of)}", *rows.render(table, binder)]
        if len(known) == len(reaches):
            tests.append(f"{source.day} >= {show_day(self._run.as_of - timedelta(days=max(known)))}")
        columns = ", ".join(dict.fromkeys(("customer_id", source.day, *sorted(needs))))
        sql = f"SELECT {columns} FROM {table} WHERE {' AND '.join(tests)} AND customer_id IN ({everybody})"
        self._run.register(_GATHERED + table, self._run.query(sql, binder.values))
        return True

    def _merge(self, chosen: Mapping[str, TagSpec], among: Among, before: pa.Table | None) -> pa.Table:
        """What was measured anew, else what stood in tags; days since a day grow by themselves."""
        assert self._changes.before is not None
        passed = (self._run.as_of - self._changes.before).days
        if before is None:
            before = self.read_before(among, ("customer_id", *chosen))
        columns = {}
        for name, spec in chosen.items():
            old = before[name]
            columns[name] = pc.add(old, passed) if passed and isinstance(spec, DaysSince) else old
        for measured in self._measured:
            wanted = [name for name in measured.column_names if name in columns]
            if wanted:
                part = cut_range(measured, among)
                columns |= lay_over(before["customer_id"], {name: columns[name] for name in wanted}, part)
        return pa.table({"customer_id": before["customer_id"], **columns})


def split_customers(names: pa.ChunkedArray, tags: int, everybody: str) -> list[Among]:
    """Ranges of the sorted ``names`` so large that so many tags of each customer fit into memory.

    Files are sorted by customer inside a month: a range reads the row groups that hold it, and no others.
    """
    size = _CELLS_IN_A_RANGE // max(tags, 1)
    starts = [names[place].as_py() for place in range(0, len(names), size)]
    lows, highs = [None, *starts[1:]], [*starts[1:], None]
    return [Among(low, high, everybody=everybody) for low, high in zip(lows, highs, strict=True)]


def list_patched(run: Run, added: Mapping[str, Sequence[str]], earlier: Sequence[str] = ()) -> pa.Table:
    """The customers whose tags of the same day can have changed by the rows of ``added``, sorted.

    ``earlier``: relations whose customers count, too.
    """
    parts = ["SELECT customer_id FROM customers WHERE 1 = 0"]
    parts += [f"SELECT customer_id FROM {name}" for name in earlier]
    for relations in added.values():
        owners = " UNION ".join(_render_owners(name) for name in relations)
        if owners:
            parts.append(f"SELECT customer_id FROM {BEFORE} WHERE customer_id IN ({owners})")
    for table in ("events", "order_lines"):
        day = find_source(table).day
        # Who is there for the first time is there by something that has happened.
        parts += [
            f"{_render_owners(name)} WHERE d.{day} < {show_day(run.as_of)}" for name in added.get(table, ())
        ]
    return run.query(f"{' UNION '.join(parts)} ORDER BY customer_id")


def _render_owners(view: str, shown: str = "") -> str:
    """The customers of rows as delivered: who was joined to another record counts as the person."""
    return (
        f"SELECT COALESCE(i.customer_id, d.customer_id) AS customer_id{shown} FROM {view} AS d"
        " LEFT JOIN identities AS i ON i.record_id = d.customer_id"
    )


def _group_tags(specs: Mapping[str, TagSpec], before: date | None, as_of: date) -> list[_Group]:
    """Tags by the tables that they are measured on; when days have passed also by the edges of their windows.

    Who stands on an edge is measured anew in the tags that have this edge, and in no others.
    """
    groups: dict[tuple[frozenset[str], frozenset[int]], dict[str, TagSpec]] = {}
    for name, spec in specs.items():
        looks = list_looks(spec)
        tables = frozenset(BASES[look.source][0] for look in looks)
        moved = before is not None and before < as_of
        edges = frozenset(days for look in looks for days in _list_ends(look) if moved and days)
        groups.setdefault((tables, edges), {})[name] = spec
    return [_Group(tables, found) for (tables, _), found in groups.items()]


def _list_ends(look: Look) -> set[int]:
    """How many days ago rows enter or leave the window of ``look``."""
    window = look.window
    ends = set() if window is None else {window.ending, window.ending + window.days}
    # A late line of an order changes the order wherever in time it stands.
    return ends | {0} if window is None or look.source in ("orders", "order_days") else ends
