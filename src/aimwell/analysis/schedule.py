"""Windows that expire exactly: when members of a segment must be looked at again, and looking at them.

"No purchase in 30 days" changes when the 30th day ends, not when the next analysis runs. Every segment has a list of
the coming days on which a row enters or leaves one of its windows, with the number of customers concerned; on such a
day only they are decided again. Tags that are plain figures (``orders_90d``, ``recency_days``) are measured anew for
them; tags that are worked out from several figures (``has_open_cart``) or compare customers with each other
(``rfm_r``, ``is_best_20``) stay as the last analysis left them.
Reads segments, segment_members, tags and the sources of figures; writes segments, segment_members and the store's
``segment_schedule``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa
from numpy.typing import NDArray

from aimwell.analysis.catalogue import find_tags
from aimwell.analysis.segments import Segment, evaluate_customers
from aimwell.core.tables import SEGMENTS
from aimwell.core.text import Text
from aimwell.core.time import business_day, now, zone
from aimwell.engine.compile_due import compile_due, list_boundaries, read_due_day
from aimwell.engine.rule import (
    All,
    Any,
    Between,
    Compare,
    IsEmpty,
    Measured,
    Not,
    OneOf,
    Rule,
)
from aimwell.engine.rule_json import rule_from_json
from aimwell.engine.segment_tables import SEGMENT_SCHEDULE
from aimwell.engine.session import Queryable
from aimwell.engine.specification import Aggregate, DaysSince, Measure
from aimwell.engine.sql_text import quote_name
from aimwell.engine.workspace import Reader, Run, Workspace

HORIZON = 400
"""So many days ahead are kept: a window of a year and some."""
_ZERO = ("count", "count_distinct", "sum")


@dataclass(frozen=True)
class Due:
    """On this business day so many customers of a segment must be looked at again."""

    segment: str
    due_on: date
    customers: int


@dataclass(frozen=True)
class Refreshed:
    """What a refresh did: up to which business day, how many customers were looked at, who came and went."""

    as_of: date
    looked_at: int
    entered: int
    left: int


Spell = tuple[str, str, date, date | None, str]


def expand_tags(rule: Rule, figures: Mapping[str, Aggregate | DaysSince]) -> Rule:
    """``rule`` with tags that are plain figures measured by themselves, so that their windows are its windows."""
    match rule:
        case All(rules=parts):
            return All(tuple(expand_tags(part, figures) for part in parts))
        case Any(rules=parts):
            return Any(tuple(expand_tags(part, figures) for part in parts))
        case Not(rule=inner):
            return Not(expand_tags(inner, figures))
        case Compare(tag=tag, operator=operator, value=value) if tag in figures:
            return Measured(figures[tag], operator, value)
        case OneOf(tag=tag, values=values) if tag in figures:
            return Any(tuple(Measured(figures[tag], "=", value) for value in values))
        case Between(tag=tag, low=low, high=high) if tag in figures:
            return All((Measured(figures[tag], ">=", low), Measured(figures[tag], "<=", high)))
        case IsEmpty(tag=tag) if tag in figures:
            return _expand_empty(figures[tag])
        case _:
            return rule


def find_figures(reader: Queryable) -> dict[str, Aggregate | DaysSince]:
    """The tags that are plain figures, and known: a tag that nobody has stays empty whatever its source holds."""
    columns = reader.query("SELECT * FROM tags LIMIT 0").column_names
    found: dict[str, Aggregate | DaysSince] = {}
    for tag in find_tags(columns):
        if tag.name in columns and isinstance(tag.spec, Measure | DaysSince):
            found[tag.name] = tag.spec.of if isinstance(tag.spec, Measure) else tag.spec
    if not found:
        return {}
    counts = ", ".join(f"COUNT({quote_name(name)}) AS {quote_name(name)}" for name in found)
    known = reader.query(f"SELECT {counts} FROM tags").to_pylist()[0]
    return {name: of for name, of in found.items() if known[name]}


def find_schedule(reader: Queryable, rules: Mapping[str, Rule], *, after: date) -> list[Due]:
    """The coming days on which windows of these segments let rows go or take them, with the customers concerned."""
    figures = find_figures(reader)
    expanded = {name: expand_tags(rule, figures) for name, rule in rules.items()}
    query = compile_due(expanded, after=after, until=after + timedelta(days=HORIZON), segments=expanded)
    if query is None:
        return []
    counted = (
        f"SELECT segment, due, COUNT(*) AS customers FROM (\n{query.sql}\n) AS rows_due GROUP BY segment, due"
    )
    rows = reader.query(f"{counted} ORDER BY segment, due", query.parameters).to_pylist()
    return [Due(row["segment"], read_due_day(row["due"]), row["customers"]) for row in rows]


def keep_schedule(workspace: Workspace, coming: Iterable[Due]) -> None:
    """Replace the schedule in the store by ``coming``."""
    zone_name = workspace.settings.business.zone
    rows = [
        {
            "segment": one.segment,
            "due_on": one.due_on,
            "due_at": find_day_start(one.due_on, zone_name),
            "customers": one.customers,
        }
        for one in coming
    ]
    with workspace.store.begin() as connection:
        connection.execute(sa.delete(SEGMENT_SCHEDULE))
        if rows:
            connection.execute(sa.insert(SEGMENT_SCHEDULE), rows)


def list_schedule(workspace: Workspace) -> list[dict[str, object]]:
    """What is kept: segment, due_on, due_at and customers, the next first."""
    query = sa.select(SEGMENT_SCHEDULE).order_by(SEGMENT_SCHEDULE.c.due_at, SEGMENT_SCHEDULE.c.segment)
    with workspace.store.snapshot() as connection:
        return [dict(row._mapping) for row in connection.execute(query)]


def find_next_due(workspace: Workspace) -> datetime | None:
    """The instant at which the next window ends; None when none is scheduled."""
    with workspace.store.snapshot() as connection:
        return connection.execute(sa.select(sa.func.min(SEGMENT_SCHEDULE.c.due_at))).scalar()


def refresh_due(workspace: Workspace, at: datetime | None = None) -> Refreshed | None:
    """Decide again whoever is due up to the instant ``at`` (now when omitted), day by day.

    The same members, entry and exit days as a full evaluation on each of those days would find. Rows that came late,
    about days which were decided before, count from the next analysis. None when no segment has a due day in between,
    or there are no segments.
    """
    until = business_day(at or now(), workspace.settings.business.zone)
    with workspace.read() as reader:
        kept = _read_kept(reader)
        if kept is None or kept[1] >= until:
            return None
        rules, after = kept
        figures = find_figures(reader)
        expanded = {name: expand_tags(rule, figures) for name, rule in rules.items()}
        is_due = _is_anybody_due(reader, expanded, after, until)
        coming = [] if is_due else find_schedule(reader, rules, after=until)
    if not is_due:
        # What the schedule named is gone: nobody needs to look at those days again.
        keep_schedule(workspace, coming)
        return None
    with workspace.run("segments", as_of=until) as run:
        refreshed = _refresh(run, rules, after, until)
        coming = find_schedule(run, rules, after=until)
    keep_schedule(workspace, coming)
    return refreshed


def find_day_start(day: date, zone_name: str) -> datetime:
    """The first instant of a business day: when the day before it has ended."""
    return datetime.combine(day, time(), zone(zone_name)).astimezone(UTC)


def _read_kept(reader: Queryable) -> tuple[dict[str, Rule], date] | None:
    """The segments' rules as they were last decided, and the day of that."""
    rows = reader.query("SELECT segment, rule, as_of FROM segments ORDER BY segment").to_pylist()
    if not rows:
        return None
    rules = {str(row["segment"]): rule_from_json(json.loads(row["rule"])) for row in rows}
    return rules, min(row["as_of"] for row in rows)


