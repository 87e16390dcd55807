"""Hot rows: taken in once, seen once, moved into files without anybody noticing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from aimwell.core.errors import Conflict
from aimwell.core.tables import EVENTS, TABLES, Type
from aimwell.core.text import say
from aimwell.engine.compaction import MOST_FILES, compact, merge_files
from aimwell.engine.hot_events import HotBatch, HotRows
from aimwell.engine.hot_tables import HOT_BATCHES, HOT_CONSUMERS, HOT_DIGESTS
from aimwell.engine.seen_ids import SeenIds, digest_ids, find_repeats
from aimwell.engine.workspace import Workspace

DAY = date(2024, 3, 30)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.create(tmp_path / "w")


def build_events(ids: Sequence[str], day: date = DAY) -> pa.Table:
    return EVENTS.build(
        [
            {
                "event_id": name,
                "customer_id": f"c{len(name) % 3}",
                "name": "Product Viewed",
                "occurred_at": datetime(day.year, day.month, day.day, 12, tzinfo=UTC),
                "occurred_on": day,
                "source": "test",
                "simulated": False,
            }
            for name in ids
        ]
    )


def take(workspace: Workspace, ids: Sequence[str], day: date = DAY) -> list[bool]:
    rows = (build_events(ids, day), np.arange(len(ids)))
    return workspace.hot.append(HotBatch(ids, {"events": rows})).tolist()


def see(workspace: Workspace) -> list[str]:
    with workspace.read() as reader:
        return reader.query("SELECT event_id FROM events ORDER BY event_id")["event_id"].to_pylist()


def list_files(workspace: Workspace) -> list[str]:
    return sorted(path.name for path in (workspace.warehouse_folder / "events").glob("*.parquet"))


def test_rows_are_seen_as_soon_as_they_are_taken(workspace: Workspace) -> None:
    assert take(workspace, ["a", "b"]) == [True, True]
    assert see(workspace) == ["a", "b"]


def test_a_message_is_taken_once_within_and_across_batches_and_processes(workspace: Workspace) -> None:
    assert take(workspace, ["a", "b", "a"]) == [True, True, False]
    assert take(workspace, ["b", "c"]) == [False, True]
    other = Workspace.open(workspace.path)
    assert take(other, ["c", "d"]) == [False, True]
    assert take(workspace, ["d", "e"]) == [False, True]
    compact(workspace)
    assert take(workspace, ["a", "f"]) == [False, True]
    assert see(workspace) == ["a", "b", "c", "d", "e", "f"]


def test_ids_are_forgotten_after_the_window(workspace: Workspace) -> None:
    hot = HotRows(workspace.store, window=3)
    rows = {"events": (build_events(["a"]), np.arange(1))}
    first = date(2024, 1, 1)
    assert hot.append(HotBatch(["a"], rows), received_on=first).tolist() == [True]
    assert hot.append(HotBatch(["a"], rows), received_on=first + timedelta(3)).tolist() == [False]
    assert hot.append(HotBatch(["a"], rows), received_on=first + timedelta(4)).tolist() == [True]


def test_moving_changes_nothing_for_readers(workspace: Workspace) -> None:
    take(workspace, ["a", "bb"])
    take(workspace, ["ccc"], date(2024, 4, 2))
    with workspace.read() as before:
        moved = compact(workspace)
        assert moved.rows == 3
        assert moved.written == 2
        assert before.query("SELECT COUNT(*) AS n FROM events")["n"][0].as_py() == 3
    assert see(workspace) == ["a", "bb", "ccc"]
    with workspace.store.begin() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(HOT_BATCHES)).scalar() == 0
    assert compact(workspace).rows == 0


def test_a_call_moves_no_more_than_it_may(workspace: Workspace) -> None:
    for name in "abcdef":
        take(workspace, [name, name * 2])
    assert compact(workspace, most_rows=4).rows == 4
    assert see(workspace) == sorted(name * n for name in "abcdef" for n in (1, 2))


def test_two_workers_move_a_row_once(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    take(workspace, ["a", "b"])
    from aimwell.engine import compaction

    write = compaction._write_rows

    def write_after_another_worker(*arguments: object) -> object:
        monkeypatch.setattr(compaction, "_write_rows", write)
        assert compact(workspace).rows == 2
        return write(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(compaction, "_write_rows", write_after_another_worker)
    assert compact(workspace).rows == 0
    assert see(workspace) == ["a", "b"]
    assert len(list_files(workspace)) == 1


def test_what_a_consumer_has_not_read_stays_hot(workspace: Workspace) -> None:
    take(workspace, ["a"])
    with workspace.store.begin() as connection:
        values = {"consumer": "live", "position": 1, "changed_at": datetime.now(UTC)}
        connection.execute(sa.insert(HOT_CONSUMERS).values(values))
    take(workspace, ["b"])
    assert compact(workspace).rows == 1
    assert see(workspace) == ["a", "b"]


def test_files_of_a_month_are_merged(workspace: Workspace) -> None:
    names = [f"e{number:03}" for number in range(30)]
    for name in names:
        take(workspace, [name])
        compact(workspace)
        merge_files(workspace)
    with workspace.store.snapshot() as connection:
        from aimwell.engine.manifest import list_files as list_manifest

        assert len(list_manifest(connection)["events"]) <= MOST_FILES
    assert see(workspace) == names


def test_a_reader_keeps_its_files_while_they_are_merged(workspace: Workspace) -> None:
    for name in "abcdefghijkl":
        take(workspace, [name])
        compact(workspace)
    with workspace.read() as reader:
        assert merge_files(workspace).removed > 1
        assert reader.query("SELECT COUNT(*) AS n FROM events")["n"][0].as_py() == 12
    assert see(workspace) == list("abcdefghijkl")


def test_a_run_that_replaces_takes_the_hot_rows_that_it_saw(workspace: Workspace) -> None:
    take(workspace, ["a", "b"])
    with workspace.run("data", as_of=DAY) as run:
        kept = run.query("SELECT * FROM delivered_events WHERE event_id = 'a'")
        run.replace("events", kept)
        assert run.query("SELECT COUNT(*) AS n FROM events")["n"][0].as_py() == 1
        take(workspace, ["c"])
    assert see(workspace) == ["a", "c"]


def test_a_run_that_replaces_conflicts_with_a_move_of_rows_that_it_has_not_seen(workspace: Workspace) -> None:
    take(workspace, ["a", "b"])
    with pytest.raises(Conflict), workspace.run("data", as_of=DAY) as run:
        run.replace("events", build_events(["z"]))
        take(workspace, ["c"])
        compact(workspace)
    assert see(workspace) == ["a", "b", "c"]


def test_a_move_of_rows_that_a_run_saw_does_not_disturb_it(workspace: Workspace) -> None:
    take(workspace, ["a", "b"])
    with workspace.run("data", as_of=DAY) as run:
        run.replace("events", build_events(["z"]))
        compact(workspace)
    assert see(workspace) == ["z"]


def test_appends_commute_with_moves_merges_and_other_steps(workspace: Workspace) -> None:
    take(workspace, ["a"])
    with workspace.run("data", as_of=DAY) as run:
        run.append("events", build_events(["b"]))
        compact(workspace)
        with workspace.run("deployment", as_of=DAY) as other:
            other.append("events", build_events(["c"]))
    assert see(workspace) == ["a", "b", "c"]


def test_two_runs_of_one_step_cannot_add_the_same_rows(workspace: Workspace) -> None:
    with pytest.raises(Conflict), workspace.run("data", as_of=DAY) as run:
        run.append("events", build_events(["b"]))
        with workspace.run("data", as_of=DAY) as other:
            other.append("events", build_events(["b"]))
    assert see(workspace) == ["b"]


def test_an_append_conflicts_with_a_replacement(workspace: Workspace) -> None:
    with pytest.raises(Conflict), workspace.run("data", as_of=DAY) as run:
        run.append("events", build_events(["b"]))
        with workspace.run("deployment", as_of=DAY) as other:
            other.replace("events", build_events(["c"]))
    assert see(workspace) == ["c"]


def test_digests_of_a_day_end_in_few_rows_and_still_tell(workspace: Workspace) -> None:
    names = [f"e{number}" for number in range(80)]
    for name in names:
        take(workspace, [name])
    compact(workspace)
    with workspace.store.begin() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(HOT_DIGESTS)).scalar() == 1
    fresh = Workspace.open(workspace.path)
    assert take(fresh, [*names, "new"]) == [False] * 80 + [True]
    assert take(workspace, ["new", "newer"]) == [False, True]


@given(st.lists(st.lists(st.integers(0, 60).map(str), max_size=12), max_size=20))
def test_seen_ids_is_a_set(batches: list[list[str]]) -> None:
    seen, truth = SeenIds(), set[str]()
    for ids in batches:
        digests = digest_ids(ids)
        assert seen.find(digests).tolist() == [name in truth for name in ids]
        counted = Counter[str]()
        for name, repeated in zip(ids, find_repeats(digests), strict=True):
            assert bool(repeated) == (counted[name] > 0)
            counted[name] += 1
        seen.add(digests)
        truth |= set(ids)


def test_ids_whose_digests_share_a_half_are_told_apart() -> None:
    seen = SeenIds()
    known = np.array([[7, 1], [7, 2], [8, 1]], dtype=np.uint64)
    seen.add(known)
    asked = np.array([[7, 2], [7, 3], [8, 1], [9, 9]], dtype=np.uint64)
    assert seen.find(asked).tolist() == [True, False, True, False]


def test_a_log_without_key_is_merged_like_any_table(workspace: Workspace) -> None:
    """Every load adds a file to such a log: the worker must not stumble over the ninth."""
    for number in range(MOST_FILES + 2):
        score = {
            "checked_at": datetime(2024, 1, 1, number, tzinfo=UTC),
            "source": "till",
            "table_name": "order_lines",
            "wall": "partial",
            "check_name": "c",
            "affected": number,
            "total": 100,
        }
        lesson = {"plan_id": f"p{number}", "lesson": say("the end").to_json()}
        with workspace.run("data", as_of=DAY) as run:
            for name, row in (("quality_history", score), ("lessons", lesson)):
                table = TABLES[name]
                blank = {column.name: _fill(column.type) for column in table.columns if column.required}
                run.append(name, table.build([blank | row | {"run_id": run.id}]))
    assert merge_files(workspace).removed > 2
    with workspace.read() as reader:
        assert reader.query("SELECT affected FROM quality_history")["affected"].to_pylist() == list(
            range(MOST_FILES + 2)
        )
        assert (
            reader.query("SELECT COUNT(DISTINCT plan_id) AS n FROM lessons")["n"][0].as_py() == MOST_FILES + 2
        )


def _fill(kind: Type) -> object:
    return {Type.BOOLEAN: False, Type.INTEGER: 0, Type.REAL: 0.0}.get(kind, "x")
