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
from aimwell.engine.files import is_overlay, is_patch
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

        An overlay's columns stand in place of those of the plain files, a patch's rows in place of both.
        """
        patches, overlays = [p for p in paths if is_patch(p)], [p for p in paths if is_overlay(p)]
        base = [path for path in paths if path not in (*patches, *overlays)]
        parts = []
        if base:
            stored = read_schema(base)
            source = self._read_files(table, base, stored)
            parts.append(render_stored(columns, stored, f"{source} AS base"))
        if base and overlays:
            (key,) = table.key
            over = read_schema(overlays)
            upper = self._read_files(replace(table, name=f"{table.name}_overlay"), overlays, over)
            sources = {name: "upper" for name in over if name != key}
            joined = f"{source} AS base LEFT JOIN {upper} AS upper ON upper.{key} = base.{key}"
            parts = [render_stored(columns, {**stored, **over}, joined, sources, "base")]
        if patches:
            (key,) = table.key
            stored = read_schema(patches)
            name = f"{table.name}_patch"
            over_it = self._read_files(replace(table, name=name), patches, stored)
            parts = [f"{text} WHERE base.{key} NOT IN (SELECT {key} FROM {over_it})" for text in parts]
            parts.append(render_stored(columns, stored, over_it))
        return parts

    def _resolve(self, name: str) -> None:
        if name in self._columns:
            columns = self._columns[name]
            sql = render_resolved(TABLES[name], list(columns), any_joined=self._any_joined)
            self._name_query(name, sql, columns)