def _is_anybody_due(reader: Queryable, rules: Mapping[str, Rule], after: date, until: date) -> bool:
    query = compile_due(rules, after=after, until=until, segments=rules)
    if query is None:
        return False
    found = reader.query(f"SELECT 1 FROM (\n{query.sql}\n) AS rows_due LIMIT 1", query.parameters)
    return bool(found.num_rows)


def _list_due(reader: Queryable, rules: Mapping[str, Rule], after: date, until: date) -> dict[date, set[str]]:
    """The customers who are due on each day, whatever the segment."""
    query = compile_due(rules, after=after, until=until, segments=rules)
    if query is None:
        return {}
    sql = f"SELECT DISTINCT due, customer_id FROM (\n{query.sql}\n) AS rows_due"
    rows = reader.query(sql, query.parameters)
    found: dict[date, set[str]] = {}
    for due in pc.unique(rows["due"]):
        customers = pc.filter(rows["customer_id"], pc.equal(rows["due"], due))
        found.setdefault(read_due_day(due.as_py()), set()).update(customers.to_pylist())
    return found


def _refresh(run: Run, rules: Mapping[str, Rule], after: date, until: date) -> Refreshed:
    figures = find_figures(run)
    expanded = {name: expand_tags(rule, figures) for name, rule in rules.items()}
    moving = [name for name, rule in expanded.items() if list_boundaries(rule, expanded)]
    segments = tuple(Segment(name, Text(name), rule, built_in=False) for name, rule in expanded.items())
    due = _list_due(run, expanded, after, until)
    everyone = pa.array(sorted(set().union(*due.values())), pa.string())
    is_open = _read_open(run, everyone, moving)
    changes: list[tuple[date, str, str, bool]] = []
    for day in sorted(due):
        membership = evaluate_customers(run, segments, due[day], as_of=day)
        places = pc.index_in(membership.customers, value_set=everyone).to_numpy().astype(np.int64)
        for index, segment in enumerate(segments):
            if segment.name in moving:
                column, inside = is_open[segment.name], membership.inside[:, index]
                (rows,) = np.nonzero(column[places] != inside)
                names = membership.customers.take(pa.array(rows)).to_pylist()
                changes += [
                    (day, segment.name, name, bool(inside[row]))
                    for name, row in zip(names, rows, strict=True)
                ]
                column[places] = inside
    _write(run, changes, until)
    entered = sum(inside for *_, inside in changes)
    return Refreshed(until, len(everyone), entered, len(changes) - entered)


