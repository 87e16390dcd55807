"""Which requests are answered without a task, and what their connection does meanwhile."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Callable
from typing import Any, cast

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from aimwell.core.errors import BadInput
from aimwell.core.text import say
from aimwell.engine.workspace import Workspace
from aimwell.service.exchange import Answer, Doors, Endpoint, Operation, Quick
from aimwell.service.metrics import Metrics
from aimwell.service.protocol import LimitedProtocol
from aimwell.service.quick import MOST_BODY, MOST_HEAD, MOST_HEADS, QuickRoutes, Route, Tell
from tests.service.test_protocol import Written, ask

HEAD = b"POST /quick HTTP/1.1\r\nHost: x\r\n"
USUAL = HEAD + b"Content-Length: 2\r\n\r\nhi"
GET = b"GET /task HTTP/1.1\r\nHost: x\r\n\r\n"


class App:
    """Answers under one path without a task, once ``release`` is called; and anywhere with one."""

    def __init__(self) -> None:
        self.state = self
        self.quick = QuickRoutes({b"/quick": cast(Route, self)})
        self.is_willing = True
        self.waiting: list[tuple[bytes, Tell]] = []
        self.tasks: list[tuple[str, bytes]] = []

    def begin(self, scope: Scope, body: bytes, tell: Tell) -> bool:
        if self.is_willing:
            assert scope["method"] == "POST"
            self.waiting.append((body, tell))
        return self.is_willing

    def release(self) -> None:
        """Answer the first one with its body."""
        body, tell = self.waiting.pop(0)
        tell(200, [(b"content-length", b"%d" % len(body))], body)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message["body"]
            if not message["more_body"]:
                break
        self.tasks.append((scope["path"], body))
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"task"})


def connect(app: App, **more: Any) -> tuple[LimitedProtocol, Written]:
    config = uvicorn.Config(cast(Any, app), ws="none", log_config=None, **{"access_log": False, **more})
    config.load()
    protocol, written = LimitedProtocol(config, uvicorn.Server(config).server_state, {}), Written()
    protocol.connection_made(written)
    return protocol, written


async def turn() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def know(app: App) -> None:
    """Another connection sends a usual request: its head is known from then on."""
    protocol, _ = connect(app)
    await ask(protocol, USUAL)
    app.release()
    await turn()
    assert len(app.quick.heads) == 1
    protocol.connection_lost(None)


known_or_new = pytest.mark.parametrize("is_known", [False, True], ids=["new", "known"])


def test_a_usual_request_has_no_task_and_its_answer_is_one_write() -> None:
    async def play() -> None:
        app = App()
        protocol, written = connect(app)
        for _ in range(2):
            await ask(protocol, USUAL)
            assert not written.parts and not protocol.tasks
            app.release()
            await turn()
            assert [part.replace(b"\r\n", b" ") for part in written.parts] == [
                b"HTTP/1.1 200 OK content-length: 2  hi"
            ]
            written.parts.clear()
        assert app.tasks == [] and protocol.server_state.total_requests == 2
        assert protocol.timeout_keep_alive_task is not None

    asyncio.run(play())


@pytest.mark.parametrize(
    ("request_bytes", "body"),
    [
        (USUAL.replace(b"/quick", b"/quick?"), b"hi"),
        (USUAL.replace(b"/quick", b"/quic%6b"), b"hi"),
        (USUAL.replace(b"/quick", b"/other"), b"hi"),
        (USUAL.replace(b"POST", b"PUT"), b"hi"),
        (USUAL.replace(b"/1.1\r\n", b"/1.0\r\nConnection: keep-alive\r\n"), b"hi"),
        (USUAL.replace(b"Host: x", b"Host: x\r\nConnection: close"), b"hi"),
        (USUAL.replace(b"Host: x", b"Host: x\r\nExpect: 100-continue"), b"hi"),
        (USUAL.replace(b"Host: x", b"Host: x\r\nContent-Encoding: gzip"), b"hi"),
        (USUAL.replace(b"Host: x", b"Host: x\r\nUpgrade: something"), b"hi"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n", b"hi"),
        (HEAD + b"\r\n", b""),
        (HEAD + b"Content-Length: %d\r\n\r\n" % (MOST_BODY + 1) + b"x" * (MOST_BODY + 1), b"x" * (MOST_BODY + 1)),
    ],
)  # fmt: skip
def test_whatever_is_unusual_has_a_task(request_bytes: bytes, body: bytes) -> None:
    async def play() -> None:
        app = App()
        protocol, _ = connect(app)
        await ask(protocol, request_bytes)
        assert app.waiting == []
        assert [told for _, told in app.tasks] == [body]

    asyncio.run(play())


def test_the_largest_body_needs_no_task() -> None:
    async def play() -> None:
        app = App()
        protocol, _ = connect(app)
        body = b"x" * MOST_BODY
        await ask(protocol, HEAD + b"Content-Length: %d\r\n\r\n" % MOST_BODY + body)
        assert [told for told, _ in app.waiting] == [body]

    asyncio.run(play())


@known_or_new
@pytest.mark.parametrize("place", [1, len(HEAD), len(USUAL) - 2, len(USUAL) - 1])
def test_a_request_in_two_parts(place: int, is_known: bool) -> None:
    async def play() -> None:
        app = App()
        if is_known:
            await know(app)
        protocol, written = connect(app)
        await ask(protocol, USUAL[:place])
        assert not written.parts
        await ask(protocol, USUAL[place:])
        # The head may come as it likes; a body that does not come with its end is read by a task.
        is_quick = place <= len(HEAD)
        assert (len(app.waiting), len(app.tasks)) == (is_quick, not is_quick)
        # What came last is no head by itself.
        assert len(app.quick.heads) == is_known
        if not is_quick:
            assert app.tasks == [("/quick", b"hi")]
            assert written.parts[0].endswith(b"\r\n\r\ntask")
            # And the next one needs none.
            await ask(protocol, USUAL)
            assert len(app.waiting) == 1

    asyncio.run(play())


@known_or_new
def test_who_is_declined_has_a_task(is_known: bool) -> None:
    async def play() -> None:
        app = App()
        if is_known:
            await know(app)
        app.is_willing = False
        protocol, written = connect(app)
        for part in (USUAL, USUAL, GET) if is_known else (USUAL + USUAL + GET,):
            await ask(protocol, part)
        assert app.tasks == [("/quick", b"hi"), ("/quick", b"hi"), ("/task", b"")]
        assert b"".join(written.parts).count(b"HTTP/1.1 200") == 3

    asyncio.run(play())


@known_or_new
@pytest.mark.parametrize("more", [{"root_path": "/under"}, {"limit_concurrency": 1}, {"access_log": True}])
def test_a_server_that_wants_more_of_requests_gives_each_a_task(more: dict[str, Any], is_known: bool) -> None:
    async def play() -> None:
        app = App()
        if is_known:
            await know(app)
        protocol, written = connect(app, **more)
        await ask(protocol, USUAL)
        assert app.waiting == [] and written.parts
        assert written.parts[0].startswith(b"HTTP/1.1 503") == ("limit_concurrency" in more)

    asyncio.run(play())


@known_or_new
def test_who_reads_nothing_waits_with_a_task(is_known: bool) -> None:
    async def play() -> None:
        app = App()
        if is_known:
            await know(app)
        protocol, written = connect(app)
        protocol.pause_writing()
        await ask(protocol, USUAL)
        assert app.waiting == [] and not written.parts
        protocol.resume_writing()
        await turn()
        assert len(written.parts) == 1

    asyncio.run(play())


@known_or_new
@pytest.mark.parametrize("order", ["qq", "qt", "tq", "qtq", "qqq"])
def test_those_who_come_together_are_answered_in_their_order(order: str, is_known: bool) -> None:
    async def play() -> None:
        app = App()
        if is_known:
            await know(app)
        protocol, written = connect(app)
        await ask(protocol, b"".join({"q": USUAL, "t": GET}[one] for one in order))
        # Behind another one each has a task, which waits for its turn.
        if order[0] == "q":
            assert not written.parts and not app.tasks and len(app.waiting) == 1
            app.release()
            await turn()
        assert app.waiting == []
        expected = [{"q": "/quick", "t": "/task"}[one] for one in order]
        assert [path for path, _ in app.tasks] == (expected[1:] if order[0] == "q" else expected)
        told = b"".join(written.parts)
        assert told.count(b"HTTP/1.1 200") == len(order)
        assert (b"hi" in told) == (order[0] == "q")
        if order[0] == "q":
            assert told.index(b"hi") < told.index(b"task")

    asyncio.run(play())


@known_or_new
def test_what_follows_while_it_is_under_way_waits(is_known: bool) -> None:
    async def play() -> None:
        app = App()
        if is_known:
            await know(app)
        protocol, written = connect(app)
        await ask(protocol, USUAL)
        await ask(protocol, USUAL)
        await ask(protocol, GET)
        assert len(app.waiting) == 1 and not app.tasks and not written.parts
        app.release()
        await turn()
        assert [path for path, _ in app.tasks] == ["/quick", "/task"]

    asyncio.run(play())


@known_or_new
def test_a_server_that_ends_answers_and_closes(is_known: bool) -> None:
    async def play() -> None:
        app = App()
        if is_known:
            await know(app)
        protocol, written = connect(app)
        await ask(protocol, USUAL)
        protocol.shutdown()
        assert not written.parts
        app.release()
        assert written.parts[-1] == b"closed"
        assert written.parts[0].endswith(b"\r\nconnection: close\r\n\r\nhi")
        assert len(written.parts) == 2

    asyncio.run(play())


@known_or_new
def test_who_sent_a_request_is_not_waited_for(is_known: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async def play() -> None:
        app = App()
        if is_known:
            await know(app)
        protocol, written = connect(app)
        await ask(protocol, USUAL)
        # The deadline of a head is over.
        await asyncio.sleep(0.2)
        assert not written.is_closing()

    monkeypatch.setattr("aimwell.service.protocol.HEAD_SECONDS", 0.1)
    asyncio.run(play())


@known_or_new
def test_whoever_is_gone_is_sent_nothing(is_known: bool) -> None:
    async def play() -> None:
        app = App()
        if is_known:
            await know(app)
        protocol, written = connect(app)
        await ask(protocol, USUAL)
        protocol.connection_lost(OSError())
        app.release()
        await turn()
        assert not written.parts and protocol.server_state.total_requests == 0

    asyncio.run(play())


@known_or_new
def test_what_cannot_be_read_after_it_closes(is_known: bool) -> None:
    async def play() -> None:
        app = App()
        if is_known:
            await know(app)
        protocol, written = connect(app)
        await ask(protocol, USUAL + b"no HTTP\r\n\r\n")
        assert written.parts[0].startswith(b"HTTP/1.1 400") and written.parts[-1] == b"closed"
        protocol.connection_lost(None)
        before = len(written.parts)
        app.release()
        await turn()
        assert len(written.parts) == before

    asyncio.run(play())


def answer_it(app: App, protocol: LimitedProtocol) -> None:
    app.release()


def lose_it(app: App, protocol: LimitedProtocol) -> None:
    protocol.connection_lost(OSError())
    app.release()


def lose_it_answered(app: App, protocol: LimitedProtocol) -> None:
    app.release()
    # Lost by an error, its timer would keep it for some seconds.
    protocol.connection_lost(None)


@known_or_new
@pytest.mark.parametrize("end", [answer_it, lose_it, lose_it_answered])
def test_nothing_is_left_to_the_search_for_garbage(
    end: Callable[[App, LimitedProtocol], None], is_known: bool
) -> None:
    async def play() -> None:
        app = App()
        if is_known:
            await know(app)
        protocol, written = connect(app)
        await ask(protocol, USUAL)
        known: list[weakref.ref[Any]] = [weakref.ref(protocol.cycle), weakref.ref(protocol)]
        end(app, protocol)
        await turn()
        if end is answer_it:
            await ask(protocol, USUAL)
            assert known[0]() is None
            return
        del protocol, written
        await turn()
        assert [one() for one in known] == [None, None]

    gc.disable()
    try:
        asyncio.run(play())
    finally:
        gc.enable()


def test_a_head_that_is_known_is_not_read_again() -> None:
    async def play() -> None:
        app = App()
        await know(app)
        protocol, written = connect(app)
        for body in (b"ho", b"he"):
            await ask(protocol, USUAL[:-2] + body)
            assert not hasattr(protocol, "url")
            assert protocol.timeout_keep_alive_task is None
            app.release()
            await turn()
            assert written.parts.pop() == b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n" + body
            assert protocol.timeout_keep_alive_task is not None
        # Its length is its own, and one that differs by a byte is read.
        await ask(protocol, HEAD + b"Content-Length: 3\r\n\r\nhey")
        assert protocol.url == b"/quick" and len(app.quick.heads) == 2
        app.release()
        await turn()
        await ask(protocol, USUAL.replace(b"Host: x", b"Host: y"))
        assert protocol.url == b"/quick"
        assert len(app.waiting) == 1 and len(app.quick.heads) == 3
        assert [dict(head.scope["headers"])[b"host"] for head in app.quick.heads.values()] == [
            b"x",
            b"x",
            b"y",
        ]

    asyncio.run(play())


@pytest.mark.parametrize("path", [b"/other", b"/quick"])
def test_what_looks_like_a_known_request_may_be_the_body_of_another(path: bytes) -> None:
    async def play() -> None:
        app = App()
        await know(app)
        protocol, _ = connect(app)
        await ask(
            protocol, b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (path, len(USUAL) + 1)
        )
        await ask(protocol, USUAL)
        assert app.waiting == [] and app.tasks == []
        await ask(protocol, b".")
        assert app.waiting == [] and [body for _, body in app.tasks] == [USUAL + b"."]

    asyncio.run(play())


def test_what_looks_like_a_known_request_may_stand_in_a_head() -> None:
    async def play() -> None:
        app = App()
        await know(app)
        protocol, _ = connect(app)
        await ask(protocol, b"GET /task HTTP/1.1\r\nX-Other: ")
        await ask(protocol, USUAL)
        assert app.waiting == [] and app.tasks == [("/task", b"hi")]

    asyncio.run(play())


@known_or_new
@pytest.mark.parametrize("rest", [b"h", b"hi!", b"hi" + USUAL, b"hi" + GET[:9]])
def test_a_known_head_with_more_or_less_than_its_body_is_read(rest: bytes, is_known: bool) -> None:
    async def play() -> None:
        app = App()
        if is_known:
            await know(app)
        before = len(app.quick.heads)
        protocol, _ = connect(app)
        await ask(protocol, USUAL[:-2] + rest)
        assert [body for body, _ in app.waiting] == ([b"hi"] if len(rest) > 1 else [])
        assert len(app.quick.heads) == before

    asyncio.run(play())


def test_of_known_heads_not_many_are_kept() -> None:
    async def play() -> None:
        app = App()
        protocol, _ = connect(app)
        for number in range(MOST_HEADS + 5):
            protocol.data_received(USUAL.replace(b"Host: x", b"Host: %d" % number))
            app.release()
        assert len(app.quick.heads) == 5
        protocol.data_received(USUAL.replace(b"Host: x", b"Host: " + b"x" * MOST_HEAD))
        assert len(app.waiting) == 1 and len(app.quick.heads) == 5

    asyncio.run(play())


def test_a_failure_is_told_and_leaves_nothing_to_the_search_for_garbage(workspace: Workspace) -> None:
    doors = Doors(cast(Any, None), cast(Any, None), Metrics(workspace.store, lambda: 0))
    told: list[int] = []

    async def play() -> BadInput | None:
        coming: list[asyncio.Future[object]] = [asyncio.get_running_loop().create_future()]
        quick = Quick[object](lambda asked, body: coming[0], lambda asked, result: Answer())
        operation = Operation(cast(Any, None), {}, quick)
        endpoint = Endpoint(doors, "/quick", {"POST": operation})
        assert endpoint.begin({"method": "POST", "headers": []}, b"", lambda status, *_: told.append(status))
        coming[0].set_exception(BadInput("service.bad_field", say("Aimwell itself failed.")))
        failed = weakref.ref(cast(BadInput, coming[0].exception()))
        coming.clear()
        await turn()
        return failed()

    gc.disable()
    try:
        assert asyncio.run(play()) is None
    finally:
        gc.enable()
    assert told == [400]
