"""What answers queries: a DuckDB connection in which every table is a view of one snapshot of the warehouse."""

from __future__ import annotations

import re
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import duckdb
import pyarrow as pa

from aimwell.core.errors import AimwellError, NotReady
from aimwell.core.tables import Table
from aimwell.core.text import say
from aimwell.engine.fence import CLOSED, Shown, close_off, query_fenced
from aimwell.engine.settings import EngineSettings
from aimwell.engine.snapshot import SnapshotViews
from aimwell.engine.spill import SpillFolder
from aimwell.engine.views import RESOLVED, have_one_schema, name_stored

_WORD = re.compile(r"\w+")
_TEXT = re.compile(r"'(?:[^']|'')*'")
_LAYER = re.compile(r"_(patch|overlay_\d+)$")
"""What follows a table's name where files are read that lie over its others."""


class Queryable(Protocol):
    """What can answer a query: a run in progress, or a read-only snapshot."""

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """The rows of ``sql``; values are bound as ``$name``."""
        ...


class Session(SnapshotViews):
    """A DuckDB connection in which every table of ``core.tables`` is a view of one snapshot.

    Threads may share it: they are answered one after the other.
    """

    def __init__(self, settings: EngineSettings, folder: Path, files: Mapping[str, list[str]]) -> None:
        self.spill = SpillFolder(folder, "session")
        self._connection = duckdb.connect(
            ":memory:",
            config={
                "memory_limit": settings.memory_limit,
                "threads": settings.threads,
                "temp_directory": str(self.spill.path / "spilt"),
                **CLOSED,
            },
        )
        # Of its cursors (``query_beside``), too.
        self._connection.execute("SET GLOBAL TimeZone = 'UTC'; SET enable_progress_bar = false")
        close_off(self._connection, folders=[folder])
        self._threads = settings.threads
        # What a fenced query is shown: rows in memory, every view's text, and which files a table's view reads.
        self._held: dict[str, pa.Table] = {}
        self._texts: dict[str, str] = {}
        self._read: dict[str, list[Path]] = {}
        self._waiting: dict[str, str] = {}
        self._made: set[str] = set()
        # One connection answers one query at a time: whoever asks meanwhile waits.
        self._turn = threading.RLock()
        super().__init__(folder, files)

    def register(self, name: str, data: pa.Table) -> None:
        """Make ``data`` a view called ``name``."""
        with self._turn:
            self._waiting.pop(name, None)
            self._held[name] = data
            self._connection.register(name, data)

    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Run a statement that answers nothing (temporary tables)."""
        with self._turn:
            self._make_views(sql)
            try:
                self._connection.execute(sql, dict(parameters) if parameters else None)
            except duckdb.OutOfMemoryException as error:
                raise out_of_memory() from error

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """The rows of ``sql``; values are bound as ``$name``."""
        bound = dict(parameters) if parameters else None
        with self._turn:
            self._make_views(sql)
            try:
                # ``sql`` rather than ``execute``: the latter would copy the rows once more.
                return self._connection.sql(sql, params=bound).to_arrow_table()
            except duckdb.OutOfMemoryException as error:
                raise out_of_memory() from error

    def query_within(
        self,
        sql: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        tables: Collection[str],
        seconds: float,
        memory: str,
    ) -> pa.Table:
        """Like ``query``, for a stranger's SQL: in a DuckDB of its own that reaches nothing but these tables.

        NotReady when it takes more time or memory, BadInput when it is no SELECT.
        """
        return query_fenced(
            sql,
            parameters,
            self._show_tables(sql, tables),
            warehouse=self._folder,
            threads=self._threads,
            seconds=seconds,
            memory=memory,
        )

    def query_batches(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.RecordBatchReader:
        """The rows of ``sql`` batch by batch, for answers larger than memory; no other query may run meanwhile."""
        with self._turn:
            self._make_views(sql)
            relation = self._connection.sql(sql, params=dict(parameters) if parameters else None)
            return relation.to_arrow_reader(50_000)

    def query_beside(
        self, sql: str, parameters: Mapping[str, Any] | None = None, *, rows: int
    ) -> pa.RecordBatchReader:
        """The rows of ``sql`` over attached databases in batches of ``rows``, while other queries run, too."""
        # A cursor answers one query at a time and ends with its reader.
        with self._turn:
            relation = self._connection.cursor().sql(sql, params=dict(parameters) if parameters else None)
            return relation.to_arrow_reader(rows)

    def stream(self, table: Table, order: Sequence[str]) -> tuple[pa.Schema, pa.RecordBatchReader]:
        """All rows of ``table`` as they were delivered, sorted by ``order``, batch by batch, with their schema."""
        sql = f"SELECT * FROM {name_stored(table.name)}" + (f" ORDER BY {', '.join(order)}" if order else "")
        with self._turn:
            self._make_views(sql)
            reader = self._connection.sql(sql).to_arrow_reader(128 * 1024)
            return reader.schema, reader

    def close(self) -> None:
        """End the connection, and remove what it spilt."""
        self._connection.close()
        self.spill.close()

    def _read_files(self, table: Table, paths: list[Path], stored: Mapping[str, pa.DataType]) -> str:
        self._read[table.name] = paths
        names = ", ".join("'" + str(path).replace("'", "''") + "'" for path in paths)
        # By name costs a look at every footer whenever the view is used: only where columns differ.
        by_name = "false" if have_one_schema(paths) else "true"
        return f"read_parquet([{names}], union_by_name = {by_name}, hive_partitioning = false)"

    def _name_query(self, name: str, sql: str, columns: Mapping[str, str]) -> None:
        # Made when a query first names it: dozens of views cost more than most queries, which read two or three.
        with self._turn:
            self._waiting[name] = self._texts[name] = sql
            self._held.pop(name, None)
            if name in self._made:
                # Other views may rest on it by now.
                self._make_view(name)

    def _make_views(self, sql: str) -> None:
        """Make the views that ``sql`` may name."""
        if self._waiting:
            for name in dict.fromkeys(_WORD.findall(sql.lower())):
                self._make_view(name)

    def _show_tables(self, sql: str, tables: Collection[str]) -> Shown:
        """Those of ``tables`` that ``sql`` names, and what they rest on."""
        shown = Shown()

        def add(names: Iterable[str]) -> None:
            for name in names:
                if name in self._held:
                    shown.tables[name] = self._held[name]
                elif name in self._texts and name not in seen:
                    seen.add(name)
                    # The path of a file may hold any word: only what stands outside of texts is a name.
                    add(_WORD.findall(_TEXT.sub("", self._texts[name])))
                    shown.views[name] = self._texts[name]

        seen: set[str] = set()
        add(name for name in dict.fromkeys(_WORD.findall(sql.lower())) if name in tables)
        shown.files = [
            path
            for table, paths in self._read.items()
            if name_stored(_LAYER.sub("", table)) in seen
            for path in paths
        ]
        return shown

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


def out_of_memory() -> AimwellError:
    """The error of a query that needs more memory than it may have."""
    return NotReady(
        "engine.out_of_memory",
        say("The query needs more memory than the workspace allows."),
        remedy=say("Raise engine.memory_limit in aimwell.toml, or free disk space for temporary files."),
    )
