"""A mail server for measuring: speaks SMTP on the loopback address, keeps the Message-ID of each mail, in a file.

It runs as a process of its own: ``python -m bench.smtp_sink FILE``, and says on which port it listens. The line of a
mail is in the file before the mail is answered, so that what was taken is known whoever dies.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Callable

_MESSAGE_ID = re.compile(rb"^message-id:\s*(\S+)", re.IGNORECASE | re.MULTILINE)


class SmtpSession(asyncio.Protocol):
    """One connection."""

    def __init__(self, keep: Callable[[bytes], None]) -> None:
        self._keep = keep
        self._received = bytearray()
        self._in_data = False
        self._ended = False
        self._answers: list[bytes] = []
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.write(b"220 sink\r\n")

    def data_received(self, data: bytes) -> None:
        """Take lines, or a mail."""
        self._received += data
        while self._take_mail() if self._in_data else self._take_line():
            pass
        # What came together is answered together.
        if self._answers and self._transport is not None:
            self._transport.write(b"".join(self._answers))
            self._answers.clear()
            if self._ended:
                self._transport.close()

    def _take_mail(self) -> bool:
        end = self._received.find(b"\r\n.\r\n")
        if end < 0:
            return False
        mail = bytes(self._received[:end])
        del self._received[: end + 5]
        self._in_data = False
        found = _MESSAGE_ID.search(mail)
        self._keep(found.group(1) if found else b"?")
        self._say(b"250 taken")
        return True

    def _take_line(self) -> bool:
        line, found, rest = self._received.partition(b"\r\n")
        if not found:
            return False
        self._received = bytearray(rest)
        word = bytes(line[:4]).upper()
        if word == b"DATA":
            self._in_data = True
            self._say(b"354 go on")
        elif word == b"QUIT":
            self._say(b"221 bye")
            self._ended = True
        elif word == b"EHLO":
            self._say(b"250-sink\r\n250 PIPELINING")
        else:
            self._say(b"250 ok")
        return True

    def _say(self, line: bytes) -> None:
        self._answers.append(line + b"\r\n")


async def serve(file: str) -> None:
    """Until the process is ended."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    server = await asyncio.get_running_loop().create_server(
        lambda: SmtpSession(lambda name: (os.write(descriptor, name + b"\n"), None)[1]), "127.0.0.1", 0
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
