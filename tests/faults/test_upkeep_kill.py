"""Backups, restores and migrations are killed at random moments: what stands is whole or not there, and the next one
succeeds."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from aimwell.engine.store import Store, read_migrations
from aimwell.engine.workspace import Workspace
from aimwell.loop.backup import back_up
from aimwell.loop.restore import restore
from tests.deployment.stores import BOTH
from tests.engine.test_migrations import count, fill, read_schema
from tests.engine.test_migrations import migrate as migrate_to
from tests.faults.test_store_outage import list_events
from tests.faults.victims import bring_back, count_kills, kill, migrate, save, sleep_at_random, start
from tests.loop.test_backup import make
from tests.postgres import Server, postgres  # noqa: F401 (a fixture)

BACKUPS, RESTORES, MIGRATIONS = 12, 10, 8
FIRST = "0006"


def run_out(process: Any) -> None:
    process.join(60)
    assert process.exitcode == 0


def test_a_backup_that_is_killed_is_whole_or_not_there(tmp_path: Path) -> None:
    workspace = make(tmp_path / "old")
    events = sorted(list_events(workspace))
    (tmp_path / "backups").mkdir()
    target = tmp_path / "backups" / "b.zip"
    chance, whole = random.Random(1), 0
    for number in range(count_kills(BACKUPS)):
        process = start(save, workspace.path, target)
        sleep_at_random(chance, 0.5)
        kill(process)
        if target.exists():
            whole += 1
            restore(target, tmp_path / f"new{number}")
            target.unlink()
    run_out(start(save, workspace.path, target))
    assert [path.name for path in target.parent.iterdir()] == ["b.zip"]
    restore(target, tmp_path / "last")
    opened = Workspace.open(tmp_path / "last")
    assert sorted(list_events(opened)) == events == sorted(list_events(workspace))
    opened.close()
    print(f"{count_kills(BACKUPS)} kills, {whole} came too late")


def test_a_restore_that_is_killed_leaves_room_for_the_next(tmp_path: Path) -> None:
    workspace = make(tmp_path / "old")
    file = back_up(workspace, tmp_path / "b.zip").file
    events, chance, whole = sorted(list_events(workspace)), random.Random(2), 0
    for number in range(count_kills(RESTORES)):
        folder = tmp_path / f"new{number}"
        process = start(bring_back, file, folder, None)
        sleep_at_random(chance, 0.25)
        kill(process)
        # The folder has its name only when it is whole.
        whole += folder.exists()
        if not folder.exists():
            run_out(start(bring_back, file, folder, None))
        opened = Workspace.open(folder)
        assert sorted(list_events(opened)) == events
        opened.close()
    print(f"{count_kills(RESTORES)} kills, {whole} came too late")


@pytest.mark.parametrize("kind", BOTH)
def test_a_migration_that_is_killed_is_finished_by_the_next(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    chance, early = random.Random(kind), 0
    head = read_migrations()[1].get_current_head()
    for number in range(count_kills(MIGRATIONS)):
        if kind == "sqlite":
            url = f"sqlite:///{tmp_path / f'{number}.sqlite'}"
        else:
            server: Server = request.getfixturevalue("postgres")
            server.run(f"CREATE DATABASE migrated{number}")
            url = server.address(f"migrated{number}")
        store = Store(url)
        migrate_to(store, FIRST)
        fill(store)
        rows, schema = count(store), read_schema(store)
        process = start(migrate, url)
        sleep_at_random(chance, 0.3)
        kill(process)
        revision = store.read_revision()
        assert revision in (FIRST, head), "all of the versions between, or none"
        early += revision == FIRST
        if revision == FIRST:
            assert read_schema(store) == schema
        store.migrate()
        assert store.read_revision() == head
        after = count(store)
        assert {name: after[name] for name in rows} == rows
        store.close()
    print(f"{count_kills(MIGRATIONS)} kills, {early} before the end")
