"""Workspaces and files for the tests of this room."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from aimwell.engine.workspace import Workspace

SHARED = Path(__file__).parents[2] / "../shared/data"


def make_workspace(folder: Path, *, zone: str = "Asia/Shanghai") -> Workspace:
    return Workspace.create(folder / "shop", zone=zone)


def write(folder: Path, text: str, *, name: str = "orders.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def query(workspace: Workspace, sql: str) -> list[dict[str, object]]:
    with workspace.read() as reader:
        return list(reader.query(sql).to_pylist())


def count(workspace: Workspace, table: str) -> int:
    with workspace.read() as reader:
        rows: pa.Table = reader.query(f"SELECT count(*) AS rows FROM {table}")
    return int(rows["rows"][0].as_py())
