"""An SMTP server for demos and tests: takes every mail, keeps it as a file, sends nothing on."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable
from pathlib import Path
from types import TracebackType
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from aimwell.core.errors import BadInput, Conflict
from aimwell.core.text import say


class Sink:
    """A sink on a loopback address. ``folder`` keeps the mails (none: they are only counted).

    >>> with Sink() as sink:
    ...     sink.count
    0
    """

    def __init__(self, folder: Path | None = None, *, host: str = "127.0.0.1", port: int = 0) -> None:
        _check_loopback(host)
        self.folder = folder
        self.host = host
        self.message_ids: list[str] = []
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            # A sink that starts again on its folder knows what it took before: it can be asked after a crash.
            self.message_ids += [_read_message_id(path.read_bytes()) for path in sorted(folder.glob("*.eml"))]
        self._known = set(self.message_ids)
        self._controller = _Controller(self, _bind(host, port))
        self.port = self._controller.port

    @property
    def count(self) -> int:
        """How many mails were taken, those that the folder held before included."""
        return len(self.message_ids)

    def has(self, message_id: str) -> bool:
        """Whether a mail with this Message-ID was taken."""
        return message_id in self._known

    def start(self) -> Sink:
        """Serve in a thread until ``stop``."""
        self._controller.start()
        return self

    def stop(self) -> None:
        """Stop serving and free the port."""
        self._controller.stop()

    def keep(self, content: bytes) -> None:
        """Take one mail in."""
        number = len(self.message_ids) + 1
        if self.folder is not None:
            aside = self.folder / f".{number:06d}"
            aside.write_bytes(content)
            aside.replace(self.folder / f"{number:06d}.eml")
        message_id = _read_message_id(content)
        self.message_ids.append(message_id)
        self._known.add(message_id)

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        """What aiosmtpd calls for every mail."""
        content = envelope.content
        self.keep(content if isinstance(content, bytes) else str(content).encode())
        return f"250 taken as {self.count}"

    def __enter__(self) -> Sink:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Controller(Controller):
    """aiosmtpd's controller on a socket that is bound already: nobody can take the port meanwhile."""

    def __init__(self, handler: object, listening: socket.socket) -> None:
        host, port = listening.getsockname()[:2]
        super().__init__(
            handler, hostname=host, port=port, data_size_limit=64 * 1024 * 1024, ident="Aimwell sink"
        )
        self._listening = listening

    def _create_server(self) -> Awaitable[asyncio.AbstractServer]:
        server: Awaitable[Any] = self.loop.create_server(self._factory_invoker, sock=self._listening)
        return server


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise Conflict(
            "deployment.port_taken",
            say(
                "The port {port} on {host} cannot be used: {problem}.",
                port=port,
                host=host,
                problem=str(error),
            ),
            remedy=say("Choose another port with --port, or end the program that uses it."),
            where={"value": port},
        ) from error
    return listening


def _check_loopback(host: str) -> None:
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise BadInput(
            "deployment.not_loopback",
            say("The sink serves loopback addresses only, not {host}.", host=host),
            remedy=say("Use 127.0.0.1."),
            where={"value": host},
        )


def _read_message_id(content: bytes) -> str:
    head = content.partition(b"\r\n\r\n")[0].replace(b"\r\n ", b" ").replace(b"\r\n\t", b" ")
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"message-id":
            return value.strip().decode("utf-8", "replace")
    return ""
