"""Everything about one tag: what it means and how it is worked out, its values, how fresh it is, where it comes from.

Reads tags, definitions and the newest days of the tables behind the tag; writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from aimwell.analysis.catalogue import CATALOGUE, find_tags
from aimwell.analysis.own_tags import KIND, list_definitions, load_own_tags
from aimwell.analysis.standing import INPUTS, RHYTHM
from aimwell.analysis.summary import describe_values
from aimwell.analysis.tag import Tag
from aimwell.core.lists import join_list
from aimwell.core.text import Text, say
from aimwell.engine.specification import (
    BASES,
    Aggregate,
    Condition,
    DaysSince,
    Expression,
    Measure,
    Ratio,
    TagSpec,
    TopValue,
    Trend,
    Window,
    find_source,
    find_type,
    list_aggregates,
)
from aimwell.engine.sql_text import quote_name
from aimwell.engine.store import Store
from aimwell.engine.store_tables import DEFINITIONS
from aimwell.engine.workspace import Reader

_DAYS = {"order_lines": "ordered_on", "events": "occurred_on", "signals": "given_on"}
_PRODUCT_COLUMNS = ("department", "category", "brand")
_DERIVED = {
    "hour": "ordered_hour",
    "weekday": "ordered_on",
    "month": "ordered_on",
    "gap": "ordered_on",
    "lines": "order_id",
    "units": "quantity",
    "is_return": "quantity",
}
"""Columns of the sources that are worked out from another column of the table."""


def show_tag(reader: Reader, store: Store, name: str) -> dict[str, Any]:
    """The page of one tag; BadInput that names the nearest when there is none."""
    columns = reader.query("SELECT * FROM tags LIMIT 0").column_names
    tags = {tag.name: tag for tag in list_tags(store, columns)}
    find_type(name, {other: tag.type for other, tag in tags.items()})
    tag = tags[name]
    sources = trace_columns(tag, tags, list_definitions(store).get(name))
    return {
        "name": name,
        "title": tag.title.both(),
        "description": tag.description.both(),
        "definition": describe_spec(tag.spec).both() if tag.spec else None,
        "kind": tag.kind,
        "unit": tag.unit,
        "type": tag.type.value,
        "keeps_history": tag.keeps_history,
        "needs": list(tag.needs),
        "lineage": sources,
        "versions": _list_versions(store, name),
        **_measure_values(reader, tag, columns),
        **_find_freshness(reader, sources),
    }


def list_tags(store: Store, columns: Iterable[str]) -> tuple[Tag, ...]:
    """Every tag: built-in, of delivered attributes, and of people's definitions."""
    found = find_tags(columns)
    return (*found, *load_own_tags(store, {tag.name for tag in found}).tags)


def trace_columns(
    tag: Tag, tags: Mapping[str, Tag], definition: Mapping[str, Any] | None = None
) -> list[str]:
    """The columns that the tag comes from, through any tags between, as ``table.column``, sorted."""
    found: set[str] = set()
    _trace(tag, tags, definition, found, set())
    return sorted(found)


def describe_spec(spec: TagSpec) -> Text:
    """How a measured tag is worked out, in words."""
    match spec:
        case Measure(of=aggregate):
            return _describe_aggregate(aggregate)
        case Ratio(part=part, whole=whole):
            return say("{part} ÷ {whole}", part=_describe_aggregate(part), whole=_describe_aggregate(whole))
        case Trend(recent=recent, before=before):
            return say(
                "{recent}, against {before}, per day",
                recent=_describe_aggregate(recent),
                before=_describe_aggregate(before),
            )
        case DaysSince(table=table, which=which, conditions=tests):
            rows = _describe_rows(table, None, tests)
            if which == "last":
                return say("days since the last of: {rows}", rows=rows)
            return say("days since the first of: {rows}", rows=rows)
        case TopValue(table=table, column=column, window=window, conditions=tests, output=output):
            rows = _describe_rows(table, window, tests)
            if output == "share":
                return say("share of the most frequent {column} in: {rows}", column=column, rows=rows)
            return say("most frequent {column} in: {rows}", column=column, rows=rows)
        case Expression(sql=sql):
            return Text(sql)


def _describe_aggregate(aggregate: Aggregate) -> Text:
    rows = _describe_rows(aggregate.table, aggregate.window, aggregate.conditions)
    if aggregate.column is None:
        return say("number of: {rows}", rows=rows)
    return say(
        "{function} of {column} in: {rows}", function=aggregate.function, column=aggregate.column, rows=rows
    )


def _describe_rows(table: str, window: Window | None, conditions: Iterable[Condition]) -> Text:
    tests = join_list(f"{one.column} {one.operator} {one.value}" for one in conditions)
    named = f"{table} ({tests})" if tests else table
    if window is None:
        return say("{rows}, ever", rows=named)
    if window.ending:
        return say(
            "{rows}, the {days} days that end {ending} days ago",
            rows=named,
            days=window.days,
            ending=window.ending,
        )
    return say("{rows}, the last {days} days", rows=named, days=window.days)


