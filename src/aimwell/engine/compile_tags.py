"""Turns tag specifications into SQL that a data person can read, in the portable subset.

All tags of a catalogue become one query: a part per reading of a source (``engine.tag_plan``), then one column per
tag, then a layer for each depth of expressions over other tags.
Reads order_lines, products, events, signals, customers; writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import date

import pyarrow as pa

from aimwell.core.errors import BadInput
from aimwell.core.lists import join_list
from aimwell.core.text import say
from aimwell.engine.expression import make_total
from aimwell.engine.specification import Expression, TagSpec, find_source, find_tag_type, validate_tag
from aimwell.engine.sql_text import SQL_TYPES, Query, quote_name, select, with_parts
from aimwell.engine.tag_plan import Among, TagPlan


def compile_tags(
    tags: Mapping[str, TagSpec],
    *,
    as_of: date,
    among: Among | None = None,
    spans: Mapping[str, int] | None = None,
) -> Query:
    """One query: a row per customer (of customers, order_lines or events, sorted), a column per tag, as ordered.

    ``among``: only these customers. ``spans``: how many days before ``as_of`` the first row of a table is, for those
    who know it; windows that hold most of the rows are then read with everything. BadInput when a specification does
    not fit, or expressions wait for each other.
    """
    types = {name: find_tag_type(spec) for name, spec in tags.items()}
    for spec in tags.values():
        validate_tag(spec, types)
    plan = TagPlan(as_of, among or Among(), spans or {})
    measured = {name: plan.render(spec) for name, spec in tags.items() if not isinstance(spec, Expression)}
    columns = [
        f"CAST({text} AS {SQL_TYPES[types[name]]}) AS {quote_name(name)}" for name, text in measured.items()
    ]
    parts = plan.list_parts()
    joins = [f"    LEFT JOIN {name} ON {name}.customer_id = c.customer_id" for name in plan.joined]
    parts["layer_0"] = select(["c.customer_id", *columns], ["    FROM everybody AS c", *joins])
    waiting = {name: spec for name, spec in tags.items() if isinstance(spec, Expression)}
    last = _add_layers(parts, waiting, "layer_0", ["customer_id", *measured])
    chosen = ", ".join(quote_name(name) for name in ("customer_id", *tags))
    return Query(
        f"{with_parts(parts)}\nSELECT {chosen}\nFROM {last}\nORDER BY customer_id", plan.binder.values
    )


def find_spans(
    ask: Callable[[str], pa.Table], as_of: date, tables: Iterable[str] = ("order_lines", "events", "signals")
) -> dict[str, int]:
    """``spans`` of ``compile_tags``: how many days before ``as_of`` the first row of each of ``tables`` is.

    ``ask`` answers SQL. 0 where no row is earlier than ``as_of``.
    """
    spans = {}
    for table in tables:
        first = ask(f"SELECT MIN({find_source(table).day}) AS first FROM {table}")["first"][0].as_py()
        spans[table] = 0 if first is None else max((as_of - first).days, 0)
    return spans


def compile_expressions(expressions: Mapping[str, Expression], *, table: str, columns: Iterable[str]) -> str:
    """One query: ``columns`` of ``table``, and the expressions over them and over each other."""
    parts: dict[str, str] = {}
    known = list(columns)
    last = _add_layers(parts, expressions, table, known)
    chosen = ", ".join(quote_name(name) for name in known)
    return f"{with_parts(parts)}\nSELECT {chosen}\nFROM {last}" if parts else f"SELECT {chosen}\nFROM {last}"


def order_expressions(
    expressions: Mapping[str, Expression], known: Iterable[str]
) -> list[dict[str, Expression]]:
    """The expressions by depth: each depth reads ``known`` and the depths before it; BadInput on a circle."""
    waiting, done = dict(expressions), set(known)
    layers = []
    while waiting:
        ready = {name: one for name, one in waiting.items() if set(one.inputs) <= done}
        if not ready:
            raise BadInput(
                "engine.circular_tags",
                say("These tags wait for each other: {names}.", names=join_list(sorted(waiting))),
                remedy=say("Write one of them without the others."),
            )
        layers.append(ready)
        done |= set(ready)
        waiting = {name: one for name, one in waiting.items() if name not in ready}
    return layers


def _add_layers(
    parts: dict[str, str], expressions: Mapping[str, Expression], source: str, known: list[str]
) -> str:
    """Add a part for each depth of expressions over other tags; returns the name of the last."""
    last = source
    for depth, ready in enumerate(order_expressions(expressions, known), 1):
        columns = [quote_name(name) for name in known]
        columns += [
            f"CAST({make_total(one.sql)} AS {SQL_TYPES[one.type]}) AS {quote_name(name)}"
            for name, one in ready.items()
        ]
        parts[f"layer_{depth}"] = select(columns, [f"    FROM {last}"])
        known.extend(ready)
        last = f"layer_{depth}"
    return last
