"""A private DuckDB in which one file is read and parsed before anything touches the warehouse.

Beyond its memory limit it spills into a folder of the workspace (``engine.spill``), where an erasure finds what it
held, even if its process was killed; at the end it is thrown away. Reads and writes no table.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import duckdb
import pyarrow as pa

from aimwell.engine.session import out_of_memory
from aimwell.engine.spill import SpillFolder


class Scratch:
    """A folder with a DuckDB connection; use it in a ``with`` block.

    ``warehouse``: that of the workspace whose people the rows are about; None, which is the system's temporary folder,
    is for rows that are nobody's here (public data).
    """

    def __init__(self, warehouse: Path | None = None, *, memory_limit: str = "2GB", threads: int = 2) -> None:
        self._end = ExitStack()
        if warehouse is None:
            self.folder = Path(self._end.enter_context(tempfile.TemporaryDirectory(prefix="aimwell-")))
        else:
            own = self._end.enter_context(SpillFolder(warehouse, "scratch"))
            self._end.enter_context(own.watch())
            self.folder = own.path
        # In memory, spilling what does not fit: a database file compresses every column, five times the work.
        self._connection = duckdb.connect(
            ":memory:",
            config={
                "memory_limit": memory_limit,
                "threads": threads,
                "temp_directory": str(self.folder / "spill"),
                "autoinstall_known_extensions": False,
            },
        )
        # Of its cursors (``stream``), too: no text may depend on the zone of the machine that read it.
        self._connection.execute("SET GLOBAL TimeZone = 'UTC'; SET enable_progress_bar = false")

    def __enter__(self) -> Scratch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()
        self._end.__exit__(kind, error, trace)

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """The rows of ``sql`` as an Arrow table; values are bound as ``$name``."""
        try:
            return self._connection.sql(sql, params=dict(parameters) if parameters else None).to_arrow_table()
        except duckdb.OutOfMemoryException as error:
            raise out_of_memory() from error

    def rows(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """The rows of ``sql`` as dictionaries, for small answers."""
        return list(self.query(sql, parameters).to_pylist())

    def describe(self, sql: str, parameters: Mapping[str, Any] | None = None) -> list[str]:
        """The names of the columns of ``sql``."""
        return list(self._connection.sql(sql, params=dict(parameters) if parameters else None).columns)

    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement that answers nothing."""
        try:
            self._connection.execute(sql, dict(parameters or {}))
        except duckdb.OutOfMemoryException as error:
            raise out_of_memory() from error

    def clear(self) -> None:
        """Drop all tables; views over files stay."""
        for row in self.rows("SELECT table_name FROM duckdb_tables()"):
            self.execute(f"DROP TABLE {quote(row['table_name'])}")

    def register(self, name: str, data: pa.Table) -> None:
        """Make ``data`` a view called ``name``."""
        self._connection.register(name, data)

    def stream(
        self, sql: str, parameters: Mapping[str, Any] | None = None, *, rows: int = 50_000
    ) -> pa.RecordBatchReader:
        """The rows of ``sql`` in batches; other queries may run meanwhile."""
        relation = self._connection.cursor().sql(sql, params=dict(parameters) if parameters else None)
        try:
            return relation.to_arrow_reader(rows)
        except duckdb.OutOfMemoryException as error:
            raise out_of_memory() from error


def quote(name: str) -> str:
    """An SQL identifier for a name that a source chose."""
    return '"' + name.replace('"', '""') + '"'


def literal(value: str) -> str:
    """An SQL text constant, for the names and signs that a statement is built from."""
    return "'" + value.replace("'", "''") + "'"
