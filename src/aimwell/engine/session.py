"""What answers queries: a DuckDB connection in which every table is a view of one snapshot of the warehouse."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol

import duckdb
import pyarrow as pa

from aimwell.core.errors import AimwellError, NotReady
from aimwell.core.tables import ALL_TABLES, Table, Type
from aimwell.core.text import say
from aimwell.engine.settings import EngineSettings

_DUCKDB_TYPES = {
    Type.TEXT: "VARCHAR",
    Type.INTEGER: "BIGINT",
    Type.REAL: "DOUBLE",
    Type.MONEY: "DECIMAL(18,2)",
    Type.BOOLEAN: "BOOLEAN",
    Type.DATE: "DATE",
    Type.INSTANT: "TIMESTAMPTZ",
    Type.JSON: "VARCHAR",
    Type.MESSAGE: "VARCHAR",
}


class Queryable(Protocol):
    """What can answer a query: a run in progress, or a read-only snapshot."""

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """The rows of ``sql``; values are bound as ``$name``."""
        ...


class Session:
    """A DuckDB connection in which every table of ``core.tables`` is a view of one snapshot."""

    def __init__(self, settings: EngineSettings, folder: Path, files: Mapping[str, list[str]]) -> None:
        self._folder = folder
        self._connection = duckdb.connect(
            ":memory:",
            config={
                "memory_limit": settings.memory_limit,
                "threads": settings.threads,
                "temp_directory": str(folder / "temporary"),
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            },
        )
        self._connection.execute("SET TimeZone = 'UTC'")
        for table in ALL_TABLES:
            self.show(table, files.get(table.name, []))

    def show(self, table: Table, paths: Iterable[str]) -> None:
        """Make the view of ``table`` read these files (none: an empty table of the declared columns)."""
        found = [str(self._folder / path) for path in paths]
        self._connection.execute(f"CREATE OR REPLACE TEMP VIEW {table.name} AS {_select_files(table, found)}")

    def register(self, name: str, data: pa.Table) -> None:
        """Make ``data`` a view called ``name``."""
        self._connection.register(name, data)

    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement that answers nothing (temporary tables)."""
        try:
            self._connection.execute(sql, dict(parameters) if parameters else None)
        except duckdb.OutOfMemoryException as error:
            raise _out_of_memory() from error

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """The rows of ``sql``; values are bound as ``$name``."""
        try:
            # ``sql`` rather than ``execute``: the latter would copy the rows once more.
            return self._connection.sql(sql, params=dict(parameters) if parameters else None).to_arrow_table()
        except duckdb.OutOfMemoryException as error:
            raise _out_of_memory() from error

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


def _select_files(table: Table, paths: list[str]) -> str:
    if not paths:
        columns = ", ".join(f"CAST(NULL AS {_DUCKDB_TYPES[c.type]}) AS {c.name}" for c in table.columns)
        return f"SELECT {columns} WHERE false"
    names = ", ".join("'" + path.replace("'", "''") + "'" for path in paths)
    return f"SELECT * FROM read_parquet([{names}], union_by_name = true, hive_partitioning = false)"


def _out_of_memory() -> AimwellError:
    return NotReady(
        "engine.out_of_memory",
        say("The query needs more memory than the workspace allows."),
        remedy=say("Raise engine.memory_limit in aimwell.toml, or free disk space for temporary files."),
    )
