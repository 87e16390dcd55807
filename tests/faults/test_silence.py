"""A network that swallows packets: nobody is told that anything broke. Nobody waits for ever, others take over after
the lease, nothing is lost or doubled."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from aimwell.core.errors import NotReady
from aimwell.deployment.channels.mime import identify_mail
from aimwell.deployment.channels.smtp import Server as MailServer
from aimwell.deployment.channels.smtp import SmtpChannel
from aimwell.deployment.ledger import Ledger, Terms
from aimwell.deployment.sending import work as send
from aimwell.deployment.sink import Sink
from aimwell.engine import postgres_connection, store_engine
from aimwell.engine.store import Store
from aimwell.engine.workspace import Workspace
from aimwell.service.app import create_app
from tests.deployment.scene import SENDER, compose, count, fill, open_ledger, open_store
from tests.faults.test_store_outage import Loader, list_events, make, wait_for_more, wait_until
from tests.faults.wire import Wire
from tests.faults.working import Working
from tests.postgres import Server, postgres  # noqa: F401 (a fixture)
from tests.service.live_world import open_today, read_decisions
from tests.service.scene import make_key, read_events, serving
from tests.strategy.live.world import check_books

TERMS = Terms(lease=1.0, retry=0.0, attempts=50)
MAILS = 200


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seconds in place of minutes."""
    monkeypatch.setattr(store_engine, "_SILENCE", 4)
    monkeypatch.setattr(postgres_connection, "IDLE", 2)
    monkeypatch.setattr(store_engine, "PATIENCE", 3)
    monkeypatch.setattr(store_engine, "_CONNECT", 2)


def open_beside(server: Server, wire: Wire, folder: Path) -> Workspace:
    """The same workspace on another machine, with a network of its own."""
    file = folder / "aimwell.toml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace(f":{wire.port}/", f":{server.port}/"), encoding="utf-8")
    return Workspace.open(folder)


