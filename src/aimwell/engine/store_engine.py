"""How the store's database is opened: SQLite made durable, PostgreSQL with one writer at a time.

On both, a transaction that writes begins by taking the store's lock: what it reads first still holds when it writes.
SQLite has that lock itself; on PostgreSQL it is an advisory lock of the schema. Transactions that take a gate of their
own (``hot_gate``, ``contact_gate``) share it, and run beside each other. A connection that is lost gives its locks
back within seconds, for the server is told to ask whether the client still lives.
"""

from __future__ import annotations

import math
import sqlite3
import time
from typing import Any

import sqlalchemy as sa

from aimwell.core.errors import BadInput
from aimwell.core.text import say
from aimwell.engine import postgres_connection
from aimwell.engine.driver_statements import Statement, forget_kept, run_all, run_with_commit
from aimwell.engine.postgres_connection import end_idle, open_connection
from aimwell.engine.store_errors import busy, explain_failure, is_busy

READS_ONLY = "aimwell_reads_only"
GATED = "aimwell_gated"
WAITS_NOT = "aimwell_waits_not"
FIRST = "aimwell_first"
PATIENCE = 30.0
"""Seconds that a transaction waits for its turn to write."""
_MOST_LOG_PAGES = 16_384
"""64 MB: a log that nobody moved into the file meanwhile."""
_POLL = (0.00025, 0.001)
"""Seconds between two looks at the lock: the first of them, and all after ``_EAGER`` looks."""
_EAGER = 20
_SILENCE = 300
"""Seconds without a word of the server after which it counts as unreachable."""
_KEPT_CONNECTIONS, MOST_CONNECTIONS = 5, 25
"""Of one process to a server: those that stay open, and all that it may have at once."""
_CONNECT = 10
"""Seconds within which the server must answer."""
_RECENT = 0.2
"""Seconds after the server's last word for which nobody asks it whether it is there: it does not start anew so fast."""
_LOCK = "SELECT {function}(hashtextextended(current_database() || '/' || current_schema() || '/aimwell', 0))"


def make_engine(url: str, *, schema: str | None = None) -> sa.Engine:
    """The pool of connections to the database ``url``. What was to be written stands in no error of it."""
    read = sa.make_url(url)
    if read.get_backend_name() == "sqlite":
        engine = sa.create_engine(read, hide_parameters=True)
        _make_sqlite_durable(engine)
        return engine
    return _open_postgres(read, schema)


def read_address(url: str) -> sa.URL:
    """The address of a PostgreSQL database; ValueError when it is none."""
    try:
        read = sa.make_url(url)
    except sa.exc.ArgumentError as error:
        raise ValueError("no address of a database") from error
    if read.get_backend_name() not in ("postgresql", "postgres") or not read.database:
        raise ValueError("no address of a PostgreSQL database")
    return read.set(drivername="postgresql+psycopg")


def has_password(url: str) -> bool:
    """Whether a password stands in the address, at its place or among its options."""
    try:
        read = sa.make_url(url)
    except sa.exc.ArgumentError:
        return False
    return bool(read.password) or any("pass" in name.casefold() for name in read.query)


def hide_password(url: str) -> str:
    """The address as it may be shown: without password."""
    try:
        read = sa.make_url(url)
    except sa.exc.ArgumentError:
        return "***"
    kept = {name: value for name, value in read.query.items() if "pass" not in name.casefold()}
    return read.set(query=kept)._replace(password=None).render_as_string(hide_password=True)


def _open_postgres(url: sa.URL, schema: str | None) -> sa.Engine:
    settings = {
        "lock_timeout": f"{PATIENCE * 1000:.0f}",
        "idle_in_transaction_session_timeout": f"{postgres_connection.IDLE * 1000}",
        # Who cut the network learns it from its own side; the server must, too, or it would keep the locks for hours.
        "tcp_keepalives_idle": "10",
        "tcp_keepalives_interval": "5",
        "tcp_keepalives_count": "3",
        "tcp_user_timeout": "20000",
    }
    if schema is not None:
        settings["search_path"] = schema
    arguments = {
        "connect_timeout": _CONNECT,
        "application_name": "aimwell",
        "options": " ".join(f"-c {name}={value}" for name, value in settings.items()),
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 20_000,
    }
    try:
        engine = sa.create_engine(
            url,
            hide_parameters=True,
            pool_pre_ping=True,
            pool_size=_KEPT_CONNECTIONS,
            max_overflow=MOST_CONNECTIONS - _KEPT_CONNECTIONS,
            connect_args=arguments,
        )
    except ImportError as error:
        raise BadInput(
            "engine.no_driver",
            say("The driver for PostgreSQL is not installed."),
            remedy=say("Install it: pip install 'aimwell[postgresql]'."),
        ) from error

    _ask_seldom(engine)

    @sa.event.listens_for(engine, "do_connect")
    def _connect(dialect: Any, record: Any, given: Any, values: Any) -> Any:
        return open_connection(_SILENCE, *given, **values)

    @sa.event.listens_for(engine, "handle_error")
    def _explain(context: sa.ExceptionContext) -> None:
        if is_busy(context.original_exception):
            end_idle(engine)

    sa.event.listen(engine, "begin", _begin_on_postgres)
    sa.event.listen(engine, "commit", run_with_commit)
    sa.event.listen(engine, "rollback", forget_kept)
    return engine


