"""Mail servers that do TLS well or badly, answer slowly, refuse at every point, or end in the middle of a mail."""

from __future__ import annotations

import smtplib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from hypothesis import given
from hypothesis import strategies as st

from aimwell.deployment.channels.channel import Message, Outcome, Promise, Receipt
from aimwell.deployment.channels.mime import build_mail
from aimwell.deployment.channels.return_path import ReturnPath
from aimwell.deployment.channels.smtp import Server, SmtpChannel
from aimwell.deployment.channels.smtp_lines import Line
from tests.deployment.mails import SENDER
from tests.deployment.test_dkim import RSA, verify
from tests.deployment.tls import make_authority
from tests.ports import find_port


def message(number: int = 1) -> Message:
    return Message(
        delivery_id=f"{number:064x}",
        plan_id="p",
        customer_id="c",
        recipient=f"c{number}@customers.example",
        text="您好",
        html="<p>您好</p>",
        subject="生鲜8折",
        unsubscribe_url="https://shop.example/u/1",
    )


class Keeper:
    """Keeps what it takes, with the envelope and whether TLS was on."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, bytes, bool]] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes) and envelope.mail_from is not None
        self.taken.append((envelope.mail_from, envelope.content, session.ssl is not None))
        return "250 OK"


def check_login(server: SMTP, session: Session, envelope: Envelope, kind: str, data: object) -> AuthResult:
    assert isinstance(data, LoginPassword)
    # Not handled yet: whoever is refused is told so.
    return AuthResult(success=(data.login, data.password) == (b"shop", b"right"), handled=False)


@contextmanager
def serve(
    keeper: Keeper, context: ssl.SSLContext | None = None, *, implicit: bool = False, login: bool = False
) -> Iterator[Server]:
    options: dict[str, Any] = {"tls_context": context, "require_starttls": True} if context else {}
    if login:
        options |= {"authenticator": check_login, "auth_required": True}
    if implicit:
        options = {"ssl_context": context}
    port = find_port()
    controller = Controller(keeper, hostname="127.0.0.1", port=port, **options)
    controller.start()
    try:
        yield Server("127.0.0.1", port, SENDER, timeout=30)
    finally:
        controller.stop()


def send(server: Server) -> Receipt:
    channel = SmtpChannel(server)
    try:
        return channel.deliver(message())
    finally:
        channel.finish()


def test_starttls_with_a_certificate_that_is_trusted(tmp_path: Path) -> None:
    authority, keeper = make_authority(tmp_path), Keeper()
    with serve(keeper, authority.serve_as("127.0.0.1")) as server:
        receipt = send(replace(server, starttls=True, ca_file=authority.file))
    assert receipt.outcome is Outcome.SENT
    assert keeper.taken[0][2]


def test_tls_from_the_first_byte(tmp_path: Path) -> None:
    authority, keeper = make_authority(tmp_path), Keeper()
    with serve(keeper, authority.serve_as("127.0.0.1"), implicit=True) as server:
        trusted = send(replace(server, tls=True, ca_file=authority.file))
        strange = send(replace(server, tls=True))
    assert trusted.outcome is Outcome.SENT and len(keeper.taken) == 1
    assert strange == Receipt(Outcome.TEMPORARY, "connection_failed")


@pytest.mark.parametrize("name", ["mail.other.example", "127.0.0.2"])
def test_a_certificate_for_another_name_gets_no_mail(tmp_path: Path, name: str) -> None:
    authority, keeper = make_authority(tmp_path), Keeper()
    with serve(keeper, authority.serve_as(name)) as server:
        receipt = send(replace(server, starttls=True, ca_file=authority.file))
    assert receipt == Receipt(Outcome.TEMPORARY, "connection_failed") and keeper.taken == []


def test_a_certificate_of_an_unknown_authority_gets_no_mail(tmp_path: Path) -> None:
    known, unknown = make_authority(tmp_path / "a", "known"), make_authority(tmp_path / "b", "unknown")
    keeper = Keeper()
    with serve(keeper, unknown.serve_as("127.0.0.1")) as server:
        assert send(replace(server, starttls=True, ca_file=known.file)).code == "connection_failed"
        assert send(replace(server, starttls=True)).code == "connection_failed"
    assert keeper.taken == []


def test_a_server_without_tls_is_not_spoken_to_in_the_clear() -> None:
    keeper = Keeper()
    with serve(keeper) as server:
        assert send(replace(server, starttls=True)) == Receipt(Outcome.TEMPORARY, "connection_failed")
    assert keeper.taken == []


def test_signing_in_over_tls(tmp_path: Path) -> None:
    authority, keeper = make_authority(tmp_path), Keeper()
    with serve(keeper, authority.serve_as("127.0.0.1"), login=True) as server:
        safe = replace(server, starttls=True, ca_file=authority.file, user="shop")
        assert send(replace(safe, password="right")).outcome is Outcome.SENT
        assert send(replace(safe, password="wrong")).code == "connection_failed"
    assert len(keeper.taken) == 1
    assert "right" not in repr(replace(safe, password="right"))


def test_what_arrives_is_signed_and_its_return_path_names_the_delivery() -> None:
    keeper, path = Keeper(), ReturnPath("bounce@shop.example", b"k" * 32)
    with serve(keeper) as server:
        channel = SmtpChannel(replace(server, return_path=path), signers=[RSA])
        assert channel.deliver(message(7)).outcome is Outcome.SENT
        channel.finish()
    sender, content, _ = keeper.taken[0]
    assert path.read(sender) == f"{7:064x}"[:32]
    assert verify(content, 0, RSA)


class Scripted:
    """A server that answers line by line as ``answers`` say, and otherwise well; ``None`` cuts the connection."""

    def __init__(
        self,
        answers: dict[str, str | None],
        *,
        stall: bool = False,
        cut_after: int | None = None,
        mails: int = 99,
    ) -> None:
        self.answers, self.stall, self.cut_after, self.mails = answers, stall, cut_after, mails
        self.connections = 0
        self.read_in_data = 0
        self.released = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        patience = 0.5 if stall else 30.0
        self.server = Server("127.0.0.1", self._listening.getsockname()[1], SENDER, timeout=patience)
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Scripted:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.released.set()
        # A thread that waits for the next connection is not woken by closing alone.
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(timeout=60)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            with connection, connection.makefile("rb") as lines:
                self._talk(connection, lines)

    def _talk(self, connection: socket.socket, lines: BinaryIO) -> None:
        taken = 0
        if not self._answer(connection, "greeting", "220 hello"):
            return
        for line in lines:
            verb = line[:4].decode("ascii", "replace").strip().upper()
            if not self._answer(connection, verb, "354 go" if verb == "DATA" else "250 OK"):
                return
            if verb == "DATA" and (self.answers.get("DATA") or "354").startswith("354"):
                if not self._take(connection, lines):
                    return
                taken += 1
                if taken == self.mails:
                    connection.sendall(b"421 enough for one connection\r\n")
                    return

    def _take(self, connection: socket.socket, lines: BinaryIO) -> bool:
        for line in lines:
            self.read_in_data += len(line)
            if self.cut_after is not None and self.read_in_data > self.cut_after:
                return False
            if line == b".\r\n":
                break
        if self.stall:
            self.released.wait(timeout=60)
            return False
        return self._answer(connection, "end", "250 taken")

    def _answer(self, connection: socket.socket, moment: str, usual: str) -> bool:
        answer = self.answers.get(moment, usual)
        if answer is None:
            return False
        connection.sendall(f"{answer}\r\n".encode())
        return True


TEMPORARY, PERMANENT, UNKNOWN, SENT = Outcome.TEMPORARY, Outcome.PERMANENT, Outcome.UNKNOWN, Outcome.SENT


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({}, Receipt(SENT, provider_id="taken")),
        ({"greeting": None}, Receipt(TEMPORARY, "connection_failed")),
        ({"greeting": "421 busy"}, Receipt(TEMPORARY, "connection_failed")),
        ({"greeting": "554 go away"}, Receipt(TEMPORARY, "connection_failed")),
        ({"MAIL": "451 later"}, Receipt(TEMPORARY, "temporary_rejection")),
        ({"MAIL": "550 not you"}, Receipt(PERMANENT, "rejected")),
        ({"MAIL": None}, Receipt(TEMPORARY, "connection_failed")),
        ({"RCPT": "450 greylisted"}, Receipt(TEMPORARY, "temporary_rejection")),
        ({"RCPT": "550 no such user"}, Receipt(PERMANENT, "bad_recipient")),
        ({"RCPT": "421 closing"}, Receipt(TEMPORARY, "temporary_rejection")),
        ({"DATA": "452 no room"}, Receipt(TEMPORARY, "temporary_rejection")),
        ({"DATA": "554 no"}, Receipt(PERMANENT, "rejected")),
        ({"DATA": None}, Receipt(TEMPORARY, "connection_failed")),
        ({"end": "451 later"}, Receipt(TEMPORARY, "temporary_rejection")),
        ({"end": "554 spam"}, Receipt(PERMANENT, "rejected")),
        ({"end": None}, Receipt(UNKNOWN, "connection_lost")),
        ({"end": "what?"}, Receipt(UNKNOWN, "connection_lost")),
    ],
)
@pytest.mark.parametrize("greeted", ["250 hello", "250-hello\r\n250 PIPELINING"], ids=["slow", "at-once"])
def test_each_answer_at_each_moment(answers: dict[str, str | None], expected: Receipt, greeted: str) -> None:
    with Scripted({"EHLO": greeted, **answers}) as script:
        assert send(script.server) == expected
    # What was refused before its content was never said, not even in part.
    refused_early = {"greeting", "MAIL", "RCPT", "DATA"} & answers.keys()
    assert script.read_in_data <= len(b".\r\n") if refused_early else script.read_in_data > 100


def test_many_mails_at_once_on_one_connection() -> None:
    with Scripted({"EHLO": "250-hello\r\n250 PIPELINING"}) as script:
        channel = SmtpChannel(script.server, connections=1)
        for number in range(5):
            assert channel.deliver(message(number)).outcome is Outcome.SENT
        odd = replace(message(6), recipient='"a b"@customers.example')
        assert channel.deliver(odd).outcome is Outcome.SENT
        channel.finish()


@pytest.mark.parametrize("greeted", ["250 hello", "250-hello\r\n250 PIPELINING"], ids=["slow", "at-once"])
def test_a_server_that_takes_few_mails_on_a_connection_gets_another(greeted: str) -> None:
    with Scripted({"EHLO": greeted}, mails=2) as script:
        channel = SmtpChannel(script.server, connections=1)
        assert {channel.deliver(message(number)).outcome for number in range(6)} == {Outcome.SENT}
        channel.finish()
    assert script.connections == 3


def test_a_server_that_ends_within_a_mail_leaves_it_in_doubt() -> None:
    with Scripted({}, cut_after=40) as script:
        big = replace(message(), html="<p>x</p>" * 200_000)
        channel = SmtpChannel(script.server)
        assert channel.deliver(big) == Receipt(UNKNOWN, "connection_lost")
        channel.finish()
    assert script.read_in_data > 40
    assert channel.promise is Promise.BLIND


def test_a_server_that_takes_a_mail_and_says_nothing_leaves_it_in_doubt() -> None:
    with Scripted({}, stall=True) as script:
        assert send(script.server) == Receipt(UNKNOWN, "connection_lost")
    assert script.read_in_data > 100


class Crowd:
    """Takes connections side by side; whoever mails ``stalled`` gets no answer to DATA."""

    def __init__(self, *, pipelining: bool) -> None:
        self.taken: list[bytes] = []
        self._greeting = b"250-hi\r\n250 PIPELINING\r\n" if pipelining else b"250 hi\r\n"
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.server = Server("127.0.0.1", self._listening.getsockname()[1], SENDER, timeout=3.0)

    def __enter__(self) -> Crowd:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        for connection in self._open:
            connection.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            # So that a mail does not fit: its sender must wait for room, again and again.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
            self._open.append(connection)
            threading.Thread(target=self._talk, args=(connection,), daemon=True).start()

    def _talk(self, connection: socket.socket) -> None:
        try:
            connection.sendall(b"220 hi\r\n")
            with connection.makefile("rb") as lines:
                stalled = False
                for line in lines:
                    stalled |= b"stalled@" in line
                    if line[:4] != b"DATA":
                        hello = line[:4].upper() == b"EHLO"
                        connection.sendall(self._greeting if hello else b"250-more\r\n250 OK\r\n")
                    elif stalled:
                        return
                    else:
                        connection.sendall(b"354 go\r\n")
                        self.taken.append(b"".join(iter(lines.readline, b".\r\n")))
                        connection.sendall(b"250 taken\r\n")
        except OSError:
            return


@pytest.mark.parametrize("secure", [False, True], ids=["open", "tls"])
def test_large_mails_arrive_whole_on_many_connections_of_one_thread(secure: bool, tmp_path: Path) -> None:
    authority = make_authority(tmp_path) if secure else None
    large = [replace(message(number), html=f"<p>{number}</p>" * 60_000) for number in range(5)]
    keeper = Keeper()
    options: dict[str, Any] = {"implicit": True} if secure else {}
    with serve(keeper, authority.serve_as("127.0.0.1") if authority else None, **options) as server:
        file = authority.file if authority else None
        channel = SmtpChannel(replace(server, tls=secure, ca_file=file), connections=5)
        for _ in range(2):
            assert {receipt.outcome for receipt in channel.deliver_batch(large)} == {Outcome.SENT}
        channel.finish()
    assert len(keeper.taken) == 10
    for number, one in enumerate(large):
        expected = build_mail(one, SENDER).partition(b"\r\n\r\n")[2]
        arrived = [content for _, content, _ in keeper.taken if one.delivery_id.encode() in content]
        assert len(arrived) == 2
        assert all(content.endswith(expected) for content in arrived), number


@pytest.mark.parametrize("pipelining", [True, False])
def test_one_connection_that_stalls_holds_up_no_other(pipelining: bool) -> None:
    with Crowd(pipelining=pipelining) as crowd:
        mails = [replace(message(number), html="<p>x</p>" * 20_000) for number in range(4)]
        mails[1] = replace(mails[1], recipient="stalled@customers.example")
        channel = SmtpChannel(crowd.server, connections=4)
        receipts = channel.deliver_batch(mails)
        channel.finish()
    assert [receipt.outcome for receipt in receipts] == [SENT, TEMPORARY, SENT, SENT]
    assert receipts[1].code == "connection_failed" and len(crowd.taken) == 3


@pytest.mark.parametrize(
    "recipient", ["a@x.example>\r\nRCPT TO:<b@x.example", "a@x.example\nDATA", "a\0@x.example"]
)
def test_an_address_adds_no_command(recipient: str) -> None:
    with Scripted({"EHLO": "250-hello\r\n250 PIPELINING"}) as script:
        channel = SmtpChannel(script.server)
        receipt = channel.deliver(replace(message(), recipient=recipient))
        channel.finish()
    assert receipt == Receipt(PERMANENT, "bad_recipient") and script.connections == 0


@given(st.lists(st.tuples(st.sampled_from([220, 250, 354, 421, 550]), st.lists(st.binary(max_size=9), max_size=3))),
       st.lists(st.integers(1, 9), max_size=9))  # fmt: skip
def test_replies_are_read_however_they_are_cut(said: list[tuple[int, list[bytes]]], cuts: list[int]) -> None:
    texts = [[text.translate(None, b"\r\n").strip(b" \t") for text in lines] or [b""] for _, lines in said]
    raw = b"".join(
        b"".join(
            b"%d%c%s\r\n" % (code, b" -"[place + 1 < len(lines)], text) for place, text in enumerate(lines)
        )
        for (code, _), lines in zip(said, texts, strict=True)
    )
    ours, theirs = socket.socketpair()
    with ours, theirs:
        session = smtplib.SMTP()
        session.sock = ours
        line, found = Line(session), []
        for size in [*cuts, len(raw)]:
            if raw:
                theirs.sendall(raw[:size])
                raw = raw[size:]
                line.hear()
            while (reply := line.take_reply()) is not None:
                found.append(reply)
    assert found == [(code, b"\n".join(lines)) for (code, _), lines in zip(said, texts, strict=True)]
