"""Queries on ClickHouse inside this process (chDB), over the same Parquet files. Needs the extra ``clickhouse``."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any
from weakref import WeakSet

import pyarrow as pa

from aimwell.core.errors import NotReady
from aimwell.core.text import say
from aimwell.engine.session import out_of_memory
from aimwell.engine.settings import EngineSettings
from aimwell.engine.spill import SpillFolder
from aimwell.engine.translated_session import TranslatedSession

# What makes ClickHouse answer as the standard says: an unmatched row of a join and a sum of nothing are NULL, a name
# means the column before it means an alias, UNION removes repeats.
_SETTINGS = {
    "join_use_nulls": "1",
    "aggregate_functions_null_for_empty": "1",
    "prefer_column_name_to_alias": "1",
    "union_default_mode": "'DISTINCT'",
    "cast_keep_nullable": "1",
    "output_format_arrow_string_as_string": "1",
    "output_format_arrow_low_cardinality_as_dictionary": "0",
    "session_timezone": "'UTC'",
    # The quicker way is wrong in the last digit of one number in six hundred.
    "precise_float_parsing": "1",
}
_ESCAPES = {"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\0": "\\0"}
_OUT_OF_MEMORY = "Code: 241."


class ClickHouseSession(TranslatedSession):
    """A snapshot on chDB; each session has a database of its own in memory."""

    dialect = "clickhouse"
    title = "ClickHouse"

    def __init__(self, settings: EngineSettings, folder: Path, files: Mapping[str, list[str]]) -> None:
        try:
            import chdb  # noqa: F401
        except ImportError as error:
            raise NotReady(
                "engine.clickhouse_missing",
                say("ClickHouse (chDB) is not installed."),
                remedy=say("Install it with: pip install aimwell[clickhouse]"),
            ) from error
        self._server: SpillFolder | None
        self._server, self._connection = _connect(folder)
        self._database = f"session_{os.urandom(8).hex()}"
        self._connection.query(f"CREATE DATABASE {self._database} ENGINE = Memory")
        self._connection.query(f"USE {self._database}")
        limits = {"max_threads": str(settings.threads), "max_memory_usage": str(settings.memory_bytes)}
        for name, value in {**_SETTINGS, **limits}.items():
            self._connection.query(f"SET {name} = {value}")
        super().__init__(settings, folder, files)

    def close(self) -> None:
        """End the session; its database is gone."""
        self._connection.query(f"DROP DATABASE IF EXISTS {self._database}")
        self._connection.close()
        self._server = None
        super().close()

    def _run(self, sql: str, values: dict[str, Any]) -> pa.Table:
        bound = {name: _render_value(value) for name, value in values.items() if value is not None}
        try:
            found = self._connection.query(sql, "ArrowStream", params=bound or None)
        except Exception as error:  # chDB raises RuntimeError or its own kind, by version
            if _OUT_OF_MEMORY in str(error):
                raise out_of_memory() from error
            raise self._fail(str(error).strip().splitlines()[0]) from error
        return pa.ipc.open_stream(found.bytes()).read_all()

    def _show_files(self, name: str, paths: list[Path], stored: Mapping[str, pa.DataType]) -> None:
        structure = ", ".join(f"{_quote(column)} {_name_type(kind)}" for column, kind in stored.items())
        source = f"file({_text(self._match(paths))}, Parquet, {_text(structure)})"
        self._create_view(name, f"SELECT * FROM {source}")

    def _create_view(self, name: str, sql: str) -> None:
        self._run_plain(f"CREATE OR REPLACE VIEW {_quote(name)} AS {sql}")

    def _drop(self, name: str) -> None:
        self._run_plain(f"DROP VIEW IF EXISTS {_quote(name)}")

    def _run_plain(self, sql: str) -> None:
        try:
            self._connection.query(sql)
        except Exception as error:
            raise self._fail(str(error).strip().splitlines()[0]) from error

    def _match(self, paths: list[Path]) -> str:
        """A pattern for these files: ClickHouse would read signs such as * in a folder's name as a pattern."""
        folders = {path.parent for path in paths}
        folder = folders.pop()
        if folders or re.search(r"[*?{}\[\]]", str(folder.resolve())):
            folder = Path(tempfile.mkdtemp(dir=self._aside))
            for path in paths:
                (folder / path.name).symlink_to(path.resolve())
        names = ",".join(path.name for path in paths)
        return f"{folder.resolve()}/{names}" if len(paths) == 1 else f"{folder.resolve()}/{{{names}}}"


_servers: WeakSet[SpillFolder] = WeakSet()
"""Where the ClickHouse of this process spills: it runs for as long as any session is open."""


def _connect(warehouse: Path) -> tuple[SpillFolder, Any]:
    """Where ClickHouse spills, which is in the workspace of the first session that is open, and a connection to it."""
    import chdb

    server = next((one for one in _servers if one.is_open), None) or SpillFolder(warehouse, "clickhouse")
    _servers.add(server)
    before = os.environ.get("TMPDIR")
    # It has no setting for this that could be given here.
    os.environ["TMPDIR"] = str(server.path)
    try:
        return server, chdb.connect(":memory:")
    finally:
        if before is None:
            del os.environ["TMPDIR"]
        else:
            os.environ["TMPDIR"] = before


def _render_value(value: object) -> object:
    if isinstance(value, str):
        return "".join(_ESCAPES.get(char, char) for char in value)
    if isinstance(value, datetime):
        return f"{value.timestamp():.6f}" if value.tzinfo else value.isoformat(" ")
    return value.isoformat() if isinstance(value, date) else value


def _name_type(kind: pa.DataType) -> str:
    if pa.types.is_boolean(kind):
        name = "Bool"
    elif pa.types.is_integer(kind):
        name = f"{'U' if pa.types.is_unsigned_integer(kind) else ''}Int{kind.bit_width}"
    elif pa.types.is_floating(kind):
        name = f"Float{max(kind.bit_width, 32)}"
    elif pa.types.is_decimal(kind):
        name = f"Decimal({kind.precision}, {kind.scale})"
    elif pa.types.is_date(kind):
        name = "Date32"
    elif pa.types.is_timestamp(kind):
        name = "DateTime64(6, 'UTC')"
    else:
        name = "String"
    return f"Nullable({name})"


def _quote(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def _text(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
