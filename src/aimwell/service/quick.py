"""Requests that are answered without a task of their own: those that are there whole, and wait for one thing.

To uvicorn a request is a task that receives messages and sends some: for a live decision that costs more than all that
is done for it. Here it is a callback of the answer that is waited for. Whatever is unusual of a request goes the
ordinary way (``service.protocol`` finds that out), and both ways send the same bytes. Reads and writes no table.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

MOST_BODY = 8_192
MOST_HEAD, MOST_HEADS = 2_048, 1_024
"""Bytes of a head that is remembered, and so many of them."""
UNUSUAL = frozenset({b"expect", b"content-encoding", b"transfer-encoding", b"upgrade"})
"""Headers that ask for more than an answer to what is there."""
Tell: TypeAlias = Callable[[int, Sequence[tuple[bytes, bytes]], bytes], None]
"""Takes an answer: its status, headers and body."""


class Route(Protocol):
    """Answers POST requests to one path."""

    def begin(self, scope: Scope, body: bytes, tell: Tell) -> bool:
        """Begin to answer, and ``tell`` it later, never at once. False, and nothing was done: not this way."""
        ...


class Connection(Protocol):
    """What of a connection its answer needs."""

    transport: asyncio.Transport
    server_state: Any

    def write_soon(self, data: bytes) -> None:
        """Write together with what else is ready."""
        ...

    def write_all(self) -> None:
        """Write what waits."""
        ...

    def on_response_complete(self) -> None:
        """Go on with what comes next."""
        ...


class Head(NamedTuple):
    """What a request's head said: who answers, what he is told of it, and the size of the body."""

    route: Route
    scope: dict[str, Any]
    size: int


class QuickRoutes:
    """The routes of an application that answer so, by what a request says for their path: its ``state.quick``.

    Programs send the same head again and again: one that was read once is known, byte for byte, and not read again.
    """

    def __init__(self, routes: Mapping[bytes, Route]) -> None:
        self.routes = routes
        self.heads: dict[bytes, Head] = {}

    def remember(self, head: bytes, known: Head) -> None:
        """Keep what a head said; whoever sends another one each time fills no memory."""
        if len(head) > MOST_HEAD:
            return
        if len(self.heads) >= MOST_HEADS:
            self.heads.clear()
        self.heads[head] = known


def find_quick(app: Any) -> QuickRoutes:
    """The quick routes of an application; it may have none."""
    found: QuickRoutes | None = getattr(getattr(app, "state", None), "quick", None)
    return found or QuickRoutes({})


class QuickRequest:
    """A request under way; uvicorn knows it as the ``cycle`` of its connection, and asks and changes these."""

    __slots__ = ("__weakref__", "_connection", "disconnected", "keep_alive", "response_complete", "transport")
    more_body = False
    message_event = asyncio.Event()
    """It has none to receive: uvicorn sets it, and nobody waits for it."""

    def __init__(self, connection: Connection) -> None:
        self._connection: Connection | None = connection
        self.transport: asyncio.Transport | None = None
        self.disconnected = self.response_complete = False
        self.keep_alive = True

    def answer(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        """Send the answer, and go on; nothing to somebody who is gone."""
        connection, self._connection = self._connection, None
        # They know each other: what was answered must not be left to the search for garbage.
        if connection is None or self.disconnected:
            return
        lines = [b"%b: %b\r\n" % line for line in (*connection.server_state.default_headers, *headers)]
        end = b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n"
        connection.write_soon(b"".join((STATUS_LINE[status], *lines, end, body)))
        self.response_complete = True
        if not self.keep_alive:
            connection.write_all()
            connection.transport.close()
        connection.on_response_complete()
