"""Measures tags: of all customers range by range, or only of those who can have changed.

A tag changes for a customer when a row of theirs is new, or when a row enters or leaves its window because the day
moved on. Tags that look at the same tables equally far back form a group: who has a row on an edge of the group's
windows is measured anew, in the group's tags only, with the same query that measures everybody. "Days since" are
shifted by the days that passed. So the result is the same to the bit as computing everything.
Reads order_lines, products, events, signals, customers, and tags as they were; writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import pyarrow as pa

from aimwell.analysis.tag_changes import Changes
from aimwell.engine.compile_tags import compile_tags
from aimwell.engine.specification import BASES, DaysSince, TagSpec, find_source, find_windows
from aimwell.engine.sql_text import quote_name, show_day
from aimwell.engine.tag_plan import Among, find_reach
from aimwell.engine.workspace import Run

EVERYBODY = "tags_everybody"
BEFORE = "tags_before"
_CELLS_IN_A_RANGE = 12_000_000
"""Values that are measured at a time: more customers of few tags, fewer of many, in about a gigabyte."""
_FEW = 20_000
"""Customers whose rows are taken into memory to be measured."""
_GATHERED = "some_"
_DERIVED = ("is_return", "department", "category", "brand")
_EVERYBODY = """\
SELECT customer_id FROM customers
UNION
SELECT customer_id FROM order_lines WHERE ordered_on < {as_of}
UNION
SELECT customer_id FROM events WHERE occurred_on < {as_of}
ORDER BY customer_id"""


@dataclass(frozen=True)
class _Edge:
    """Days of a table on which rows enter or leave a window between two days of computing."""

    table: str
    start: date
    end: date


@dataclass(frozen=True)
class _Group:
    """Tags that are measured together, and the table of customers for whom they are measured anew."""

    specs: Mapping[str, TagSpec]
    name: str


class Measuring:
    """Answers the measured tags of a range of customers; made once per run.

    ``added``: relations with the rows that are new (``tag_changes.show_added``). ``people``: a table of the only
    customers to be measured, for those who know that all others stay what they are.
    """

    def __init__(
        self,
        run: Run,
        specs: Mapping[str, TagSpec],
        changes: Changes,
        added: Mapping[str, Sequence[str]],
        people: pa.Table | None = None,
    ) -> None:
        self._run = run
        self._specs = dict(specs)
        self._changes = changes
        self._groups: list[_Group] = []
        for table, relations in added.items():
            parts = [_NOBODY, *(_render_owners(name) for name in relations)]
            run.register(f"changed_{table}", run.query(" UNION ".join(parts)))
        run.register(EVERYBODY, self._list_everybody() if people is None else people)
        if not changes.is_full:
            self._measure_groups()

    def split(self) -> list[Among]:
        """Ranges of customers, in the order of their ids, that hold everybody."""
        found = self._run.query(f"SELECT customer_id FROM {EVERYBODY} ORDER BY customer_id")
        names = found.column("customer_id")
        return split_customers(names, len(self._specs), EVERYBODY)

    def measure(self, among: Among, names: Iterable[str] | None = None) -> pa.Table:
        """A row per customer of the range, a column per tag (of ``names``, or all that are measured)."""
        chosen = self._specs if names is None else {name: self._specs[name] for name in names}
        if not self._changes.is_full:
            return self._merge(chosen, among)
        query = compile_tags(chosen, as_of=self._run.as_of, among=among)
        return self._run.query(query.sql, query.parameters)

    # ------------------------------------------------------------ only what changed

    def _list_everybody(self) -> pa.Table:
        as_of = show_day(self._run.as_of)
        before = self._changes.before
        if before is None or self._changes.customers_replaced:
            return self._run.query(_EVERYBODY.format(as_of=as_of))
        parts = ["SELECT customer_id FROM customers", f"SELECT customer_id FROM {BEFORE}"]
        for table, day in (("order_lines", "ordered_on"), ("events", "occurred_on")):
            parts.append(
                f"SELECT customer_id FROM {table}"
                f" WHERE {day} < {as_of} AND customer_id IN (SELECT customer_id FROM changed_{table})"
            )
            if before < self._run.as_of:
                parts.append(_render_edge(_Edge(table, before, self._run.as_of)))
        return self._run.query(" UNION ".join(parts) + " ORDER BY customer_id")

    def _measure_groups(self) -> None:
        new = (
            f"SELECT e.customer_id FROM {EVERYBODY} AS e"
            f" WHERE NOT EXISTS (SELECT 1 FROM {BEFORE} AS b WHERE b.customer_id = e.customer_id)"
        )
        self._run.register("tags_new", self._run.query(new))
        before, as_of = self._changes.before, self._run.as_of
        assert before is not None
        groups = _group_tags(self._specs, before, as_of)
        affected: dict[str, list[str]] = {}
        for number, (tables, specs) in enumerate(groups, 1):
            edges = {edge for spec in specs.values() for edge in _list_edges(spec, before, as_of)}
            parts = ["SELECT customer_id FROM tags_new"]
            parts += [f"SELECT customer_id FROM changed_{table}" for table in sorted(tables)]
            parts += [_render_edge(edge) for edge in sorted(edges, key=repr)]
            people = self._run.query(
                f"SELECT e.customer_id FROM {EVERYBODY} AS e"
                f" WHERE e.customer_id IN ({' UNION '.join(parts)}) ORDER BY customer_id"
            )
            if people.num_rows:
                self._run.register(f"affected_{number}", people)
                for table in tables:
                    affected.setdefault(table, []).append(f"affected_{number}")
        gathered = {table for table, names in affected.items() if self._gather(table, names)}
        for number, (tables, specs) in enumerate(groups, 1):
            people_name, name = f"affected_{number}", f"measured_{number}"
            if not any(people_name in affected.get(table, ()) for table in tables):
                continue
            facts = _GATHERED if tables <= gathered else ""
            query = compile_tags(specs, as_of=as_of, among=Among(table=people_name, facts=facts))
            self._run.register(name, self._run.query(query.sql, query.parameters))
            self._groups.append(_Group(specs, name))

    def _gather(self, table: str, people: Sequence[str]) -> bool:
        """Take the rows of few customers out of ``table`` once, rather than search for them with every figure."""
        everybody = " UNION ".join(f"SELECT customer_id FROM {name}" for name in people)
        source = find_source(table)
        found = self._run.query(f"SELECT COUNT(*) AS n FROM ({everybody}) AS few")["n"][0].as_py()
        if found > _FEW:
            return False
        columns = ["customer_id", *(name for name, _ in source.columns if name not in _DERIVED)]
        rows = (
            f"SELECT {', '.join(columns)} FROM {table} WHERE {source.day} < {show_day(self._run.as_of)}"
            f" AND customer_id IN ({everybody})"
        )
        self._run.register(_GATHERED + table, self._run.query(rows))
        return True

    def _merge(self, chosen: Mapping[str, TagSpec], among: Among) -> pa.Table:
        """What was measured anew, else what stood in tags; days since a day grow by themselves."""
        assert self._changes.before is not None
        passed = (self._run.as_of - self._changes.before).days
        owner = {name: group.name for group in self._groups for name in group.specs}
        columns = []
        for name, spec in chosen.items():
            column, group = quote_name(name), owner.get(name)
            old = f"b.{column} + {passed}" if passed and isinstance(spec, DaysSince) else f"b.{column}"
            if group is None:
                columns.append(f"{old} AS {column}")
                continue
            columns.append(
                f"CASE WHEN {group}.customer_id IS NOT NULL THEN {group}.{column} ELSE {old} END AS {column}"
            )
        joined = sorted({owner[name] for name in chosen if name in owner})
        joins = [f"LEFT JOIN {BEFORE} AS b ON b.customer_id = e.customer_id"]
        joins += [f"LEFT JOIN {name} ON {name}.customer_id = e.customer_id" for name in joined]
        low = [] if among.low is None else ["e.customer_id >= $low"]
        high = [] if among.high is None else ["e.customer_id < $high"]
        where = f"WHERE {' AND '.join([*low, *high])}" if low or high else ""
        bound = {"low": among.low, "high": among.high}
        sql = f"SELECT e.customer_id, {', '.join(columns)} FROM {EVERYBODY} AS e\n" + "\n".join(
            [*joins, where, "ORDER BY e.customer_id"]
        )
        return self._run.query(sql, {name: value for name, value in bound.items() if value is not None})


_NOBODY = "SELECT customer_id FROM customers WHERE 1 = 0"


def split_customers(names: pa.ChunkedArray, tags: int, everybody: str) -> list[Among]:
    """Ranges of the sorted ``names`` so large that so many tags of each customer fit into memory.

    Files are sorted by customer inside a month: a range reads the row groups that hold it, and no others.
    """
    size = _CELLS_IN_A_RANGE // max(tags, 1)
    starts = [names[place].as_py() for place in range(0, len(names), size)]
    lows, highs = [None, *starts[1:]], [*starts[1:], None]
    return [Among(low, high, everybody=everybody) for low, high in zip(lows, highs, strict=True)]


def list_patched(run: Run, added: Mapping[str, Sequence[str]]) -> pa.Table:
    """The customers whose tags of the same day can have changed by the rows of ``added``, sorted."""
    parts = [_NOBODY]
    for relations in added.values():
        owners = " UNION ".join([_NOBODY, *(_render_owners(name) for name in relations)])
        parts.append(f"SELECT customer_id FROM {BEFORE} WHERE customer_id IN ({owners})")
    day = find_source("events").day
    # Who is there for the first time is there by an event that has happened.
    parts += [
        f"{_render_owners(name)} WHERE d.{day} < {show_day(run.as_of)}" for name in added.get("events", ())
    ]
    return run.query(f"{' UNION '.join(parts)} ORDER BY customer_id")


def _render_owners(view: str) -> str:
    """The customers of rows as delivered: who was joined to another record counts as the person."""
    return (
        f"SELECT COALESCE(i.customer_id, d.customer_id) AS customer_id FROM {view} AS d"
        " LEFT JOIN identities AS i ON i.record_id = d.customer_id"
    )


def _render_edge(edge: _Edge) -> str:
    day = {"order_lines": "ordered_on", "events": "occurred_on", "signals": "given_on"}[edge.table]
    return (
        f"SELECT customer_id FROM {edge.table}"
        f" WHERE {day} >= {show_day(edge.start)} AND {day} < {show_day(edge.end)}"
    )


def _group_tags(
    specs: Mapping[str, TagSpec], before: date, as_of: date
) -> list[tuple[frozenset[str], dict[str, TagSpec]]]:
    """Tags by the tables that they are measured on and how far they look back; on the same day by tables only."""
    groups: dict[tuple[frozenset[str], int | None], dict[str, TagSpec]] = {}
    for name, spec in specs.items():
        windows = find_windows(spec)
        tables = frozenset(base for source, _ in windows for base in BASES[source])
        reaches = [find_reach(window) for _, window in windows]
        known = [reach for reach in reaches if reach is not None]
        reach = max(known) if len(known) == len(reaches) and before < as_of else None
        groups.setdefault((tables, reach), {})[name] = spec
    return [(tables, found) for (tables, _), found in groups.items()]


def _list_edges(spec: TagSpec, before: date, as_of: date) -> set[_Edge]:
    if before >= as_of:
        return set()
    edges = set()
    for source, window in find_windows(spec):
        (table,) = BASES[source]
        if window is None or window.ending == 0 or source in ("orders", "order_days"):
            # A late line of an order changes the order wherever in time it stands.
            edges.add(_Edge(table, before, as_of))
        if window is not None:
            ends = [window.ending, window.ending + window.days]
            edges |= {
                _Edge(table, before - timedelta(days=days), as_of - timedelta(days=days)) for days in ends
            }
    return edges
