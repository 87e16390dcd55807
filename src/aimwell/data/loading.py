"""Typed rows → the warehouse, so that loading twice is loading once.

Order lines and events are added when their key is new; customers and products are merged column by column;
consents are added when they change what holds. Reads and writes ``customers``, ``products``,
``order_lines``, ``events``,
``consents``, ``signals``, ``sources`` and ``rejects``, all as they were delivered.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path

import pyarrow as pa

from aimwell.core.errors import BadInput
from aimwell.core.lists import join_list
from aimwell.core.tables import ARROW_TYPES, REJECTS, SOURCES, TABLES, Table
from aimwell.core.text import say
from aimwell.data.privacy import filter_erased, filter_rejects
from aimwell.data.scratch import quote
from aimwell.engine.views import name_stored
from aimwell.engine.workspace import Run

LOADABLE = ("customers", "products", "order_lines", "events", "consents", "signals")
_INCOMING = "incoming_rows"
_SPOOLED = "spooled_rows"


def load_table(run: Run, name: str, data: pa.Table, *, overwrite: bool, at: datetime) -> int:
    """Take ``data`` into table ``name``; the number of rows that were new.

    ``overwrite``: a delivered value replaces a known one (a customer file); otherwise it only fills gaps (what an
    order file tells of its customers). ``at`` is the instant of consents that have none.
    """
    if name not in LOADABLE:
        raise BadInput(
            "data.unknown_table",
            say("A file cannot be added as '{table}'.", table=name),
            remedy=say("Use --as with one of: {tables}.", tables=join_list(LOADABLE)),
            where={"value": name},
        )
    if data.num_rows == 0:
        return 0
    data = filter_erased(run, data)
    run.register(_INCOMING, data)
    if name in ("customers", "products"):
        return _merge(run, TABLES[name], data.column_names, _INCOMING, overwrite=overwrite)
    if name == "consents":
        return _append_consents(run, data.column_names, _INCOMING, at)
    return _append(run, TABLES[name])


def load_stream(
    run: Run, name: str, batches: pa.RecordBatchReader, *, folder: Path, overwrite: bool, at: datetime
) -> int:
    """Like ``load_table``, for rows larger than memory; keys must be unique among them.

    ``batches`` must not be read by ``run``'s own queries; ``folder`` is for what is put aside.
    """
    table = TABLES[name]
    if run.query("SELECT count(*) AS rows FROM erasures")["rows"][0].as_py():
        batches = _filter_batches(run, batches, folder / f"{name}.parquet")
    if name in ("customers", "products", "consents"):
        run.register("arriving_batches", batches)
        run.execute(f"CREATE OR REPLACE TEMP TABLE {_SPOOLED} AS SELECT * FROM arriving_batches")
        columns = batches.schema.names
        if name == "consents":
            return _append_consents(run, columns, _SPOOLED, at)
        return _merge(run, table, columns, _SPOOLED, overwrite=overwrite, unique=True)
    stored, key = name_stored(name), table.key[0]
    if not run.query(f"SELECT count(*) AS rows FROM {stored}")["rows"][0].as_py():
        return run.append_stream(name, batches)
    run.register("arriving_batches", batches)
    columns = ", ".join(f"arriving.{column.name}" for column in table.columns)
    new = run.query_batches(
        f"""
        SELECT {columns} FROM arriving_batches AS arriving
        WHERE NOT EXISTS (SELECT 1 FROM {stored} AS known WHERE known.{key} = arriving.{key})
        """
    )
    return run.append_stream(name, new)


def _filter_batches(run: Run, batches: pa.RecordBatchReader, path: Path) -> pa.RecordBatchReader:
    """Without the rows of erased people. Put aside, since looking them up is a query of ``run`` itself."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, batches.schema) as writer:
        for batch in batches:
            for kept in filter_erased(run, pa.Table.from_batches([batch])).to_batches():
                writer.write_batch(kept)
    spooled = pa.ipc.open_file(pa.memory_map(str(path)))
    return pa.RecordBatchReader.from_batches(
        spooled.schema, (spooled.get_batch(number) for number in range(spooled.num_record_batches))
    )


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
        WHERE NOT EXISTS (SELECT 1 FROM {name_stored(table.name)} AS known WHERE known.{key} = arriving.{key})
        """
    )
    run.append(table.name, new)
    return int(new.num_rows)


def _append_consents(run: Run, incoming: list[str], view: str, at: datetime) -> int:
    # Of two answers at one instant (files often know the day only) the refusal counts: where the permission is known
    # already, the refusal stands one microsecond after it, as there is one row for each instant.
    until = "until" if "until" in incoming else "CAST(NULL AS TIMESTAMPTZ)"
    new = run.query(
        f"""
        WITH current AS (
            SELECT customer_id, channel, purpose, allowed, since, until,
                row_number() OVER (PARTITION BY customer_id, channel, purpose ORDER BY since DESC) AS newest
            FROM delivered_consents
        ),
        dated AS (
            SELECT customer_id, channel, purpose, allowed, since IS NULL AS undated,
                coalesce(since, CAST($at AS TIMESTAMPTZ)) AS since, {until} AS until, source
            FROM {view}
        ),
        ordered AS (
            SELECT customer_id, channel, purpose, allowed, undated, until, source,
                CASE WHEN NOT allowed AND EXISTS (
                    SELECT 1 FROM delivered_consents AS known
                    WHERE known.customer_id = dated.customer_id AND known.channel = dated.channel
                        AND known.purpose = dated.purpose AND known.since = dated.since AND known.allowed
                ) THEN since + INTERVAL 1 MICROSECOND ELSE since END AS since
            FROM dated
        ),
        numbered AS (
            SELECT *, row_number() OVER (PARTITION BY customer_id, channel, purpose, since ORDER BY allowed) AS copy
            FROM ordered
        )
        SELECT customer_id, channel, purpose, allowed, since, until, source FROM numbered
        WHERE copy = 1
            AND NOT EXISTS (
                SELECT 1 FROM delivered_consents AS known
                WHERE known.customer_id = numbered.customer_id AND known.channel = numbered.channel
                    AND known.purpose = numbered.purpose AND known.since = numbered.since
            )
            AND NOT (undated AND EXISTS (
                SELECT 1 FROM current
                WHERE newest = 1 AND current.customer_id = numbered.customer_id
                    AND current.channel = numbered.channel AND current.purpose = numbered.purpose
                    AND current.allowed = numbered.allowed
                    AND current.until IS NOT DISTINCT FROM numbered.until
            ))
        """,
        {"at": at},
    )
    run.append("consents", new)
    return int(new.num_rows)


def _merge(
    run: Run, table: Table, incoming: list[str], view: str, *, overwrite: bool, unique: bool = False
) -> int:
    """``unique``: no key comes twice in ``view``, so that its rows need not be numbered."""
    key, stored = table.key[0], name_stored(table.name)
    copy_number = "1" if unique else f"row_number() OVER (PARTITION BY {key} ORDER BY {key})"
    known = run.query(f"SELECT * FROM {stored} LIMIT 0").column_names
    declared = {column.name for column in table.columns}
    chosen = [
        _choose(name, incoming, known, declared, overwrite=overwrite)
        for name in _unite(known, incoming)
        if name != key
    ]
    run.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE merged_rows AS
        WITH arriving AS (
            SELECT *, {copy_number} AS copy_number FROM {view}
        ),
        arrived AS (SELECT * FROM arriving WHERE copy_number = 1)
        SELECT coalesce(old.{key}, new.{key}) AS {key}, {", ".join(chosen)}
        FROM {stored} AS old FULL OUTER JOIN arrived AS new ON new.{key} = old.{key}
        """
    )
    before, after = (
        int(run.query(f"SELECT count(*) AS rows FROM {name}")["rows"][0].as_py())
        for name in (stored, "merged_rows")
    )
    if before != after or _differs(run, stored):
        # A copy of the whole: the files that it came from are replaced while it is read.
        run.replace_stream(table.name, run.query_batches(f"SELECT * FROM merged_rows ORDER BY {key}"))
    return after - before


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


