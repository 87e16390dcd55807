"""The second wall around SQL that a person wrote: a DuckDB of its own, which can do nothing but read what it is shown.

The first wall (``engine.guarded_sql``) reads the text. Should something pass it, this one still has no other tables,
no other files, no network, no extensions and no settings to change, and takes a SELECT only. Writes nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from aimwell.core.errors import AimwellError, BadInput, NotReady
from aimwell.core.text import say
from aimwell.engine.spill import SpillFolder

CLOSED: Mapping[str, str | bool] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    # Otherwise a name that is no table would be looked up among the variables of our own code.
    "python_enable_replacements": False,
}
"""Settings of every connection that answers queries over the warehouse."""


@dataclass
class Shown:
    """What is visible inside: tables in memory, views in the order in which they are made, and the views' files."""

    tables: dict[str, pa.Table] = field(default_factory=dict)
    views: dict[str, str] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)


def close_off(
    connection: duckdb.DuckDBPyConnection, *, folders: Iterable[Path] = (), files: Iterable[Path] = ()
) -> None:
    """From now on the connection reaches these folders and files (and its temporary folder), nothing else."""
    connection.execute(
        f"SET allowed_directories = {_list(folders)}; SET allowed_paths = {_list(files)};"
        " SET enable_external_access = false"
    )


def query_fenced(
    sql: str,
    parameters: Mapping[str, Any] | None,
    shown: Shown,
    *,
    warehouse: Path,
    threads: int,
    seconds: float,
    memory: str,
) -> pa.Table:
    """The rows of the one SELECT ``sql`` over what is shown; ``memory`` such as 512MB, on disk as much again.

    BadInput when it is no SELECT, NotReady when it takes more of either, duckdb.Error when it cannot be answered.
    """
    with (
        SpillFolder(warehouse, "fenced") as own,
        closing(_open(str(own.path / "spilt"), threads, memory)) as connection,
    ):
        for name, rows in shown.tables.items():
            connection.register(name, rows)
        for name, view in shown.views.items():
            connection.execute(f"CREATE TEMP VIEW {name} AS {view}")
        close_off(connection, files=shown.files)
        connection.execute("SET lock_configuration = true")
        kinds = [statement.type for statement in connection.extract_statements(sql)]
        if kinds != [duckdb.StatementType.SELECT]:
            problem = say("it is no SELECT")
            raise BadInput("engine.sql_not_a_select", say("This SQL is refused: {problem}.", problem=problem))
        timer = threading.Timer(seconds, connection.interrupt)
        timer.start()
        try:
            return connection.sql(sql, params=dict(parameters) if parameters else None).to_arrow_table()
        except duckdb.InterruptException as error:
            raise _too_slow(seconds) from error
        except duckdb.OutOfMemoryException as error:
            raise _too_large(memory) from error
        finally:
            timer.cancel()
            # It may be about to interrupt: then that falls on this query, never on what comes after it.
            timer.join()


def _open(temporary: str, threads: int, memory: str) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(
        ":memory:",
        config={
            "memory_limit": memory,
            "max_temp_directory_size": memory,
            "threads": threads,
            "temp_directory": temporary,
            **CLOSED,
        },
    )
    connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
    return connection


def _list(paths: Iterable[Path]) -> str:
    return "[" + ", ".join("'" + str(path.absolute()).replace("'", "''") + "'" for path in paths) + "]"


def _too_slow(seconds: float) -> AimwellError:
    return NotReady(
        "engine.query_too_slow",
        say("The query was stopped after {seconds} seconds.", seconds=round(seconds, 1)),
        remedy=say("Let it read fewer rows or join fewer tables."),
    )


def _too_large(memory: str) -> AimwellError:
    return NotReady(
        "engine.query_too_large",
        say("The query was stopped: it needs more memory than {memory}.", memory=memory),
        remedy=say("Let it read fewer rows or join fewer tables."),
    )
