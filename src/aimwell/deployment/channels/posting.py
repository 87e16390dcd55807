"""HTTP requests to receivers that may be anybody: checked addresses, one deadline, small answers, no redirects.

The connection goes to the very address that ``addresses.py`` checked, under the receiver's own name for TLS. Redirects
are never followed, proxies of the environment never used. What fails before the request was sent was surely not taken;
what fails after it may have been.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from aimwell.core.errors import AimwellError
from aimwell.core.time import now
from aimwell.deployment.channels.addresses import Exemption, Resolve, Target, find_target, resolve_name
from aimwell.deployment.channels.channel import Outcome, Receipt

_IDLE_SECONDS = 20.0
_LONGEST_WAIT = 24 * 3600.0
_LATER = (408, 425, 429, 503)
_DOUBTFUL = (500, 502, 504)

Key = tuple[str, str, int]


@dataclass(frozen=True)
class Answer:
    """What a receiver said; ``body`` is cut off where it is too long. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def retry_after(self) -> float | None:
        """The seconds that the receiver asks to wait, at most a day."""
        text = self.headers.get("retry-after", "").strip()
        if text.isdecimal():
            return min(float(text[:9]), _LONGEST_WAIT)
        try:
            seconds = (parsedate_to_datetime(text) - now()).total_seconds()
        except (ValueError, TypeError):
            return None
        return min(max(seconds, 0.0), _LONGEST_WAIT)


class NoAnswer(Exception):
    """No answer came. ``receipt`` says what that means for what was handed over."""

    def __init__(self, receipt: Receipt) -> None:
        super().__init__(receipt.code)
        self.receipt = receipt


class Poster:
    """Sends requests. ``exempt`` are internal receivers that may be spoken to; ``timeout`` is for a whole exchange.

    ``reuse`` keeps connections open between requests: for receivers that reject repeats, because a request on a
    connection that the receiver just closed is made once more.
    """

    def __init__(
        self,
        exempt: Sequence[Exemption] = (),
        *,
        timeout: float = 10.0,
        most_bytes: int = 64 * 1024,
        reuse: bool = False,
        ca_file: Path | None = None,
        resolve: Resolve = resolve_name,
    ) -> None:
        self.exempt = tuple(exempt)
        self.timeout = timeout
        self.most_bytes = most_bytes
        self._reuse = reuse
        self._ca_file = ca_file
        self._resolve = resolve
        self._idle: dict[Key, list[tuple[float, socket.socket]]] = defaultdict(list)
        self._lock = threading.Lock()

    def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """The answer to a POST of ``body``; NoAnswer when none comes."""
        return self.send("POST", url, body=body, headers=headers)

    def send(
        self, method: str, url: str, *, body: bytes = b"", headers: Mapping[str, str] | None = None
    ) -> Answer:
        """The answer to a request; NoAnswer when none comes, or when ``url`` may not be spoken to."""
        deadline = time.monotonic() + self.timeout
        try:
            target = find_target(url, self.exempt, resolve=self._resolve)
        except AimwellError:
            raise NoAnswer(Receipt(Outcome.PERMANENT, "address_refused")) from None
        except (OSError, ValueError):
            raise NoAnswer(Receipt(Outcome.TEMPORARY, "connection_failed")) from None
        idle = self._take_idle(target)
        if idle is not None:
            try:
                return self._exchange(idle, target, method, body, headers or {}, deadline)
            except NoAnswer:
                # The receiver may have closed it meanwhile; repeats do no harm here, or nothing would be reused.
                deadline = time.monotonic() + self.timeout
        connection = self._connect(target, deadline)
        return self._exchange(connection, target, method, body, headers or {}, deadline)

    def close(self) -> None:
        """Close all idle connections."""
        with self._lock:
            kept = [connection for idle in self._idle.values() for _, connection in idle]
            self._idle.clear()
        for connection in kept:
            connection.close()

    def _connect(self, target: Target, deadline: float) -> socket.socket:
        failure = NoAnswer(Receipt(Outcome.TEMPORARY, "connection_failed"))
        for address in target.addresses:
            try:
                plain = socket.create_connection((address, target.port), timeout=_measure_left(deadline))
            except OSError:
                continue
            try:
                plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if target.scheme == "http":
                    return plain
                plain.settimeout(_measure_left(deadline))
                return self._context.wrap_socket(plain, server_hostname=target.host)
            except (OSError, ValueError):
                plain.close()
        raise failure

    @cached_property
    def _context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self._ca_file)

    def _exchange(
        self,
        connection: socket.socket,
        target: Target,
        method: str,
        body: bytes,
        headers: Mapping[str, str],
        deadline: float,
    ) -> Answer:
        timed = _Timed(connection, deadline)
        http_connection = http.client.HTTPConnection(target.host, target.port)
        http_connection.sock = timed
        complete = False
        try:
            own = {"Host": target.authority, "User-Agent": "Aimwell", "Accept-Encoding": "identity"}
            http_connection.request(method, target.path, body=body, headers={**own, **headers})
            response = http_connection.getresponse()
            text = response.read(self.most_bytes + 1)
            complete = len(text) <= self.most_bytes and not timed.given_up
            found = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, found, text[: self.most_bytes])
        except (OSError, http.client.HTTPException, ValueError) as error:
            # A header that cannot be sent fails before the first byte goes out.
            taken = timed.spoke or not isinstance(error, ValueError)
            outcome = Outcome.UNKNOWN if taken else Outcome.PERMANENT
            raise NoAnswer(Receipt(outcome, "connection_lost" if taken else "content_error")) from None
        finally:
            self._settle(connection, target, keep=complete and self._reuse)

    def _take_idle(self, target: Target) -> socket.socket | None:
        if not self._reuse:
            return None
        key = (target.scheme, target.host, target.port)
        with self._lock:
            while self._idle[key]:
                since, connection = self._idle[key].pop()
                # Checked again: a name that now leads elsewhere must not be reached by an old connection.
                if time.monotonic() - since < _IDLE_SECONDS and _find_peer(connection) in target.addresses:
                    return connection
                connection.close()
        return None

    def _settle(self, connection: socket.socket, target: Target, *, keep: bool) -> None:
        if not keep:
            connection.close()
            return
        with self._lock:
            self._idle[target.scheme, target.host, target.port].append((time.monotonic(), connection))


