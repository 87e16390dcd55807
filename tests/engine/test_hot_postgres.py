"""Hot rows with the store on PostgreSQL: who moves them keeps nobody from bringing more, and two move them once."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from aimwell.engine import compaction
from aimwell.engine.compaction import Moved, compact
from aimwell.engine.settings import Settings, StoreSettings
from aimwell.engine.workspace import Workspace
from tests.engine.test_hot_events import list_files, see, take
from tests.postgres import PASSWORD, Server, postgres  # noqa: F401 (a fixture)

PATIENCE = 180.0
WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype IN ('transactionid', 'tuple')"


@pytest.fixture
def workspace(
    tmp_path: Path,
    postgres: Server,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Workspace]:
    monkeypatch.setenv("AIMWELL_STORE_PASSWORD", PASSWORD)
    name = f"hot{secrets.token_hex(6)}"
    postgres.run(f"CREATE DATABASE {name}")
    url = postgres.address(name, password=None)
    opened = Workspace.create(tmp_path / "w", settings=Settings(store=StoreSettings(url=url)))
    yield opened
    opened.close()


def interrupt(monkeypatch: pytest.MonkeyPatch, name: str, act: Any) -> None:
    """Do ``act`` once, after the function ``name`` of a move, in whose transaction that is."""
    plain = getattr(compaction, name)

    def call(*arguments: Any, **named: Any) -> Any:
        monkeypatch.setattr(compaction, name, plain)
        done = plain(*arguments, **named)
        act()
        return done

    monkeypatch.setattr(compaction, name, call)


def test_events_come_in_while_a_move_ends(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    take(workspace, ["a"])
    taken: list[bool] = []

    def bring() -> None:
        thread = threading.Thread(target=lambda: taken.extend(take(workspace, ["a", "b"])))
        thread.start()
        thread.join(PATIENCE)
        assert taken == [False, True], "they waited for the move"

    interrupt(monkeypatch, "write_version", bring)
    assert compact(workspace).rows == 1
    assert (see(workspace), len(list_files(workspace))) == (["a", "b"], 1)


def test_of_two_moves_at_one_moment_one_leaves_no_trace(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "abc":
        take(workspace, [name])
    second: list[Moved] = []
    thread = threading.Thread(target=lambda: second.append(compact(workspace)))

    def move_beside() -> None:
        thread.start()
        until = time.monotonic() + PATIENCE
        # It has chosen the same rows, and waits for the oldest of them.
        while not count_waiting(workspace):
            assert time.monotonic() < until, "the second move waits for nothing"
            time.sleep(0.01)

    interrupt(monkeypatch, "_take_out", move_beside)
    assert compact(workspace).rows == 3
    thread.join(PATIENCE)
    assert second == [Moved()]
    assert (see(workspace), len(list_files(workspace))) == (["a", "b", "c"], 1)


def count_waiting(workspace: Workspace) -> int:
    with workspace.store.snapshot() as connection:
        return int(connection.execute(sa.text(WAITING)).scalar_one())
