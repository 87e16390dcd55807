"""The store goes away: its database crashes, the network is cut, its disk is full. Nothing that was answered is lost,
nothing hangs, nothing is seen twice, and whoever waits is told why."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sized
from pathlib import Path

import pytest
import sqlalchemy as sa

from aimwell.core.errors import Conflict, NotReady
from aimwell.data.event_intake import take_events
from aimwell.engine.audit import verify
from aimwell.engine.hot_tables import HOT_GATE
from aimwell.engine.settings import Settings, StoreSettings
from aimwell.engine.workspace import Workspace
from tests.faults.event_process import BATCH, build_message
from tests.faults.wire import Wire
from tests.faults.working import Working
from tests.postgres import PASSWORD, Server, find_programs, serve_durably

pytestmark = pytest.mark.skipif(find_programs() is None, reason="PostgreSQL's programs are not installed")
PATIENCE = 180.0


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serve_durably() as running:
        yield running


class Loader(threading.Thread):
    """Hands batches in, each again and again until it is answered, as a sender does."""

    def __init__(self, workspace: Workspace, name: str = "a") -> None:
        super().__init__(daemon=True)
        self.workspace, self.prefix = workspace, name
        self.answered: set[str] = set()
        self.refused: list[str] = []
        self.stop = threading.Event()

    def run(self) -> None:
        number = 0
        while not self.stop.is_set():
            batch = [build_message(self.prefix, number + offset) for offset in range(BATCH)]
            try:
                take_events(self.workspace, batch)
            except (NotReady, Conflict) as error:
                self.refused.append(error.code)
                self.stop.wait(0.05)
                continue
            self.answered |= {str(one["messageId"]) for one in batch}
            number += BATCH


def wait_until(reached: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < end, what
        time.sleep(0.02)


def wait_for_more(counted: Sized, before: int, what: str) -> None:
    wait_until(lambda: len(counted) > before, what)


def list_events(workspace: Workspace) -> list[str]:
    with workspace.read() as reader:
        return [row["event_id"] for row in reader.query("SELECT event_id FROM events").to_pylist()]


def make(
    server: Server, folder: Path, monkeypatch: pytest.MonkeyPatch, *, port: int | None = None
) -> Workspace:
    monkeypatch.setenv("AIMWELL_STORE_PASSWORD", PASSWORD)
    name = f"outage{abs(hash(str(folder)))}"
    server.run(f"CREATE DATABASE {name}")
    url = server.address(name, password=None)
    if port is not None:
        url = url.replace(f":{server.port}/", f":{port}/")
    return Workspace.create(folder, zone="UTC", settings=Settings(store=StoreSettings(url=url)))


def test_a_database_that_crashes_again_and_again_loses_and_doubles_nothing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = make(server, tmp_path / "w", monkeypatch)
    assert server.control is not None
    loader, worker = Loader(workspace), Working(workspace, "move", "merge", "log", "windows", "vacuum")
    loader.start()
    worker.start()
    try:
        for _ in range(4):
            before = len(loader.answered)
            wait_for_more(loader.answered, before, "no event was answered")
            refused = len(loader.refused)
            server.control("crash")
            wait_for_more(loader.refused, refused, "nobody was told of the crash")
            server.control("start")
        before = len(loader.answered)
        wait_until(lambda: len(loader.answered) > before, "no event was answered after the crashes")
    finally:
        loader.stop.set()
        loader.join(PATIENCE)
        worker.stop.set()
        worker.join(PATIENCE)
    assert not loader.is_alive()
    assert worker.ended == [None], "the worker goes on through every crash"
    assert set(loader.refused) | set(worker.told) <= {
        "engine.store_unreachable",
        "engine.store_refused",
        "engine.changed_meanwhile",
    }
    events = list_events(workspace)
    assert loader.answered <= set(events), "an event that was answered is lost"
    assert len(events) == len(set(events)), "an event is there twice"
    workspace.store.audit("test.done", "x")
    with workspace.store.snapshot() as connection:
        assert verify(connection).breaks == ()
    print(
        f"4 crashes, {len(events)} events, {len(loader.refused)} refusals, {len(worker.told)} told by the worker"
    )


def test_a_network_that_is_cut_keeps_nobody_else_waiting_and_loses_nothing(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wire = Wire(server.port)
    workspace = make(server, tmp_path / "w", monkeypatch, port=wire.port)
    # Another machine, with a network of its own.
    direct = (tmp_path / "w/aimwell.toml").read_text().replace(f":{wire.port}/", f":{server.port}/")
    (tmp_path / "w/aimwell.toml").write_text(direct)
    beside = Workspace.open(tmp_path / "w")
    loader = Loader(workspace)
    loader.start()
    try:
        for number in range(5):
            before = len(loader.answered)
            wait_for_more(loader.answered, before, "no event was answered")
            refused = len(loader.refused)
            wire.cut()
            # Whatever was held on the other side of the cut is given back.
            answers = take_events(beside, [build_message(f"b{number}", 1)])
            assert [one.status for one in answers] == ["accepted"]
            wait_for_more(loader.refused, refused, "nobody was told of the cut")
            wire.mend()
        before = len(loader.answered)
        wait_until(lambda: len(loader.answered) > before, "no event was answered after the cuts")
    finally:
        loader.stop.set()
        loader.join(PATIENCE)
        wire.close()
    assert set(loader.refused) == {"engine.store_unreachable"}
    events = list_events(beside)
    assert loader.answered <= set(events), "an event that was answered is lost"
    assert len(events) == len(set(events)), "an event is there twice"


@pytest.mark.parametrize("many", [False, True])
def test_a_transaction_whose_process_stands_still_is_ended(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, many: bool
) -> None:
    from aimwell.engine import postgres_connection, store_engine

    # Made with the usual patience: on a busy machine a second passes between two statements of the migrations.
    make(server, tmp_path / "w", monkeypatch).close()
    monkeypatch.setattr(postgres_connection, "IDLE", 2)
    monkeypatch.setattr(store_engine, "PATIENCE", 4)
    workspace = Workspace.open(tmp_path / "w")
    statement = sa.update(HOT_GATE).values(turn=HOT_GATE.c.turn + sa.bindparam("more"))
    with pytest.raises(NotReady) as caught, workspace.store.begin() as connection:
        connection.execute(statement, [{"more": 100}, {"more": 100}] if many else {"more": 100})
        # Nobody else could write while this one sleeps; the server ends it, or whoever waited in vain.
        wait_until(lambda: is_answered(workspace), "the others waited for ever")
        connection.execute(sa.select(HOT_GATE.c.turn))
    assert caught.value.code == "engine.store_unreachable"
    with workspace.store.snapshot() as connection:
        assert connection.execute(sa.select(HOT_GATE.c.turn)).scalar_one() == 1, "nothing of it is there"


def is_answered(workspace: Workspace) -> bool:
    try:
        return bool(take_events(workspace, [build_message("c", 1)]))
    except NotReady as error:
        # Whoever stands still for two seconds himself, on a busy machine, is ended as well.
        assert error.code in ("engine.store_busy", "engine.store_unreachable")
        return False
