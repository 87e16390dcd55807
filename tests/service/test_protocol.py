"""An answer is one write, whatever was asked, together with the others; it is written before all that comes after it.

And a request that was answered is gone without a search for garbage.
"""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any, cast

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from aimwell.service.protocol import LimitedProtocol


class Written(asyncio.Transport):
    """Keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.parts: list[bytes] = []

    def write(self, data: Any) -> None:
        self.parts.append(bytes(data))

    def close(self) -> None:
        self.parts.append(b"closed")

    def is_closing(self) -> bool:
        return b"closed" in self.parts

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the body, and says so."""
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


async def ask(protocol: LimitedProtocol, request: bytes) -> None:
    protocol.data_received(request)
    for _ in range(10):
        await asyncio.sleep(0)


def connect(app: ASGIApp = answer) -> tuple[LimitedProtocol, Written]:
    config = uvicorn.Config(cast(Any, app), http=cast(Any, LimitedProtocol), ws="none", log_config=None)
    config.load()
    protocol, written = LimitedProtocol(config, uvicorn.Server(config).server_state, {}), Written()
    protocol.connection_made(written)
    return protocol, written


@pytest.mark.parametrize(
    ("head", "ends"),
    [
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n1", b"\r\n\r\nok"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\r\n\r\nok"),
        (b"HEAD / HTTP/1.1\r\nHost: x\r\n\r\n", b"\r\n\r\n"),
    ],
    ids=["POST", "GET", "HEAD"],
)
def test_an_answer_is_one_write(head: bytes, ends: bytes) -> None:
    async def play() -> list[bytes]:
        protocol, written = connect()
        for _ in range(2):
            await ask(protocol, head)
        return [part for part in written.parts if part]

    parts = asyncio.run(play())
    assert len(parts) == 2
    assert all(part.startswith(b"HTTP/1.1 200") and part.endswith(ends) for part in parts)


def test_an_answered_request_is_gone_with_the_next_one() -> None:
    async def play() -> bool:
        protocol, _ = connect()
        request = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
        await ask(protocol, request)
        first = weakref.ref(protocol.cycle)
        await ask(protocol, request)
        return first() is None

    gc.disable()
    try:
        assert asyncio.run(play())
    finally:
        gc.enable()


GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


def test_answers_that_are_ready_together_are_written_together() -> None:
    ready, order = asyncio.Event(), list[bytes]()

    async def wait(scope: Scope, receive: Receive, send: Send) -> None:
        await ready.wait()
        order.append(b"worked")
        await answer(scope, receive, send)

    async def play() -> None:
        for _ in range(3):
            protocol, written = connect(wait)
            written.parts = order
            await ask(protocol, GET)
        ready.set()
        for _ in range(10):
            await asyncio.sleep(0)

    asyncio.run(play())
    assert [part[:6] for part in order] == [b"worked"] * 3 + [b"HTTP/1"] * 3


@pytest.mark.parametrize(
    ("then", "after"),
    [
        (lambda protocol: protocol.shutdown(), [b"closed"]),
        (lambda protocol: protocol.data_received(b"no HTTP\r\n\r\n"), [b"HTTP/1.1 400", b"closed"]),
        (lambda protocol: protocol.data_received(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), [b"HTTP/1.1 200"]),
    ],
    ids=["the server ends", "what cannot be read follows", "another request follows"],
)
def test_an_answer_is_written_before_what_comes_next(
    then: Callable[[LimitedProtocol], None], after: list[bytes]
) -> None:
    async def play() -> list[bytes]:
        connected: list[LimitedProtocol] = []

        async def act(scope: Scope, receive: Receive, send: Send) -> None:
            await answer(scope, receive, send)
            if len(connected) == 1:
                connected.append(connected[0])
                then(connected[0])

        protocol, written = connect(act)
        connected.append(protocol)
        await ask(protocol, GET)
        return [part[:12] for part in written.parts if part]

    assert asyncio.run(play()) == [b"HTTP/1.1 200", *after]
