"""Tables and queries of any database that SQLAlchemy knows, as deliveries. Reads a database; writes nothing.

The transaction is read-only where the database has such, rows come through a cursor on the server, and what is
kept and shown of the address never holds a password.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from aimwell.core.errors import BadInput
from aimwell.core.text import say
from aimwell.data.dialect import name_columns
from aimwell.data.pieces import ROWS, Delivery, Mark, Piece, cut_rows

PASSWORD = "AIMWELL_SOURCE_PASSWORD"
"""The environment variable that gives the password of an address without one."""
_SECRETS = ("password", "passwd", "token", "secret", "key", "credential")


def is_address(place: str) -> bool:
    """Whether ``place`` is the address of a database rather than a file."""
    return "://" in place


def open_database(address: str, *, query: str | None, table: str | None) -> Delivery:
    """The rows of ``query`` or of ``table`` ([schema.]name); BadInput when they cannot be read."""
    url = _read_address(address)
    shown = hide_secrets(url)
    statement = _choose_statement(url, shown, query, table)
    name = f"{shown}#{table or 'query'}"
    with _connect(url, shown) as connection:
        columns = name_columns(_list_columns(connection, statement, shown), name)

    def read(mark: Mark) -> Iterator[Piece]:
        with _connect(url, shown) as connection:
            rows = _run(connection, statement, shown)
            numbered = (
                (number, [_write(value) for value in row]) for number, row in enumerate(rows, mark.line)
            )
            yield from cut_rows(numbered, len(columns))

    return Delivery(name, columns, url.get_backend_name(), "", read, Mark(0, 1))


def name_source(address: str, table: str | None) -> str:
    """What the source is called when nobody says: the table, else the database."""
    url = _read_address(address)
    return (table or (url.database or "database").rsplit("/", 1)[-1]).rsplit(".", 1)[-1]


def hide_secrets(url: sa.URL) -> str:
    """The address without password, and without options that may be one."""
    kept = {
        name: value
        for name, value in url.query.items()
        if not any(secret in name.casefold() for secret in _SECRETS)
    }
    return sa.URL.create(
        url.drivername, url.username, None, url.host, url.port, url.database, kept
    ).render_as_string(hide_password=True)


def _read_address(address: str) -> sa.URL:
    try:
        url = sa.make_url(address)
    except (sa.exc.ArgumentError, ValueError) as error:
        raise BadInput(
            "data.bad_address",
            say("The address of the database cannot be read."),
            remedy=say("Write it as postgresql+psycopg://user@host/database."),
        ) from error
    password = os.environ.get(PASSWORD)
    return url.set(password=password) if password and url.host and not url.password else url


def _choose_statement(url: sa.URL, shown: str, query: str | None, table: str | None) -> sa.TextClause:
    if query is not None and table is None:
        return sa.text(query.strip().rstrip(";").replace(":", "\\:"))
    if table is not None and query is None:
        preparer = url.get_dialect()().identifier_preparer
        return sa.text(
            "SELECT * FROM " + ".".join(preparer.quote_identifier(part) for part in table.split("."))
        )
    raise BadInput(
        "data.which_rows",
        say("Which rows of {address} are meant is not said.", address=shown),
        remedy=say('Name a table or a query: --table NAME or --query "SELECT …".'),
        where={"file": shown},
    )


class _connect:
    """A read-only connection with a cursor on the server, closed at the end of the block."""

    def __init__(self, url: sa.URL, shown: str) -> None:
        self._url, self._shown = url, shown

    def __enter__(self) -> sa.Connection:
        try:
            if self._url.get_backend_name() == "sqlite":
                _check_sqlite(self._url, self._shown)
            self._engine = sa.create_engine(self._url, poolclass=sa.NullPool)
            connection = self._engine.connect()
            self._connection = _make_read_only(connection)
        except (sa.exc.SQLAlchemyError, ImportError) as error:
            raise _refuse(self._shown, error) from error
        return self._connection

    def __exit__(self, *_: object) -> None:
        self._connection.rollback()
        self._connection.close()
        self._engine.dispose()


def _check_sqlite(url: sa.URL, shown: str) -> None:
    # SQLite would make an empty database of a name that it does not find.
    if url.database and url.database != ":memory:" and not os.path.isfile(url.database):
        raise BadInput(
            "data.no_file",
            say("There is no file '{file}'.", file=url.database),
            remedy=say("Check the name and the folder."),
            where={"file": shown},
        )


def _make_read_only(connection: sa.Connection) -> sa.Connection:
    backend = connection.dialect.name
    options: dict[str, Any] = {"stream_results": True, "max_row_buffer": ROWS}
    if backend == "postgresql":
        options |= {"postgresql_readonly": True, "isolation_level": "REPEATABLE READ"}
    connection = connection.execution_options(**options)
    if backend == "sqlite":
        connection.exec_driver_sql("PRAGMA query_only = ON")
    elif backend in ("mysql", "mariadb"):
        connection.exec_driver_sql("SET TRANSACTION READ ONLY")
    return connection


def _run(connection: sa.Connection, statement: sa.TextClause, shown: str) -> Iterator[tuple[Any, ...]]:
    try:
        result = connection.execute(statement)
        for part in result.partitions(5_000):
            yield from (tuple(row) for row in part)
    except sa.exc.SQLAlchemyError as error:
        raise _refuse(shown, error) from error


def _list_columns(connection: sa.Connection, statement: sa.TextClause, shown: str) -> list[str]:
    try:
        with connection.execute(statement) as result:
            if not result.returns_rows:
                raise BadInput(
                    "data.no_query",
                    say("The statement gives no rows."),
                    remedy=say('Name a table or a query: --table NAME or --query "SELECT …".'),
                    where={"file": shown},
                )
            return [str(name) for name in result.keys()]  # noqa: SIM118 (a result, not a dictionary)
    except sa.exc.SQLAlchemyError as error:
        raise _refuse(shown, error) from error


def _refuse(shown: str, error: Exception) -> BadInput:
    # The driver's words may repeat the address with its password, or values of rows: only their kind is told.
    original = getattr(error, "orig", None) or error
    if isinstance(error, sa.exc.ProgrammingError | sa.exc.OperationalError | sa.exc.InternalError):
        problem = _first_line(original)
    else:
        problem = type(original).__name__
    return BadInput(
        "data.database",
        say("The database {address} refused: {problem}", address=shown, problem=problem),
        remedy=say(
            "Check the address, the rights of the user, and the query. The driver must be installed, and the password "
            "may stand in the environment variable {variable}.",
            variable=PASSWORD,
        ),
        where={"file": shown},
    )


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    line = lines[0] if lines else type(error).__name__
    return type(error).__name__ if "://" in line or "password=" in line else line[:200]


def _write(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return (
            str(int(value)) if value == value and abs(value) < 1e15 and value == int(value) else repr(value)
        )
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, bytes | memoryview):
        return bytes(value).hex()
    if isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value).replace("\0", "␀")
