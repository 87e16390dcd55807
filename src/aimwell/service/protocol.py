"""The HTTP protocol with limits of its own on what comes before a body: deadlines and sizes.

uvicorn waits for ever for the rest of a request's head, takes heads of any size, and reads on when a request was
answered before its body came: each of these holds a connection for as long as somebody likes (slowloris). Answers that
are ready together are written together, and usual requests are answered without a task (``service.quick``). Reads and
writes no table.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast
from weakref import proxy

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from aimwell.service.bodies import WHOLE_BODY
from aimwell.service.quick import MOST_BODY, UNUSUAL, Head, QuickRequest, QuickRoutes, Route, find_quick

HEAD_SECONDS = 10.0
MOST_HEAD = 32_768
LINGER_SECONDS, MOST_LINGER = 5.0, 16_000_000
"""So long, and so many bytes, a body that nobody wants is thrown away before the connection is closed: closed at once,
it would be torn down under the hands of a sender who still writes, and has not read the answer."""


class LimitedProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._unwritten = b""
        self._head_size = 0
        self._is_in_head = True
        self._deadline: asyncio.TimerHandle | None = None
        self._linger: int | None = None
        """Bytes that are still thrown away; None: what comes is wanted."""
        # What stands before the path, and a log of requests, are uvicorn's own affair.
        is_plain = not self.root_path and not self.config.access_log
        self._quick = find_quick(self.config.app) if is_plain else QuickRoutes({})
        self._route: Route | None = None
        """Who may answer the request whose head is there, if its body comes with it."""
        self._body = b""
        self._is_between = True
        """Whether the parser has read requests to their end, and nothing of the next one."""
        self._begun: Head | None = None
        """What began without a task by the bytes that are read just now."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Somebody connected: the first request must come."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection ended."""
        self._forget_deadline()
        self._unwritten = b""
        super().connection_lost(exc)
        if self.cycle is not None:
            # They know each other: a circle would be left to the search for garbage.
            self.cycle.transport = self.transport

    def shutdown(self) -> None:
        """The server ends: whoever was answered gets his answer."""
        self.write_all()
        super().shutdown()

    def write_soon(self, data: bytes) -> None:
        """Write once everybody has his answer who is answered just now.

        Whoever reads them sleeps while nothing comes, and to wake him is most of what a write costs: written one right
        after the other, and not each after the work for it, they wake him once.
        """
        if not self._unwritten:
            self.loop.call_soon(self.write_all)
        self._unwritten += data

    def write_now(self, data: bytes) -> None:
        """Write what waits, and this."""
        self.write_all()
        self.transport.write(data)

    def write_all(self) -> None:
        """Write what waits; for before anything else is done with the connection."""
        if self._unwritten:
            waiting, self._unwritten = self._unwritten, b""
            self.transport.write(waiting)

    def data_received(self, data: bytes) -> None:
        """Some bytes came."""
        # What they bring about may be written at once.
        self.write_all()
        is_new = self._is_between
        if is_new and self._begin_known(data):
            return
        if self._is_in_head:
            self._head_size += len(data)
        if self._linger is not None:
            self._linger -= len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._route is not None:
            # The rest of the body is still under way.
            self._begin_task()
        if self._begun is not None:
            self._remember(data, self._begun, is_new and self._is_between)
        if not self._is_in_head:
            self._go_on_with_body()
            return
        if self._head_size > MOST_HEAD:
            self.transport.write(b"HTTP/1.1 431 \r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            self.transport.close()
        elif self._head_size and self._deadline is None:
            # Most heads are there at once, and need no deadline.
            self._await_head()

    def on_message_begin(self) -> None:
        """A request begins."""
        self._is_between = False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._is_in_head = False
        self._head_size = 0
        self._forget_deadline()
        self._route = self._find_route()
        if self._route is None:
            self._begin()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if self._route is None:
            super().on_body(body)
        else:
            self._body += body

    def on_message_complete(self) -> None:
        """The body is there: what follows is the next head."""
        self._is_in_head = self._is_between = True
        # Most bodies are there before anybody asks for them, and need no deadline.
        cast(dict[str, object], self.scope)[WHOLE_BODY] = True
        if self._route is not None:
            scope = {"method": "POST", "headers": self.headers, WHOLE_BODY: True}
            head = Head(self._route, scope, len(self._body))
            if self._begin_quickly(head, self._body):
                self._route, self._body, self._begun = None, b"", head
                return
            self._begin_task()
        super().on_message_complete()
        if self._linger is not None and not self.transport.is_closing():
            self.transport.close()

    def on_response_complete(self) -> None:
        """The answer was sent; a body that is still under way is of no use to anybody."""
        # The newest request may be another one, which waits for its turn.
        is_unread = self.cycle.response_complete and self.cycle.more_body
        super().on_response_complete()
        if is_unread and not self.transport.is_closing():
            self._linger = MOST_LINGER
            self.write_all()
            if self.transport.can_write_eof():
                self.transport.write_eof()
            self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _find_route(self) -> Route | None:
        """Who may answer the request without a task: there is nothing unusual of its head, and nothing before it."""
        route = self._quick.routes.get(self.url)
        if route is None or not self._is_free():
            return None
        parser = self.parser
        if parser.get_method() != b"POST" or parser.get_http_version() != "1.1":
            return None
        headers = dict(self.headers)
        if not parser.should_keep_alive() or not UNUSUAL.isdisjoint(headers):
            return None
        size = headers.get(b"content-length")
        return route if size is not None and int(size) <= MOST_BODY else None

    def _is_free(self) -> bool:
        """Whether a request can be answered at once, without waiting for others or for its reader."""
        before = cast(RequestResponseCycle | None, self.cycle)
        if before is not None and not before.response_complete:
            return False
        if self._linger is not None or self.flow.write_paused:
            return False
        most = self.limit_concurrency
        return most is None or (len(self.connections) < most and len(self.tasks) < most)

    def _begin_known(self, data: bytes) -> bool:
        """Begin a request, whole and alone, whose head is known: it need not be read."""
        end = data.find(b"\r\n\r\n") + 4
        known = self._quick.heads.get(data[:end])
        if known is None or len(data) - end != known.size or not self._is_free():
            return False
        self._forget_deadline()
        self._unset_keepalive_if_required()
        return self._begin_quickly(known, data[end:])

    def _remember(self, data: bytes, begun: Head, is_whole: bool) -> None:
        """What a head said that came with its body and nothing else."""
        self._begun = None
        end = len(data) - begun.size
        if is_whole and data.find(b"\r\n\r\n") + 4 == end:
            self._quick.remember(data[:end], begun)

    def _begin_quickly(self, head: Head, body: bytes) -> bool:
        request = QuickRequest(self)
        if not head.route.begin(head.scope, body, request.answer):
            return False
        self.cycle = cast(RequestResponseCycle, request)
        return True

    def _begin_task(self) -> None:
        """Answer the ordinary way after all: with what is there of the request."""
        body, self._route, self._body = self._body, None, b""
        self._begin()
        if body:
            super().on_body(body)

    def _begin(self) -> None:
        before = self.cycle
        super().on_headers_complete()
        if self.cycle is not before:
            self.cycle.transport = cast(asyncio.Transport, _AnswerTransport(self, self.cycle))

    def _go_on_with_body(self) -> None:
        if self._linger is not None and self._linger < 0:
            self.transport.close()

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


class _AnswerTransport:
    """What a request writes to: its head goes out with the first part of its body, and closing waits for who writes.

    Every write is a call of the kernel that wakes the reader: two for each answer cost as much as all else together.
    Where the request's body is still under way, its answer does not close the connection:
    ``LimitedProtocol.on_response_complete`` does that later, whatever the request said.
    """

    __slots__ = ("_connection", "_cycle", "_head", "is_closing")

    def __init__(self, connection: LimitedProtocol, cycle: RequestResponseCycle) -> None:
        # The request knows it, too: a circle would leave every request to the search for garbage.
        self._connection, self._cycle = connection, proxy(cycle)
        self.is_closing = connection.transport.is_closing
        # To HEAD nothing follows.
        self._head: bytes | None = None if cycle.scope["method"] == "HEAD" else b""

    def write(self, data: bytes) -> None:
        """The head is kept until something follows it; "100 Continue" is none."""
        if self._head is None or not self._cycle.response_started:
            self._connection.write_now(data)
        elif not self._head:
            self._head = data
        else:
            self._connection.write_soon(self._head + data)
            self._head = None

    def close(self) -> None:
        """Close, unless somebody still writes who was answered just now."""
        if self._cycle.response_complete and self._cycle.more_body:
            return
        self._connection.write_now(self._head or b"")
        self._connection.transport.close()
