"""The store goes away: its database crashes, the network is cut, its disk is full. Nothing that was answered is lost,
nothing hangs, nothing is seen twice, and whoever waits is told why."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sized
from contextlib import suppress
from pathlib import Path

import pytest
import sqlalchemy as sa

from aimwell.core.errors import Conflict, NotReady
from aimwell.data.event_intake import take_events
from aimwell.engine.audit import verify
from aimwell.engine.hot_tables import HOT_GATE
from aimwell.engine.settings import Settings, StoreSettings
from aimwell.engine.workspace import Workspace
from aimwell.loop.worker import TASKS, work
from tests.faults.event_process import BATCH, build_message
from tests.postgres import PASSWORD, Server, find_programs, serve_durably

pytestmark = pytest.mark.skipif(find_programs() is None, reason="PostgreSQL's programs are not installed")
PATIENCE = 60.0


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with serve_durably() as running:
        yield running


class Loader(threading.Thread):
    """Hands batches in, each again and again until it is answered, as a sender does."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__(daemon=True)
        self.workspace = workspace
        self.answered: set[str] = set()
        self.refused: list[str] = []
        self.stop = threading.Event()

    def run(self) -> None:
        number = 0
        while not self.stop.is_set():
            batch = [build_message("a", number + offset) for offset in range(BATCH)]
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
    told: list[str] = []
    stop = threading.Event()
    tasks = tuple(task for task in TASKS if task.name in ("move", "merge", "log", "windows", "vacuum"))
    ended: list[BaseException | None] = []

    def work_on() -> None:
        try:
            work(workspace, stop, tasks=tasks, tell=lambda error: told.append(error.code))
            ended.append(None)
        except BaseException as error:
            ended.append(error)

    loader, worker = Loader(workspace), threading.Thread(target=work_on, daemon=True)
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
        stop.set()
        worker.join(PATIENCE)
    assert not loader.is_alive()
    assert ended == [None], "the worker goes on through every crash"
    assert set(loader.refused) | set(told) <= {
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
    print(f"4 crashes, {len(events)} events, {len(loader.refused)} refusals, {len(told)} told by the worker")


class Wire:
    """A network between us and the server that can be cut."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: list[socket.socket] = []
        self.is_cut = False
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Every connection breaks, and no new one comes through."""
        self.is_cut = True
        for one in self._open:
            # At once, with whatever was on its way.
            with suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
                one.shutdown(socket.SHUT_RDWR)
                one.close()
        self._open.clear()

    def mend(self) -> None:
        self.is_cut = False

    def close(self) -> None:
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if self.is_cut:
                    near.close()
                    continue
                far = socket.create_connection(("127.0.0.1", self._target))
                self._open += [near, far]
                threading.Thread(target=self._carry, args=(near, far), daemon=True).start()

    def _carry(self, near: socket.socket, far: socket.socket) -> None:
        with suppress(OSError, ValueError):
            while True:
                ready, _, _ = select.select([near, far], [], [], 1.0)
                for one in ready:
                    piece = one.recv(1 << 16)
                    if not piece:
                        near.close()
                        far.close()
                        return
                    (far if one is near else near).sendall(piece)


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


def test_a_transaction_whose_process_stands_still_is_ended(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aimwell.engine import store_engine

    monkeypatch.setattr(store_engine, "_IDLE", 1)
    workspace = make(server, tmp_path / "w", monkeypatch)
    with pytest.raises(NotReady) as caught, workspace.store.begin() as connection:
        connection.execute(sa.update(HOT_GATE).values(turn=HOT_GATE.c.turn + 100))
        # Nobody else could write while this one sleeps; the server ends it.
        wait_until(lambda: is_answered(workspace), "the others waited for ever")
        connection.execute(sa.select(HOT_GATE.c.turn))
    assert caught.value.code == "engine.store_unreachable"
    with workspace.store.snapshot() as connection:
        assert connection.execute(sa.select(HOT_GATE.c.turn)).scalar_one() == 1, "nothing of it is there"


def is_answered(workspace: Workspace) -> bool:
    return bool(take_events(workspace, [build_message("c", 1)]))


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """A disk of a few megabytes of its own."""
    folder = Path(tempfile.mkdtemp(prefix="aimwell-disk-"))
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(folder)], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        folder.rmdir()
        pytest.skip("no disk can be mounted here")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=False, capture_output=True)
    with suppress(OSError):
        folder.rmdir()


def test_a_full_disk_ends_in_clear_words_and_loses_nothing(small_disk: Path) -> None:
    workspace = Workspace.create(small_disk / "w", zone="UTC")
    answered: set[str] = set()
    ballast = small_disk / "ballast"
    ballast.write_bytes(os.urandom(3 << 20))
    with pytest.raises(NotReady) as caught:
        for number in range(0, 1_000_000, BATCH):
            batch = [build_message("a", number + offset) for offset in range(BATCH)]
            take_events(workspace, batch)
            answered |= {str(one["messageId"]) for one in batch}
    assert caught.value.code == "engine.disk_full"
    assert "room" in caught.value.render("en")
    assert answered
    # Whoever reads still can; whoever comes again is told again, at once.
    with pytest.raises(NotReady, match="room"):
        while True:
            workspace.store.audit("test.more", "x" * 200)
    count_seen(workspace, answered)
    ballast.unlink()
    assert {one.status for one in take_events(workspace, [build_message("b", 1)])} == {"accepted"}
    workspace.close()
    events = count_seen(Workspace.open(small_disk / "w"), answered)
    assert len(events) == len(set(events)), "an event is there twice"


def count_seen(workspace: Workspace, answered: set[str]) -> list[str]:
    events = list_events(workspace)
    assert answered <= set(events), "an event that was answered is lost"
    return events


def test_a_worker_on_a_full_disk_says_so_and_goes_on_when_there_is_room(small_disk: Path) -> None:
    workspace = Workspace.create(small_disk / "w", zone="UTC")
    take_events(workspace, [build_message("a", number) for number in range(400)])
    ballast = small_disk / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as stream:
        while True:
            stream.write(os.urandom(4096))
    told: list[str] = []
    stop = threading.Event()
    tasks = tuple(task for task in TASKS if task.name in ("move", "log"))
    failed: list[BaseException] = []

    def work_on() -> None:
        try:
            work(workspace, stop, tasks=tasks, tell=lambda error: told.append(error.code))
        except BaseException as error:
            failed.append(error)

    worker = threading.Thread(target=work_on, daemon=True)
    worker.start()
    try:
        wait_until(lambda: bool(told or failed), "the worker says nothing")
        assert failed == []
        ballast.unlink()
        wait_until(
            lambda: any(workspace.warehouse_folder.glob("events/*.parquet")), "the worker does not go on"
        )
    finally:
        stop.set()
        worker.join(PATIENCE)
    assert set(told) <= {"engine.disk_full", "engine.store_unwritable"}
    assert len(list_events(workspace)) == 400