def _read_open(run: Reader, customers: pa.Array, segments: Iterable[str]) -> dict[str, NDArray[np.bool_]]:
    """For each of these segments, which of the customers it holds."""
    run.register("customers_due", pa.table({"customer_id": customers}))
    rows = run.query(
        "SELECT segment, customer_id FROM segment_members "
        "WHERE left_on IS NULL AND customer_id IN (SELECT customer_id FROM customers_due)"
    )
    found = {}
    for name in segments:
        members = pc.filter(rows["customer_id"], pc.equal(rows["segment"], name))
        found[name] = np.zeros(len(customers), np.bool_)
        found[name][pc.index_in(members, value_set=customers).to_numpy().astype(np.int64)] = True
    return found


def _read_spells(run: Reader, customers: set[str]) -> dict[tuple[str, str], list[Spell]]:
    run.register("customers_changed", pa.table({"customer_id": pa.array(sorted(customers), pa.string())}))
    rows = run.query(
        "SELECT segment, customer_id, entered_on, left_on, run_id FROM segment_members "
        "WHERE customer_id IN (SELECT customer_id FROM customers_changed) ORDER BY segment, customer_id, entered_on"
    ).to_pylist()
    spells: dict[tuple[str, str], list[Spell]] = {}
    for row in rows:
        spells.setdefault((row["segment"], row["customer_id"]), []).append(tuple(row.values()))
    return spells


def _write(run: Run, changes: Sequence[tuple[date, str, str, bool]], until: date) -> None:
    """A spell begins or ends with every change; everybody else's rows stay as they were."""
    spells = _read_spells(run, {customer for _, _, customer, _ in changes})
    for day, segment, customer, inside in changes:
        own = spells.setdefault((segment, customer), [])
        if inside:
            own.append((segment, customer, day, None, run.id))
        else:
            own[-1] = (*own[-1][:3], day, run.id)
    if changes:
        _write_members(run, spells)
    sizes = run.query(
        "SELECT s.segment, s.title, s.rule, s.sql, $as_of AS as_of, $run_id AS run_id, COUNT(m.customer_id) AS size "
        "FROM segments AS s LEFT JOIN segment_members AS m ON m.segment = s.segment AND m.left_on IS NULL "
        "GROUP BY s.segment, s.title, s.rule, s.sql ORDER BY s.segment",
        {"as_of": until, "run_id": run.id},
    )
    run.replace("segments", SEGMENTS.validate(sizes))


def _write_members(run: Run, spells: Mapping[tuple[str, str], list[Spell]]) -> None:
    names = ("segment", "customer_id", "entered_on", "left_on", "run_id")
    rows = [spell for own in spells.values() for spell in own]
    kinds = (pa.string(), pa.string(), pa.date32(), pa.date32(), pa.string())
    columns = [pa.array([row[place] for row in rows], kind) for place, kind in enumerate(kinds)]
    run.register("spells_due", pa.table(columns, names=list(names)))
    listed = ", ".join(names)
    members = run.query(
        f"SELECT {listed} FROM segment_members AS m WHERE NOT EXISTS "
        "(SELECT 1 FROM customers_changed AS d WHERE d.customer_id = m.customer_id) "
        f"UNION ALL SELECT {listed} FROM spells_due ORDER BY segment, customer_id, entered_on"
    )
    run.replace("segment_members", members)


def _expand_empty(of: Aggregate | DaysSince) -> Rule:
    if isinstance(of, DaysSince):
        # What has happened happened at least a day ago.
        return Not(Measured(of, ">=", 0))
    if of.function in _ZERO:
        return Any(())
    values = replace(of, function="count")
    return Not(Measured(values, ">=", 2 if of.function == "deviation" else 1))