def _trace(
    tag: Tag,
    tags: Mapping[str, Tag],
    definition: Mapping[str, Any] | None,
    found: set[str],
    passed: set[str],
) -> None:
    passed.add(tag.name)
    if definition and "sql" in definition:
        found |= _trace_sql(definition["sql"])
    elif definition and "model" in definition:
        found.add("scores.score")
    elif tag.spec is None:
        # What compares customers with each other rests on a few figures of everybody.
        inputs = () if tag.kind == "descriptive" else dict.fromkeys((*INPUTS, *RHYTHM))
        for name in inputs:
            if name in tags and name not in passed:
                _trace(tags[name], tags, None, found, passed)
        if tag.kind == "descriptive":
            found |= _trace_person(tag)
    elif isinstance(tag.spec, Expression):
        for name in tag.spec.inputs:
            if name in tags and name not in passed:
                _trace(tags[name], tags, None, found, passed)
    else:
        found |= _trace_spec(tag.spec)


def _trace_spec(spec: TagSpec) -> set[str]:
    if isinstance(spec, DaysSince):
        used = {(spec.table, find_source(spec.table).day)} | _pair(spec.table, spec.conditions)
    elif isinstance(spec, TopValue):
        used = {(spec.table, spec.column), (spec.table, spec.weight or spec.column)}
        used |= {(spec.table, find_source(spec.table).day)} | _pair(spec.table, spec.conditions)
    else:
        used = set()
        for one in list_aggregates(spec):
            used |= {(one.table, one.column or find_source(one.table).day)} | _pair(one.table, one.conditions)
            used.add((one.table, find_source(one.table).day))
            if one.function in ("latest", "earliest"):
                used.add((one.table, find_source(one.table).instant or find_source(one.table).day))
    found = set()
    for source, column in used:
        table = "products" if column in _PRODUCT_COLUMNS else BASES[source][0]
        found.add(f"{table}.{_DERIVED.get(column, column) if BASES[source][0] == 'order_lines' else column}")
    return found


def _pair(table: str, conditions: Iterable[Condition]) -> set[tuple[str, str]]:
    return {(table, one.column) for one in conditions}


def _trace_person(tag: Tag) -> set[str]:
    found = set()
    if tag.name.startswith(("consent_", "contactable_", "channels_")):
        found.add("consents.allowed")
    if tag.name.endswith("_known"):
        found.add(f"customers.{tag.name.removesuffix('_known')}")
    for need in tag.needs:
        table, _, column = need.partition(".")
        if table == "customers" and column:
            found.add(need)
    return found


def _trace_sql(sql: str) -> set[str]:
    import sqlglot
    from sqlglot import exp

    tree = sqlglot.parse_one(sql, read="duckdb")
    named = {cte.alias_or_name for cte in tree.find_all(exp.CTE)}
    tables = {one.alias_or_name: one.name for one in tree.find_all(exp.Table) if one.name not in named}
    found = set()
    for column in tree.find_all(exp.Column):
        if column.table in tables:
            found.add(f"{tables[column.table]}.{column.name}")
        elif not column.table and len(set(tables.values())) == 1:
            found.add(f"{next(iter(tables.values()))}.{column.name}")
    return found or {f"{table}.*" for table in tables.values()}


def _measure_values(reader: Reader, tag: Tag, columns: Iterable[str]) -> dict[str, Any]:
    if tag.name not in columns:
        return {"computed": False, "customers": 0, "coverage": 0.0, "distribution": None}
    table = reader.query(f"SELECT {quote_name(tag.name)} FROM tags")
    values: pa.ChunkedArray = table.column(0).drop_null()
    return {
        "computed": True,
        "customers": table.num_rows,
        "coverage": round(len(values) / max(table.num_rows, 1), 4),
        "distribution": describe_values(tag, values) if len(values) else None,
    }


def _find_freshness(reader: Reader, sources: Iterable[str]) -> dict[str, Any]:
    """The day that the tag knows everything before, and the newest day of a row behind it."""
    as_of = reader.query("SELECT MAX(as_of) AS day FROM tags")["day"][0].as_py()
    newest = []
    for table in sorted({source.partition(".")[0] for source in sources} & set(_DAYS)):
        day = reader.query(f"SELECT MAX({_DAYS[table]}) AS day FROM {table}")["day"][0].as_py()
        newest += [day] if day else []
    return {
        "as_of": as_of.isoformat() if as_of else None,
        "newest_row": max(newest).isoformat() if newest else None,
    }


def _list_versions(store: Store, name: str) -> list[dict[str, Any]]:
    query = (
        sa.select(DEFINITIONS.c.version, DEFINITIONS.c.body, DEFINITIONS.c.created_at)
        .where(DEFINITIONS.c.kind == KIND, DEFINITIONS.c.name == name)
        .order_by(DEFINITIONS.c.version)
    )
    if name in {tag.name for tag in CATALOGUE}:
        return []
    with store.begin() as connection:
        return [
            {"version": row.version, "created_at": row.created_at.isoformat(), "definition": row.body}
            for row in connection.execute(query)
        ]
