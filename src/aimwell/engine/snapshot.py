"""One snapshot of the warehouse as views, whatever the engine: files, rows not yet in files, joined customers.

An engine says how it reads files and how it names a query; which views there are, over what, is decided here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from aimwell.core.tables import ALL_TABLES, TABLES, Table
from aimwell.engine.layers import split_layers
from aimwell.engine.views import (
    RESOLVED,
    count_rows,
    name_stored,
    read_schema,
    render_empty,
    render_resolved,
    render_stored,
    type_columns,
)


class SnapshotViews(ABC):
    """Keeps a view for every table of ``core.tables`` and, where facts arrive, one of the rows as delivered."""

    def __init__(self, folder: Path, files: Mapping[str, list[str]]) -> None:
        self._folder = folder
        self._columns: dict[str, dict[str, str]] = {}
        self._hot: dict[str, pa.Schema] = {}
        self._any_joined = False
        # Identities first: whether any record was joined decides what the other views are.
        for table in sorted(ALL_TABLES, key=lambda table: table.name != "identities"):
            self.show(table, files.get(table.name, []))

    def show(self, table: Table, paths: Iterable[str]) -> None:
        """Make the view of ``table`` read these files (none: an empty table of the declared columns)."""
        found = [self._folder / path for path in paths]
        stored = read_schema(found)
        hot = {field.name: field.type for field in self._hot.get(table.name, ())}
        columns = type_columns(table, stored, hot)
        parts = self._render_files(table, found, columns)
        parts += [render_stored(columns, hot, f"hot_{table.name}")] if hot else []
        self._name_query(name_stored(table.name), " UNION ALL ".join(parts) or render_empty(columns), columns)
        self._columns[table.name] = columns
        if table.name == "identities":
            self._any_joined = bool(count_rows(found))
            for name in RESOLVED:
                self._resolve(name)
        elif table.name in RESOLVED:
            self._resolve(table.name)

    def list_hot(self) -> list[str]:
        """The tables that have rows besides their files' (as ``hot_events``)."""
        return sorted(self._hot)

    def hold(self, table: Table, rows: pa.Table | None) -> None:
        """Let ``table`` have these rows besides its files' (None: no longer), from the next ``show`` on."""
        self._hot.pop(table.name, None)
        if rows is not None and rows.num_rows:
            self.register(f"hot_{table.name}", rows)
            self._hot[table.name] = rows.schema

    @abstractmethod
    def register(self, name: str, data: pa.Table) -> None:
        """Make ``data`` a view called ``name``."""

    @abstractmethod
    def _read_files(self, table: Table, paths: list[Path], stored: Mapping[str, pa.DataType]) -> str:
        """What stands in FROM to read these files, whose columns are ``stored``."""

    @abstractmethod
    def _name_query(self, name: str, sql: str, columns: Mapping[str, str]) -> None:
        """Make ``name`` a view of the rows of ``sql``, whose columns have these types."""

    def _render_files(self, table: Table, paths: list[Path], columns: Mapping[str, str]) -> list[str]:
        """The SELECTs whose union is the rows of these files.

        Overlays' columns stand in place of those of the plain files, a patch's rows in place of both.
        """
        layers = split_layers(paths)
        parts = []
        if layers.base:
            stored = read_schema(layers.base)
            source = f"{self._read_files(table, layers.base, stored)} AS base"
            sources: dict[str, str] = {}
            for number, overlay in enumerate(layers.overlays, 1):
                (key,) = table.key
                over, upper = read_schema(overlay), f"upper_{number}"
                files = self._read_files(replace(table, name=f"{table.name}_overlay_{number}"), overlay, over)
                sources |= {name: upper for name in over if name != key}
                source += f" LEFT JOIN {files} AS {upper} ON {upper}.{key} = base.{key}"
                stored = {**stored, **over}
            parts.append(render_stored(columns, stored, source, sources, "base"))
        if layers.patches:
            stored = read_schema(layers.patches)
            over_it = self._read_files(replace(table, name=f"{table.name}_patch"), layers.patches, stored)
            parts = [f"{text} WHERE {_render_unpatched(table, over_it)}" for text in parts]
            parts.append(render_stored(columns, stored, over_it))
        return parts

    def _resolve(self, name: str) -> None:
        if name in self._columns:
            columns = self._columns[name]
            sql = render_resolved(TABLES[name], list(columns), any_joined=self._any_joined)
            self._name_query(name, sql, columns)


def _render_unpatched(table: Table, patch: str) -> str:
    """The condition that a patch, which stands in FROM as ``patch``, has no row with the key of a row of ``base``."""
    if len(table.key) == 1:
        return f"base.{table.key[0]} NOT IN (SELECT {table.key[0]} FROM {patch})"
    same = " AND ".join(f"p.{name} = base.{name}" for name in table.key)
    return f"NOT EXISTS (SELECT 1 FROM {patch} AS p WHERE {same})"
