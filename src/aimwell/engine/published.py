"""The published file: tags and events as one DuckDB database, for quick reads by many processes at once.

It is a cache that can be built again from the warehouse at any time. Events stand in a table per month, coded and
sorted by customer and time (``engine.coded_rows``), orders and their lines likewise; a new edition is a copy of the
last one in which only the months and tables that changed are made anew. DuckDB lets no process open a file that another
one writes, so an edition is written aside and never changed once it has its name; ``published.json`` says which one
counts. Whoever has an older edition open keeps it.
Reads tags, events, order_lines and identities; writes ``published-<edition>.duckdb`` and the pointer.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from aimwell.core.errors import NotReady
from aimwell.core.ids import new_id
from aimwell.core.text import say
from aimwell.core.time import now
from aimwell.engine.coded_rows import (
    DICTIONARIES,
    MONTH_TABLE,
    NO_EVENTS,
    forget_month,
    make_dictionaries,
    make_part,
    number_all,
    render_events_view,
)
from aimwell.engine.compaction import Place
from aimwell.engine.fence import CLOSED, close_off
from aimwell.engine.files import sync_folder
from aimwell.engine.leases import hold_lease
from aimwell.engine.manifest import Snapshot, changed_meanwhile, read_snapshot, read_version
from aimwell.engine.session import Session
from aimwell.engine.settings import EngineSettings
from aimwell.engine.spill import SpillFolder

POINTER = "published.json"
FORM = 2
"""Of what form the tables are; a file of another form counts as none."""
_MONTH = re.compile(r"-(\d{4})-(\d{2})\.parquet$")
_TRIES = 10
_BROKEN = (
    duckdb.IOException,
    duckdb.CatalogException,
    duckdb.SerializationException,
    duckdb.InternalException,
    duckdb.FatalException,
)
"""What DuckDB says of a file that is not there, torn, or of another form."""


@dataclass(frozen=True)
class Edition:
    """One published file: what is in it and of which state of the warehouse (``parts``: files behind each table)."""

    file: str
    versions: Mapping[str, int]
    parts: Mapping[str, str]
    published_at: datetime


class PublishedReader:
    """Queries on one edition; every query sees the same rows, whatever is published meanwhile."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, edition: Edition) -> None:
        self._connection = connection
        self.edition = edition

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """The rows of ``sql`` over ``tags`` and ``events``; values are bound as ``$name``."""
        return self._connection.sql(sql, params=dict(parameters) if parameters else None).to_arrow_table()


def publish(place: Place, *, full: bool = False) -> Edition | None:
    """Publish tags and the events that stand in files; None when the newest edition has them already.

    ``full`` builds everything anew. The last edition is the start of the next one, so only what changed is read; one
    that cannot be read any more counts as none.
    Conflict when somebody was erased meanwhile.
    """
    folder = place.warehouse_folder
    with hold_lease(folder):
        with place.store.snapshot() as connection:
            snapshot = read_snapshot(connection)
        last = None if full else read_pointer(folder)
        if last is not None and not _is_whole(folder / last.file, last):
            last = None
        parts = list_parts(snapshot.files)
        if last is not None and dict(last.parts) == parts:
            return None
        name = f"{new_id('published').replace('_', '-')}.duckdb"
        edition = Edition(name, {table: snapshot.versions.get(table, 0) for table in _TABLES}, parts, now())
        aside = folder / f"{name}.writing"
        try:
            _write_edition(place, snapshot, edition, _start(folder, aside, last, parts))
            with aside.open("rb+") as stream:
                os.fsync(stream.fileno())
            _check_erasures(place, snapshot)
            aside.replace(folder / name)
        except BaseException:
            aside.unlink(missing_ok=True)
            # An erasure also takes away what is being written: then that is what went wrong.
            _check_erasures(place, snapshot)
            raise
        # Still under the lease, for which an erasure waits before it deletes what was published.
        _write_pointer(folder, edition)
    return edition


def _check_erasures(place: Place, snapshot: Snapshot) -> None:
    """Conflict when somebody was erased since ``snapshot``: the person must not be published."""
    with place.store.snapshot() as connection:
        if read_version(connection, "erasures") != snapshot.versions.get("erasures", 0):
            raise changed_meanwhile("erasures")


