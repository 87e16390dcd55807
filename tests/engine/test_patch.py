"""A patch stands in place of rows with the same key, for every reader, until all rows are written anew."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest

from aimwell.core.errors import Conflict
from aimwell.core.tables import TABLES
from aimwell.engine.compaction import merge_files
from aimwell.engine.files import is_patch
from aimwell.engine.workspace import Workspace

DAY = date(2024, 3, 1)


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    made = Workspace.create(tmp_path / "shop", zone="Asia/Shanghai")
    with made.run("analysis", as_of=DAY) as run:
        run.replace("tags", build({"a": 1, "b": 2, "c": 3}))
        run.append("tags", build({"d": 4}))
    yield made
    made.close()


def build(values: dict[str, int]) -> pa.Table:
    rows = [{"customer_id": name, "as_of": DAY, "run_id": "r"} for name in values]
    return TABLES["tags"].build(rows).append_column("orders", pa.array(values.values(), pa.int64()))


def patch(workspace: Workspace, values: dict[str, int]) -> None:
    with workspace.run("analysis", as_of=DAY) as run:
        run.patch("tags", build(values))
        assert values.items() <= dict(read(run)).items()


def read(reader: object) -> list[tuple[str, int]]:
    rows = reader.query("SELECT customer_id, orders FROM tags ORDER BY customer_id")  # type: ignore[attr-defined]
    return [(row["customer_id"], row["orders"]) for row in rows.to_pylist()]


def look(workspace: Workspace) -> tuple[list[tuple[str, int]], int]:
    with workspace.run("look", as_of=DAY) as run:
        return read(run), sum(map(is_patch, run.list_files("tags")))


def test_rows_of_a_patch_stand_in_place_of_others(workspace: Workspace) -> None:
    patch(workspace, {"b": 20, "e": 50})
    assert look(workspace) == ([("a", 1), ("b", 20), ("c", 3), ("d", 4), ("e", 50)], 1)


def test_a_second_patch_takes_the_first_ones_rows_along(workspace: Workspace) -> None:
    patch(workspace, {"b": 20, "e": 50})
    patch(workspace, {"b": 21, "d": 40})
    assert look(workspace) == ([("a", 1), ("b", 21), ("c", 3), ("d", 40), ("e", 50)], 1)


def test_merging_files_never_takes_a_patch_for_a_file(workspace: Workspace) -> None:
    patch(workspace, {"b": 20, "e": 50})
    assert merge_files(workspace, most_files=1).removed == 2
    assert look(workspace) == ([("a", 1), ("b", 20), ("c", 3), ("d", 4), ("e", 50)], 1)


def test_replacing_all_rows_ends_a_patch(workspace: Workspace) -> None:
    patch(workspace, {"b": 20})
    with workspace.run("analysis", as_of=DAY) as run:
        run.replace("tags", build({"b": 9}))
    assert look(workspace) == ([("b", 9)], 0)


def test_two_patches_at_once_cannot_both_be_right(workspace: Workspace) -> None:
    with pytest.raises(Conflict), workspace.run("analysis", as_of=DAY) as run:
        run.patch("tags", build({"a": 10}))
        patch(workspace, {"b": 20})
    assert look(workspace) == ([("a", 1), ("b", 20), ("c", 3), ("d", 4)], 1)
