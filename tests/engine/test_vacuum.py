"""Files go when nobody can need them: not before, and not while somebody reads."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import date, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from aimwell.core.time import now
from aimwell.engine.compaction import compact, merge_files
from aimwell.engine.leases import FOLDER, find_oldest_lease, hold_lease, is_alive, name_process
from aimwell.engine.spill import SpillFolder
from aimwell.engine.store_tables import RUNS, TABLE_FILES, TABLE_VERSIONS
from aimwell.engine.vacuum import vacuum
from aimwell.engine.workspace import Workspace
from tests.engine.test_hot_events import build_events, see, take

DAY = date(2024, 3, 30)
LATER = timedelta(hours=3)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.create(tmp_path / "w")


def replace(workspace: Workspace, *ids: str) -> None:
    with workspace.run("data", as_of=DAY) as run:
        run.replace("events", build_events(ids))


def count_files(workspace: Workspace) -> int:
    return len(list((workspace.warehouse_folder / "events").iterdir()))


def age(path: Path, by: timedelta) -> None:
    then = (now() - by).timestamp()
    os.utime(path, (then, then))


def test_a_replaced_file_goes_after_the_grace_period(workspace: Workspace) -> None:
    replace(workspace, "a")
    replace(workspace, "b")
    assert vacuum(workspace).replaced == 0
    done = vacuum(workspace, now() + LATER)
    assert done.replaced == 1
    assert done.bytes > 0
    assert count_files(workspace) == 1
    assert see(workspace) == ["b"]


def test_a_file_stays_while_a_reader_may_need_it(workspace: Workspace) -> None:
    replace(workspace, "a")
    with workspace.read() as reader:
        replace(workspace, "b")
        assert vacuum(workspace, now() + LATER).replaced == 0
        assert reader.query("SELECT event_id FROM events").to_pylist() == [{"event_id": "a"}]
    assert vacuum(workspace, now() + LATER).replaced == 1


def test_the_lease_of_a_dead_reader_counts_for_nothing(workspace: Workspace) -> None:
    replace(workspace, "a")
    code = (
        "import os, sys; from aimwell.engine.workspace import Workspace\n"
        "with Workspace.open(sys.argv[1]).read(): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(workspace.path)], check=False)
    assert len(list((workspace.warehouse_folder / FOLDER).iterdir())) == 1
    replace(workspace, "b")
    assert vacuum(workspace, now() + LATER).replaced == 1
    assert list((workspace.warehouse_folder / FOLDER).iterdir()) == []


def test_a_lease_of_another_machine_counts_for_a_day(workspace: Workspace) -> None:
    with hold_lease(workspace.warehouse_folder):
        pass
    elsewhere = workspace.warehouse_folder / FOLDER / "elsewhere:1:ab"
    elsewhere.touch()
    assert find_oldest_lease(workspace.warehouse_folder, now()) is not None
    assert find_oldest_lease(workspace.warehouse_folder, now() + timedelta(hours=25)) is None


def test_orphans_go_but_not_what_a_run_is_writing(workspace: Workspace) -> None:
    folder = workspace.warehouse_folder / "events"
    folder.mkdir()
    for name in ("move_dead-1.parquet", "move_dead-2.writing"):
        (folder / name).touch()
        age(folder / name, LATER)
    with workspace.run("data", as_of=DAY) as run:
        run.replace("events", build_events(["a"]))
        for path in folder.glob(f"{run.id}-*"):
            age(path, LATER)
        (folder / "move_young-1.parquet").touch()
        assert vacuum(workspace).orphans == 2
    assert see(workspace) == ["a"]


def test_moves_are_forgotten_with_their_files(workspace: Workspace) -> None:
    names = [f"e{number:02}" for number in range(30)]
    for name in names:
        take(workspace, [name])
        compact(workspace)
        merge_files(workspace)
    vacuum(workspace, now() + LATER)
    assert see(workspace) == names
    with workspace.store.snapshot() as connection:
        files = connection.execute(sa.select(sa.func.count()).select_from(TABLE_FILES)).scalar_one()
        assert files == count_files(workspace)
        for table in (TABLE_VERSIONS, RUNS):
            kept = connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            assert kept <= files + 1
    take(workspace, ["z"])
    compact(workspace)
    assert see(workspace) == [*names, "z"]


def test_a_crash_between_deleting_and_forgetting_is_mended(workspace: Workspace) -> None:
    replace(workspace, "a")
    replace(workspace, "b")
    with workspace.store.snapshot() as connection:
        removed = TABLE_FILES.c.removed_in.is_not(None)
        path = connection.execute(sa.select(TABLE_FILES.c.path).where(removed)).scalar_one()
    (workspace.warehouse_folder / path).unlink()
    assert vacuum(workspace, now() + LATER).replaced == 1
    assert see(workspace) == ["b"]


def test_a_process_number_that_was_given_again_is_not_the_one_that_died(workspace: Workspace) -> None:
    mine = name_process()
    assert is_alive(mine)
    number, _, started = mine.partition("@")
    assert is_alive(number), "as it was written before starts were told"
    if not started:
        pytest.skip("this system does not tell when a process started")
    another = f"{number}@{int(started) - 1}"
    assert not is_alive(another)
    folder = workspace.warehouse_folder / FOLDER
    with hold_lease(workspace.warehouse_folder):
        (folder / f"{another}:0123456789abcdef").touch()
        assert find_oldest_lease(workspace.warehouse_folder, now()) is not None
        assert [path.name.rpartition(":")[0] for path in folder.iterdir()] == [mine]


def test_what_killed_readers_spilt_goes_at_once_and_not_under_the_living(workspace: Workspace) -> None:
    with SpillFolder(workspace.warehouse_folder, "session") as living:
        (living.path / "spilt.tmp").write_bytes(b"somebody")
        dead = living.path.with_name("session-1-killed")
        dead.mkdir()
        for path in (dead / "lock", dead / "spilt.tmp"):
            path.write_bytes(b"somebody")
        done = vacuum(workspace)
        assert (done.orphans, done.bytes) == (1, 8)
        assert vacuum(workspace, now() + timedelta(days=9)).orphans == 0
        assert (living.path / "spilt.tmp").exists() and not dead.exists()
    assert not living.path.exists()


def test_what_was_spilt_beside_a_published_file_goes_too(workspace: Workspace) -> None:
    folder = workspace.warehouse_folder / "published-1.duckdb.tmp"
    folder.mkdir(parents=True)
    (folder / "spilt.tmp").write_bytes(b"somebody")
    assert vacuum(workspace).orphans == 0
    assert vacuum(workspace, now() + LATER).orphans == 1
    assert not folder.exists()
