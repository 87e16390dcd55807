from __future__ import annotations

import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from aimwell.core.errors import BadInput, Conflict
from aimwell.deployment.channels.channel import Message, Outcome
from aimwell.deployment.channels.smtp import Server, SmtpChannel
from aimwell.deployment.ledger import Terms
from aimwell.deployment.sending import work
from aimwell.deployment.sink import Sink
from tests.deployment.scene import (
    SENDER,
    Moody,
    compose,
    count,
    count_reasons,
    fill,
    open_ledger,
    open_store,
    serve,
)


def run(
    folder: Path, server: Server, names: list[str], *, connections: int = 4
) -> tuple[dict[str, int], dict[str | None, int]]:
    ledger = open_ledger(open_store(folder))
    fill(ledger, names)
    channel = SmtpChannel(server, connections=connections)
    work(ledger, plan_id="p1", channel_name="email", channel=channel, compose=compose)
    return count(ledger), count_reasons(ledger)


def test_many_mails_on_few_connections(tmp_path: Path) -> None:
    server = Moody()
    names = [f"c{number}" for number in range(60)]
    with serve(server) as address:
        states, _ = run(tmp_path, address, names)
    assert states == {"sent": 60}
    assert sorted(server.taken) == sorted(names)
    assert len(server.sessions) <= 4


def test_answers_of_the_server_become_states(tmp_path: Path) -> None:
    server = Moody(
        at_rcpt={"unknown": "550 no such user", "full": "452 mailbox full"},
        at_data={"spam": "554 refused", "later": "451 later", "drop": "drop"},
    )
    with serve(server) as address:
        states, reasons = run(tmp_path, address, ["good", "unknown", "full", "spam", "later", "drop", "fine"])
    assert sorted(server.taken) == ["fine", "good"]
    assert states == {"sent": 2, "failed": 4, "in_doubt": 1}
    assert reasons == {None: 2, "bad_recipient": 1, "gave_up": 2, "rejected": 1, "connection_lost": 1}


def test_an_odd_answer_to_a_whole_mail_is_not_a_reason_to_send_it_twice(tmp_path: Path) -> None:
    server = Moody(at_data={"taken": "252 taken", "odd": "354 go on"})
    with serve(server) as address:
        states, reasons = run(tmp_path, address, ["taken", "odd"])
    assert states == {"sent": 1, "in_doubt": 1}
    assert reasons == {None: 1, "connection_lost": 1}


def test_what_is_in_doubt_is_never_tried_again(tmp_path: Path) -> None:
    server = Moody(at_data={"drop": "drop"})
    with serve(server) as address:
        assert run(tmp_path, address, ["drop"])[0] == {"in_doubt": 1}
        server.at_data.clear()
        assert run(tmp_path, address, ["drop"])[0] == {"in_doubt": 1}
    assert server.taken == []


def test_an_unreachable_server_loses_nothing(tmp_path: Path) -> None:
    # Held, so that nobody else listens there.
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
        states, _ = run(tmp_path, Server("127.0.0.1", port, SENDER, timeout=5), ["a", "b"])
    assert states == {"queued": 2}
    with serve(Moody()) as address:
        states, _ = run(tmp_path, address, ["a", "b"])
    assert states == {"sent": 2}


def test_a_server_that_never_answers_times_out(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = Server("127.0.0.1", silent.getsockname()[1], SENDER, timeout=0.3)
        assert run(tmp_path, server, ["a"])[0] == {"queued": 1}


def test_a_connection_that_the_server_closed_is_replaced(tmp_path: Path) -> None:
    handler = Moody()
    with serve(handler) as address:
        channel = SmtpChannel(address, connections=1)
        message = compose_one()
        assert channel.deliver(message).outcome is Outcome.SENT
        [line] = channel._exchange._idle
        line.socket.shutdown(socket.SHUT_RDWR)
        assert channel.deliver(message).outcome is Outcome.SENT
        channel.finish()
    assert len(handler.taken) == 2


def compose_one() -> Message:
    return Message(
        delivery_id="d" * 64, plan_id="p", customer_id="c", recipient="c@x.example", text="t", subject="s"
    )


def test_two_workers_on_one_plan_send_each_mail_once(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    fill(open_ledger(store), [f"c{number}" for number in range(80)])
    with Sink() as sink:

        def send() -> None:
            channel = SmtpChannel(Server("127.0.0.1", sink.port, SENDER), connections=3)
            work(open_ledger(store), plan_id="p1", channel_name="email", channel=channel, compose=compose)

        workers = [threading.Thread(target=send) for _ in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert sink.count == len(set(sink.message_ids)) == 80
    assert count(open_ledger(store)) == {"sent": 80}


def test_a_message_that_cannot_be_made_fails_alone(tmp_path: Path) -> None:
    ledger = open_ledger(open_store(tmp_path))
    fill(ledger, ["a", "b"])

    def refuse(candidate: object) -> Message:
        if getattr(candidate, "customer_id", "") == "a":
            raise ValueError("no")
        return compose(candidate)  # type: ignore[arg-type]

    with Sink() as sink:
        channel = SmtpChannel(Server("127.0.0.1", sink.port, SENDER))
        work(ledger, plan_id="p1", channel_name="email", channel=channel, compose=refuse)
    assert count(ledger) == {"sent": 1, "failed": 1}
    assert count_reasons(ledger)["content_error"] == 1


def test_the_sink_keeps_mails_and_serves_loopback_only(tmp_path: Path) -> None:
    with Sink(tmp_path / "mail") as sink:
        channel = SmtpChannel(Server("127.0.0.1", sink.port, SENDER))
        assert channel.deliver_batch([compose_one()])[0].outcome is Outcome.SENT
        bad = replace(compose_one(), recipient="a b")
        assert channel.deliver(bad).code == "content_error"
        channel.finish()
        with pytest.raises(Conflict):
            Sink(port=sink.port)
    assert len(list((tmp_path / "mail").iterdir())) == sink.count == 1
    again = Sink(tmp_path / "mail")
    with again:
        assert again.count == 1 and again.has(sink.message_ids[0])
    with pytest.raises(BadInput):
        Sink(host="0.0.0.0")


def test_a_thousand_mails_cost_milliseconds_each(tmp_path: Path) -> None:
    ledger = open_ledger(open_store(tmp_path), terms=Terms())
    fill(ledger, [f"c{number}" for number in range(1_000)])
    with Sink(tmp_path / "mail") as sink:
        channel = SmtpChannel(Server("127.0.0.1", sink.port, SENDER))
        # Processor time of sender, ledger and sink together: other work on the machine must not decide.
        began = time.process_time()
        work(ledger, plan_id="p1", channel_name="email", channel=channel, compose=compose)
        spent = time.process_time() - began
        assert len(set(sink.message_ids)) == sink.count == 1_000
    # A fifth of it is usual; how fast it is, bench.delivery says.
    assert spent < 30
