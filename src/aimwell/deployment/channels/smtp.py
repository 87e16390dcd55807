"""E-mail over SMTP: connections that carry many mails, and an honest receipt for each way a handover can end.

A blind channel (C): nobody can ask a mail server what it took. With ``ask`` it becomes class B. What fails before
the server has agreed to DATA was surely not sent; what fails after it is unknown. Where TLS is asked for, nothing is
said to a server that offers none or whose certificate is not its own.
"""

from __future__ import annotations

import smtplib
import socket
import ssl
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from email.utils import parseaddr
from functools import cached_property
from pathlib import Path
from queue import Empty, SimpleQueue

from aimwell.deployment.channels.channel import Channel, Message, Outcome, Promise, Receipt
from aimwell.deployment.channels.dkim import Signer, sign_mail
from aimwell.deployment.channels.mime import build_mail, identify_mail, is_plain, prepare_data
from aimwell.deployment.channels.return_path import ReturnPath

_DATA_AGREED = 354
_CLOSING = 421
# Answers to RCPT that are about the address, not about us.
_BAD_RECIPIENT = (550, 551, 553, 554)


@dataclass(frozen=True)
class Server:
    """Where mails are handed over. ``timeout`` in seconds, for every answer of the server.

    ``starttls``: TLS after a greeting in the clear (port 587). ``tls``: from the first byte (port 465). ``ca_file``:
    whose certificates count instead of those that the system trusts. ``return_path``: where bounces go.
    """

    host: str
    port: int
    sender: str
    starttls: bool = False
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    timeout: float = 30.0
    tls: bool = False
    ca_file: Path | None = None
    return_path: ReturnPath | None = None


