"""Checks of the store, of the warehouse and of what waits in them. Reads the store; writes nothing."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from aimwell.core.lists import join_list
from aimwell.core.text import Text, say
from aimwell.engine.audit import verify
from aimwell.engine.compaction import STEP
from aimwell.engine.hot_tables import HOT_BATCHES
from aimwell.engine.leases import find_oldest_lease
from aimwell.engine.ledger_tables import CONTACT_GATE, DELIVERIES
from aimwell.engine.store import Store, read_migrations
from aimwell.engine.store_tables import AUDIT_LOG, RUNS, TABLE_FILES
from aimwell.loop.backup import ACTION
from aimwell.loop.findings import Finding

_SAMPLE = 20
"""Files whose contents are read unless all are asked for."""
_MOST_SKEW = 2.0
_LATE = timedelta(minutes=2)
"""A worker moves hot rows every second."""
_SECOND_LOOK = 2.0
_DUE_MS = 15 * 60_000
_DEAD_MS = 5 * 60_000
_OLD_BACKUP = timedelta(hours=48)
_DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}


@dataclass(frozen=True)
class Place:
    """What is looked at, and when."""

    folder: Path
    store: Store
    at: datetime
    thorough: bool = False

    @property
    def at_ms(self) -> int:
        """The instant in milliseconds."""
        return int(self.at.timestamp() * 1000)


def check_version(place: Place) -> Finding:
    """Whether the store answers, and has this version's tables."""
    _, scripts = read_migrations()
    found, newest = place.store.read_revision(), scripts.get_current_head()
    figures = {"found": found, "newest": newest, "database": place.store.engine.dialect.name}
    title = say("Store")
    if found is None:
        return Finding(
            "store",
            title,
            "error",
            say("The store has no tables."),
            say("Open the workspace with any command: they are made then. If it had data, restore a backup."),
            figures,
        )
    if found not in {script.revision for script in scripts.walk_revisions()}:
        message = say("The workspace was written by a newer version of Aimwell than this one.")
        remedy = say("Install the newer version: pip install --upgrade aimwell. Nothing was changed.")
        return Finding("store", title, "error", message, remedy, figures)
    if found != newest:
        message = say(
            "The store is of version {found}; this Aimwell has {newest}.", found=found, newest=newest
        )
        remedy = say("Make a backup; the next command brings the store up to date by itself.")
        return Finding("store", title, "warning", message, remedy, figures)
    message = say("The store answers, version {found}.", found=found)
    return Finding("store", title, "ok", message, figures=figures)


def check_durability(place: Place) -> Finding:
    """Whether the database writes through to the disk before it says that it has."""
    title = say("Durability")
    if place.store.is_sqlite:
        return _check_file(place, title)
    with place.store.snapshot() as connection:
        values = {
            name: str(connection.exec_driver_sql(f"SHOW {name}").scalar_one())
            for name in (*_DURABLE, "server_version", "max_connections")
        }
    weak = [
        name for name, good in _DURABLE.items() if values[name] not in (good, "remote_apply", "remote_write")
    ]
    if weak:
        return Finding(
            "durability",
            title,
            "error",
            say("PostgreSQL may lose what it has confirmed: {names} is not on.", names=join_list(weak)),
            say("Set it to on in postgresql.conf and reload."),
            values,
        )
    message = say("PostgreSQL {version} keeps what it has confirmed.", version=values["server_version"])
    return Finding("durability", title, "ok", message, figures=values)


def _check_file(place: Place, title: Text) -> Finding:
    with place.store.snapshot() as connection:
        mode = connection.exec_driver_sql("PRAGMA journal_mode").scalar_one()
        # The whole file is read: only when asked for.
        told = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one() if place.thorough else "ok"
    figures = {"journal_mode": mode, "check": told}
    if told != "ok":
        return Finding(
            "durability",
            title,
            "error",
            say("The store's file is damaged ({code}).", code="quick_check"),
            say("Stop everything, keep the folder as it is, and restore the newest backup: aimwell restore."),
            figures,
        )
    return Finding(
        "durability", title, "ok", say("The store is a file that is written through."), figures=figures
    )


def check_clock(place: Place) -> Finding:
    """This machine's clock against the store's, and against what stands in the store."""
    title = say("Clock")
    with place.store.snapshot() as connection:
        newest = connection.execute(sa.select(sa.func.max(RUNS.c.started_at))).scalar()
        skew = 0.0
        if not place.store.is_sqlite:
            theirs = connection.exec_driver_sql("SELECT extract(epoch FROM clock_timestamp())").scalar_one()
            skew = time.time() - float(theirs)
    ahead = max((newest - place.at).total_seconds(), 0.0) if newest is not None else 0.0
    figures = {"skew_seconds": round(skew, 3), "ahead_seconds": round(ahead, 3)}
    remedy = say("Let the machines keep their clocks by NTP: leases and quiet hours go by them.")
    if abs(skew) > _MOST_SKEW:
        message = say("This machine's clock and the database's differ by {seconds} s.", seconds=f"{skew:.1f}")
        return Finding("clock", title, "error", message, remedy, figures)
    if ahead > _MOST_SKEW:
        message = say("The store holds instants {seconds} s ahead of this clock.", seconds=f"{ahead:.0f}")
        return Finding("clock", title, "warning", message, remedy, figures)
    return Finding("clock", title, "ok", say("The clock agrees with the store."), figures=figures)


