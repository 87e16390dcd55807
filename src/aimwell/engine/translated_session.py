"""What Spark and ClickHouse have in common: DuckDB's SQL in, their SQL run, rows of DuckDB's types out.

A DuckDB with the same tables, all empty, stands beside the engine. It checks every query before the engine sees it,
and its answer names the types that the engine's rows are given: counts are whole numbers and comparisons true or
false whatever the engine makes of them. Views are made when a query first names them.
"""

from __future__ import annotations

import threading
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from itertools import count
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from aimwell.core.errors import BadInput
from aimwell.core.tables import Table
from aimwell.core.text import say
from aimwell.engine.dialect import Dialect, read_statement, translate
from aimwell.engine.fence import CLOSED, close_off
from aimwell.engine.settings import EngineSettings
from aimwell.engine.snapshot import SnapshotViews
from aimwell.engine.spill import SpillFolder


class TranslatedSession(SnapshotViews):
    """A snapshot on an engine that has words of its own."""

    dialect: Dialect
    title: str

    def __init__(self, settings: EngineSettings, folder: Path, files: Mapping[str, list[str]]) -> None:
        self._settings = settings
        # It reads every query first: what would reach for a file is refused before the engine sees it.
        self._shadow = duckdb.connect(":memory:", config={"threads": 1, **CLOSED})
        self._shadow.execute("SET TimeZone = 'UTC'")
        close_off(self._shadow)
        # Inside the warehouse, so that the machines of a cluster see it too.
        self.spill = SpillFolder(folder, "session")
        self._aside = self.spill.path
        self._numbers = count(1)
        # Threads that share the session are answered one after the other.
        self._turn = threading.RLock()
        self._sources: dict[str, tuple[list[Path], dict[str, pa.DataType]]] = {}
        self._queries: dict[str, str] = {}
        self._ready: set[str] = set()
        super().__init__(folder, files)

    def query(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.Table:
        """The rows of ``sql``; values are bound as ``$name``. BadInput when the engine cannot answer it."""
        values = dict(parameters or {})
        text = translate(sql, self.dialect, values)
        with self._turn:
            schema = self._shadow.sql(sql, params=values or None).to_arrow_table().schema
            self._prepare(text.tables)
            return _give_types(self._run(text.sql, values), schema)

    def query_batches(self, sql: str, parameters: Mapping[str, Any] | None = None) -> pa.RecordBatchReader:
        """The rows of ``sql`` batch by batch."""
        return self.query(sql, parameters).to_reader(50_000)

    def execute(self, sql: str, parameters: Mapping[str, Any] | None = None) -> None:
        """Name the rows of a query (CREATE TEMP TABLE … AS), or drop such a name; BadInput for anything else."""
        statement = read_statement(sql)
        if statement.query is not None:
            self.register(statement.name, self.query(statement.query, parameters))
        else:
            with self._turn:
                self._shadow.unregister(statement.name)
                self._drop(statement.name)

    def register(self, name: str, data: pa.Table) -> None:
        """Make ``data`` a view called ``name``."""
        data = _plain(data)
        path = self._aside / f"{next(self._numbers)}.parquet"
        pq.write_table(data, path)
        with self._turn:
            self._forget(name)
            self._shadow.register(name, data.slice(0, 0))
            self._show_files(name, [path], {field.name: field.type for field in data.schema})
            self._ready.add(name)

    def close(self) -> None:
        """End the session and remove what it wrote aside."""
        self._shadow.close()
        self.spill.close()

    @abstractmethod
    def _run(self, sql: str, values: dict[str, Any]) -> pa.Table:
        """The rows of ``sql`` in the engine's own words; ``fail`` says what went wrong."""

    @abstractmethod
    def _show_files(self, name: str, paths: list[Path], stored: Mapping[str, pa.DataType]) -> None:
        """Make ``name`` a view of Parquet files with these columns (a file may lack some)."""

    @abstractmethod
    def _create_view(self, name: str, sql: str) -> None:
        """Make ``name`` a view of ``sql``, which is in the engine's own words."""

    @abstractmethod
    def _drop(self, name: str) -> None:
        """Take the view ``name`` away."""

    def _fail(self, problem: str) -> BadInput:
        return BadInput(
            "engine.cannot_answer",
            say("{engine} cannot answer this query: {problem}", engine=self.title, problem=problem[:500]),
            remedy=say('Write it in plainer SQL, or set engine.name = "duckdb" in aimwell.toml.'),
        )

    def _read_files(self, table: Table, paths: list[Path], stored: Mapping[str, pa.DataType]) -> str:
        name = f"files_{table.name}"
        self._sources[name] = (paths, dict(stored))
        self._forget(name)
        return name

    def _name_query(self, name: str, sql: str, columns: Mapping[str, str]) -> None:
        self._queries[name] = sql
        self._forget(name)
        empty = ", ".join(f"CAST(NULL AS {kind}) AS {_quote(column)}" for column, kind in columns.items())
        self._shadow.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS SELECT {empty} WHERE false")

    def _forget(self, name: str) -> None:
        """An engine may have bound a view to what it read before, so views over ``name`` are made anew too."""
        self._ready.discard(name)
        for other in [other for other in self._ready if name in self._list_needs(other)]:
            self._forget(other)

    def _list_needs(self, name: str) -> frozenset[str]:
        if name not in self._queries:
            return frozenset()
        return translate(self._queries[name], self.dialect).tables

    def _prepare(self, names: Iterable[str]) -> None:
        for name in sorted(set(names) - self._ready):
            if name in self._sources:
                self._show_files(name, *self._sources[name])
            elif name in self._queries:
                text = translate(self._queries[name], self.dialect)
                self._prepare(text.tables - {name})
                self._create_view(name, text.sql)
            else:
                continue
            self._ready.add(name)


def _give_types(table: pa.Table, schema: pa.Schema) -> pa.Table:
    columns = [
        table.column(number).cast(field.type, safe=not pa.types.is_floating(field.type))
        for number, field in enumerate(schema)
    ]
    return pa.Table.from_arrays(columns, names=schema.names)


def _plain(data: pa.Table) -> pa.Table:
    """``data`` in types that every engine reads: no dictionaries, no columns of unknown type."""
    for number, field in enumerate(data.schema):
        if pa.types.is_dictionary(field.type):
            data = data.set_column(number, field.name, data.column(number).cast(field.type.value_type))
        elif pa.types.is_null(field.type):
            data = data.set_column(number, field.name, data.column(number).cast(pa.int32()))
    return data


def _quote(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
