"""Deletes files that no reader can need any more.

A file that a newer version replaced goes when it was replaced longer ago than a grace period and before the oldest
living reader began (``engine.leases``). A file that the manifest never listed goes when it is older than the grace
period and no living run writes it. What killed processes left in the temporary folder goes at once (``engine.spill``).
What the store keeps about files and moves that are gone goes with them.
Deletes files of the warehouse and rows of ``table_files``, ``table_versions`` and ``runs``.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from aimwell.core.time import now
from aimwell.engine.compaction import STEP, Place
from aimwell.engine.leases import find_oldest_lease, is_alive
from aimwell.engine.published import list_old_editions
from aimwell.engine.spill import remove_dead
from aimwell.engine.store_tables import RUNS, TABLE_FILES, TABLE_VERSIONS

GRACE = timedelta(hours=1)
MARGIN = timedelta(seconds=60)
"""No transaction that replaces a file takes longer from its first statement to its end."""
_CHUNK = 500


@dataclass(frozen=True)
class Vacuumed:
    """How many files went, and how many bytes."""

    replaced: int = 0
    orphans: int = 0
    bytes: int = 0


def vacuum(place: Place, at: datetime | None = None, *, grace: timedelta = GRACE) -> Vacuumed:
    """Delete what nobody needs at the instant ``at`` (now). Safe to run at any time, by several processes at once.

    A file goes before the store forgets it: a crash in between leaves a row whose file is gone, which the next run
    clears.
    """
    at = at or now()
    before = at - grace
    oldest = find_oldest_lease(place.warehouse_folder, at)
    if oldest is not None:
        before = min(before, oldest - MARGIN)
    with place.store.snapshot() as connection:
        gone = _list_replaced(connection, before)
        listed = set(connection.execute(sa.select(TABLE_FILES.c.path)).scalars())
        writing = _list_writing(connection)
    freed = sum(_delete(place.warehouse_folder / path) for path in gone)
    with place.store.begin() as connection:
        for start in range(0, len(gone), _CHUNK):
            part = gone[start : start + _CHUNK]
            connection.execute(sa.delete(TABLE_FILES).where(TABLE_FILES.c.path.in_(part)))
        _forget_moves(connection, before)
    orphans = _list_orphans(place.warehouse_folder, listed, writing, at - grace)
    # Whoever has an old edition open keeps it: its name goes, its contents stay until it is closed.
    orphans += [path for path in list_old_editions(place.warehouse_folder) if _is_older(path, at - grace)]
    freed += sum(_delete(path) for path in orphans)
    spilt = remove_dead(place.warehouse_folder)
    return Vacuumed(len(gone), len(orphans) + len(spilt), freed + sum(spilt))


def _list_replaced(connection: sa.Connection, before: datetime) -> list[str]:
    replaced = (
        sa.select(TABLE_FILES.c.path)
        .join(
            TABLE_VERSIONS,
            sa.and_(
                TABLE_VERSIONS.c.table_name == TABLE_FILES.c.table_name,
                TABLE_VERSIONS.c.version == TABLE_FILES.c.removed_in,
            ),
        )
        .where(TABLE_VERSIONS.c.created_at < before)
        .order_by(TABLE_FILES.c.path)
    )
    return list(connection.execute(replaced).scalars())


def _list_writing(connection: sa.Connection) -> set[str]:
    """Runs whose files are not in the manifest yet but will be."""
    query = sa.select(RUNS.c.run_id, RUNS.c.process).where(RUNS.c.status == "running")
    return {run_id for run_id, process in connection.execute(query) if is_alive(process)}


def _list_orphans(folder: Path, listed: set[str], writing: set[str], before: datetime) -> list[Path]:
    found = []
    for pattern in ("*/*.parquet", "*/*.writing"):
        for path in sorted(folder.glob(pattern)):
            known = path.relative_to(folder).as_posix() in listed
            if known or path.name.partition("-")[0] in writing:
                continue
            if _is_older(path, before):
                found.append(path)
    return found


def _is_older(path: Path, before: datetime) -> bool:
    try:
        newest = max(one.stat().st_mtime for one in (path, *path.rglob("*")))
    except FileNotFoundError:
        return False
    return datetime.fromtimestamp(newest, UTC) < before


def _forget_moves(connection: sa.Connection, before: datetime) -> None:
    """Forget versions that only changed where rows stand, but not a table's newest, nor one that a file names.

    The newest move stays, too: it says to whoever looks back (tags) that rows came, after their files were merged.
    """
    newest = (
        sa.select(TABLE_VERSIONS.c.table_name, sa.func.max(TABLE_VERSIONS.c.version).label("version"))
        .group_by(TABLE_VERSIONS.c.table_name, TABLE_VERSIONS.c.mode)
        .subquery()
    )
    named = sa.exists().where(
        TABLE_FILES.c.table_name == TABLE_VERSIONS.c.table_name,
        sa.or_(
            TABLE_FILES.c.added_in == TABLE_VERSIONS.c.version,
            TABLE_FILES.c.removed_in == TABLE_VERSIONS.c.version,
        ),
    )
    is_newest = sa.exists().where(
        newest.c.table_name == TABLE_VERSIONS.c.table_name, newest.c.version == TABLE_VERSIONS.c.version
    )
    # A run that is not done yet looks at every version since it began.
    began = connection.execute(sa.select(sa.func.min(RUNS.c.started_at)).where(RUNS.c.status == "running"))
    earliest = min(before, began.scalar() or before)
    connection.execute(
        sa.delete(TABLE_VERSIONS).where(
            TABLE_VERSIONS.c.mode.in_(("move", "merge")),
            TABLE_VERSIONS.c.created_at < earliest,
            ~named,
            ~is_newest,
        )
    )
    used = sa.exists().where(TABLE_VERSIONS.c.run_id == RUNS.c.run_id)
    connection.execute(sa.delete(RUNS).where(RUNS.c.step == STEP, RUNS.c.started_at < earliest, ~used))


def _delete(path: Path) -> int:
    """Bytes that deleting ``path``, a file or a folder, gave back."""
    try:
        size = sum(one.stat().st_size for one in (path, *path.rglob("*")) if one.is_file())
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    except FileNotFoundError:
        return 0
    return size
