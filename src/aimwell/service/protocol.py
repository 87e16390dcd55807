"""The HTTP protocol with limits of its own on what comes before a body: deadlines and sizes.

uvicorn waits for ever for the rest of a request's head, takes heads of any size, and reads on when a request was
answered before its body came: each of these holds a connection for as long as somebody likes (slowloris). Reads and
writes no table.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 10.0
MOST_HEAD = 32_768
LINGER_SECONDS = 5.0
"""So long a body that nobody wants is thrown away before the connection is closed, so that its sender can read the
answer first."""


class LimitedProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._head_size = 0
        self._is_in_head = True
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody connected: the first request must come."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection ended."""
        self._forget_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some bytes came."""
        if self._is_in_head:
            self._head_size += len(data)
            if self._deadline is None:
                self._await_head()
        super().data_received(data)
        if self._is_in_head and self._head_size > MOST_HEAD and not self.transport.is_closing():
            self.transport.write(b"HTTP/1.1 431 \r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            self.transport.close()

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._is_in_head = False
        self._head_size = 0
        self._forget_deadline()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """The body is there: what follows is the next head."""
        super().on_message_complete()
        self._is_in_head = True

    def on_response_complete(self) -> None:
        """The answer was sent; a body that is still under way is of no use to anybody."""
        # The newest request may be another one, which waits for its turn.
        is_unread = self.cycle.response_complete and self.cycle.more_body
        super().on_response_complete()
        if is_unread and not self.transport.is_closing():
            if self.transport.can_write_eof():
                self.transport.write_eof()
            self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _await_head(self) -> None:
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._give_up)

    def _give_up(self) -> None:
        self._deadline = None
        if self._is_in_head and not self.transport.is_closing():
            self.transport.close()

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
