"""Requests without a task: answered as all others are, byte for byte, in their order, and however the connection ends.

The service is a real one, in this process: the clock of its rates stands still, and keys that it read stay fresh.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import BinaryIO

import pytest
from starlette.applications import Starlette

from aimwell.engine import store_engine
from aimwell.engine.workspace import Workspace
from aimwell.service import app, exchange
from aimwell.service.quick import QuickRequest
from aimwell.service.rates import Rates
from aimwell.strategy.live.plan import close_plan
from tests.service.live_world import open_today, read_decisions
from tests.service.scene import PATIENCE, Service, make_key, make_workspace, read_all, serving, wait_until

C1 = b'{"customer_id":"c1","request_id":"r1"}'
NAMED = b"X-Request-Id: mine\r\n"
ORDINARY = b"Content-Encoding: identity\r\n"
"""Says nothing, and is unusual."""


@dataclass
class Here:
    """A service with an open day; ``quick``: the statuses of what it answered without a task."""

    workspace: Workspace
    app: Starlette
    service: Service
    ending: ExitStack
    key: str
    quick: list[int] = field(default_factory=list)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.service.port), timeout=PATIENCE)

    def make(self, body: bytes = C1, more: bytes = b"", *, key: str | None = None) -> bytes:
        """A usual request."""
        secret = (self.key if key is None else key).encode()
        head = b"POST /v1/decide HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n" % secret
        return head + more + b"Content-Length: %d\r\n\r\n" % len(body) + body

    def ask(self, *requests: bytes) -> list[bytes]:
        """Send all at once; the answers to them."""
        with self.connect() as connection:
            connection.sendall(b"".join(requests))
            reader = connection.makefile("rb")
            return [read_answer(reader) for _ in requests]

    def count(self, name: str) -> float:
        """One line of /metrics."""
        text = self.service.call("/metrics", key=self.key).body.decode()
        found = re.search(rf"^{re.escape(name)} (.*)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0


def read_answer(reader: BinaryIO) -> bytes:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = reader.readline()
        assert line, f"the connection ended after {head!r}"
        head += line
    found = re.search(rb"content-length: (\d+)", head)
    assert found is not None
    return head + reader.read(int(found[1]))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Here]:
    monkeypatch.setattr(app, "open_rates", lambda: Rates(clock=lambda: 0.0))
    monkeypatch.setattr(exchange, "FRESH_SECONDS", 3_600.0)
    monkeypatch.setattr(exchange, "OLDEST_SECONDS", 3_600.0)
    monkeypatch.setattr(store_engine, "PATIENCE", 600.0)
    made = make_workspace(tmp_path / "w")
    open_today(made.store)
    key = make_key(made)
    made_app = app.create_app(made)
    with ExitStack() as ending:
        service = ending.enter_context(serving(made_app))
        found = Here(made, made_app, service, ending, key)
        answer = QuickRequest.answer

        def note(request: QuickRequest, status: int, *more: object) -> None:
            found.quick.append(status)
            answer(request, status, *more)  # type: ignore[arg-type]

        monkeypatch.setattr(QuickRequest, "answer", note)
        # The first one finds no key that is known, and no day that is at hand.
        found.ask(found.make(b'{"customer_id":"c0","request_id":"r0"}'))
        found.ask(found.make(C1))
        found.quick.clear()
        yield found
    made.close()


def forget_instants(answer: bytes) -> bytes:
    """What differs with the moment, and names that are given anew each time."""
    answer = re.sub(rb"date: [^\r]*|x-request-id: [0-9a-f]{16}\r|", b"", answer)
    return re.sub(rb'"confirm_until(_ms)?":[^,]*|"request_id":"(live_|[0-9a-f]{16}")[^"]*', b"", answer)


@pytest.mark.parametrize(
    ("body", "more", "status"),
    [
        (C1, NAMED, 200),
        (C1, b"X-Request-Id: not one\r\n", 200),
        (b'{"customer_id":"c2","context":{"actions":["banner"]}}', b"", 200),
        (b'{"customer_id":"c1","request_id":"r1","explain":true}', NAMED, 200),
        (b'{"customer_id":"c2","request_id":"r1"}', NAMED, 409),
        (b'{"customer_id":"c2","plan_id":"another"}', NAMED, 409),
        (b'{"customer_id":"nobody"}', NAMED, 404),
        (b'{"customer_id":"nobody"}', b"Accept-Language: zh-CN\r\n", 404),
        (b'{"customer_id":"c2","context":{"actions":["unknown"]}}', NAMED, 400),
        (b'{"customer_id":', NAMED, 400),
        (b'{"customer_id":"\xff"}', NAMED, 400),
        (b'{"customer_id":7}', b"", 400),
        (b"", NAMED, 400),
        (b"[" * 8_000, NAMED, 400),
    ],
)
def test_both_ways_send_the_same(here: Here, body: bytes, more: bytes, status: int) -> None:
    (quick,) = here.ask(here.make(body, more))
    assert here.quick == [status]
    (ordinary,) = here.ask(here.make(body, more + ORDINARY))
    assert here.quick == [status]
    assert quick.startswith(b"HTTP/1.1 %d " % status)
    assert (b"\r\nx-request-id: mine\r\n" in quick) == (more == NAMED)
    assert forget_instants(quick) == forget_instants(ordinary)


def test_a_closed_day_is_told_as_ever(here: Here) -> None:
    body, told = b'{"customer_id":"c5"}', b"strategy.no_open_live_day"
    close_plan(here.workspace.store, "today")
    wait_until(lambda: told in here.ask(here.make(body, ORDINARY))[0])
    ways = [here.ask(here.make(body, NAMED + more))[0] for more in (b"", ORDINARY)]
    assert here.quick == [409]
    assert told in ways[0]
    assert forget_instants(ways[0]) == forget_instants(ways[1])


def test_a_defect_and_a_lost_store_are_told_as_ever(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail_with(error: Exception) -> Callable[..., object]:
        def fail(*_: object) -> object:
            raise error

        return fail

    for place, error, status in (
        ("_show", ValueError("a defect"), 500),
        ("_show", OSError("no store"), 503),
        ("read_form", ValueError("a defect"), 500),
    ):
        with monkeypatch.context() as patching:
            patching.setattr(f"aimwell.service.decide.{place}", fail_with(error))
            ways = [here.ask(here.make(C1, NAMED + more))[0] for more in (b"", ORDINARY)]
        assert here.quick == [status]
        here.quick.clear()
        assert ways[0].startswith(b"HTTP/1.1 %d " % status)
        assert forget_instants(ways[0]) == forget_instants(ways[1])


def test_too_many_questions_are_sent_away_as_ever(here: Here) -> None:
    here.app.state.quick.routes[b"/v1/decide"]._quick.begin.__self__._questions._most_waiting = 0
    ways = [here.ask(here.make(C1, NAMED + more))[0] for more in (b"", ORDINARY)]
    assert here.quick == [429]
    assert b"retry-after: 1\r\n" in ways[0]
    assert forget_instants(ways[0]) == forget_instants(ways[1])


def test_who_may_not_ask_is_told_the_ordinary_way(here: Here) -> None:
    def ask(key: str) -> bytes:
        return here.ask(here.make(C1, key=key))[0][9:12]

    # A key that was just made is looked for in the store.
    decides, reads = (make_key(here.workspace, scope) for scope in ("decide", "read"))
    wait_until(lambda: ask(decides) == b"200")
    here.quick.clear()
    assert [ask(key) for key in ("no key", reads, decides[:-1] + "_", "")] == [b"401", b"403", b"401", b"401"]
    assert here.quick == []
    assert ask(decides) == b"200"
    assert here.quick == [200]


def test_keys_that_are_not_fresh_are_looked_at_again(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "FRESH_SECONDS", 0.0)
    assert here.ask(here.make())[0].startswith(b"HTTP/1.1 200")
    assert here.quick == []


def test_a_request_takes_one_token_whichever_way_it_goes(here: Here) -> None:
    slow = make_key(here.workspace, "decide", rate=3)
    assert wait_until(lambda: here.ask(here.make(b"{", key=slow))[0].startswith(b"HTTP/1.1 400"))
    # Two seconds of its rate at once: of six tokens one was taken.
    statuses = [here.ask(here.make(C1, key=slow))[0][9:12] for _ in range(7)]
    assert statuses == [b"200"] * 5 + [b"429"] * 2
    assert here.quick == [200] * 5


def test_several_in_one_packet_are_answered_in_their_order(here: Here) -> None:
    health = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    decisions = [
        here.make(b'{"customer_id":"c%d","request_id":"p%d"}' % (number, number)) for number in range(3)
    ]
    with here.workspace.store.begin():
        found: list[bytes] = []
        asking = Thread(target=lambda: found.extend(here.ask(*decisions[:2], health, decisions[2], health)))
        asking.start()
        # What is ready waits for what is not.
        asking.join(0.3)
        assert found == []
    asking.join(PATIENCE)
    told = [re.search(rb'"request_id":"(p\d)"|"status":"(\w+)"', answer) for answer in found]
    assert [one and (one[1] or one[2]) for one in told] == [b"p0", b"p1", b"alive", b"p2", b"alive"]
    assert here.quick == [200]
    found = here.ask(health, decisions[0])
    assert b'"alive"' in found[0] and b'"p0"' in found[1]
    # A request that comes after an answer is usual again.
    with here.connect() as connection:
        reader = connection.makefile("rb")
        for number in range(3):
            connection.sendall(decisions[number])
            assert b'"p%d"' % number in read_answer(reader)
    assert here.quick == [200] * 4


def test_a_body_in_several_packets(here: Here) -> None:
    request = here.make()
    with here.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in (request[:20], request[20:-30], request[-30:-1]):
            connection.sendall(part)
            # Whoever is answered now shows that this was read.
            assert here.service.call("/healthz").status == 200
        assert here.quick == []
        connection.sendall(request[-1:] + request)
        reader = connection.makefile("rb")
        assert [read_answer(reader)[9:12] for _ in range(2)] == [b"200", b"200"]
    assert here.quick == []


def test_whoever_leaves_has_decided_all_the_same(here: Here) -> None:
    name = 'aimwell_requests_total{method="POST",route="/v1/decide",status="200"}'
    before = here.count(name)
    with here.workspace.store.begin():
        connection = here.connect()
        connection.sendall(here.make(b'{"customer_id":"c3","request_id":"left"}'))
        assert here.service.call("/healthz").status == 200
        connection.close()
        assert here.service.call("/healthz").status == 200
    wait_until(lambda: here.quick == [200])
    assert "left" in {row["request_id"] for row in read_decisions(here.workspace.store)}
    assert here.count(name) == before + 1
    assert here.ask(here.make())[0].startswith(b"HTTP/1.1 200")


def test_each_is_counted_once(here: Here) -> None:
    names = [
        'aimwell_requests_total{method="POST",route="/v1/decide",status="200"}',
        'aimwell_requests_total{method="POST",route="/v1/decide",status="404"}',
        'aimwell_request_seconds_count{route="/v1/decide"}',
        'aimwell_decisions_total{reason="chosen"}',
    ]
    before = [here.count(name) for name in names]
    here.ask(here.make())
    here.ask(here.make(b'{"customer_id":"nobody"}'))
    assert here.quick == [200, 404]
    assert [here.count(name) - was for name, was in zip(names, before, strict=True)] == [1, 1, 2, 1]


def test_a_service_that_ends_answers_first(here: Here) -> None:
    ending = Thread(target=here.ending.close)
    with here.connect() as connection, here.connect() as idle:
        with here.workspace.store.begin():
            connection.sendall(here.make())
            assert here.service.call("/healthz").status == 200
            ending.start()
            # Whoever asks nothing is sent away: now it is ending.
            assert read_all(idle) == b""
            assert here.quick == []
        answer = read_all(connection)
    ending.join(PATIENCE)
    assert not ending.is_alive()
    assert here.quick == [200]
    assert answer.startswith(b"HTTP/1.1 200 ") and b"\r\nconnection: close\r\n\r\n{" in answer