class SmtpChannel(Channel):
    """Sends through ``server`` on up to ``connections`` connections at once, signed by each of ``signers``.

    ``ask(message_id)`` says whether the provider has a message with that Message-ID, if the provider can tell.
    """

    def __init__(
        self,
        server: Server,
        *,
        connections: int = 8,
        ask: Callable[[str], bool] | None = None,
        signers: Sequence[Signer] = (),
    ) -> None:
        self.server = server
        self.signers = tuple(signers)
        self.window = connections
        self.promise = Promise.BLIND if ask is None else Promise.CAN_BE_ASKED
        self._ask = ask
        self._idle: SimpleQueue[smtplib.SMTP] = SimpleQueue()
        self._pool: ThreadPoolExecutor | None = None
        self._envelope_sender = parseaddr(server.sender)[1]

    def deliver(self, message: Message) -> Receipt:
        """Hand one mail over on an idle connection, or a new one."""
        if not message.recipient.isascii():
            return Receipt(Outcome.PERMANENT, "bad_recipient")
        try:
            mail = prepare_data(sign_mail(build_mail(message, self.server.sender), self.signers))
        except ValueError:
            return Receipt(Outcome.PERMANENT, "content_error")
        return self._hand_over(message, mail)

    def deliver_batch(self, messages: Sequence[Message]) -> list[Receipt]:
        """Hand all over at once, each on a connection of its own."""
        if len(messages) == 1:
            return [self.deliver(messages[0])]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.window, thread_name_prefix="smtp")
        return list(self._pool.map(self.deliver, messages))

    def find(self, delivery_id: str) -> Receipt | None:
        """Ask the provider for the delivery's Message-ID."""
        message_id = identify_mail(delivery_id, self.server.sender)
        found = self._ask is not None and self._ask(message_id)
        return Receipt(Outcome.SENT, provider_id=message_id) if found else None

    def probe(self) -> None:
        """Connect, with TLS and name as a send would, and say goodbye; raises OSError or SMTPException."""
        self._connect().quit()

    def finish(self) -> None:
        """Say goodbye on all connections."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
        while (connection := self._take_idle()) is not None:
            try:
                connection.quit()
            except (OSError, smtplib.SMTPException):
                connection.close()

    def _hand_over(self, message: Message, mail: bytes) -> Receipt:
        reused = self._take_idle()
        if reused is not None:
            receipt = self._try_on(reused, message, mail, reused=True)
            # A server may have closed an idle connection: nothing was handed over yet, so a fresh one may try.
            if receipt.code != "connection_failed":
                return receipt
        try:
            fresh = self._connect()
        except (OSError, smtplib.SMTPException):
            return Receipt(Outcome.TEMPORARY, "connection_failed")
        return self._try_on(fresh, message, mail)

    def _try_on(
        self, connection: smtplib.SMTP, message: Message, mail: bytes, *, reused: bool = False
    ) -> Receipt:
        try:
            refusal = self._open_envelope(connection, message)
        except (OSError, smtplib.SMTPException):
            connection.close()
            return Receipt(Outcome.TEMPORARY, "connection_failed")
        if refusal is not None and refusal[0] == _CLOSING and reused:
            # A goodbye, said while the connection was idle or after so many mails.
            connection.close()
            return Receipt(Outcome.TEMPORARY, "connection_failed")
        if refusal is not None:
            self._keep_or_close(connection, refusal[0])
            return _judge_answer(refusal[0], at_recipient=refusal[1])
        return self._send_data(connection, message, mail)

    def _open_envelope(self, connection: smtplib.SMTP, message: Message) -> tuple[int, bool] | None:
        """MAIL, RCPT and DATA; the refusing code, and whether it was about the recipient."""
        path = self.server.return_path
        sender = self._envelope_sender if path is None else path.address(message.delivery_id)
        if connection.has_extn("pipelining") and is_plain(sender) and is_plain(message.recipient):
            return _open_at_once(connection, sender, message.recipient)
        code, _ = connection.mail(sender)
        if code != 250:
            return code, False
        code, _ = connection.rcpt(message.recipient)
        if code not in (250, 251):
            return code, True
        code, _ = connection.docmd("DATA")
        return None if code == _DATA_AGREED else (code, False)

    def _send_data(self, connection: smtplib.SMTP, message: Message, mail: bytes) -> Receipt:
        try:
            connection.send(mail)
            code, answer = connection.getreply()
        except (OSError, smtplib.SMTPException):
            connection.close()
            return Receipt(Outcome.UNKNOWN, "connection_lost")
        if 200 <= code < 300:
            self._idle.put(connection)
            return Receipt(Outcome.SENT, provider_id=answer.decode("utf-8", "replace")[:255])
        if not 400 <= code < 600:
            # The mail is out, and the answer cannot be read: sending it again might double it.
            connection.close()
            return Receipt(Outcome.UNKNOWN, "connection_lost")
        self._keep_or_close(connection, code)
        return _judge_answer(code, at_recipient=False)

    def _keep_or_close(self, connection: smtplib.SMTP, code: int) -> None:
        try:
            if code == _CLOSING or connection.rset()[0] != 250:
                connection.close()
                return
        except (OSError, smtplib.SMTPException):
            connection.close()
            return
        self._idle.put(connection)

    def _take_idle(self) -> smtplib.SMTP | None:
        try:
            return self._idle.get_nowait()
        except Empty:
            return None

    @cached_property
    def _context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.server.ca_file)

    def _connect(self) -> smtplib.SMTP:
        server = self.server
        if server.tls:
            connection: smtplib.SMTP = smtplib.SMTP_SSL(
                server.host, server.port, timeout=server.timeout, context=self._context
            )
        else:
            connection = smtplib.SMTP(server.host, server.port, timeout=server.timeout)
        try:
            if connection.sock is not None:
                # The end of a long mail must not wait for the receiver's acknowledgement of its start.
                connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.ehlo()
            if server.starttls and not server.tls:
                connection.starttls(context=self._context)
                connection.ehlo()
            if server.user:
                connection.login(server.user, server.password or "")
        except BaseException:
            connection.close()
            raise
        return connection


def _open_at_once(connection: smtplib.SMTP, sender: str, recipient: str) -> tuple[int, bool] | None:
    """The same in one round trip instead of three (RFC 2920), where the server says that it can."""
    connection.send(f"MAIL FROM:<{sender}>\r\nRCPT TO:<{recipient}>\r\nDATA\r\n")
    refusal: tuple[int, bool] | None = None
    code = 0
    try:
        for expected, at_recipient in (((250,), False), ((250, 251), True), ((_DATA_AGREED,), False)):
            code, _ = connection.getreply()
            if refusal is None and code not in expected:
                refusal = (code, at_recipient)
        if refusal is not None and code == _DATA_AGREED:
            # It would take a mail for nobody: it gets an empty one.
            connection.send(".\r\n")
            connection.getreply()
    except (OSError, smtplib.SMTPException):
        if refusal is None:
            raise
        connection.close()
    return refusal


def _judge_answer(code: int, *, at_recipient: bool) -> Receipt:
    """4xx may be tried again, 5xx not; anything else the server must not say here, so it took nothing."""
    if 500 <= code < 600:
        bad = at_recipient and code in _BAD_RECIPIENT
        return Receipt(Outcome.PERMANENT, "bad_recipient" if bad else "rejected")
    return Receipt(Outcome.TEMPORARY, "temporary_rejection")
