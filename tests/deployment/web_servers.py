"""Small real web servers on this machine: they keep what they were asked and answer as they are told."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Asked:
    """One request; names of headers are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Web:
    """A running server: ``url`` without a path, and what it was asked."""

    url: str
    port: int
    asked: list[Asked] = field(default_factory=list)
    connections: set[tuple[str, int]] = field(default_factory=set)


@contextmanager
def serve_web(
    answer: Callable[[Asked], Reply] = lambda _: Reply(),
    *,
    host: str = "127.0.0.1",
    name: str | None = None,
    context: ssl.SSLContext | None = None,
) -> Iterator[Web]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            asked = Asked(
                self.command, self.path, {key.lower(): value for key, value in self.headers.items()}, body
            )
            web.asked.append(asked)
            web.connections.add(self.client_address)
            reply = answer(asked)
            self.send_response(reply.status)
            for key, value in reply.headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        do_GET = do_POST

        def log_message(self, format: str, *args: object) -> None:
            """Nothing on the test's output."""
            del format, args

    class QuietServer(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: object, client_address: object) -> None:
            """Clients that end early are part of the tests."""
            del request, client_address

    server = QuietServer((host, 0), Handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    port = int(server.server_address[1])
    web = Web(f"{'https' if context else 'http'}://{name or host}:{port}", port)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        server.server_close()
        thread.join(timeout=60)
