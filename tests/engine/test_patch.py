"""A patch stands in place of rows, an overlay in place of columns, for every reader, until all is written anew."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest

from aimwell.core.errors import Conflict
from aimwell.core.tables import TABLES
from aimwell.engine.compaction import merge_files
from aimwell.engine.files import is_overlay, is_patch
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


def overlay(workspace: Workspace, values: dict[str, int], column: str = "orders") -> None:
    with workspace.run("analysis", as_of=DAY) as run:
        keys = list(values)
        numbers = pa.array(values.values(), pa.int64())
        over = pa.table({"customer_id": keys, "run_id": ["o"] * len(keys), column: numbers})
        run.overlay("tags", [over.slice(0, 1), over.slice(1)])


def read_rows(workspace: Workspace) -> dict[str, tuple[str, int]]:
    with workspace.read() as reader:
        rows = reader.query("SELECT customer_id, run_id, orders FROM tags").to_pylist()
    return {row["customer_id"]: (row["run_id"], row["orders"]) for row in rows}


def count_overlays(workspace: Workspace) -> int:
    with workspace.run("look", as_of=DAY) as run:
        return sum(map(is_overlay, run.list_files("tags")))


def test_columns_of_an_overlay_stand_in_place_of_others_but_not_of_a_patch(workspace: Workspace) -> None:
    patch(workspace, {"b": 20, "e": 50})
    overlay(workspace, {"a": 10, "b": 11, "c": 12, "d": 13})
    expected = {"a": ("o", 10), "b": ("r", 20), "c": ("o", 12), "d": ("o", 13), "e": ("r", 50)}
    assert read_rows(workspace) == expected
    patch(workspace, {"c": 30})
    assert read_rows(workspace) == {**expected, "c": ("r", 30)}
    overlay(workspace, {"a": 14, "d": 15})
    assert count_overlays(workspace) == 2
    assert read_rows(workspace) == {**expected, "a": ("o", 14), "c": ("r", 30), "d": ("o", 15)}


def test_a_new_column_may_come_with_an_overlay_and_must_stay_in_it(workspace: Workspace) -> None:
    overlay(workspace, {"a": 1, "b": 2, "c": 3, "d": 4}, "rank")
    with workspace.read() as reader:
        ranks = reader.query("SELECT customer_id, orders, rank FROM tags ORDER BY customer_id").to_pylist()
    assert [(row["orders"], row["rank"]) for row in ranks] == [(1, 1), (2, 2), (3, 3), (4, 4)]
    with pytest.raises(ValueError, match="rank"):
        overlay(workspace, {"a": 1})


def test_an_overlay_of_fewer_columns_lies_above_one_that_has_them_all(workspace: Workspace) -> None:
    names = ["a", "b", "c", "d"]
    wide = {"customer_id": names, "run_id": ["w"] * 4, "orders": [5, 6, 7, 8], "rank": [1, 2, 3, 4]}
    with workspace.run("analysis", as_of=DAY) as run:
        run.overlay("tags", [pa.table(wide)])
    overlay(workspace, {"a": 10, "b": 11, "c": 12, "d": 13})
    # The narrow one is replaced, the wide one stays.
    overlay(workspace, {"a": 20, "b": 21, "c": 22, "d": 23})
    assert count_overlays(workspace) == 3
    assert read_rows(workspace) == {name: ("o", 20 + place) for place, name in enumerate(names)}
    with workspace.read() as reader:
        ranks = reader.query("SELECT customer_id, rank FROM tags ORDER BY customer_id")["rank"].to_pylist()
        person = reader.query_within("SELECT orders FROM tags", tables=["tags"], seconds=9.0, memory="1GB")
    assert ranks == [1, 2, 3, 4]
    assert sorted(person["orders"].to_pylist()) == [20, 21, 22, 23]
    with workspace.run("analysis", as_of=DAY) as run:
        run.overlay("tags", [pa.table(wide)])
    assert count_overlays(workspace) == 1
    assert read_rows(workspace) == {name: ("w", 5 + place) for place, name in enumerate(names)}


def test_rows_with_a_key_of_several_columns_are_patched(workspace: Workspace) -> None:
    def build_history(*rows: tuple[str, str, str]) -> pa.Table:
        found = [{"customer_id": who, "tag": tag, "value": value} for who, tag, value in rows]
        return TABLES["tag_history"].build([{**row, "since": DAY, "run_id": "r"} for row in found])

    with workspace.run("analysis", as_of=DAY) as run:
        run.replace("tag_history", build_history(("a", "x", "1"), ("a", "y", "2"), ("b", "x", "3")))
    for rows in ([("a", "y", "4")], [("a", "y", "5"), ("b", "y", "6")]):
        with workspace.run("analysis", as_of=DAY) as run:
            run.patch("tag_history", build_history(*rows))
    with workspace.read() as reader:
        values = reader.query("SELECT value FROM tag_history ORDER BY customer_id, tag")["value"].to_pylist()
    assert values == ["1", "5", "3", "6"]


def test_an_overlay_is_merged_with_nothing_and_ends_when_all_is_replaced(workspace: Workspace) -> None:
    overlay(workspace, {"a": 10, "b": 11, "c": 12, "d": 13})
    merge_files(workspace, most_files=1)
    assert count_overlays(workspace) == 2
    assert {name: orders for name, (_, orders) in read_rows(workspace).items()} == dict(
        a=10, b=11, c=12, d=13
    )
    with workspace.run("analysis", as_of=DAY) as run:
        run.replace("tags", build({"b": 9}))
    assert count_overlays(workspace) == 0
    assert read_rows(workspace) == {"b": ("r", 9)}