def check_files(place: Place) -> Finding:
    """Whether every file of the manifest is there as it was written; of a sample, or of all, byte by byte."""
    title = say("Warehouse")
    with place.store.snapshot() as connection:
        query = sa.select(TABLE_FILES.c.path, TABLE_FILES.c.bytes, TABLE_FILES.c.sha256)
        listed = connection.execute(query.where(TABLE_FILES.c.removed_in.is_(None))).all()
    folder = place.folder / "warehouse"
    chosen = {row.path for row in listed}
    if not place.thorough and len(listed) > _SAMPLE:
        chosen = set(random.Random(place.at_ms).sample(sorted(chosen), _SAMPLE))
    wrong = [
        row.path
        for row in listed
        if not _is_as_written(folder / row.path, row.bytes, row.sha256 if row.path in chosen else None)
        and _is_listed(place, row.path)
    ]
    figures = {"files": len(listed), "read": len(chosen), "wrong": wrong[:20]}
    if wrong:
        return Finding(
            "warehouse",
            title,
            "error",
            say(
                "{count} files of the warehouse are missing or damaged, such as {file}.",
                count=len(wrong),
                file=wrong[0],
            ),
            say("Restore the newest backup into a new folder: aimwell restore. Check the disk."),
            figures,
        )  # fmt: skip
    message = say("All {count} files are there; {read} were read whole.", count=len(listed), read=len(chosen))
    return Finding("warehouse", title, "ok", message, figures=figures)


def _is_as_written(path: Path, size: int, sha256: str | None) -> bool:
    try:
        if path.stat().st_size != size:
            return False
        if sha256 is None:
            return True
        digest = hashlib.sha256()
        with path.open("rb") as stream:
            while piece := stream.read(1 << 20):
                digest.update(piece)
        return digest.hexdigest() == sha256
    except OSError:
        return False


def _is_listed(place: Place, path: str) -> bool:
    """Still: while we looked, a worker may have merged it into another and deleted it."""
    query = sa.select(TABLE_FILES.c.path).where(
        TABLE_FILES.c.path == path, TABLE_FILES.c.removed_in.is_(None)
    )
    with place.store.snapshot() as connection:
        return connection.execute(query).first() is not None


def check_worker(place: Place) -> Finding:
    """Whether somebody moves events into files."""
    title = say("Worker")
    first = _find_oldest_batch(place.store)
    with place.store.snapshot() as connection:
        rows = connection.execute(
            sa.select(sa.func.coalesce(sa.func.sum(HOT_BATCHES.c.rows), 0))
        ).scalar_one()
        moved = sa.select(sa.func.max(RUNS.c.started_at)).where(RUNS.c.step == STEP)
        last = connection.execute(moved).scalar()
    figures = {"hot_rows": int(rows), "last_move": None if last is None else last.isoformat()}
    if first is not None and (last is None or place.at - last > _LATE):
        time.sleep(_SECOND_LOOK)
        if _find_oldest_batch(place.store) == first:
            return Finding(
                "worker",
                title,
                "warning",
                say("{rows} rows wait to be moved into files, and nobody moves them.", rows=int(rows)),
                say("Start the worker: aimwell worker. Events are safe meanwhile, and visible."),
                figures,
            )
    message = say("{rows} rows of the last moments wait in the store.", rows=int(rows))
    return Finding("worker", title, "ok", message, figures=figures)


def _find_oldest_batch(store: Store) -> int | None:
    with store.snapshot() as connection:
        found: int | None = connection.execute(sa.select(sa.func.min(HOT_BATCHES.c.position))).scalar()
    return found


def check_leases(place: Place) -> Finding:
    """Readers that keep files from being deleted, and deliveries that a dead worker holds."""
    title = say("Leases")
    oldest = find_oldest_lease(place.folder / "warehouse", place.at)
    hours = 0.0 if oldest is None else (place.at - oldest).total_seconds() / 3600
    held = DELIVERIES.c.state.in_(("leased", "intent")) & (
        DELIVERIES.c.lease_until_ms < place.at_ms - _DEAD_MS
    )
    dead = _count(place.store, held)
    figures = {"oldest_reader_hours": round(hours, 2), "expired_deliveries": dead}
    if dead:
        message = say("{count} deliveries are held by workers that are gone.", count=dead)
        remedy = say("Start the worker: it takes them up, and asks about those that may have been sent.")
        return Finding("leases", title, "warning", message, remedy, figures)
    if hours > 24:
        message = say(
            "A reader has kept old files from being deleted for {hours} hours.", hours=f"{hours:.0f}"
        )
        remedy = say("End the process that reads, if nobody needs it.")
        return Finding("leases", title, "warning", message, remedy, figures)
    return Finding("leases", title, "ok", say("No lease is left over."), figures=figures)


