"""What answers queries: a DuckDB connection in which every table is a view of one snapshot of the warehouse."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import duckdb
import pyarrow as pa

from aimwell.core.errors import AimwellError, NotReady
from aimwell.core.tables import Table
from aimwell.core.text import say
from aimwell.engine.settings import EngineSettings
from aimwell.engine.snapshot import SnapshotViews
from aimwell.engine.views import RESOLVED, have_one_schema, name_stored

_WORD = re.compile(r"\w+")


class Queryable(Protocol):
    """What can answer a query: a run in progress, or a read-only snapshot."""

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """The rows of ``sql``; values are bound as ``$name``."""
        ...


class Session(SnapshotViews):
    """A DuckDB connection in which every table of ``core.tables`` is a view of one snapshot."""

    def __init__(self, settings: EngineSettings, folder: Path, files: Mapping[str, list[str]]) -> None:
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
        self._connection.execute("SET TimeZone = 'UTC'; SET enable_progress_bar = false")
        self._waiting: dict[str, str] = {}
        self._made: set[str] = set()
        self._making = threading.Lock()
        super().__init__(folder, files)

    def register(self, name: str, data: pa.Table) -> None:
        """Make ``data`` a view called ``name``."""
        self._waiting.pop(name, None)
        self._connection.register(name, data)

    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement that answers nothing (temporary tables)."""
        self._make_views(sql)
        try:
            self._connection.execute(sql, dict(parameters) if parameters else None)
        except duckdb.OutOfMemoryException as error:
            raise out_of_memory() from error

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """The rows of ``sql``; values are bound as ``$name``."""
        self._make_views(sql)
        try:
            # ``sql`` rather than ``execute``: the latter would copy the rows once more.
            return self._connection.sql(sql, params=dict(parameters) if parameters else None).to_arrow_table()
        except duckdb.OutOfMemoryException as error:
            raise out_of_memory() from error

    def query_within(
        self, sql: str, parameters: Mapping[str, Any] | None = None, *, seconds: float, memory: str
    ) -> pa.Table:
        """Like ``query``, with what a stranger's SQL may use; NotReady when it takes more time or memory."""
        limit = self._connection.execute("SELECT current_setting('memory_limit')").fetchall()[0][0]
        timer = threading.Timer(seconds, self._connection.interrupt)
        self._connection.execute(f"SET memory_limit = '{memory}'; SET max_temp_directory_size = '{memory}'")
        timer.start()
        try:
            return self.query(sql, parameters)
        except duckdb.InterruptException as error:
            raise _too_slow(seconds) from error
        finally:
            timer.cancel()
            self._connection.execute(f"SET memory_limit = '{limit}'; RESET max_temp_directory_size")

    def query_batches(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.RecordBatchReader:
        """The rows of ``sql`` batch by batch, for answers larger than memory; no other query may run meanwhile."""
        self._make_views(sql)
        relation = self._connection.sql(sql, params=dict(parameters) if parameters else None)
        return relation.to_arrow_reader(50_000)

    def stream(self, table: Table, order: Sequence[str]) -> tuple[pa.Schema, pa.RecordBatchReader]:
        """All rows of ``table`` as they were delivered, sorted, batch by batch, with their schema."""
        sql = f"SELECT * FROM {name_stored(table.name)} ORDER BY {', '.join(order)}"
        self._make_views(sql)
        reader = self._connection.sql(sql).to_arrow_reader(128 * 1024)
        return reader.schema, reader

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def _read_files(self, table: Table, paths: list[Path], stored: Mapping[str, pa.DataType]) -> str:
        names = ", ".join("'" + str(path).replace("'", "''") + "'" for path in paths)
        # By name costs a look at every footer whenever the view is used: only where columns differ.
        by_name = "false" if have_one_schema(paths) else "true"
        return f"read_parquet([{names}], union_by_name = {by_name}, hive_partitioning = false)"

    def _name_query(self, name: str, sql: str, columns: Mapping[str, str]) -> None:
        # Made when a query first names it: dozens of views cost more than most queries, which read two or three.
        with self._making:
            self._waiting[name] = sql
            if name in self._made:
                # Other views may rest on it by now.
                self._make_view(name)

    def _make_views(self, sql: str) -> None:
        """Make the views that ``sql`` may name."""
        # Under the lock even when nothing waits: a view that another thread is making is not there yet.
        with self._making:
            if self._waiting:
                for name in dict.fromkeys(_WORD.findall(sql.lower())):
                    self._make_view(name)

    def _make_view(self, name: str) -> None:
        view = self._waiting.pop(name, None)
        if view is None:
            return
        if name in RESOLVED:
            # What customers' rows rest on (``engine.views``).
            self._make_view(name_stored(name))
            self._make_view("identities")
        self._connection.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS {view}")
        self._made.add(name)


def _too_slow(seconds: float) -> AimwellError:
    return NotReady(
        "engine.query_too_slow",
        say("The query was stopped after {seconds} seconds.", seconds=round(seconds, 1)),
        remedy=say("Let it read fewer rows or join fewer tables."),
    )


def out_of_memory() -> AimwellError:
    """The error of a query that needs more memory than it may have."""
    return NotReady(
        "engine.out_of_memory",
        say("The query needs more memory than the workspace allows."),
        remedy=say("Raise engine.memory_limit in aimwell.toml, or free disk space for temporary files."),
    )
