"""A disk that is full: whoever writes is told so in clear words, nothing that was answered is lost, no mail comes
twice, and everything goes on when there is room."""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from aimwell.core.errors import NotReady
from aimwell.data.event_intake import take_events
from aimwell.deployment.channels.smtp import Server, SmtpChannel
from aimwell.deployment.ledger import Ledger
from aimwell.deployment.sending import work as send
from aimwell.deployment.sink import Sink
from aimwell.engine.workspace import Workspace
from aimwell.loop.worker import TASKS, work
from tests.deployment.scene import SENDER, compose, count, fill, open_ledger, open_store
from tests.faults.event_process import BATCH, build_message
from tests.faults.test_silence import MAILS, TERMS, check_sums
from tests.faults.test_store_outage import PATIENCE, list_events, wait_until


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


def fill_up(ballast: Path) -> None:
    with suppress(OSError), ballast.open("ab", buffering=0) as stream:
        while True:
            stream.write(os.urandom(4096))


class Filling(Sink):
    """While it takes the 21st mail, the disk of its sender fills up."""

    def __init__(self, ballast: Path) -> None:
        super().__init__()
        self._ballast = ballast

    def keep(self, content: bytes) -> None:
        super().keep(content)
        if self.count == 21:
            fill_up(self._ballast)


def try_to_send(ledger: Ledger, server: Server) -> str | None:
    """Send all that is due; the code of what went wrong."""
    channel = SmtpChannel(server, connections=4)
    try:
        send(ledger, plan_id="p1", channel_name="email", channel=channel, compose=compose)
    except NotReady as error:
        return error.code
    return None


def test_mails_of_a_sender_whose_disk_fills_up_come_once(small_disk: Path) -> None:
    ledger = open_ledger(open_store(small_disk), terms=TERMS)
    fill(ledger, [f"c{number}" for number in range(MAILS)])
    ballast = small_disk / "ballast"
    with Filling(ballast) as sink:
        server = Server("127.0.0.1", sink.port, SENDER, timeout=30)
        codes = [try_to_send(ledger, server), try_to_send(ledger, server)]
        assert sink.count < MAILS, "what cannot be written down is not sent"
        ballast.unlink()
        wait_until(
            lambda: try_to_send(ledger, server) is None and set(count(ledger)) <= {"sent", "in_doubt"},
            "it does not go on",
        )
        arrived = Counter(sink.message_ids)
    assert set(codes) == {"engine.disk_full"}
    check_sums(ledger, arrived, most_doubts=4)
