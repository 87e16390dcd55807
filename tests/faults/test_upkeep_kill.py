"""Backups, restores and migrations are killed at random moments: what stands is whole or not there, and the next one
succeeds."""

from __future__ import annotations

import random
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

from aimwell.core.errors import Conflict
from aimwell.engine import audit
from aimwell.engine.leases import name_process
from aimwell.engine.store import Store, read_migrations
from aimwell.engine.workspace import Workspace
from aimwell.loop.backup import back_up
from aimwell.loop.doctor import examine
from aimwell.loop.restore import restore
from tests.deployment.stores import BOTH
from tests.engine.test_migrations import count, fill, read_schema
from tests.engine.test_migrations import migrate as migrate_to
from tests.faults.test_store_outage import list_events
from tests.faults.victims import (
    PATIENCE,
    bring_back,
    count_kills,
    kill,
    migrate,
    save,
    sleep_at_random,
    start,
    wait_until,
)
from tests.loop.test_backup import make
from tests.postgres import PASSWORD, Server, postgres  # noqa: F401 (a fixture)

BACKUPS, RESTORES, MIGRATIONS = 12, 10, 8
FIRST = "0006"


def run_out(process: Any) -> None:
    process.join(PATIENCE)
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


def find_left(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if ".restoring-" in path.name]


@pytest.mark.parametrize("kind", BOTH)
def test_a_restore_that_is_killed_leaves_room_for_the_next(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = make(tmp_path / "old")
    file = back_up(workspace, tmp_path / "b.zip").file
    events, chance, whole, halves = sorted(list_events(workspace)), random.Random(2), 0, 0
    monkeypatch.setenv("AIMWELL_STORE_PASSWORD", PASSWORD)
    for number in range(count_kills(RESTORES if kind == "sqlite" else RESTORES // 2)):
        url = None
        if kind == "postgres":
            server: Server = request.getfixturevalue("postgres")
            server.run(f"CREATE DATABASE again{number}")
            url = server.address(f"again{number}", password=None)
        folder = tmp_path / f"new{number}"
        process = start(bring_back, file, folder, url)
        if number % 2:
            # In the middle of it for sure.
            wait_until(lambda: find_left(tmp_path) or folder.exists(), "nothing was begun")  # noqa: B023
        sleep_at_random(chance, 0.25 if kind == "sqlite" else 0.6)
        kill(process)
        # The folder has its name only when it is whole; before that nobody takes it for a workspace.
        whole += folder.exists()
        halves += len(find_left(tmp_path))
        for half in find_left(tmp_path):
            assert not (half / "aimwell.toml").exists() and examine(half).severity == "error"
        if not folder.exists():
            run_out(start(bring_back, file, folder, url))
            assert find_left(tmp_path) == [], "what the killed one left is gone"
        opened = Workspace.open(folder)
        assert sorted(list_events(opened)) == events
        opened.close()
    assert halves, "no kill came in the middle"
    print(f"{count_kills(RESTORES)} kills, {whole} came too late")


def test_a_database_is_taken_back_only_from_a_restore_that_nobody_used(
    tmp_path: Path,
    postgres: Server,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Killed at its very end: everything is in the database, and only the mark stands."""
    monkeypatch.setenv("AIMWELL_STORE_PASSWORD", PASSWORD)
    postgres.run("CREATE DATABASE taken")
    url, file = (
        postgres.address("taken", password=None),
        back_up(make(tmp_path / "old"), tmp_path / "b.zip").file,
    )

    def mark(process: str) -> None:
        table = "CREATE TABLE IF NOT EXISTS aimwell_restoring (process text, folder text, whole boolean)"
        row = f"INSERT INTO aimwell_restoring VALUES ('{process}', '{tmp_path / 'new'}', true)"
        postgres.run(table, "DELETE FROM aimwell_restoring", row, database="taken")

    dead = f"{socket.gethostname()}:{2**22 + 1}"
    restore(file, tmp_path / "new", url=url)
    mark(dead)
    with pytest.raises(Conflict, match="already"):
        restore(file, tmp_path / "second", url=url)
    shutil.rmtree(tmp_path / "new")
    mark(name_process())
    with pytest.raises(Conflict, match="filling"):
        restore(file, tmp_path / "second", url=url)
    mark(dead)
    assert restore(file, tmp_path / "second", url=url).database == "postgresql"
    # A folder that got another name, and was at work since.
    with Store(postgres.address("taken")).begin() as connection:
        audit.record(connection, "test.happened", "x", {})
    mark(dead)
    with pytest.raises(Conflict, match="already"):
        restore(file, tmp_path / "third", url=url)
    opened = Workspace.open(tmp_path / "second")
    assert len(list_events(opened)) == 300
    opened.close()


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