def judge_answer(answer: Answer, *, blind: bool) -> Receipt:
    """What a status says about what was handed over.

    ``blind``: the receiver cannot tell a repeat, so that a server's failure in between leaves it in doubt.
    """
    status = answer.status
    if 200 <= status < 300:
        return Receipt(Outcome.SENT)
    if blind and status in _DOUBTFUL:
        return Receipt(Outcome.UNKNOWN, "connection_lost")
    if status in _LATER or status >= 500:
        return Receipt(Outcome.TEMPORARY, "temporary_rejection", retry_after=answer.retry_after)
    return Receipt(Outcome.PERMANENT, "redirected" if 300 <= status < 400 else "rejected")


class _Timed:
    """A socket all of whose waits end at one deadline, as ``http.client`` needs it."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection = connection
        self._deadline = deadline
        self.spoke = False
        self.given_up = False

    def sendall(self, data: Any) -> None:
        """Send all before the deadline."""
        self._connection.settimeout(_measure_left(self._deadline))
        self.spoke = True
        self._connection.sendall(data)

    def makefile(self, mode: str, buffering: int | None = None) -> io.BufferedReader:
        """What the answer is read from."""
        return io.BufferedReader(_Stream(self))

    def receive_into(self, buffer: Any) -> int:
        """Wait for some bytes until the deadline."""
        self._connection.settimeout(_measure_left(self._deadline))
        return self._connection.recv_into(buffer)

    def close(self) -> None:
        """No further request on this connection; the rest of the answer is still read."""
        self.given_up = True


class _Stream(io.RawIOBase):
    def __init__(self, timed: _Timed) -> None:
        self._timed = timed

    def readable(self) -> bool:
        """It is for reading only."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Some bytes of the answer."""
        return self._timed.receive_into(buffer)


def _measure_left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the exchange took too long")
    return left


def _find_peer(connection: socket.socket) -> str:
    try:
        return str(connection.getpeername()[0])
    except OSError:
        return ""
