"""The published file: rebuilt where something changed, kept by whoever has it open, read by many at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from aimwell.core.errors import NotReady
from aimwell.core.time import now
from aimwell.engine.compaction import compact
from aimwell.engine.published import POINTER, list_old_editions, publish, read_pointer
from aimwell.engine.vacuum import vacuum
from aimwell.engine.workspace import Workspace
from tests.engine.test_hot_events import take

DAY = date(2024, 3, 30)
READER = """
import sys
from aimwell.engine.workspace import Workspace
workspace = Workspace.open(sys.argv[1])
for _ in range(int(sys.argv[2])):
    with workspace.published() as reader:
        rows = reader.query("SELECT COUNT(*) AS n, COUNT(DISTINCT event_id) AS d FROM events").to_pylist()[0]
        tags = reader.query("SELECT MIN(n) AS low, MAX(n) AS high FROM tags").to_pylist()[0]
        assert rows["n"] == rows["d"] and tags["low"] == tags["high"], (rows, tags)
    print(rows["n"], flush=True)
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.create(tmp_path / "w")


def write_tags(workspace: Workspace, value: int) -> None:
    with workspace.run("analysis", as_of=DAY) as run:
        columns = {
            "customer_id": ["c1", "c2"],
            "as_of": pa.array([DAY, DAY]),
            "run_id": [run.id] * 2,
            "n": [value] * 2,
        }
        run.replace("tags", pa.table(columns))


def see(workspace: Workspace, sql: str) -> list[object]:
    with workspace.published() as reader:
        return [next(iter(row.values())) for row in reader.query(sql).to_pylist()]


def test_nothing_is_published_at_first(workspace: Workspace) -> None:
    with pytest.raises(NotReady), workspace.published():
        pass
    assert publish(workspace) is not None
    assert see(workspace, "SELECT COUNT(*) FROM events") == [0]
    assert see(workspace, "SELECT COUNT(*) FROM tags") == [0]


def test_an_edition_has_tags_and_events_in_order(workspace: Workspace) -> None:
    write_tags(workspace, 7)
    take(workspace, ["b", "aaa", "cc"])
    take(workspace, ["d"], date(2024, 4, 1))
    compact(workspace)
    edition = publish(workspace)
    assert edition is not None
    assert set(edition.parts) == {"tags", "orders", "order_lines", "events_2024_03", "events_2024_04"}
    assert see(workspace, "SELECT n FROM tags") == [7, 7]
    assert see(workspace, "SELECT event_id FROM events_2024_03") == ["aaa", "b", "cc"]
    assert see(workspace, "SELECT event_id FROM events ORDER BY event_id") == ["aaa", "b", "cc", "d"]
    assert publish(workspace) is None


def test_only_what_changed_is_made_anew_and_equals_a_full_edition(workspace: Workspace) -> None:
    write_tags(workspace, 7)
    take(workspace, ["b"])
    compact(workspace)
    publish(workspace)
    take(workspace, ["d"], date(2024, 4, 1))
    compact(workspace)
    write_tags(workspace, 8)
    publish(workspace)
    sql = "SELECT name || event_id FROM events ORDER BY event_id"
    quick = (see(workspace, sql), see(workspace, "SELECT n FROM tags"))
    assert publish(workspace, full=True) is not None
    assert (see(workspace, sql), see(workspace, "SELECT n FROM tags")) == quick
    with workspace.run("data", as_of=DAY) as run:
        run.replace("events", run.query("SELECT * FROM delivered_events WHERE event_id = 'd'"))
    publish(workspace)
    assert see(workspace, "SELECT event_id FROM events") == ["d"]


def test_events_follow_identities(workspace: Workspace) -> None:
    take(workspace, ["a"])
    compact(workspace)
    publish(workspace)
    with workspace.run("data", as_of=DAY) as run:
        columns = {"record_id": ["c1"], "customer_id": ["c9"], "run_id": [run.id]}
        run.replace("identities", pa.table(columns))
    assert publish(workspace) is not None
    assert see(workspace, "SELECT customer_id FROM events") == ["c9"]


def test_a_reader_spills_where_it_is_cleared_away_and_reaches_nothing_else(workspace: Workspace) -> None:
    write_tags(workspace, 1)
    publish(workspace)
    with workspace.published() as reader:
        spills = reader.query("SELECT CURRENT_SETTING('temp_directory') AS folder")["folder"][0].as_py()
        assert (workspace.warehouse_folder / "temporary") in Path(spills).parents
        for sql in ("SELECT * FROM glob('/*')", "SELECT content FROM read_text('/etc/hosts')"):
            with pytest.raises(duckdb.PermissionException):
                reader.query(sql)


