"""A workspace, its keys, and a real service process on a port of its own; bytes where a client would send others."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import uvicorn

from aimwell.engine.workspace import Workspace
from aimwell.service.keys import create_key
from aimwell.service.protocol import LimitedProtocol
from aimwell.service.server import name_address, open_socket

PATIENCE = 180.0


@dataclass(frozen=True)
class Answer:
    """What the service answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return str(self.json["error"]["code"])


@dataclass
class Service:
    """A running service."""

    folder: Path
    url: str
    process: subprocess.Popen[bytes]

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def call(
        self,
        path: str,
        body: object = None,
        *,
        key: str | None = None,
        method: str | None = None,
        headers: Mapping[str, str] | None = None,
        data: bytes | None = None,
    ) -> Answer:
        """Ask; a body makes it a POST."""
        if body is not None:
            data = json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, dict(headers or {}), method=method)
        if key is not None:
            request.add_header("Authorization", "Basic " + b64encode(f"{key}:".encode()).decode())
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return Answer(answer.status, dict(answer.headers), answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, dict(error.headers), error.read())

    def send_raw(self, *parts: bytes, wait: float = PATIENCE) -> bytes:
        """Write bytes to a connection of their own, and read until it is closed."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=wait) as connection:
            for part in parts:
                connection.sendall(part)
            return read_all(connection)

    def end(self, number: int = signal.SIGTERM) -> int:
        """Signal it, and wait for its end."""
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


def read_all(connection: socket.socket) -> bytes:
    parts = []
    try:
        while part := connection.recv(65_536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def start(
    folder: Path, *arguments: str, command: str = "service", variables: Mapping[str, str] | None = None
) -> Service:
    """Start ``aimwell service`` (or serve) on a free port, and wait until it listens."""
    line = [sys.executable, "-m", "aimwell", "--json", "-w", str(folder), command, "--port", "0", *arguments]
    environment = {**os.environ, "AIMWELL_LANGUAGE": "en", **(variables or {})}
    process = subprocess.Popen(line, stdout=subprocess.PIPE, env=environment)
    assert process.stdout is not None
    first = process.stdout.readline()
    assert first, f"{command} ended with {process.wait()}"
    return Service(folder, json.loads(first)["url"], process)


@contextmanager
def running(
    folder: Path, *arguments: str, command: str = "service", variables: Mapping[str, str] | None = None
) -> Iterator[Service]:
    service = start(folder, *arguments, command=command, variables=variables)
    try:
        yield service
    finally:
        if service.process.poll() is None:
            service.end()
        assert service.process.stdout is not None
        service.process.stdout.close()


@contextmanager
def serving(app: Any) -> Iterator[Service]:
    """An application of ours in a thread of this process, where a process of its own would keep a test out."""
    listener = open_socket("127.0.0.1", 0)
    config = uvicorn.Config(
        app, http=cast(Any, LimitedProtocol), ws="none", log_config=None, access_log=False
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield Service(Path(), name_address(listener), cast(Any, None))
    finally:
        server.should_exit = True
        thread.join(PATIENCE)


def make_workspace(folder: Path) -> Workspace:
    return Workspace.create(folder, zone="UTC")


def make_key(workspace: Workspace, *scopes: str, rate: int = 100_000) -> str:
    return create_key(workspace.store, "test", scopes or ("admin",), rate=rate)[1]


def wait_until(find: Any, patience: float = PATIENCE) -> Any:
    """What ``find`` answers as soon as it is true."""
    until = time.monotonic() + patience
    while not (found := find()):
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.05)
    return found


def read_events(workspace: Workspace) -> list[dict[str, Any]]:
    with workspace.read() as reader:
        found = reader.query("SELECT event_id, customer_id, name, properties FROM events ORDER BY event_id")
    rows: list[dict[str, Any]] = found.to_pylist()
    return rows
