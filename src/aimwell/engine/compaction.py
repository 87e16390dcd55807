"""Moves hot rows into Parquet files, and merges small files into larger ones.

Both change where rows stand and no row. Files are written first; one transaction then takes the hot rows out, puts
the files into the manifest and is the only moment that readers can notice: a crash before it leaves files that
nobody lists (``engine.vacuum`` removes them), a crash after it leaves nothing to do.

Inside a file rows are sorted by customer and time. The files of a month are merged as their sizes grow
geometrically, so that a row is rewritten a logarithmic number of times and a month has few files.
Writes files, the manifest and ``runs``; takes from ``hot_batches``.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from aimwell.core.errors import Conflict
from aimwell.core.ids import new_id
from aimwell.core.tables import TABLES, Table, Type
from aimwell.core.time import now
from aimwell.engine.file_stream import write_batches
from aimwell.engine.files import DataFile, is_overlay, is_patch
from aimwell.engine.hot_events import WINDOW, merge_digests
from aimwell.engine.hot_tables import HOT_BATCHES, HOT_CONSUMERS
from aimwell.engine.leases import hold_lease
from aimwell.engine.manifest import changed_meanwhile, decode_batches, read_version, write_version
from aimwell.engine.runs import end_run, start_run
from aimwell.engine.session import Session
from aimwell.engine.settings import Settings
from aimwell.engine.store import Store
from aimwell.engine.store_errors import room_explained
from aimwell.engine.store_tables import RUNS, TABLE_FILES

MOST_ROWS = 200_000
MOST_BATCHES = 1_000
"""What one call moves at most: taking so much out keeps others from writing for a few milliseconds."""
MOST_FILES = 8
"""Files of one month (or of one table without months) after merging."""
STEP = "worker"
_MONTH = re.compile(r"-(\d{4}-\d{2})\.parquet$")


class Place(Protocol):
    """What of a workspace is needed here (``engine.workspace.Workspace``)."""

    @property
    def store(self) -> Store:
        """The store."""
        ...

    @property
    def settings(self) -> Settings:
        """The settings."""
        ...

    @property
    def warehouse_folder(self) -> Path:
        """The folder of the files."""
        ...


@dataclass(frozen=True)
class Moved:
    """What one call did: rows that changed their place, files that were written, files that they replace."""

    rows: int = 0
    written: int = 0
    removed: int = 0


def compact(place: Place, *, most_rows: int = MOST_ROWS, window: int = WINDOW) -> Moved:
    """Move hot rows into files, oldest first; those that a living consumer of the stream has not read stay hot.

    Several workers may try at once: one of them moves a batch, the others leave no trace.
    """
    with suppress(Conflict):
        merge_digests(place.store, window=window)
    living = now() - timedelta(hours=place.settings.events.consumer_hours)
    with place.store.snapshot() as connection:
        chosen = _choose_batches(connection, most_rows, living)
        parts = _read_batches(connection, chosen)
        erasures = read_version(connection, "erasures")
    if not chosen:
        return Moved()
    files: list[DataFile] = []
    with _running(place, "move", {"position": chosen[-1][0]}) as run_id:
        written = {name: _write_rows(place, TABLES[name], blobs, run_id) for name, blobs in parts.items()}
        with place.store.begin(gated=True) as connection:
            _take_out(connection, chosen)
            if read_version(connection, "erasures") != erasures:
                # An erasure changes hot rows where they stand: what was written may hold the person.
                raise changed_meanwhile("erasures")
            for name, several in written.items():
                write_version(connection, name, "move", several, run_id=run_id)
            end_run(connection, run_id)
        files += [file for several in written.values() for file in several]
    return Moved(sum(file.rows for file in files), len(files))


def merge_files(place: Place, *, most_files: int = MOST_FILES) -> Moved:
    """Merge files of the same month wherever there are more than ``most_files``."""
    total = Moved()
    with hold_lease(place.warehouse_folder):
        with place.store.snapshot() as connection:
            groups = _group_files(connection)
        for (name, month), sizes in sorted(groups.items()):
            if len(sizes) > most_files:
                done = _merge_group(place, TABLES[name], month, _choose_files(sizes, most_files))
                total = Moved(
                    total.rows + done.rows, total.written + done.written, total.removed + done.removed
                )
    return total


def _choose_batches(connection: sa.Connection, most_rows: int, living: datetime) -> list[tuple[int, str]]:
    """Key of every batch to move, up to the first living consumer's position and as many rows as fit.

    A consumer that was not heard of since ``living`` holds nothing back: it begins anew should it come again.
    """
    query = (
        sa.select(HOT_BATCHES.c.position, HOT_BATCHES.c.table_name, HOT_BATCHES.c.rows)
        .where(HOT_BATCHES.c.table_name.in_(list(TABLES)))
        .order_by(HOT_BATCHES.c.position, HOT_BATCHES.c.table_name)
    )
    alive = HOT_CONSUMERS.c.changed_at >= living
    slowest = connection.execute(sa.select(sa.func.min(HOT_CONSUMERS.c.position)).where(alive)).scalar()
    if slowest is not None:
        query = query.where(HOT_BATCHES.c.position <= slowest)
    chosen: list[tuple[int, str]] = []
    rows = 0
    for position, name, count in connection.execute(query):
        if chosen and (rows + count > most_rows or len(chosen) >= MOST_BATCHES):
            break
        chosen.append((position, name))
        rows += count
    return chosen


def _read_batches(connection: sa.Connection, chosen: Sequence[tuple[int, str]]) -> dict[str, list[bytes]]:
    parts: dict[str, list[bytes]] = defaultdict(list)
    if chosen:
        wanted = set(chosen)
        query = (
            sa.select(HOT_BATCHES.c.position, HOT_BATCHES.c.table_name, HOT_BATCHES.c.data)
            .where(HOT_BATCHES.c.position.between(chosen[0][0], chosen[-1][0]))
            .order_by(HOT_BATCHES.c.position)
        )
        for position, name, data in connection.execute(query):
            if (position, name) in wanted:
                parts[name].append(data)
    return dict(parts)


def _take_out(connection: sa.Connection, chosen: Sequence[tuple[int, str]]) -> None:
    """Delete the batches, unless another worker did.

    The oldest one is the gate: all who move rows want it first, and whoever waited for it finds it gone. Those who
    bring events wait for none of this.
    """
    position, name = chosen[0]
    oldest = (HOT_BATCHES.c.position == position, HOT_BATCHES.c.table_name == name)
    if connection.execute(sa.select(HOT_BATCHES.c.rows).where(*oldest).with_for_update()).first() is None:
        raise changed_meanwhile("hot_batches")
    taken = 0
    for name in sorted({name for _, name in chosen}):
        positions = [position for position, one in chosen if one == name]
        # All batches of a table up to the last chosen one were chosen, so a range says it.
        gone = connection.execute(
            sa.delete(HOT_BATCHES).where(
                HOT_BATCHES.c.table_name == name,
                HOT_BATCHES.c.position.between(positions[0], positions[-1]),
            )
        )
        taken += gone.rowcount
    if taken != len(chosen):
        raise changed_meanwhile("hot_batches")


@contextmanager
def _running(place: Place, kind: str, parameters: dict[str, int]) -> Iterator[str]:
    """A run that is on record while its files are written: nobody takes them for left over (``data.erasure``).

    Ends quietly after a Conflict. Whatever goes wrong leaves neither files nor the record.
    """
    run_id = new_id(kind)
    with place.store.begin(gated=True) as connection:
        start_run(connection, run_id, STEP, as_of=now().date(), parameters=parameters)
    try:
        with room_explained():
            yield run_id
    except BaseException as error:
        with place.store.begin() as connection:
            unfinished = (RUNS.c.run_id == run_id, RUNS.c.status != "done")
            gone = connection.execute(sa.delete(RUNS).where(*unfinished))
        if gone.rowcount:
            for path in place.warehouse_folder.glob(f"*/{run_id}-*"):
                path.unlink(missing_ok=True)
        if not isinstance(error, Conflict):
            raise


def _write_rows(place: Place, table: Table, blobs: Sequence[bytes], run_id: str) -> list[DataFile]:
    """The rows of the batches as one file per month."""
    rows = table.validate(decode_batches(blobs))
    rows = rows.sort_by([(name, "ascending") for name in _list_order(table)])
    written = []
    for month, part in _split(table, rows):
        path = _name_file(place.warehouse_folder, table, run_id, month)
        written.append(
            write_batches(place.warehouse_folder, path, part.schema, part.combine_chunks().to_batches())
        )
    return written


def _split(table: Table, rows: pa.Table) -> list[tuple[str, pa.Table]]:
    if table.month_column is None:
        return [("", rows)]
    months = pc.strftime(pc.cast(rows[table.month_column], pa.timestamp("s")), format="%Y-%m")
    distinct = sorted(pc.unique(months).to_pylist())
    return [(month, rows.filter(pc.equal(months, month))) for month in distinct]


def _list_order(table: Table) -> list[str]:
    """Customer, then time, then the key: what a file is sorted by; empty for a log without any of them."""
    instants = [column.name for column in table.columns if column.type is Type.INSTANT][:1]
    customer = [column.name for column in table.columns if column.name == "customer_id"]
    return list(dict.fromkeys([*customer, *(instants if customer or not table.key else []), *table.key]))


def _name_file(folder: Path, table: Table, run_id: str, month: str) -> Path:
    suffix = f"-{month}" if month else ""
    return folder / table.name / f"{run_id}-{os.urandom(4).hex()}{suffix}.parquet"


def _group_files(connection: sa.Connection) -> dict[tuple[str, str], list[tuple[int, str]]]:
    """Rows and path of every file of the newest versions, by table and month."""
    groups: dict[tuple[str, str], list[tuple[int, str]]] = defaultdict(list)
    query = sa.select(TABLE_FILES.c.table_name, TABLE_FILES.c.path, TABLE_FILES.c.rows).where(
        TABLE_FILES.c.removed_in.is_(None)
    )
    for name, path, rows in connection.execute(query):
        found = _MONTH.search(path)
        if not is_patch(path) and not is_overlay(path):
            groups[name, found[1] if found else ""].append((rows, path))
    return groups


def _choose_files(sizes: Sequence[tuple[int, str]], most_files: int) -> list[str]:
    """The smallest files, so many that few enough remain, and on while the next is not much larger than all before."""
    ordered = sorted(sizes)
    needed = len(ordered) - most_files + 1
    chosen: list[str] = []
    together = 0
    for rows, path in ordered:
        if len(chosen) >= max(needed, 2) and rows > 2 * together:
            break
        chosen.append(path)
        together += rows
    return chosen


def _merge_group(place: Place, table: Table, month: str, paths: Sequence[str]) -> Moved:
    moved = Moved()
    with _running(place, "merge", {}) as run_id:
        target = _name_file(place.warehouse_folder, table, run_id, month)
        session = Session(place.settings.engine, place.warehouse_folder, {table.name: list(paths)})
        try:
            schema, batches = session.stream(table, _list_order(table))
            file = write_batches(place.warehouse_folder, target, schema, batches)
        finally:
            session.close()
        with place.store.begin() as connection:
            write_version(connection, table.name, "merge", [file], run_id=run_id, removed=paths)
            end_run(connection, run_id)
        moved = Moved(file.rows, 1, len(paths))
    return moved
