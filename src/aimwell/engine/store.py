"""The store: small, transactional, durable. SQLAlchemy 2 Core, Alembic; a SQLite file by default, or PostgreSQL."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from aimwell.core.errors import Conflict, NotReady
from aimwell.core.text import say
from aimwell.core.time import now
from aimwell.engine.audit import name_actor, record
from aimwell.engine.driver_statements import Rows, Statement
from aimwell.engine.in_loop import is_in_loop
from aimwell.engine.settings import Settings
from aimwell.engine.store_engine import (
    FIRST,
    GATED,
    MOST_CONNECTIONS,
    PATIENCE,
    READS_ONLY,
    WAITS_NOT,
    allow_silence,
    create_schema,
    hide_password,
    make_engine,
    read_address,
)
from aimwell.engine.store_errors import explained
from aimwell.engine.store_tables import DEFINITIONS

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

STORE_FILE = "store.sqlite"
_LONG_LOG_PAGES = 2_048
"""8 MB: so much is written anew at the log's beginning, into room that the disk has given it already."""


class Store:
    """A connection pool on the store's database, with the schema brought up to date."""

    def __init__(self, url: str, *, schema: str | None = None) -> None:
        self.url = url
        self.schema = schema
        self.engine = make_engine(url, schema=schema)
        # A store that nobody closed still gives its connections back when it is collected.
        weakref.finalize(self, self.engine.dispose)

    @classmethod
    def open_file(cls, path: Path) -> Store:
        """The SQLite store in the file ``path``, made if it is not there."""
        store = cls(f"sqlite:///{path}")
        store.migrate()
        return store

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a file, of which whoever uses it must move the log."""
        return self.engine.dialect.name == "sqlite"

    @property
    def has_connection(self) -> bool:
        """Whether a transaction would not wait for another one of this process to give its connection back."""
        pool = self.engine.pool
        return not isinstance(pool, sa.QueuePool) or pool.checkedout() < MOST_CONNECTIONS

    @contextmanager
    def begin(self, *, gated: bool = False, wait: bool = True) -> Iterator[sa.Connection]:
        """A transaction that writes: committed at the end, rolled back on an exception; one at a time.

        ``gated``: it takes a gate row of its own before anything else, or changes only rows whose fence it holds; on
        PostgreSQL it then runs beside other such transactions. Without ``wait`` it is NotReady with the code ``BUSY``
        where somebody else's turn it is just now, and the thread would have to wait for that (``run_in_loop`` lets it
        do something else). NotReady when the database cannot be reached or has no room: nothing of the transaction is
        there, unless the connection broke at its very end.
        """
        options = {GATED: gated, WAITS_NOT: not (wait or is_in_loop())}
        with explained(), self._begin(options) as connection:
            yield connection

    @contextmanager
    def begin_with(
        self, first: Sequence[Statement], *, wait: bool = True
    ) -> Iterator[tuple[sa.Connection, list[Rows]]]:
        """As ``begin``, with the rows of its first statements, which go to a server in the packet that begins it."""
        options = {WAITS_NOT: not (wait or is_in_loop()), FIRST: first}
        with explained(), self._begin(options) as connection:
            yield connection, connection.info.pop(FIRST)

    def _begin(self, options: Mapping[str, Any]) -> AbstractContextManager[sa.Connection]:
        told = {name: value for name, value in options.items() if value}
        return (self.engine.execution_options(**told) if told else self.engine).begin()

    def tidy(self) -> None:
        """Move what was committed from the log into the file. Nothing to do but in SQLite.

        Most of it keeps nobody waiting. A log that has grown long begins anew, for which writers wait a moment.
        """
        if not self.is_sqlite:
            return
        with explained():
            self._move_log()

    def _move_log(self) -> None:
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
                    cursor.execute(f"PRAGMA busy_timeout={PATIENCE * 1000:.0f}")
            cursor.close()
        finally:
            connection.close()

    @contextmanager
    def snapshot(self) -> Iterator[sa.Connection]:
        """A transaction that only reads, all its queries one state of the store; it waits for no writer."""
        options: dict[str, Any] = {READS_ONLY: True}
        if not self.is_sqlite:
            options |= {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        with explained(), self.engine.execution_options(**options).begin() as connection:
            yield connection

    def close(self) -> None:
        """Give the connections back."""
        self.engine.dispose()

    def migrate(self, revision: str = "head") -> None:
        """Bring the schema to this version of Aimwell (or to ``revision``); nothing happens when it is there."""
        from alembic import command

        config, scripts = read_migrations()
        if self.schema is not None and not self.is_sqlite:
            create_schema(self.url, self.schema)
        current = self.read_revision()
        if current == (scripts.get_current_head() if revision == "head" else revision):
            return
        if current is not None and current not in {script.revision for script in scripts.walk_revisions()}:
            raise _written_by_newer()
        # Of two processes that come at once one waits for the other, and then finds nothing to do.
        with self.begin() as connection:
            allow_silence(connection)
            config.attributes["connection"] = connection
            command.upgrade(config, revision)

    def read_revision(self) -> str | None:
        """The version of the schema that stands there; None where there is none."""
        with explained(), self.engine.execution_options(**{READS_ONLY: True}).connect() as connection:
            if not sa.inspect(connection).has_table("alembic_version"):
                return None
            found = connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()
        return None if found is None else str(found)

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
            record(connection, "definition.saved", f"{kind}/{name}", {"version": version}, actor=actor)
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
            record(connection, action, subject, detail or {}, actor=actor or name_actor())


def open_store(folder: Path, settings: Settings, *, new: bool = False, revision: str = "head") -> Store:
    """The store of the workspace in ``folder``: the database that its settings name, else a file in the folder.

    With ``new``, Conflict when another workspace's tables stand in that database already.
    """
    folder.mkdir(parents=True, exist_ok=True)
    store = connect_store(folder, settings)
    try:
        if new and not store.is_sqlite and store.read_revision() is not None:
            raise _holds_another(hide_password(str(settings.store.url)))
        store.migrate(revision)
    except BaseException:
        store.close()
        raise
    return store


def connect_store(folder: Path, settings: Settings) -> Store:
    """The same, whatever its tables are like."""
    if settings.store.url is None:
        return Store(f"sqlite:///{folder / STORE_FILE}")
    address = read_address(settings.store.url)
    if address.password is None and settings.store_password is not None:
        address = address.set(password=settings.store_password.get_secret_value())
    return Store(address.render_as_string(hide_password=False), schema=settings.store.schema_name)


def _holds_another(address: str) -> Conflict:
    return Conflict(
        "engine.store_taken",
        say("The store of a workspace stands at {address} already.", address=address),
        remedy=say("Choose another database, or another schema: [store] schema_name."),
    )


def read_migrations() -> tuple[Config, ScriptDirectory]:
    """Alembic's settings, and all versions of the schema."""
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(files("aimwell.engine") / "migrations"))
    return config, ScriptDirectory.from_config(config)


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