def _begin_on_postgres(connection: sa.Connection) -> None:
    """Take the store's lock, and run what is to go to the server with it."""
    options = connection.get_execution_options()
    if options.get(READS_ONLY, False):
        return
    shared = "_shared" if options.get(GATED, False) else ""
    waits, first = not options.get(WAITS_NOT, False), options.get(FIRST, ())
    function = f"pg_{'' if waits else 'try_'}advisory_xact_lock{shared}"
    lock = Statement(_LOCK.format(function=function))
    if waits:
        # The lock is a statement of its own: what follows sees all that was committed until it was had.
        _, *connection.info[FIRST] = run_all(connection, [lock, *first])
        return
    if not run_all(connection, [lock])[0][0][0]:
        raise busy()
    connection.info[FIRST] = run_all(connection, first)


def _ask_seldom(engine: sa.Engine) -> None:
    """Whether the server is there is asked before a transaction only where nothing was heard of it just now.

    A question more before each of many short transactions is a fifth of what they take.
    """
    ask = engine.dialect.do_ping

    def ping(connection: Any) -> bool:
        return time.monotonic() - connection.heard < _RECENT or ask(connection)

    setattr(engine.dialect, "do_ping", ping)  # noqa: B010  (a method cannot be assigned to)


def allow_silence(connection: sa.Connection) -> None:
    """For what may take hours without a word (an index on a large table); the connection is closed afterwards."""
    if connection.dialect.name == "postgresql":
        opened: Any = connection.connection.driver_connection
        opened.patience = math.inf
        connection.detach()


def create_schema(url: str, schema: str) -> None:
    """Make the schema unless it is there; on a connection of its own, before the pool asks what its schema is."""
    engine = sa.create_engine(sa.make_url(url), poolclass=sa.NullPool, hide_parameters=True)
    there = sa.text("SELECT 1 FROM pg_namespace WHERE nspname = :name")
    # IF NOT EXISTS looks and makes in two steps: of two processes that come first, one would fail.
    alone = sa.text("SELECT pg_advisory_xact_lock(hashtextextended('aimwell/schema/' || :name, 0))")
    try:
        with engine.begin() as connection:
            connection.execute(alone, {"name": schema})
            if connection.execute(there, {"name": schema}).first() is None:
                connection.execute(sa.schema.CreateSchema(schema, if_not_exists=True))
    except sa.exc.DBAPIError as error:
        raise explain_failure(error) from error
    finally:
        engine.dispose()


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
        limits = (f"busy_timeout={PATIENCE * 1000:.0f}", *log, "secure_delete=OFF")
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", *limits):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        options = connection.get_execution_options()
        if options.get(READS_ONLY, False):
            connection.exec_driver_sql("BEGIN")
        else:
            _take_write_lock(connection, 0.0 if options.get(WAITS_NOT, False) else PATIENCE)
            connection.info[FIRST] = run_all(connection, options.get(FIRST, ()))


def _take_write_lock(connection: sa.Connection, patience: float) -> None:
    """Begin a transaction that writes, as soon as nobody else does; for so many seconds.

    SQLite itself looks again after pauses of up to 100 ms, which is far longer than a transaction takes.
    """
    cursor = connection.connection.cursor()
    cursor.execute("PRAGMA busy_timeout=0")
    until, looks = time.monotonic() + patience, 0
    try:
        while True:
            try:
                cursor.execute("BEGIN IMMEDIATE")
                return
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() >= until:
                    # Once more, for the error that callers know.
                    connection.exec_driver_sql("BEGIN IMMEDIATE")
                    return
            time.sleep(_POLL[looks > _EAGER])
            looks += 1
    finally:
        cursor.execute(f"PRAGMA busy_timeout={PATIENCE * 1000:.0f}")
        cursor.close()
