"""An SMS provider on the loopback address, over HTTP: it checks signatures by itself, and misbehaves as told."""

from __future__ import annotations

import hashlib
import hmac
import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

SECRET = b"a-secret-that-nobody-guesses"
Choose = Callable[[int, dict[str, Any]], Any]


@dataclass
class Provider:
    """``choose`` gets the number of the order (from 1) and the order: an action, a (status, answer), or a code."""

    choose: Choose = lambda number, order: "take"
    rejects_repeats: bool = True
    orders: list[dict[str, Any]] = field(default_factory=list)
    taken: list[dict[str, Any]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    requests: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    port: int = 0

    def count(self, out_id: str) -> int:
        return sum(order["out_id"] == out_id for order in self.taken)


@contextmanager
def run_provider(provider: Provider) -> Iterator[Provider]:
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *arguments: Any) -> None:
            del format, arguments

        def do_GET(self) -> None:
            self._check(b"")
            out_id = parse_qs(urlsplit(self.path).query)["out_id"][0]
            with lock:
                provider.asked.append(out_id)
                found = next((order for order in provider.taken if order["out_id"] == out_id), None)
            answer = {"found": found is not None, "code": "OK", "message_id": found and found["message_id"]}
            self._answer(200, answer)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"] or 0))
            provider.requests.append(
                (self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, body)
            )
            if not self._check(body):
                return
            order = json.loads(body) if body else {}
            with lock:
                provider.orders.append(order)
                action = provider.choose(len(provider.orders), order)
                if action in ("take", "drop") or action == "take_500":
                    known = provider.rejects_repeats and provider.count(order.get("out_id", "")) > 0
                    if not known:
                        provider.taken.append({**order, "message_id": f"m{len(provider.taken)}"})
            if action in ("drop", "drop_untaken"):
                self.close_connection = True
                with suppress(OSError):
                    self.connection.shutdown(socket.SHUT_RDWR)
            elif action == "take_500":
                self._answer(500, None)
            elif action == "take":
                self._answer(200, {"code": "OK", "message_id": provider.taken[-1]["message_id"]})
            elif isinstance(action, tuple):
                self._answer(*action)
            else:
                self._answer(200, {"code": action})

        def _check(self, body: bytes) -> bool:
            if "x-signature" not in self.headers:
                return True
            digest = hashlib.sha256(body).hexdigest()
            headers = self.headers
            told = f"{self.command}\n{self.path}\n{headers['x-timestamp']}\n{headers['x-nonce']}\n{digest}"
            if hmac.new(SECRET, told.encode(), hashlib.sha256).hexdigest() != headers["x-signature"]:
                self._answer(401, {"code": "SignatureDoesNotMatch"})
                return False
            return True

        def _answer(self, status: int, answer: Any, headers: dict[str, str] | None = None) -> None:
            body = (
                b""
                if answer is None
                else answer
                if isinstance(answer, bytes)
                else json.dumps(answer).encode()
            )
            with suppress(OSError):
                self.send_response(status)
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    provider.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
