"""E-mail over SMTP: connections that carry many mails, and an honest receipt for each way a handover can end.

A blind channel (C): nobody can ask a mail server what it took. With ``ask`` it becomes class B. Where TLS is asked
for, nothing is said to a server that offers none or whose certificate is not its own.
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

from aimwell.deployment.channels.channel import Channel, Message, Outcome, Promise, Receipt
from aimwell.deployment.channels.dkim import Signer, sign_mail
from aimwell.deployment.channels.mime import build_mail, identify_mail, prepare_data
from aimwell.deployment.channels.return_path import ReturnPath
from aimwell.deployment.channels.smtp_dialogue import NOT_CONNECTED, Envelope, hand_over
from aimwell.deployment.channels.smtp_lines import Exchange, Line


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

    ``ask(message_id)`` says whether the provider has a message with that Message-ID, if the provider can tell. For
    one thread at a time.
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
        self._exchange = Exchange(server.timeout)
        self._envelope_sender = parseaddr(server.sender)[1]

    def deliver(self, message: Message) -> Receipt:
        """Hand one mail over on an idle connection, or a new one."""
        return self.deliver_batch([message])[0]

    def deliver_batch(self, messages: Sequence[Message]) -> list[Receipt]:
        """Hand all over at once, each on a connection of its own."""
        mails: dict[int, Envelope] = {}
        receipts: dict[int, Receipt] = {}
        for place, message in enumerate(messages):
            ready = self._prepare(message)
            if isinstance(ready, Receipt):
                receipts[place] = ready
                continue
            mails[place] = ready
            if (line := self._exchange.take_idle()) is not None:
                self._exchange.begin(place, line, hand_over(line, ready))
        receipts |= self._exchange.finish()
        # A server may have closed an idle connection: nothing was handed over yet, so a fresh one may try.
        left = [place for place in mails if receipts.get(place, NOT_CONNECTED) == NOT_CONNECTED]
        for place, line in zip(left, self._open_lines(len(left)), strict=True):
            receipts[place] = NOT_CONNECTED
            if line is not None:
                self._exchange.begin(place, line, hand_over(line, mails[place]))
        receipts |= self._exchange.finish()
        return [receipts[place] for place in range(len(messages))]

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
        self._exchange.close()

    def _prepare(self, message: Message) -> Envelope | Receipt:
        recipient, path = message.recipient, self.server.return_path
        if not (recipient.isascii() and recipient.isprintable()):
            return Receipt(Outcome.PERMANENT, "bad_recipient")
        try:
            mail = prepare_data(sign_mail(build_mail(message, self.server.sender), self.signers))
        except ValueError:
            return Receipt(Outcome.PERMANENT, "content_error")
        sender = self._envelope_sender if path is None else path.address(message.delivery_id)
        return Envelope(sender, recipient, mail)

    def _open_lines(self, number: int) -> list[Line | None]:
        if number < 2:
            return [self._open_line() for _ in range(number)]
        with ThreadPoolExecutor(min(number, self.window), thread_name_prefix="smtp") as pool:
            return list(pool.map(lambda _: self._open_line(), range(number)))

    def _open_line(self) -> Line | None:
        try:
            return Line(self._connect())
        except OSError:
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