def check_queue(place: Place) -> Finding:
    """What waits to be sent, and whether it is late."""
    title = say("Queue")
    queued = DELIVERIES.c.state == "queued"
    due = queued & (DELIVERIES.c.not_before_ms <= place.at_ms - _DUE_MS) & (DELIVERIES.c.not_before_ms > 0)
    with place.store.snapshot() as connection:
        halted = connection.execute(sa.select(CONTACT_GATE.c.halted_at_ms)).scalar()
    figures = {
        "queued": _count(place.store, queued),
        "late": _count(place.store, due),
        "halted": halted is not None,
    }
    if halted is not None:
        message = say("Sending is halted; {count} deliveries wait.", count=figures["queued"])
        remedy = say("When everything is in order, lift the halt: aimwell deployment continue")
        return Finding("queue", title, "warning", message, remedy, figures)
    if figures["late"]:
        message = say("{count} deliveries are due since more than 15 minutes.", count=figures["late"])
        remedy = say("Start the worker, and look whether a campaign is paused or a provider is down.")
        return Finding("queue", title, "warning", message, remedy, figures)
    return Finding(
        "queue",
        title,
        "ok",
        say("{count} deliveries wait for their time.", count=figures["queued"]),
        figures=figures,
    )


def check_unsettled(place: Place) -> Finding:
    """Deliveries of which nobody knows whether they arrived, and those that were given up."""
    title = say("Unsettled deliveries")
    doubt = _count(place.store, DELIVERIES.c.state == "in_doubt")
    dead = _count(place.store, (DELIVERIES.c.state == "failed") & (DELIVERIES.c.reason == "gave_up"))
    figures = {"in_doubt": doubt, "dead_letters": dead}
    if doubt or dead:
        return Finding(
            "unsettled",
            title,
            "warning",
            say("{doubt} deliveries are in doubt, {dead} were given up after all attempts.", doubt=doubt, dead=dead),
            say("Look at them: they are counted neither as sent nor as cost, and are not repeated by themselves."),
            figures,
        )  # fmt: skip
    return Finding("unsettled", title, "ok", say("No delivery is in doubt or given up."), figures=figures)


def check_audit(place: Place) -> Finding:
    """Whether the audit log's chain holds."""
    title = say("Audit log")
    with place.store.snapshot() as connection:
        found = verify(connection)
    figures: dict[str, Any] = {
        "entries": found.entries,
        "anchor": str(found.anchor),
        "breaks": [[one.entry, one.problem] for one in found.breaks[:20]],
    }
    if found.breaks:
        message = say("The audit log was changed at entry {entry}.", entry=found.breaks[0].entry)
        remedy = say("See what does not hold: aimwell audit verify. Compare with a backup of before.")
        return Finding("audit", title, "error", message, remedy, figures)
    message = say("The audit log holds: {count} entries.", count=found.entries)
    return Finding("audit", title, "ok", message, figures=figures)


def check_backup(place: Place) -> Finding:
    """How old the newest backup is."""
    title = say("Backup")
    newest = sa.select(sa.func.max(AUDIT_LOG.c.at)).where(AUDIT_LOG.c.action == ACTION)
    with place.store.snapshot() as connection:
        at = connection.execute(newest).scalar()
    remedy = say("Make one: aimwell backup FOLDER, every day and to another disk.")
    if at is None:
        return Finding("backup", title, "warning", say("There is no backup yet."), remedy)
    hours = (place.at - at).total_seconds() / 3600
    figures = {"hours": round(hours, 2)}
    message = say("The newest backup is {hours} hours old.", hours=f"{hours:.1f}")
    if place.at - at > _OLD_BACKUP:
        return Finding("backup", title, "warning", message, remedy, figures)
    return Finding("backup", title, "ok", message, figures=figures)


def _count(store: Store, condition: sa.ColumnElement[bool]) -> int:
    query = sa.select(sa.func.count()).select_from(DELIVERIES).where(condition)
    with store.snapshot() as connection:
        return int(connection.execute(query).scalar_one())


CHECKS: tuple[tuple[str, Callable[[Place], Finding]], ...] = (
    ("durability", check_durability),
    ("clock", check_clock),
    ("warehouse", check_files),
    ("worker", check_worker),
    ("leases", check_leases),
    ("queue", check_queue),
    ("unsettled", check_unsettled),
    ("audit", check_audit),
    ("backup", check_backup),
)
"""Those that need a store of this version."""
