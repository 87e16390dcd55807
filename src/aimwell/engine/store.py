"""The store: small, transactional, durable. SQLAlchemy 2 Core, Alembic; SQLite (WAL, synchronous=FULL) by default."""

from __future__ import annotations

import getpass
import os
import sqlite3
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import sqlalchemy as sa

import aimwell.engine.channel_tables  # adds its tables to METADATA
import aimwell.engine.content_tables
import aimwell.engine.hot_tables
import aimwell.engine.journey_tables
import aimwell.engine.ledger_tables
import aimwell.engine.live_tables
import aimwell.engine.privacy_tables
import aimwell.engine.segment_tables
import aimwell.engine.service_tables
import aimwell.engine.store_tables
import aimwell.engine.tracking_tables  # noqa: F401  (the same)
from aimwell.core.errors import NotReady
from aimwell.core.text import say
from aimwell.core.time import now
from aimwell.engine.store_tables import AUDIT_LOG, DEFINITIONS

_READS_ONLY = "aimwell_reads_only"
_MOST_LOG_PAGES = 16_384
"""64 MB: a log that nobody moved into the file meanwhile."""
_LONG_LOG_PAGES = 2_048
"""8 MB: so much is written anew at the log's beginning, into room that the disk has given it already."""
_PATIENCE = 30.0
"""Seconds that a transaction waits for its turn to write."""
_POLL = (0.00025, 0.001)
"""Seconds between two looks at the lock: the first of them, and all after ``_EAGER`` looks."""
_EAGER = 20


class Store:
    """A connection pool on the store's database, with the schema brought up to date."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = sa.create_engine(url)
        if self.engine.dialect.name == "sqlite":
            _make_sqlite_durable(self.engine)
        # A store that nobody closed still gives its connections back when it is collected.
        weakref.finalize(self, self.engine.dispose)

    @classmethod
    def open_file(cls, path: Path) -> Store:
        """The SQLite store in the file ``path``, made if it is not there."""
        store = cls(f"sqlite:///{path}")
        store.migrate()
        return store

    @contextmanager
    def begin(self) -> Iterator[sa.Connection]:
        """A transaction: committed at the end, rolled back on an exception."""
        with self.engine.begin() as connection:
            yield connection

    def tidy(self) -> None:
        """Move what was committed from the log into the file. Nothing to do but in SQLite.

        Most of it keeps nobody waiting. A log that has grown long begins anew, for which writers wait a moment.
        """
        if self.engine.dialect.name != "sqlite":
            return
        # Not as a statement of a transaction, in which SQLite moves nothing.
        connection = self.engine.raw_connection()
        try:
            cursor = connection.cursor()
            _, _, moved = cursor.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if moved >= _LONG_LOG_PAGES:
                # Readers of an older state forbid it: then at the next call, rather than with the lock held.
                cursor.execute("PRAGMA busy_timeout=0")
                try:
                    cursor.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()
                finally:
                    cursor.execute(f"PRAGMA busy_timeout={_PATIENCE * 1000:.0f}")
            cursor.close()
        finally:
            connection.close()

    @contextmanager
    def snapshot(self) -> Iterator[sa.Connection]:
        """A transaction that only reads, all its queries one state of the store; it waits for no writer."""
        level = {} if self.engine.dialect.name == "sqlite" else {"isolation_level": "REPEATABLE READ"}
        with self.engine.execution_options(**{_READS_ONLY: True}, **level).begin() as connection:
            yield connection

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()

    def migrate(self) -> None:
        """Bring the schema to this version of Aimwell; nothing happens when it is there already."""
        from alembic import command
        from alembic.config import Config
        from alembic.script import ScriptDirectory

        config = Config()
        config.set_main_option("script_location", str(files("aimwell.engine") / "migrations"))
        scripts = ScriptDirectory.from_config(config)
        head = scripts.get_current_head()
        with self.engine.connect() as connection:
            if sa.inspect(connection).has_table("alembic_version"):
                current = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
                if current == head:
                    return
                if current not in {script.revision for script in scripts.walk_revisions()}:
                    raise _written_by_newer()
        with self.engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def save_definition(self, kind: str, name: str, body: dict[str, Any], *, actor: str = "cli") -> int:
        """Keep a new version of a definition (goal, segment, mapping…) unless nothing changed; returns its version."""
        with self.begin() as connection:
            latest = _latest_definition(connection, kind, name)
            if latest is not None and latest[1] == body:
                return latest[0]
            version = 1 if latest is None else latest[0] + 1
            connection.execute(
                sa.insert(DEFINITIONS).values(
                    kind=kind, name=name, version=version, body=body, created_at=now()
                )
            )
            _record(connection, actor, "definition.saved", f"{kind}/{name}", {"version": version})
            return version

    def load_definition(self, kind: str, name: str) -> dict[str, Any] | None:
        """The newest version of a definition, or None."""
        latest = self.load_latest(kind, name)
        return None if latest is None else latest[1]

    def load_latest(self, kind: str, name: str) -> tuple[int, dict[str, Any]] | None:
        """The newest version's number and the definition itself, or None."""
        with self.begin() as connection:
            return _latest_definition(connection, kind, name)

    def list_definitions(self, kind: str) -> dict[str, dict[str, Any]]:
        """The newest version of every definition of ``kind``, by name."""
        query = (
            sa.select(DEFINITIONS.c.name, DEFINITIONS.c.body)
            .where(DEFINITIONS.c.kind == kind)
            .order_by(DEFINITIONS.c.name, DEFINITIONS.c.version)
        )
        with self.begin() as connection:
            return {row.name: row.body for row in connection.execute(query)}

    def audit(
        self, action: str, subject: str, detail: dict[str, Any] | None = None, *, actor: str | None = None
    ) -> None:
        """Record a change, or that somebody looked; ``actor`` is who is signed in on this machine unless told.

        ``detail`` must hold no personal data but a customer's number, under ``customer_id``, where an erasure finds it.
        """
        with self.begin() as connection:
            _record(connection, actor or name_actor(), action, subject, detail or {})


