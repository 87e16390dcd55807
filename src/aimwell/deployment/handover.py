"""What deployment hands to the other steps: the ledger as ``deliveries``, and 'Message Sent' as ``events``.

What is written follows what changed: the ledger's rows are compared by source and day of contact, from a few figures
of each, and only rows that stand otherwise in the warehouse are put there. Reads the store's ``deliveries``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import sqlalchemy as sa

from aimwell.core.tables import CHANNELS, DELIVERIES, EVENTS
from aimwell.core.time import business_day, now, zone
from aimwell.deployment.audience import OUR_SOURCE
from aimwell.engine.files import is_patch
from aimwell.engine.ledger_tables import DELIVERIES as LEDGER
from aimwell.engine.workspace import Run, Workspace

Part: TypeAlias = tuple[str, date]
"""The deliveries of a source with contacts on one business day."""
Figures: TypeAlias = frozenset[tuple[Any, ...]]
_FINAL = ("sent", "failed", "skipped", "in_doubt")
_REPLAYED_AT = time(10, 0)
_PRIME = 1_000_003
_AT_ONCE = 20_000
_SMALL_PATCH = 50_000
_COMPARED = ("channel", "state", "reason", "attempts", "unit_cost", "finished_at")
_MOVED = timedelta(days=92)
"""By how much, at most, the day of a contact moves after its first message went out."""
_QUARTER_MS = 900_000
"""Clocks of all zones are put at whole quarters of an hour."""


class Handover:
    """Brings the warehouse up to date with what the ledger finished meanwhile; costs one count when nothing was."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._known: dict[Part, Figures] = {}

    def step(self) -> int:
        """How many deliveries of the warehouse are new or stand otherwise than before."""
        zone_name = self._workspace.settings.business.zone
        with self._workspace.store.snapshot() as connection:
            figures = _read_figures(connection)
            changed = {part for part, found in figures.items() if self._known.get(part) != found}
            if not changed:
                return 0
            rows = read_parts(connection, changed, zone_name)
        with self._workspace.run("deployment", as_of=business_day(now(), zone_name)) as run:
            written = write_tables(run, rows, zone_name=zone_name)
        self._known = figures
        return written


def read_source(connection: sa.Connection, source: str, zone_name: str) -> pa.Table:
    """The deliveries of one source as the warehouse keeps them."""
    return _read_rows(connection, LEDGER.c.plan_id == source, None, zone_name)


def read_parts(connection: sa.Connection, parts: Collection[Part], zone_name: str) -> pa.Table:
    """The deliveries of these parts as the warehouse keeps them."""
    sources = sorted({source for source, _ in parts})
    tables = [_read_rows(connection, LEDGER.c.plan_id == source, parts, zone_name) for source in sources]
    return pa.concat_tables(tables or [DELIVERIES.schema.empty_table()])


def write_tables(run: Run, rows: pa.Table, *, zone_name: str) -> int:
    """Put ``rows`` into ``deliveries`` where they stand otherwise there, and add the events that are not there yet.

    Returns how many rows those are. Messages by channels that no action can have are no events: what they carry is
    told by whoever receives them.
    """
    there = _read_there(run, rows)
    place = pc.index_in(rows["delivery_id"], value_set=there["delivery_id"].combine_chunks())
    earlier = there.take(place)
    unchanged = pc.is_valid(place)
    for name in _COMPARED:
        unchanged = pc.and_(unchanged, _equal(rows[name], earlier[name]))
    new = pc.is_null(place)
    changed = rows.filter(pc.invert(unchanged))
    if not changed.num_rows:
        return 0
    _put(run, changed, known=bool(pc.any(pc.invert(pc.or_(unchanged, new))).as_py()))
    sent = pc.and_(pc.equal(rows["state"], "sent"), pc.is_in(rows["channel"], value_set=pa.array(CHANNELS)))
    _add_events(run, rows.filter(pc.and_(sent, new)), {}, zone_name)
    fresh = pc.fill_null(pc.not_equal(earlier["state"], "sent"), False)
    _add_events(run, again := rows.filter(pc.and_(sent, fresh)), _list_known(run, again), zone_name)
    return int(changed.num_rows)


