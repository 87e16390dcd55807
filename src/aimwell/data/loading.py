"""Typed rows → the warehouse, so that loading twice is loading once.

Order lines and events are added when their key is new; customers and products are merged column by column;
consents are added when they change what holds. Reads and writes ``customers``, ``products``,
``order_lines``, ``events``,
``consents``, ``sources`` and ``rejects``.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import pyarrow as pa

from aimwell.core.errors import BadInput
from aimwell.core.tables import ARROW_TYPES, SOURCES, TABLES, Table
from aimwell.core.text import say
from aimwell.data.scratch import literal, quote
from aimwell.engine.workspace import Run

LOADABLE = ("customers", "products", "order_lines", "events", "consents")
_INCOMING = "incoming_rows"


def load_table(run: Run, name: str, data: pa.Table, *, overwrite: bool, at: datetime) -> int:
    """Take ``data`` into table ``name``; the number of rows that were new.

    ``overwrite``: a delivered value replaces a known one (a customer file); otherwise it only fills gaps (what an
    order file tells of its customers). ``at`` is the instant of consents that have none.
    """
    if name not in LOADABLE:
        raise BadInput(
            "data.unknown_table",
            say("A file cannot be added as '{table}'.", table=name),
            remedy=say("Use --as with one of: {tables}.", tables=", ".join(LOADABLE)),
            where={"value": name},
        )
    if data.num_rows == 0:
        return 0
    run.register(_INCOMING, data)
    if name in ("customers", "products"):
        return _merge(run, TABLES[name], data.column_names, overwrite=overwrite)
    if name == "consents":
        return _append_consents(run, at)
    return _append(run, TABLES[name])


def _append(run: Run, table: Table) -> int:
    key = table.key[0]
    columns = ", ".join(column.name for column in table.columns)
    distinct = run.query(f"SELECT count(*) = count(DISTINCT {key}) AS answer FROM {_INCOMING}")["answer"][
        0
    ].as_py()
    # Numbering a million rows costs seconds, so it is done only where some key does come twice.
    once = (
        f"SELECT {columns} FROM {_INCOMING}"
        if distinct
        else f"""
            SELECT {columns} FROM (
                SELECT {columns}, row_number() OVER (PARTITION BY {key} ORDER BY {key}) AS copy FROM {_INCOMING}
            ) AS numbered WHERE copy = 1
        """
    )
    new = run.query(
        f"""
        WITH arriving AS ({once})
        SELECT {columns} FROM arriving
        WHERE NOT EXISTS (SELECT 1 FROM {table.name} AS known WHERE known.{key} = arriving.{key})
        """
    )
    run.append(table.name, new)
    return int(new.num_rows)


def _append_consents(run: Run, at: datetime) -> int:
    # Of two answers at one instant (files often know the day only) the refusal counts: where the permission is known
    # already, the refusal stands one microsecond after it, as there is one row for each instant.
    new = run.query(
        """
        WITH current AS (
            SELECT customer_id, channel, purpose, allowed, since,
                row_number() OVER (PARTITION BY customer_id, channel, purpose ORDER BY since DESC) AS newest
            FROM consents
        ),
        dated AS (
            SELECT customer_id, channel, purpose, allowed, since IS NULL AS undated,
                coalesce(since, CAST($at AS TIMESTAMPTZ)) AS since, source
            FROM incoming_rows
        ),
        ordered AS (
            SELECT customer_id, channel, purpose, allowed, undated, source,
                CASE WHEN NOT allowed AND EXISTS (
                    SELECT 1 FROM consents AS known
                    WHERE known.customer_id = dated.customer_id AND known.channel = dated.channel
                        AND known.purpose = dated.purpose AND known.since = dated.since AND known.allowed
                ) THEN since + INTERVAL 1 MICROSECOND ELSE since END AS since
            FROM dated
        ),
        numbered AS (
            SELECT *, row_number() OVER (PARTITION BY customer_id, channel, purpose, since ORDER BY allowed) AS copy
            FROM ordered
        )
        SELECT customer_id, channel, purpose, allowed, since, source FROM numbered
        WHERE copy = 1
            AND NOT EXISTS (
                SELECT 1 FROM consents AS known
                WHERE known.customer_id = numbered.customer_id AND known.channel = numbered.channel
                    AND known.purpose = numbered.purpose AND known.since = numbered.since
            )
            AND NOT (undated AND EXISTS (
                SELECT 1 FROM current
                WHERE newest = 1 AND current.customer_id = numbered.customer_id
                    AND current.channel = numbered.channel AND current.purpose = numbered.purpose
                    AND current.allowed = numbered.allowed
            ))
        """,
        {"at": at},
    )
    run.append("consents", new)
    return int(new.num_rows)


def _merge(run: Run, table: Table, incoming: list[str], *, overwrite: bool) -> int:
    key = table.key[0]
    known = run.query(f"SELECT * FROM {table.name} LIMIT 0").column_names
    declared = {column.name for column in table.columns}
    chosen = [
        _choose(name, incoming, known, declared, overwrite=overwrite)
        for name in _unite(known, incoming)
        if name != key
    ]
    merged = run.query(
        f"""
        WITH arriving AS (
            SELECT *, row_number() OVER (PARTITION BY {key} ORDER BY {key}) AS copy_number FROM {_INCOMING}
        ),
        arrived AS (SELECT * FROM arriving WHERE copy_number = 1)
        SELECT coalesce(old.{key}, new.{key}) AS {key}, {", ".join(chosen)}
        FROM {table.name} AS old FULL OUTER JOIN arrived AS new ON new.{key} = old.{key}
        ORDER BY 1
        """
    )
    before = run.query(f"SELECT * FROM {table.name}")
    if _differs(run, table.name, merged, before):
        run.replace(table.name, merged)
    return int(merged.num_rows - before.num_rows)


def _unite(known: list[str], incoming: list[str]) -> list[str]:
    """Names of either side once, whatever their case, as first spelled."""
    names: dict[str, str] = {}
    for name in [*known, *incoming]:
        names.setdefault(name.casefold(), name)
    return list(names.values())


def _choose(name: str, incoming: list[str], known: list[str], declared: set[str], *, overwrite: bool) -> str:
    column = quote(name)
    sides = {
        "old": name.casefold() in {k.casefold() for k in known},
        "new": name.casefold() in {k.casefold() for k in incoming},
    }
    order = ("new", "old") if overwrite else ("old", "new")
    # Attributes are text, whatever type a delivery gives them: files would otherwise contradict each other.
    parts = [
        f"{side}.{column}" if name in declared else f"CAST({side}.{column} AS VARCHAR)"
        for side in order
        if sides[side]
    ]
    return f"coalesce({', '.join(parts)}) AS {column}"


def _differs(run: Run, table: str, merged: pa.Table, before: pa.Table) -> bool:
    if merged.num_rows != before.num_rows or merged.column_names != before.column_names:
        return True
    run.register("merged_rows", merged)
    columns = ", ".join(quote(name) for name in merged.column_names)
    changed = run.query(f"SELECT {columns} FROM merged_rows EXCEPT SELECT {columns} FROM {table}")
    return bool(changed.num_rows)


def fill_columns(name: str, data: pa.Table, source: str) -> pa.Table:
    """``data`` with the columns that a typed delivery may leave out: optional ones, ``source``, ``simulated``."""
    table = TABLES[name]
    for column in table.columns:
        if column.name in data.column_names:
            continue
        if column.name in ("source", "simulated"):
            value: str | bool = source if column.name == "source" else False
            data = data.append_column(column.name, pa.repeat(value, data.num_rows))
        elif not column.required:
            data = data.append_column(column.name, pa.nulls(data.num_rows, ARROW_TYPES[column.type]))
    missing = [column.name for column in table.columns if column.name not in data.column_names]
    return table.validate(data) if missing else data


def record_source(run: Run, row: Mapping[str, object]) -> None:
    """Put the file or delivery on record, in place of an earlier loading of it."""
    run.register("recorded", SOURCES.build([dict(row)]))
    run.replace(
        "sources",
        run.query(
            """
            SELECT * FROM sources AS old WHERE NOT EXISTS (
                SELECT 1 FROM recorded AS new
                WHERE new.source = old.source AND new.table_name = old.table_name AND new.file = old.file
            )
            UNION ALL BY NAME SELECT * FROM recorded ORDER BY loaded_at, source, table_name, file
            """
        ),
    )


def record_rejects(
    run: Run, rejects: pa.Table, *, source: str, file: str, again: bool, repaired: list[str]
) -> None:
    """Add rejects; ``again``: the same file comes once more, so what it no longer rejects is settled.

    ``repaired`` are ids of rejects that came back as rows of this file.
    """
    run.register("new_rejects", rejects)
    settled = ", ".join(literal(reject) for reject in repaired) or "''"
    redone = "old.source = $source AND old.file = $file" if again else "false"
    kept = run.query(
        f"""
        SELECT * FROM rejects AS old
        WHERE old.reject_id NOT IN ({settled}) AND NOT ({redone})
            AND NOT EXISTS (SELECT 1 FROM new_rejects AS new WHERE new.reject_id = old.reject_id)
        UNION ALL BY NAME SELECT * FROM new_rejects
        ORDER BY source, file, row_number, reject_id
        """,
        {"source": source, "file": file} if again else None,
    )
    before = run.query("SELECT reject_id FROM rejects ORDER BY reject_id")
    if not before.equals(kept.select(["reject_id"]).sort_by("reject_id")):
        run.replace("rejects", kept)