def test_a_reader_keeps_its_edition(workspace: Workspace) -> None:
    take(workspace, ["a"])
    compact(workspace)
    publish(workspace)
    with workspace.published() as reader:
        take(workspace, ["b"])
        compact(workspace)
        publish(workspace)
        vacuum(workspace, now() + timedelta(hours=3))
        assert reader.query("SELECT COUNT(*) AS n FROM events").to_pylist() == [{"n": 1}]
    assert see(workspace, "SELECT COUNT(*) FROM events") == [2]
    assert list_old_editions(workspace.warehouse_folder) == []


def test_an_edition_that_was_cut_short_is_not_read(workspace: Workspace) -> None:
    publish(workspace)
    folder = workspace.warehouse_folder
    pointer = read_pointer(folder)
    assert pointer is not None
    (folder / "published-cut.duckdb.writing").write_bytes(b"half")
    assert see(workspace, "SELECT COUNT(*) FROM events") == [0]
    os.unlink(folder / pointer.file)
    with pytest.raises(NotReady), workspace.published():
        pass
    take(workspace, ["a"])
    compact(workspace)
    publish(workspace)
    assert see(workspace, "SELECT COUNT(*) FROM events") == [1]


def tear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:20_000])


def cut_end(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 100)


def drop_names(path: Path) -> None:
    with duckdb.connect(str(path)) as connection:
        connection.execute("DROP TABLE month_names")
    change_pointer(path, bytes=path.stat().st_size)


def make_old(path: Path) -> None:
    change_pointer(path, form=1)


def change_pointer(path: Path, **said: int) -> None:
    pointer = path.parent / POINTER
    pointer.write_text(json.dumps(json.loads(pointer.read_text("utf-8")) | said), "utf-8")


def break_pointer(path: Path) -> None:
    (path.parent / POINTER).write_text('{"file": "publ', "utf-8")


@pytest.mark.parametrize("spoil", [tear, cut_end, drop_names, make_old, break_pointer, Path.unlink])
def test_an_edition_that_cannot_be_read_counts_as_none(
    workspace: Workspace, spoil: Callable[[Path], object]
) -> None:
    write_tags(workspace, 7)
    take(workspace, ["a"])
    compact(workspace)
    publish(workspace)
    pointer = read_pointer(workspace.warehouse_folder)
    assert pointer is not None
    spoil(workspace.warehouse_folder / pointer.file)
    with workspace.read() as reader:
        assert reader.coded is None
        assert reader.query("SELECT COUNT(*) AS n FROM events")["n"].to_pylist() == [1]
    with pytest.raises(NotReady), workspace.published():
        pass
    assert publish(workspace) is not None
    assert see(workspace, "SELECT event_id FROM events") == ["a"]
    with workspace.read() as reader:
        assert reader.coded is not None
    assert publish(workspace) is None


def test_texts_of_tags_with_few_values_are_codes(workspace: Workspace) -> None:
    words = ["it's", None, "", "中文", "it's"]
    with workspace.run("analysis", as_of=DAY) as run:
        columns = {
            "customer_id": [f"c{number}" for number in range(5)],
            "as_of": pa.array([DAY] * 5),
            "run_id": [run.id] * 5,
            "word": words,
            "nothing": pa.nulls(5, pa.string()),
        }
        run.replace("tags", pa.table(columns))
    publish(workspace)
    assert see(workspace, "SELECT word FROM tags") == words
    assert see(workspace, "SELECT COUNT(*) FROM tags WHERE word = 'it''s'") == [2]
    with workspace.published() as reader:
        table = reader.query("SELECT word, customer_id, nothing FROM tags")
        assert pa.types.is_dictionary(table.schema.field("word").type)
        assert pa.types.is_string(table.schema.field("customer_id").type)
        assert table["nothing"].to_pylist() == [None] * 5


def test_many_processes_read_while_one_publishes(workspace: Workspace) -> None:
    write_tags(workspace, 0)
    publish(workspace)
    command = [sys.executable, "-c", READER, str(workspace.path), "12"]
    readers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    number = 0
    while any(process.poll() is None for process in readers):
        number += 1
        take(workspace, [f"e{number}"])
        compact(workspace)
        write_tags(workspace, number)
        publish(workspace)
        vacuum(workspace, now() + timedelta(hours=3))
    for process in readers:
        seen = [int(line) for line in process.communicate()[0].split()]
        assert process.returncode == 0
        assert len(seen) == 12
        assert seen == sorted(seen)
