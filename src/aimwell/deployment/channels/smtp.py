"""E-mail over SMTP: connections that carry many mails, and an honest receipt for each way a handover can end.

A blind channel (C): nobody can ask a mail server what it took. With ``ask`` it becomes class B. What fails before
the server has agreed to DATA was surely not sent; what fails after it is unknown.
"""

from __future__ import annotations

import smtplib
import ssl
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.utils import parseaddr
from queue import Empty, SimpleQueue

from aimwell.deployment.channels.channel import Channel, Message, Outcome, Promise, Receipt
from aimwell.deployment.channels.mime import build_mail, identify_mail, prepare_data

_DATA_AGREED = 354
_CLOSING = 421
# Answers to RCPT that are about the address, not about us.
_BAD_RECIPIENT = (550, 551, 553, 554)


@dataclass(frozen=True)
class Server:
    """Where mails are handed over. ``timeout`` in seconds, for every answer of the server."""

    host: str
    port: int
    sender: str
    starttls: bool = False
    user: str | None = None
    password: str | None = None
    timeout: float = 30.0


class SmtpChannel(Channel):
    """Sends through ``server`` on up to ``connections`` connections at once.

    ``ask(message_id)`` says whether the provider has a message with that Message-ID, if the provider can tell.
    """

    def __init__(
        self, server: Server, *, connections: int = 8, ask: Callable[[str], bool] | None = None
    ) -> None:
        self.server = server
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
            mail = prepare_data(build_mail(message, self.server.sender))
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
            receipt = self._try_on(reused, message, mail)
            # A server may have closed an idle connection: nothing was handed over yet, so a fresh one may try.
            if receipt.code != "connection_failed":
                return receipt
        try:
            fresh = self._connect()
        except (OSError, smtplib.SMTPException):
            return Receipt(Outcome.TEMPORARY, "connection_failed")
        return self._try_on(fresh, message, mail)

    def _try_on(self, connection: smtplib.SMTP, message: Message, mail: bytes) -> Receipt:
        try:
            refusal = self._open_envelope(connection, message.recipient)
        except (OSError, smtplib.SMTPException):
            connection.close()
            return Receipt(Outcome.TEMPORARY, "connection_failed")
        if refusal is not None:
            self._keep_or_close(connection, refusal[0])
            return _judge_answer(refusal[0], at_recipient=refusal[1])
        return self._send_data(connection, message, mail)

    def _open_envelope(self, connection: smtplib.SMTP, recipient: str) -> tuple[int, bool] | None:
        """MAIL, RCPT and DATA; the refusing code, and whether it was about the recipient."""
        code, _ = connection.mail(self._envelope_sender)
        if code != 250:
            return code, False
        code, _ = connection.rcpt(recipient)
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

    def _connect(self) -> smtplib.SMTP:
        server = self.server
        connection = smtplib.SMTP(server.host, server.port, timeout=server.timeout)
        try:
            connection.ehlo()
            if server.starttls:
                connection.starttls(context=ssl.create_default_context())
                connection.ehlo()
            if server.user:
                connection.login(server.user, server.password or "")
        except BaseException:
            connection.close()
            raise
        return connection


def _judge_answer(code: int, *, at_recipient: bool) -> Receipt:
    """4xx may be tried again, 5xx not; anything else the server must not say here, so it took nothing."""
    if 500 <= code < 600:
        bad = at_recipient and code in _BAD_RECIPIENT
        return Receipt(Outcome.PERMANENT, "bad_recipient" if bad else "rejected")
    return Receipt(Outcome.TEMPORARY, "temporary_rejection")