def name_actor() -> str:
    """Who is signed in on this machine; in a container that names nobody, the user's number."""
    try:
        return getpass.getuser()[:128]
    except (OSError, KeyError, ImportError):
        return f"user {os.getuid()}"


def _record(connection: sa.Connection, actor: str, action: str, subject: str, detail: dict[str, Any]) -> None:
    connection.execute(
        sa.insert(AUDIT_LOG).values(at=now(), actor=actor, action=action, subject=subject, detail=detail)
    )


def _written_by_newer() -> NotReady:
    return NotReady(
        "engine.store_newer",
        say("The workspace was written by a newer version of Aimwell than this one."),
        remedy=say("Install the newer version: pip install --upgrade aimwell. Nothing was changed."),
    )


def _latest_definition(connection: sa.Connection, kind: str, name: str) -> tuple[int, dict[str, Any]] | None:
    query = (
        sa.select(DEFINITIONS.c.version, DEFINITIONS.c.body)
        .where(DEFINITIONS.c.kind == kind, DEFINITIONS.c.name == name)
        .order_by(DEFINITIONS.c.version.desc())
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    return None if row is None else (row.version, row.body)


def _make_sqlite_durable(engine: sa.Engine) -> None:
    # The driver's own transaction handling is switched off, so that BEGIN IMMEDIATE takes the write lock at
    # once: a transaction that read first and then wrote would otherwise fail with SQLITE_BUSY under load.
    @sa.event.listens_for(engine, "connect")
    def _connect(connection: Any, _: object) -> None:
        connection.isolation_level = None
        cursor = connection.cursor()
        # Whoever's commit fills the log pays for moving it into the file: rarely, for the worker does it (``tidy``).
        log = (f"wal_autocheckpoint={_MOST_LOG_PAGES}", f"journal_size_limit={4096 * _MOST_LOG_PAGES}")
        # Zeroing every deleted page would write it to the log, with the lock held: a batch that moves into a file would
        # cost as much again as when it came. Erasing a person writes the whole file anew (``data.erasure_store``).
        limits = (f"busy_timeout={_PATIENCE * 1000:.0f}", *log, "secure_delete=OFF")
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", *limits):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        if connection.get_execution_options().get(_READS_ONLY, False):
            connection.exec_driver_sql("BEGIN")
        else:
            _take_write_lock(connection)


def _take_write_lock(connection: sa.Connection) -> None:
    """Begin a transaction that writes, as soon as nobody else does.

    SQLite itself looks again after pauses of up to 100 ms, which is far longer than a transaction takes.
    """
    cursor = connection.connection.cursor()
    cursor.execute("PRAGMA busy_timeout=0")
    until, looks = time.monotonic() + _PATIENCE, 0
    try:
        while True:
            try:
                cursor.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                    # Once more, for the error that callers know.
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                    return
            time.sleep(_POLL[looks > _EAGER])
            looks += 1
    finally:
        cursor.execute(f"PRAGMA busy_timeout={_PATIENCE * 1000:.0f}")
        cursor.close()
