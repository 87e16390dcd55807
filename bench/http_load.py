"""A load generator for benches of the service, in a process of its own: many connections, each one request at a time.

``python -m bench.http_load`` reads what to send as JSON on its standard input and prints what came back as JSON.
Without a rate each connection sends as soon as it is answered; with one, requests have instants at which they are due,
and their latency counts from there, so that a server that stalls is not spared the requests it kept away.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, cast

import uvloop


@dataclass(frozen=True)
class Load:
    """What to send: ``kind`` is decide, track or batch; names begin at ``first`` so that none comes twice."""

    port: int
    key: str
    kind: str
    connections: int
    seconds: float
    rate: float | None = None
    size: int = 1_000
    """Events of a batch."""
    people: int = 20_000
    first: int = 0
    log: str | None = None
    """A file into which the numbers of the requests go that were answered with success."""


@dataclass(frozen=True)
class Told:
    """What came back."""

    statuses: dict[str, int]
    seconds: float
    p50_ms: float
    p99_ms: float
    sent: int


def send(load: Load) -> Told:
    """Let another process send it."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.http_load"],
        input=json.dumps(asdict(load)),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return Told(**json.loads(done.stdout))


_SETTLING = 0.5
_NOW = datetime.now(UTC).isoformat(timespec="milliseconds")


def make_event(number: int, people: int) -> dict[str, Any]:
    """An event of about 250 bytes."""
    return {
        "type": "track",
        "event": "Product Viewed",
        "messageId": f"m{number}",
        "userId": f"customer {number % people}",
        "timestamp": _NOW,
        "properties": {"product_id": f"p{number % 500}", "price": 12.5, "category": "tea"},
    }


class _Sender:
    """Makes requests, and notes what became of them."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.number = load.first
        self.latencies: list[float] = []
        self.statuses: Counter[int] = Counter()
        self.log = os.open(load.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND) if load.log else None
        paths = {"decide": "/v1/decide", "track": "/v1/track", "batch": "/v1/batch"}
        self.head = (
            f"POST {paths[load.kind]} HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer {load.key}\r\n"
            "Content-Type: application/json\r\nContent-Length: "
        ).encode()

    def make(self) -> tuple[int, bytes]:
        number = self.number
        self.number += 1
        load = self.load
        body: Any
        if load.kind == "decide":
            body = {"customer_id": f"customer {number * 7919 % load.people}", "request_id": f"r{number}"}
        elif load.kind == "track":
            body = make_event(number, load.people)
        else:
            events = range(number * load.size, (number + 1) * load.size)
            body = {"batch": [make_event(one, load.people) for one in events]}
        data = json.dumps(body).encode()
        return number, b"%s%d\r\n\r\n%s" % (self.head, len(data), data)

    def note(self, number: int, status: int, seconds: float) -> None:
        self.latencies.append(seconds)
        self.statuses[status] += 1
        if self.log is not None and status == 200:
            os.write(self.log, b"%d\n" % number)


class _Connection(asyncio.Protocol):
    """One connection, one request at a time; without tasks, which would cost more than the service takes to answer."""

    def __init__(self, answered: Callable[[_Connection], None]) -> None:
        self.answered = answered
        self.buffer = b""
        self.number = self.status = 0
        self.at = 0.0
        """When the request that is under way was due."""
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self.number >= 0:
            self._end(0)

    def send(self, number: int, request: bytes, at: float) -> None:
        self.number, self.at = number, at
        if self.transport is None or self.transport.is_closing():
            self._end(0)
        else:
            self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        if self.buffer:
            data = self.buffer + data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self.buffer = data
            return
        place = data.find(b"content-length: ", 0, end) + 16
        if len(data) - end - 4 >= int(data[place : data.find(b"\r", place)]):
            self.buffer = b""
            self._end(int(data[9:12]))
        else:
            self.buffer = data

    def _end(self, status: int) -> None:
        self.status = status
        self.answered(self)


class _Run:
    """One load: connections that are free take what is due."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.sender = _Sender(load)
        self.free: deque[_Connection] = deque()
        self.due: deque[float] = deque()
        self.ready: deque[tuple[int, bytes]] = deque()
        self.under_way = 0
        self.until = 0.0
        self.done = asyncio.get_running_loop().create_future()

    async def connect(self) -> None:
        """Open all connections; what is needed for a rate is made before the first is due."""
        loop, load = asyncio.get_running_loop(), self.load
        for _ in range(load.connections):
            made = await loop.create_connection(lambda: _Connection(self.answered), "127.0.0.1", load.port)
            made[1].number = -1
            self.free.append(made[1])
        for _ in range(round((load.rate or 0) * load.seconds)):
            self.ready.append(self.sender.make())
        # The service has accepted all of them by then: that is no latency of a request.
        await asyncio.sleep(_SETTLING)

    def answered(self, connection: _Connection) -> None:
        """Note it, and go on with the connection."""
        now, number = time.perf_counter(), connection.number
        connection.number = -1
        self.under_way -= 1
        if connection.status:
            self.sender.note(number, connection.status, now - connection.at)
            self.free.append(connection)
            self.go_on(now)
        if not self.under_way and (now >= self.until or not self.free) and not self.done.done():
            self.done.set_result(None)

    def go_on(self, now: float) -> None:
        """Send what is due on what is free; without a rate, something always is until the end."""
        while self.free and (self.due or (self.load.rate is None and now < self.until)):
            at = self.due.popleft() if self.due else time.perf_counter()
            number, request = self.ready.popleft() if self.ready else self.sender.make()
            self.under_way += 1
            self.free.popleft().send(number, request, at)

    async def run(self) -> float:
        """All of it; how many seconds it took."""
        started = time.perf_counter()
        self.until = started + self.load.seconds
        self.go_on(started)
        if self.load.rate is not None:
            await self._follow(started, self.load.rate)
        if self.under_way:
            await self.done
        return time.perf_counter() - started

    async def _follow(self, started: float, rate: float) -> None:
        planned, last = 0, round(rate * self.load.seconds)
        while planned < last or self.due:
            now = time.perf_counter()
            while planned < min(last, (now - started) * rate):
                self.due.append(started + planned / rate)
                planned += 1
            self.go_on(now)
            if not self.free and not self.under_way:
                return  # Nobody is there any more.
            # Less than a millisecond is none for uvloop: the loop would turn without a pause.
            await asyncio.sleep(max(started + planned / rate - time.perf_counter(), 0.001))


async def _run(load: Load) -> Told:
    run = _Run(load)
    await run.connect()
    seconds = await run.run()
    found = sorted(run.sender.latencies) or [0.0]
    p50, p99 = (1000 * found[min(int(share * len(found)), len(found) - 1)] for share in (0.5, 0.99))
    statuses = {str(status): number for status, number in run.sender.statuses.items()}
    return Told(statuses, seconds, p50, p99, run.sender.number - load.first)


if __name__ == "__main__":
    # What it would be stopped for is no latency of the service.
    gc.disable()
    print(json.dumps(asdict(uvloop.run(_run(Load(**json.load(sys.stdin)))))))
