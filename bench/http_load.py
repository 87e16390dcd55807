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
    """One connection, one request at a time."""

    def __init__(self, sender: _Sender) -> None:
        self.sender = sender
        self.buffer = b""
        self.waiting: asyncio.Future[int] | None = None
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.waiting is not None and not self.waiting.done():
            self.waiting.set_result(0)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, end, body = self.buffer.partition(b"\r\n\r\n")
        if not end:
            return
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        if len(body) >= length and self.waiting is not None and not self.waiting.done():
            self.buffer = b""
            self.waiting.set_result(int(head[9:12]))

    async def ask(self, request: bytes) -> int:
        self.waiting = asyncio.get_running_loop().create_future()
        assert self.transport is not None
        if self.transport.is_closing():
            return 0
        self.transport.write(request)
        return await self.waiting


async def _run(load: Load) -> Told:
    loop = asyncio.get_running_loop()
    sender = _Sender(load)
    connections = [
        (await loop.create_connection(lambda: _Connection(sender), "127.0.0.1", load.port))[1]
        for _ in range(load.connections)
    ]
    started = time.perf_counter()
    until = started + load.seconds
    if load.rate is None:
        await asyncio.gather(*(_ask_on(sender, connection, until) for connection in connections))
    else:
        await _ask_at(sender, connections, started, until, load.rate)
    seconds = time.perf_counter() - started
    found = sorted(sender.latencies) or [0.0]
    p50, p99 = (1000 * found[min(int(share * len(found)), len(found) - 1)] for share in (0.5, 0.99))
    statuses = {str(status): number for status, number in sender.statuses.items()}
    return Told(statuses, seconds, p50, p99, sender.number - load.first)


async def _ask_on(sender: _Sender, connection: _Connection, until: float) -> None:
    while time.perf_counter() < until:
        number, request = sender.make()
        at = time.perf_counter()
        status = await connection.ask(request)
        if status == 0:
            return
        sender.note(number, status, time.perf_counter() - at)


async def _ask_at(
    sender: _Sender, connections: list[_Connection], started: float, until: float, rate: float
) -> None:
    free = deque(connections)
    due: deque[float] = deque()
    running: set[asyncio.Task[None]] = set()
    # Made before it is due: what the generator takes for that is no latency of the service.
    ready = deque([sender.make()])

    async def ask(connection: _Connection, at: float, number: int, request: bytes) -> None:
        status = await connection.ask(request)
        if status:
            sender.note(number, status, time.perf_counter() - at)
            free.append(connection)

    planned = 0
    while (at := time.perf_counter()) < until or due:
        while planned < (min(at, until) - started) * rate:
            due.append(started + planned / rate)
            planned += 1
        while due and free:
            task = asyncio.create_task(ask(free.popleft(), due.popleft(), *ready.popleft()))
            running.add(task)
            task.add_done_callback(running.discard)
            # It goes out before the next one is made.
            await asyncio.sleep(0)
            ready.append(sender.make())
        # Less than a millisecond is none for uvloop: the loop would turn without a pause, on a processor of its own.
        pause = 0.0 if due else started + planned / rate - time.perf_counter()
        await asyncio.sleep(max(pause, 0.001))
    if running:
        await asyncio.wait(running)


if __name__ == "__main__":
    # What it would be stopped for is no latency of the service.
    gc.disable()
    print(json.dumps(asdict(uvloop.run(_run(Load(**json.load(sys.stdin)))))))