def read_pointer(folder: Path) -> Edition | None:
    """The edition that counts now, or None when there is none of the form that is understood here, or it was cut."""
    try:
        found = json.loads((folder / POINTER).read_text("utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    if found.get("form") != FORM or _find_size(folder / found["file"]) not in (None, found.get("bytes")):
        return None
    return Edition(
        found["file"], found["versions"], found["parts"], datetime.fromisoformat(found["published_at"])
    )


@contextmanager
def open_published(folder: Path, settings: EngineSettings) -> Iterator[PublishedReader]:
    """The newest edition, read-only; NotReady when nothing was published yet."""
    with SpillFolder(folder, "published") as spill:
        connection, edition = _connect(folder, settings, spill.path)
        try:
            yield PublishedReader(connection, edition)
        finally:
            connection.close()


def list_old_editions(folder: Path) -> list[Path]:
    """Published files that no longer count, and what was left of editions that were never finished."""
    current = read_pointer(folder)
    kept = set() if current is None else {current.file}
    return [
        path
        for path in sorted(folder.glob("published-*.duckdb*"))
        if path.name.partition(".wal")[0] not in kept
    ]


_TABLES = ("tags", "events", "order_lines", "identities")


def _connect(
    folder: Path, settings: EngineSettings, spill: Path
) -> tuple[duckdb.DuckDBPyConnection, Edition]:
    for _ in range(_TRIES):
        edition = read_pointer(folder)
        if edition is None:
            break
        try:
            connection = duckdb.connect(
                str(folder / edition.file),
                read_only=True,
                config={
                    "memory_limit": settings.memory_limit,
                    "threads": settings.threads,
                    # Not beside the file, where nobody would look for what a killed reader left.
                    "temp_directory": str(spill / "spilt"),
                    **CLOSED,
                },
            )
        except _BROKEN:
            # Between the pointer and the file a newer edition may have come and this one gone: look again.
            if (folder / edition.file).exists():
                break
            continue
        connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
        close_off(connection)
        if _has_tables(connection, edition):
            return connection, edition
        connection.close()
        break
    raise NotReady(
        "engine.not_published",
        say("No published file is there, or it is not the one that was published."),
        remedy=say("Start the worker, which publishes it: aimwell worker"),
    )


def _is_whole(path: Path, edition: Edition) -> bool:
    """Whether the file is there and has the tables that it should have."""
    if not path.exists():
        return False
    with duckdb.connect(config={"threads": 1}) as connection:
        try:
            connection.execute(f"ATTACH '{str(path).replace(chr(39), chr(39) * 2)}' AS edition (READ_ONLY)")
            connection.execute("USE edition")
        except _BROKEN:
            return False
        return _has_tables(connection, edition)


def _has_tables(connection: duckdb.DuckDBPyConnection, edition: Edition) -> bool:
    """Whether the file says that it is ``edition``, and has its tables."""
    try:
        said = connection.execute("SELECT parts FROM publication").fetchall()[0][0]
        for name in (*DICTIONARIES, *edition.parts):
            connection.execute(f"SELECT COUNT(*) FROM {name}").fetchall()
    except _BROKEN:
        return False
    return bool(json.loads(said) == dict(edition.parts))


def list_parts(snapshot_files: Mapping[str, list[str]]) -> dict[str, str]:
    """Each table of the edition of a snapshot, with the files that it is made of, in one text."""
    identities = ",".join(sorted(snapshot_files.get("identities", [])))
    months: dict[str, list[str]] = defaultdict(list)
    for path in snapshot_files.get("events", []):
        # A file without a month in its name is that of a table without rows.
        if found := _MONTH.search(path):
            months[f"events_{found[1]}_{found[2]}"].append(path)
    parts = {name: ",".join(sorted(paths)) + ";" + identities for name, paths in sorted(months.items())}
    lines = ",".join(sorted(snapshot_files.get("order_lines", []))) + ";" + identities
    return {
        "tags": ",".join(sorted(snapshot_files.get("tags", []))),
        "orders": lines,
        "order_lines": lines,
        **parts,
    }


def _start(
    folder: Path, aside: Path, last: Edition | None, parts: Mapping[str, str]
) -> tuple[Path, Mapping[str, str]]:
    """A copy of the last edition and what it holds; an empty file where no table of coded rows would stay."""
    aside.unlink(missing_ok=True)
    kept = last is not None and any(
        name != "tags" and parts.get(name) == files for name, files in last.parts.items()
    )
    if last is None or not kept:
        return aside, {}
    try:
        shutil.copyfile(folder / last.file, aside)
    except FileNotFoundError:
        return aside, {}
    return aside, last.parts


def _write_edition(
    place: Place, snapshot: Snapshot, edition: Edition, start: tuple[Path, Mapping[str, str]]
) -> None:
    """Make every table whose files changed, drop those that are gone, and the view over all months."""
    path, there = start
    session = Session(place.settings.engine, place.warehouse_folder, snapshot.files)
    try:
        session.execute(f"ATTACH '{str(path).replace(chr(39), chr(39) * 2)}' AS published")
        make_dictionaries(session)
        for name in sorted(set(there) - set(edition.parts)):
            session.execute(f"DROP TABLE IF EXISTS published.{name}")
            forget_month(session, name)
        changed = [name for name, files in edition.parts.items() if there.get(name) != files]
        number_all(session, changed)
        for name in changed:
            make_part(session, name)
        if not any(map(MONTH_TABLE.fullmatch, edition.parts)):
            make_part(session, NO_EVENTS)
        session.execute("DETACH published")
    finally:
        session.close()
    _describe_edition(path, edition)


def _describe_edition(path: Path, edition: Edition) -> None:
    """Add the view over all months, and what the edition is made of."""
    months = [name for name in edition.parts if MONTH_TABLE.fullmatch(name)] or [NO_EVENTS]
    with duckdb.connect(str(path), config={"threads": 1}) as connection:
        connection.execute(f"CREATE OR REPLACE VIEW events AS {render_events_view(months)}")
        connection.execute(
            "CREATE OR REPLACE TABLE publication AS"
            " SELECT $versions AS versions, $parts AS parts, $at AS published_at",
            {
                "versions": json.dumps(dict(edition.versions)),
                "parts": json.dumps(dict(edition.parts)),
                "at": edition.published_at.isoformat(),
            },
        )
        connection.execute("CHECKPOINT")


def _find_size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _write_pointer(folder: Path, edition: Edition) -> None:
    body = {
        "form": FORM,
        "file": edition.file,
        "bytes": _find_size(folder / edition.file),
        "versions": dict(edition.versions),
        "parts": dict(edition.parts),
        "published_at": edition.published_at.isoformat(),
    }
    aside = folder / f"{POINTER}.{os.getpid()}"
    with aside.open("w", encoding="utf-8") as stream:
        json.dump(body, stream)
        stream.flush()
        os.fsync(stream.fileno())
    aside.replace(folder / POINTER)
    sync_folder(folder)