def _differs(run: Run, stored: str) -> bool:
    names = run.query("SELECT * FROM merged_rows LIMIT 0").column_names
    if names != run.query(f"SELECT * FROM {stored} LIMIT 0").column_names:
        return True
    columns = ", ".join(quote(name) for name in names)
    changed = run.query(
        f"SELECT 1 FROM (SELECT {columns} FROM merged_rows EXCEPT SELECT {columns} FROM {stored}) AS changed LIMIT 1"
    )
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


def list_settled(run: Run) -> frozenset[str]:
    """Ids of rejects that were repaired and taken in: the bad original may come again, its rejects do not."""
    readings = run.query("SELECT reading FROM sources WHERE reading LIKE '%\"repaired\"%'")["reading"]
    return frozenset(str(reject) for text in readings.to_pylist() for reject in json.loads(text)["repaired"])


def record_rejects(
    run: Run,
    batches: Iterable[pa.RecordBatch],
    *,
    source: str,
    file: str,
    again: bool,
    repaired: list[str],
) -> None:
    """Add rejects; ``again``: the same file comes once more, so what it no longer rejects is settled.

    ``repaired`` are ids of rejects that came back as rows of this file.
    """
    run.register("no_rejects", REJECTS.build([]))
    run.execute("CREATE OR REPLACE TEMP TABLE new_rejects AS SELECT * FROM no_rejects")
    for batch in batches:
        run.register("more_rejects", filter_rejects(run, pa.Table.from_batches([batch])))
        run.execute("INSERT INTO new_rejects SELECT * FROM more_rejects")
    run.register("settled_ids", pa.table({"reject_id": pa.array(repaired, pa.string())}))
    redone = "old.source = $source AND old.file = $file" if again else "false"
    run.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE kept_rejects AS
        SELECT * FROM rejects AS old
        WHERE old.reject_id NOT IN (SELECT reject_id FROM settled_ids) AND NOT ({redone})
            AND NOT EXISTS (SELECT 1 FROM new_rejects AS new WHERE new.reject_id = old.reject_id)
        UNION ALL BY NAME SELECT * FROM new_rejects
        """,
        {"source": source, "file": file} if again else None,
    )
    changed = run.query(
        """
        SELECT (SELECT count(*) FROM rejects) <> (SELECT count(*) FROM kept_rejects) OR EXISTS (
            SELECT reject_id FROM kept_rejects EXCEPT SELECT reject_id FROM rejects
        ) AS answer
        """
    )["answer"][0].as_py()
    if changed:
        ordered = "SELECT * FROM kept_rejects ORDER BY source, file, row_number, reject_id"
        run.replace_stream("rejects", run.query_batches(ordered))