def place_in_time(contact_on: date, finished_at_ms: int, zone_name: str) -> datetime:
    """The instant of a contact in the plan's own time.

    A wave that is sent on its day keeps the true instant. One that is replayed (past data, or sent over more than a
    day) is filed at ten in the morning of its day, so that nothing falls outside the window that it opens.
    """
    if _find_day(finished_at_ms // _QUARTER_MS, zone_name) == contact_on:
        return datetime.fromtimestamp(finished_at_ms / 1000, UTC)
    return _find_morning(contact_on, zone_name)


@lru_cache(maxsize=4096)
def _find_day(quarter: int, zone_name: str) -> date:
    return business_day(datetime.fromtimestamp(quarter * _QUARTER_MS / 1000, UTC), zone_name)


@lru_cache(maxsize=4096)
def _find_morning(day: date, zone_name: str) -> datetime:
    return datetime.combine(day, _REPLAYED_AT, zone(zone_name)).astimezone(UTC)


def _read_figures(connection: sa.Connection) -> dict[Part, Figures]:
    """Of each part what changes with any of its rows: counts and sums by state; waiting rows are one state."""
    columns = LEDGER.c
    state = sa.case((columns.state.in_(_FINAL), columns.state), else_="open").label("standing")
    # Instants summed up as they are would not fit.
    instants = sa.func.sum(sa.func.coalesce(columns.finished_at_ms, 0) % _PRIME)
    figures = (sa.func.count(), sa.func.sum(columns.attempts), instants)
    query = (
        sa.select(columns.plan_id, columns.contact_on, state, *figures)
        .where(columns.purpose != "test")
        .group_by(columns.plan_id, columns.contact_on, state)
    )
    found: dict[Part, set[tuple[Any, ...]]] = {}
    for source, day, *figure in connection.execute(query):
        found.setdefault((source, day), set()).add(tuple(figure))
    return {part: frozenset(figures) for part, figures in found.items()}


def _read_rows(
    connection: sa.Connection,
    which: sa.ColumnElement[bool],
    parts: Collection[Part] | None,
    zone_name: str,
) -> pa.Table:
    """Test sends are nobody's contact: they stay out."""
    query = sa.select(*(LEDGER.c[name] for name in _READ)).where(which, LEDGER.c.purpose != "test")
    result = connection.execution_options(yield_per=_AT_ONCE).execute(query)
    batches = []
    for rows in result.partitions():
        kept = [row for row in rows if parts is None or (row.plan_id, row.contact_on) in parts]
        if kept:
            batches.append(_build_batch(dict(zip(_READ, zip(*kept, strict=True), strict=True)), zone_name))
    return pa.Table.from_batches(batches, DELIVERIES.schema)


_READ = ("delivery_id", "plan_id", "customer_id", "action_id", "channel", "state", "reason", "attempts",
         "unit_cost_cents", "finished_at_ms", "contact_on")  # fmt: skip


def _build_batch(columns: Mapping[str, Any], zone_name: str) -> pa.RecordBatch:
    costs = zip(columns["state"], columns["unit_cost_cents"], strict=True)
    instants = zip(columns["contact_on"], columns["finished_at_ms"], strict=True)
    made = {
        **columns,
        "unit_cost": [Decimal(cents if state == "sent" else 0) / 100 for state, cents in costs],
        "finished_at": [at if at is None else place_in_time(day, at, zone_name) for day, at in instants],
        "run_id": [""] * len(columns["state"]),
    }
    arrays = [pa.array(made[field.name], field.type) for field in DELIVERIES.schema]
    return pa.RecordBatch.from_arrays(arrays, schema=DELIVERIES.schema)


def _read_there(run: Run, rows: pa.Table) -> pa.Table:
    """What the warehouse holds of the sources of ``rows``."""
    run.register("handed_sources", pa.table({"plan_id": pc.unique(rows["plan_id"])}))
    names = ", ".join(("delivery_id", *_COMPARED))
    sql = f"SELECT {names} FROM deliveries WHERE plan_id IN (SELECT plan_id FROM handed_sources)"
    found = run.query(sql)
    fields = [DELIVERIES.schema.field(name) for name in found.column_names]
    return found.cast(pa.schema(fields))


def _equal(left: pa.ChunkedArray, right: pa.ChunkedArray) -> pa.ChunkedArray:
    neither = pc.and_(pc.is_null(left), pc.is_null(right))
    return pc.or_(neither, pc.fill_null(pc.equal(left, right), False))


def _put(run: Run, changed: pa.Table, *, known: bool) -> None:
    """Write ``changed``; ``known``: the warehouse holds some of these rows, as they stood before."""
    place = changed.schema.get_field_index("run_id")
    own = changed.set_column(place, changed.schema.field(place), pa.array([run.id] * changed.num_rows))
    if not known:
        run.append("deliveries", own)
        return
    patched, others = _count_rows(run)
    if patched + own.num_rows <= max(_SMALL_PATCH, others // 2):
        run.patch("deliveries", own)
        return
    # A patch is written anew each time: before it is as large as the rest, all is written as one.
    run.replace_stream("deliveries", _leave_out(run, own["delivery_id"].combine_chunks()))
    run.append("deliveries", own)


def _count_rows(run: Run) -> tuple[int, int]:
    """Rows of the patch, and of all other files."""
    rows = {True: 0, False: 0}
    for path in run.list_files("deliveries"):
        rows[is_patch(path)] += pq.read_metadata(run.warehouse_folder / path).num_rows
    return rows[True], rows[False]


def _leave_out(run: Run, ids: pa.Array) -> Iterator[pa.RecordBatch]:
    for batch in run.query_batches("SELECT * FROM deliveries"):
        yield batch.filter(pc.invert(pc.is_in(batch["delivery_id"], value_set=ids)))


def _list_known(run: Run, rows: pa.Table) -> set[str]:
    """The events that are there, of rows that the warehouse knew before: some went out by another channel."""
    if not rows.num_rows:
        return set()
    days = pc.min_max(rows["finished_at"])
    bound = {
        "ours": OUR_SOURCE,
        "first": (days["min"].as_py() - _MOVED).date(),
        "last": (days["max"].as_py() + _MOVED).date(),
    }
    sql = """SELECT event_id FROM events
WHERE name = 'Message Sent' AND source = $ours AND occurred_on >= $first AND occurred_on <= $last"""
    return set(run.query(sql, bound)["event_id"].to_pylist())


def _add_events(run: Run, sent: pa.Table, known: Collection[str], zone_name: str) -> None:
    rows = sent.select(["delivery_id", "customer_id", "plan_id", "channel", "finished_at"]).to_pylist()
    events = [_build_event(row, zone_name) for row in rows if _identify_event(row) not in known]
    if events:
        run.append("events", EVENTS.build(events))


def _identify_event(row: Mapping[str, Any]) -> str:
    return f"sent:{row['delivery_id']}"


def _build_event(row: Mapping[str, Any], zone_name: str) -> dict[str, Any]:
    return {
        "event_id": _identify_event(row),
        "customer_id": row["customer_id"],
        "name": "Message Sent",
        "occurred_at": row["finished_at"],
        "occurred_on": business_day(row["finished_at"], zone_name),
        "campaign_id": row["plan_id"],
        "channel": row["channel"],
        "source": OUR_SOURCE,
        "simulated": False,
    }
