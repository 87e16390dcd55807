"""Measures tags: of all customers range by range, or only of those who can have changed.

A tag changes for a customer when a row of theirs is new, or when a row enters or leaves its window because the day
moved on. Tags that look at the same tables in the same windows form a group (``tag_groups``): who has a row that
counts for the group and is new, or stands on an edge of its windows, is measured anew, in the group's tags only, with
the same query that measures everybody. "Days since" are shifted by the days that passed, counts go on from what they
were, and some ratios are worked out from other tags. What was measured is laid over the columns as they were, so the
result is the same to the bit as computing everything.
Reads order_lines, products, events, signals, customers, and tags as they were; writes nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc

from aimwell.analysis.aligned import (
    align_rows,
    cut_range,
    find_range,
    find_rows,
    join_layers,
    put_over,
    sort_rows,
    unite_people,
)
from aimwell.analysis.changed_people import BEFORE, list_staying, render_owners
from aimwell.analysis.placed import Placed, place_rows
from aimwell.analysis.tag_changes import Changes
from aimwell.analysis.tag_groups import FEW_DAYS, Group, Refresh, Rows, compile_counts, plan_refresh
from aimwell.engine.compile_tags import compile_tags, find_spans
from aimwell.engine.layers import Layers, read_layers
from aimwell.engine.specification import BASES, DaysSince, TagSpec, find_source
from aimwell.engine.sql_text import Binder, quote_name, show_day
from aimwell.engine.tag_plan import (
    Among,
    find_plain_conditions,
    find_reach,
    list_looks,
    list_stored,
)
from aimwell.engine.workspace import Run

EVERYBODY = "tags_everybody"
_CELLS_IN_A_RANGE = 12_000_000
"""Values that are measured at a time: more customers of few tags, fewer of many, in about a gigabyte."""
_FEW_ROWS = 4_000_000
"""Rows of a table that may be taken into memory to be measured, rather than looked for by every figure."""
_GATHERED, _OWN = "some_", "few_"
"""What stands before the names of tables whose rows are in memory: those of all groups, those of one."""
_EVERYBODY = """\
SELECT customer_id FROM customers
UNION
SELECT customer_id FROM order_lines WHERE ordered_on < {as_of}
UNION
SELECT customer_id FROM events WHERE occurred_on < {as_of}
ORDER BY customer_id"""


class Measuring:
    """Answers the measured tags of a range of customers; made once per run.

    ``added``: relations with the rows that are new (``tag_changes.show_added``). ``people``: a table of the only
    customers to be measured, for those who know that all others stay what they are. ``earlier``: the relation with
    their tags as they were; ``layers``: the files that hold them, if those are all.
    """

    def __init__(
        self,
        run: Run,
        specs: Mapping[str, TagSpec],
        changes: Changes,
        added: Mapping[str, Sequence[str]],
        people: pa.Table | None = None,
        earlier: str = BEFORE,
        layers: Layers | None = None,
    ) -> None:
        self._run = run
        self._specs = dict(specs)
        self._changes = changes
        self._earlier = earlier
        self._layers = layers
        self._customers = changes.state.customers if changes.state is not None else 1
        self._gone = 0
        self._measured: list[tuple[Group, pa.Table]] = []
        self._others = self._measured
        self._placed: dict[bool, list[Placed]] = {}
        self._counts: list[pa.Table] = []
        self._refresh = Refresh([], {}, {})
        if not changes.is_full:
            self._refresh = plan_refresh(self._specs, changes.before, run.as_of)
        self._groups = self._refresh.groups
        for table, relations in added.items():
            self._show_changed(table, relations)
        listed = self._list_everybody() if people is None else people
        self.everybody = pa.table({"customer_id": listed["customer_id"].combine_chunks()})
        run.register(EVERYBODY, self.everybody)
        if not changes.is_full:
            self._measure_groups()

    @cached_property
    def new(self) -> pa.ChunkedArray:
        """The customers who had no tags before, sorted."""
        names, known = self.everybody["customer_id"], self._known["customer_id"]
        return names.slice(0, 0) if names.equals(known) else names.filter(pc.invert(find_rows(names, known)))

    @cached_property
    def _spans(self) -> dict[str, int]:
        return find_spans(self._run.query, self._run.as_of)

    @property
    def has_gone(self) -> bool:
        """Whether anybody who had tags before is a customer no longer, or was taken out of tags since."""
        return self._gone > 0 or self._known.num_rows != self._customers

    def set_apart(self, people: pa.ChunkedArray) -> None:
        """From now on, rows of the lowest layer are measured for everybody but these, sorted, whom a patch holds."""
        if len(people):
            self._others = [(group, _leave_out(part, people)) for group, part in self._measured]
            self._placed.pop(True, None)

    def list_changed(self) -> set[str]:
        """The tags that can be others than before, for anybody but the customers who are set apart."""
        passed = self._changes.before != self._run.as_of
        grown = {name for name, spec in self._specs.items() if passed and isinstance(spec, DaysSince)}
        tables = [*self._counts, *(table for _, table in self._others)]
        found = grown.union(
            self._refresh.derived, *(table.column_names for table in tables if table.num_rows)
        )
        return found & set(self._specs)

    def list_inputs(self, names: Iterable[str]) -> list[str]:
        """The tags besides ``names`` that ``measure`` works these out from: they must stand in ``before``."""
        chosen = {name: self._specs[name] for name in names}
        return [name for name in self._refresh.list_inputs(chosen) if name not in chosen]

    def split(self, *, lowest: bool = False) -> list[Among]:
        """Ranges of customers, in the order of their ids, that hold everybody, or whom the ``lowest`` layer holds."""
        names = self._lowest if lowest else self.everybody
        return split_customers(names["customer_id"], len(self._specs), EVERYBODY)

    def measure(
        self,
        among: Among,
        names: Iterable[str] | None = None,
        *,
        before: pa.Table | None = None,
        lowest: bool = False,
    ) -> pa.Table:
        """A row per customer of the range, a column per tag (of ``names``, or all that are measured).

        ``before``: what ``read_before`` answers for the range, or for some customers of it; who are those of the
        ``lowest`` layer, or not.
        """
        chosen = self._specs if names is None else {name: self._specs[name] for name in names}
        if not self._changes.is_full:
            return self._merge(chosen, among, before, lowest=lowest)
        query = compile_tags(chosen, as_of=self._run.as_of, among=among, spans=self._spans)
        return self._run.query(query.sql, query.parameters)

    def read_before(self, among: Among, names: Iterable[str] = ("*",), *, lowest: bool = False) -> pa.Table:
        """Tags as they were, a row for each customer of the range in their order; empty for who is new.

        ``lowest``: only of customers whom the lowest layer holds, and without what a patch has in place of it.
        """
        wanted = list(dict.fromkeys(names))
        if lowest:
            assert self._layers is not None
            below = replace(self._layers, patches=[])
            found = join_layers(
                read_layers(below, "customer_id", wanted, among.low, among.high), False, wanted
            )
            return align_rows(found, cut_range(self._lowest, among)["customer_id"])
        if self._layers is not None and "*" not in wanted:
            layers = read_layers(self._layers, "customer_id", wanted, among.low, among.high)
            found = join_layers(layers, self._layers.patches != [], wanted)
        else:
            columns = ", ".join(name if name == "*" else quote_name(name) for name in wanted)
            found = sort_rows(self._run.query(f"SELECT {columns} FROM {self._earlier}"))
        return align_rows(found, cut_range(self.everybody, among)["customer_id"])

    # ------------------------------------------------------------ only what changed

    def _show_changed(self, table: str, relations: Sequence[str]) -> None:
        """Take the rows that are new into memory, by customer."""
        columns = [name for name in ("customer_id", *self._list_columns(table)) if name != "customer_id"]
        shown = "".join(f", d.{name}" for name in columns)
        # Who was joined to another record counts as the person.
        parts = [f"{render_owners(view, shown)}" for view in relations]
        nothing = f"SELECT customer_id{''.join(f', {name}' for name in columns)} FROM {table} WHERE 1 = 0"
        self._run.register(f"changed_{table}", self._run.query(" UNION ALL ".join(parts) or nothing))

    def _list_columns(self, table: str) -> list[str]:
        """The day of a row of ``table``, and what groups ask of it."""
        tests = [test for group in self._groups for test in group.list_rows().get(table, Rows()).tests]
        asked = {one.column for test in tests for one in test}
        return [find_source(table).day, *sorted(asked - {find_source(table).day})]

    def _list_everybody(self) -> pa.Table:
        as_of = show_day(self._run.as_of)
        before = self._changes.before
        if before is None:
            return self._run.query(_EVERYBODY.format(as_of=as_of))
        known = list_staying(self._run, self._known) if self._changes.customers_replaced else self._known
        self._gone = self._known.num_rows - known.num_rows
        parts = [] if self._changes.same_people else ["SELECT customer_id FROM customers"]
        for table in ("order_lines", "events"):
            day = find_source(table).day
            parts.append(f"SELECT customer_id FROM changed_{table} WHERE {day} < {as_of}")
            if before < self._run.as_of:
                parts.append(
                    f"SELECT customer_id FROM {table} WHERE {day} >= {show_day(before)} AND {day} < {as_of}"
                )
        found = self._run.query(f"{' UNION '.join(parts)} ORDER BY customer_id")
        if pc.sum(find_rows(known["customer_id"], found["customer_id"])).as_py() == found.num_rows:
            return known
        new = found.filter(pc.invert(find_rows(found["customer_id"], known["customer_id"])))
        return sort_rows(pa.concat_tables([known, new.cast(known.schema)]))

    def _measure_groups(self) -> None:
        before, as_of = self._changes.before, self._run.as_of
        assert before is not None
        self._run.register("tags_new", pa.table({"customer_id": self.new}))
        counted = self._refresh.counted
        going_on = Group(frozenset(), {name: self._specs[name] for name in counted})
        edges = [
            Group(group.tables, {n: spec for n, spec in group.specs.items() if n not in counted}).list_edges(
                before, as_of
            )
            for group in self._groups
        ]
        sources = self._gather_edges(
            {edge for found in (*edges, going_on.list_edges(before, as_of)) for edge in found}
        )
        self._count_on(sources)
        people = {}
        for number, group in enumerate(self._groups):
            found = self._find_affected(group, edges[number], sources)
            if found.num_rows:
                people[number] = found
                self._run.register(_name_affected(number), found)
        numbers = {
            table: [number for number in people if table in self._groups[number].tables]
            for table in sorted({table for number in people for table in self._groups[number].tables})
        }
        gathered = [table for table, concerned in numbers.items() if self._are_few(table, concerned)]
        for table in gathered:
            self._take_rows(table, numbers[table], _GATHERED + table)
        for number, group in self._share_readings(people, gathered).items():
            self._measure_group(number, group, gathered)

    def _share_readings(self, people: Mapping[int, pa.Table], gathered: Collection[str]) -> dict[int, Group]:
        """The groups to be measured, by the number under which their people are known.

        Of what was gathered, groups that need the same columns are measured together, for the people of all of them.
        """
        alike: dict[object, list[int]] = {}
        for number in people:
            group = self._groups[number]
            shares = group.tables <= set(gathered)
            alike.setdefault((group.tables, group.list_columns()) if shares else number, []).append(number)
        found = {}
        for first, *others in alike.values():
            found[first] = self._groups[first]
            for number in others:
                found[first] = found[first].unite(self._groups[number])
            if others:
                united = unite_people(people[number] for number in (first, *others))
                self._run.register(_name_affected(first), united)
        return found

    def _count_on(self, sources: Mapping[str, str]) -> None:
        """Count the rows on the edges that make a difference."""
        before = self._changes.before
        assert before is not None
        for table, relation in sources.items():
            counted = {name: one for name, one in self._refresh.counted.items() if one.table == table}
            if counted:
                binder = Binder()
                sql = compile_counts(
                    counted,
                    table=table,
                    relation=relation,
                    before=before,
                    as_of=self._run.as_of,
                    binder=binder,
                )
                self._counts.append(self._run.query(sql, binder.values))

    @cached_property
    def _known(self) -> pa.Table:
        """Who had tags before, sorted."""
        if self._layers is not None:
            layers = read_layers(self._layers, "customer_id", ())
            return join_layers(layers, self._layers.patches != [], ["customer_id"])
        return sort_rows(self._run.query(f"SELECT customer_id FROM {self._earlier}"))

    @cached_property
    def _lowest(self) -> pa.Table:
        """Whom the lowest layer holds, sorted."""
        assert self._layers is not None
        below = Layers(self._layers.base, [], [])
        found = join_layers(read_layers(below, "customer_id", ()), False, ["customer_id"])
        return self.everybody if found["customer_id"].equals(self.everybody["customer_id"]) else found

    def _gather_edges(self, edges: set[tuple[str, date, date]]) -> dict[str, str]:
        """Where rows on the edges of windows are looked for: by table, in memory or, if they are many, in the table."""
        sources = {}
        for table in sorted({table for table, _, _ in edges}):
            sources[table] = table
            day = find_source(table).day
            spans = sorted({(start, end) for name, start, end in edges if name == table})
            if (spans[0][1] - spans[0][0]).days <= FEW_DAYS:
                tests = [f"({day} >= {show_day(start)} AND {day} < {show_day(end)})" for start, end in spans]
                columns = ", ".join(["customer_id", *self._list_columns(table)])
                sql = f"SELECT {columns} FROM {table} WHERE {' OR '.join(tests)}"
                sources[table] = f"edges_{table}"
                self._run.register(sources[table], self._run.query(sql))
        return sources

    def _find_affected(
        self,
        group: Group,
        edges: Mapping[tuple[str, date, date], Rows],
        sources: Mapping[str, str],
    ) -> pa.Table:
        """Who is named, sorted, by rows that can make any tag of the group another than before.

        Some may be no customers: rows of days to come, and what somebody said who never did anything, make nobody one.
        """
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
        return self._run.query(f"{' UNION '.join(parts)} ORDER BY customer_id", binder.values)

    def _take_rows(self, table: str, numbers: Sequence[int], name: str) -> None:
        """Take what the groups of these ``numbers`` need of their customers' rows of ``table`` into memory."""
        source, rows, needs = find_source(table), Rows(), set()
        for number in numbers:
            for spec in self._groups[number].measured.values():
                for look in list_looks(spec):
                    if BASES[look.source] == (table,):
                        rows.tests.add(find_plain_conditions(look))
                        needs |= list_stored(look)
        binder = Binder()
        tests = [f"{source.day} < {show_day(self._run.as_of)}", *rows.render(table, binder)]
        reach = self._find_reach(table, numbers)
        if reach is not None:
            tests.append(f"{source.day} >= {show_day(self._run.as_of - timedelta(days=reach))}")
        columns = ", ".join(dict.fromkeys(("customer_id", source.day, *sorted(needs))))
        everybody = " UNION ".join(f"SELECT customer_id FROM {_name_affected(number)}" for number in numbers)
        sql = f"SELECT {columns} FROM {table} WHERE {' AND '.join(tests)} AND customer_id IN ({everybody})"
        self._run.register(name, self._run.query(sql, binder.values))

    def _find_reach(self, table: str, numbers: Sequence[int]) -> int | None:
        """How many days back the groups look at ``table``; None: to the first."""
        reaches = [
            None if look.source in ("orders", "order_days") else find_reach(look.window)
            for number in numbers
            for spec in self._groups[number].measured.values()
            for look in list_looks(spec)
            if BASES[look.source] == (table,)
        ]
        known = [reach for reach in reaches if reach is not None]
        return max(known) if known and len(known) == len(reaches) else None

    def _are_few(self, table: str, numbers: Sequence[int]) -> bool:
        """Whether the rows that these groups look at may be taken into memory."""
        everybody = " UNION ".join(f"SELECT customer_id FROM {_name_affected(number)}" for number in numbers)
        few = self._run.query(f"SELECT COUNT(*) AS n FROM ({everybody}) AS few")["n"][0].as_py()
        rows = self._run.query(f"SELECT COUNT(*) AS n FROM {table}")["n"][0].as_py()
        share = min((self._find_reach(table, numbers) or 365) / 365, 1.0)
        # Whom rows concern who changed has more of them than others: about twice as many.
        return bool(2 * rows * share * few <= _FEW_ROWS * self._customers)

    def _measure_group(self, number: int, group: Group, gathered: Collection[str]) -> None:
        """Measure a group's tags; their rows are looked for once rather than with every figure, where they are few."""
        facts = _GATHERED if group.tables <= set(gathered) else ""
        if (
            not facts
            and len(group.measured) > 1
            and all(self._are_few(table, [number]) for table in group.tables)
        ):
            for table in group.tables:
                self._take_rows(table, [number], _OWN + table)
            facts = _OWN
        among = Among(table=_name_affected(number), facts=facts, facts_are_theirs=facts == _OWN)
        query = compile_tags(group.measured, as_of=self._run.as_of, among=among)
        self._measured.append((group, self._run.query(query.sql, query.parameters)))

    def _merge(
        self, chosen: Mapping[str, TagSpec], among: Among, before: pa.Table | None, *, lowest: bool
    ) -> pa.Table:
        """What was measured anew, else what stood in tags; days since a day grow by themselves."""
        assert self._changes.before is not None
        passed = (self._run.as_of - self._changes.before).days
        inputs = self.list_inputs(chosen)
        if before is None:
            before = self.read_before(among, ("customer_id", *chosen, *inputs))
        names = before["customer_id"]
        columns = {}
        for name in (*chosen, *inputs):
            old, grows = before[name], passed and isinstance(self._specs[name], DaysSince)
            columns[name] = pc.add(old, passed) if grows else old
        placed = self._place(names, among, lowest=lowest)
        for more in placed[: len(self._counts)]:
            for name in more.rows.column_names:
                if name in columns:
                    columns[name] = pc.add(columns[name], more.spread(name, len(names)))
        parts = []
        for (group, _), part in zip(self._measured, placed[len(self._counts) :], strict=True):
            rows = part.rows
            if rows.num_rows and any(name in columns for name in (*rows.column_names, *group.derived)):
                there = part.mark(len(names))
                parts.append((group, rows, there))
                columns |= put_over({n: columns[n] for n in rows.column_names if n in columns}, rows, there)
        columns |= self._derive(columns, parts)
        return pa.table({"customer_id": names, **{name: columns[name] for name in chosen}})

    def _place(self, names: pa.ChunkedArray, among: Among, *, lowest: bool) -> list[Placed]:
        """What was counted, then what was measured of ``names``, who are the customers of a range, or few of them."""
        measured = self._others if lowest else self._measured
        tables = [*self._counts, *(table for _, table in measured)]
        everybody = (self._lowest if lowest else self.everybody)["customer_id"]
        start, end = find_range(everybody, among)
        if len(names) != end - start:
            return place_rows(tables, names)
        # The same customers and the same rows stand in the same places.
        differs = lowest and not (self._lowest is self.everybody and self._others is self._measured)
        if differs not in self._placed:
            self._placed[differs] = place_rows(tables, everybody)
        return [one.cut(start, end) for one in self._placed[differs]]

    def _derive(
        self,
        columns: Mapping[str, pa.ChunkedArray],
        parts: list[tuple[Group, pa.Table, pa.ChunkedArray]],
    ) -> dict[str, pa.ChunkedArray]:
        """What is worked out from tags that are as they shall be, of everybody; or of those measured, with a figure.

        ``parts``: what was measured for whom, and where these stand in ``columns``.
        """
        found: dict[str, pa.ChunkedArray] = {}
        for name, one in self._refresh.derived.items():
            if name in columns and set(one.columns) <= set(columns):
                found[name] = one.work_out(columns)
        for group, part, there in parts:
            wanted = {name: one for name, one in group.derived.items() if name in columns}
            if wanted:
                known = {column for one in wanted.values() for column in one.columns if column in columns}
                rows = pa.table({column: columns[column] for column in known}).filter(there)
                figures = {**{n: part[n] for n in part.column_names}, **{n: rows[n] for n in known}}
                upper = {name: one.work_out(figures) for name, one in wanted.items()}
                found |= put_over({name: columns[name] for name in wanted}, pa.table(upper), there)
        return found


def _name_affected(number: int) -> str:
    """The relation of the people of the group of this number."""
    return f"affected_{number}"


def _leave_out(table: pa.Table, people: pa.ChunkedArray) -> pa.Table:
    """The rows of everybody else."""
    return table.filter(pc.invert(find_rows(table["customer_id"], people)))


def split_customers(names: pa.ChunkedArray, tags: int, everybody: str) -> list[Among]:
    """Ranges of the sorted ``names`` so large that so many tags of each customer fit into memory.

    Files are sorted by customer inside a month: a range reads the row groups that hold it, and no others.
    """
    size = _CELLS_IN_A_RANGE // max(tags, 1)
    starts = [names[place].as_py() for place in range(0, len(names), size)]
    lows, highs = [None, *starts[1:]], [*starts[1:], None]
    return [Among(low, high, everybody=everybody) for low, high in zip(lows, highs, strict=True)]