def test_a_worker_and_a_sender_of_events_go_on_after_a_silence(
    postgres: Server,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wire = Wire(postgres.port)
    workspace = make(postgres, tmp_path / "w", monkeypatch, port=wire.port)
    beside = open_beside(postgres, wire, tmp_path / "w")
    loader, worker = Loader(workspace), Working(workspace, "move", "journeys", "merge", "vacuum")
    loader.start()
    worker.start()
    try:
        wait_for_more(loader.answered, len(loader.answered), "no event was answered")
        refused, heard = len(loader.refused), len(worker.told)
        wire.hush()
        others = Loader(beside, "b")
        others.start()
        wait_for_more(others.answered, 0, "whoever has a network waits for one who has none")
        wait_for_more(loader.refused, refused, "nobody was told of the silence")
        wait_for_more(worker.told, heard, "the worker waits for ever")
        others.stop.set()
        others.join()
        wire.mend()
        wait_for_more(loader.answered, len(loader.answered), "no event was answered after the silence")
    finally:
        loader.stop.set()
        loader.join()
        worker.stop.set()
        worker.join()
        wire.close()
    assert worker.ended == [None], "the worker goes on"
    assert set(worker.told) | set(loader.refused) <= {"engine.store_unreachable", "engine.store_busy"}
    events = list_events(beside)
    assert loader.answered <= set(events), "an event that was answered is lost"
    assert len(events) == len(set(events)), "an event is there twice"


def test_a_service_answers_again_after_a_silence(
    postgres: Server,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    wire = Wire(postgres.port)
    workspace = make(postgres, tmp_path / "w", monkeypatch, port=wire.port)
    plan, key = open_today(workspace.store, people=50), make_key(workspace)
    known: set[str] = set()

    def ask(number: int) -> set[int]:
        event = {"userId": "u", "event": "e", "messageId": f"m{number}"}
        question = {"customer_id": f"c{number % 50}", "request_id": f"r{number}"}
        answers = (service.call("/v1/track", event, key=key), service.call("/v1/decide", question, key=key))
        known.update(name for name, one in zip((f"m{number}", f"r{number}"), answers, strict=True)
                     if one.status == 200)  # fmt: skip
        return {one.status for one in answers}

    with serving(create_app(workspace)) as service:
        wait_until(lambda: ask(1) == {200}, "the service does not begin")
        wire.hush()
        assert ask(2) == {503}, "nobody waits for ever, and nobody is told that it went well"
        assert service.call("/healthz").status == 200
        wire.mend()
        wait_until(lambda: ask(3) == {200}, "the service does not come back")
        wait_until(lambda: ask(2) == {200}, "what was refused is not taken")
    wire.close()
    beside = open_beside(postgres, wire, tmp_path / "w")
    events = [row["event_id"] for row in read_events(beside)]
    assert sorted(events) == ["m1", "m2", "m3"]
    assert sorted(row["request_id"] for row in read_decisions(beside.store)) == ["r1", "r2", "r3"]
    assert {"m1", "m2", "m3", "r1", "r2", "r3"} == known
    check_books(beside.store, plan)


class Sender(threading.Thread):
    """Sends what is due, again and again, whatever breaks."""

    def __init__(self, ledger: Ledger, server: MailServer) -> None:
        super().__init__(daemon=True)
        self.ledger, self.server = ledger, server
        self.broken: list[str] = []
        self.stop = threading.Event()

    def run(self) -> None:
        while not self.stop.is_set():
            channel = SmtpChannel(self.server, connections=4)
            try:
                send(
                    self.ledger,
                    plan_id="p1",
                    channel_name="email",
                    channel=channel,
                    compose=compose,
                    wait=False,
                    stop=self.stop,
                )
            except NotReady as error:
                self.broken.append(error.code)
            self.stop.wait(0.05)


def check_sums(ledger: Ledger, arrived: Counter[str], most_doubts: int) -> None:
    rows = ledger.read_rows()
    sent = {identify_mail(row["delivery_id"], SENDER) for row in rows if row["state"] == "sent"}
    doubt = {identify_mail(row["delivery_id"], SENDER) for row in rows if row["state"] == "in_doubt"}
    assert len(sent) + len(doubt) == len(rows) == MAILS
    assert max(arrived.values()) == 1, "silent duplicates"
    assert sent <= set(arrived) <= sent | doubt
    assert len(doubt) <= most_doubts


def is_over(ledger: Ledger) -> Callable[[], bool]:
    return lambda: set(count(ledger)) <= {"sent", "in_doubt"}


def test_another_sender_takes_over_from_one_whom_the_database_does_not_hear(
    postgres: Server,  # noqa: F811
    tmp_path: Path,
) -> None:
    name = "silent_sender"
    postgres.run(f"CREATE DATABASE {name}")
    wire, address = Wire(postgres.port), postgres.address(name)
    direct = Store(address)
    direct.migrate()
    ledger = open_ledger(direct, terms=TERMS)
    fill(ledger, [f"c{number}" for number in range(MAILS)])
    far = open_ledger(Store(address.replace(f":{postgres.port}/", f":{wire.port}/")), terms=TERMS)
    with Sink() as sink:
        server = MailServer("127.0.0.1", sink.port, SENDER, timeout=5)
        first, second = Sender(far, server), Sender(ledger, server)
        first.start()
        wait_until(lambda: count(ledger).get("sent", 0) > 5, "nothing is sent")
        wire.hush()
        second.start()
        wait_until(is_over(ledger), "nobody takes over")
        wait_for_more(first.broken, 0, "the first waits for ever")
        wire.mend()
        for one in (first, second):
            one.stop.set()
            one.join()
        wire.close()
        arrived = Counter(sink.message_ids)
    assert set(first.broken) == {"engine.store_unreachable"}
    # At most what was held across the silence kept the other one waiting.
    assert set(second.broken) <= {"engine.store_busy", "engine.store_unreachable"}
    check_sums(ledger, arrived, most_doubts=4)


def test_mails_whose_server_falls_silent_are_sent_or_in_doubt(tmp_path: Path) -> None:
    ledger = open_ledger(open_store(tmp_path), terms=TERMS)
    fill(ledger, [f"c{number}" for number in range(MAILS)])
    with Sink() as sink:
        wire = Wire(sink.port)
        sender = Sender(ledger, MailServer("127.0.0.1", wire.port, SENDER, timeout=1.5))
        sender.start()
        for part in (1, 2, 3):
            wait_for_more(sink.message_ids, part * MAILS // 5, "nothing is sent")
            knocks = wire.unheard
            wire.hush()
            before = count(ledger).get("sent", 0)
            # Until it has given up all of them, and comes again.
            wait_until(lambda knocks=knocks: wire.unheard > knocks, "it waits for ever")  # type: ignore[misc]
            assert count(ledger).get("sent", 0) <= before + 4, "what nobody answered for counts as sent"
            wire.mend()
        wait_until(is_over(ledger), "the sender does not go on")
        sender.stop.set()
        sender.join()
        wire.close()
        arrived = Counter(sink.message_ids)
    check_sums(ledger, arrived, most_doubts=3 * 4)
