"""An SMS centre on the loopback address that speaks SMPP 3.4 over TCP, and misbehaves as told.

It reads and writes octets by itself and shares no code with the client, so that both must agree with the standard.
"""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

PASSWORD = "secret12"


@dataclass
class Submitted:
    """One submit_sm as it arrived."""

    sequence: int
    source: str
    destination: str
    esm_class: int
    coding: int
    registered: int
    octets: bytes
    payload: bytes = b""
    message_id: str = ""

    @property
    def text(self) -> str:
        """The text without the header of a part; GSM texts of the tests are ASCII."""
        octets = self.payload or self.octets
        if self.esm_class & 0x40:
            octets = octets[octets[0] + 1 :]
        return octets.decode("utf-16-be" if self.coding == 8 else "ascii")


@dataclass
class Mood:
    """What the centre does with the n-th submit_sm (from 1): an action, or a status to refuse with."""

    choose: Callable[[int, Submitted], str | int] = lambda number, message: "take"
    bind_status: int = 0
    first_id: int = 0xA0
    receipts: bool = False
    answers_enquire: bool = True
    deliver_statuses: list[int] = field(default_factory=list)
    answers_late: threading.Event = field(default_factory=threading.Event)
    """What is answered late is answered once this is set."""


class Smsc:
    """Takes connections until it is closed. ``taken`` holds what it accepted, ``seen`` all that it read."""

    def __init__(self, mood: Mood) -> None:
        self.mood = mood
        self.seen: list[Submitted] = []
        self.taken: list[Submitted] = []
        self.binds = 0
        self.enquired = 0
        self.unbound = 0
        self.connections: list[socket.socket] = []
        self._held: list[tuple[socket.socket, int, str]] = []
        self._sequence = 1000
        self._lock = threading.RLock()
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        self._server.close()
        self.drop()

    def drop(self) -> None:
        """Cut all connections."""
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self.connections.clear()

    def deliver(
        self,
        text: str,
        *,
        source: str = "8613800138000",
        esm_class: int = 0,
        coding: int = 0,
        tlvs: bytes = b"",
    ) -> None:
        """Send a deliver_sm on the newest connection."""
        octets = text.encode("utf-16-be") if coding == 8 else text.encode("latin-1")
        body = b"\0" + b"\1\1" + source.encode() + b"\0" + b"\0\0" + b"10690000\0" + bytes((esm_class, 0, 0))
        body += b"\0\0" + bytes((0, 0, coding, 0, len(octets))) + octets + tlvs
        with self._lock:
            self._sequence += 1
            _send(self.connections[-1], 0x00000005, 0, self._sequence, body)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                self.connections.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError, EOFError):
            while True:
                length, command, status, sequence = struct.unpack(">IIII", _read(connection, 16))
                self._handle(connection, command, status, sequence, _read(connection, length - 16))

    def _handle(
        self, connection: socket.socket, command: int, status: int, sequence: int, body: bytes
    ) -> None:
        with self._lock:
            if command == 0x00000009:
                self.binds += 1
                _, password, *_ = body.split(b"\0")
                status = self.mood.bind_status if password == PASSWORD.encode() else 0x0E
                _send(connection, 0x80000009, status, sequence, b"SMSC\0" if status == 0 else b"")
            elif command == 0x00000004:
                self._take(connection, _parse(sequence, body))
            elif command == 0x00000015:
                self.enquired += 1
                if self.mood.answers_enquire:
                    _send(connection, 0x80000015, 0, sequence)
            elif command == 0x00000006:
                self.unbound += 1
                _send(connection, 0x80000006, 0, sequence)
            elif command == 0x80000005:
                self.mood.deliver_statuses.append(status)

    def _take(self, connection: socket.socket, message: Submitted) -> None:
        self.seen.append(message)
        action = self.mood.choose(len(self.seen), message)
        if isinstance(action, int):
            _send(connection, 0x80000004, action, message.sequence)
            return
        if action == "nack":
            _send(connection, 0x80000000, 3, message.sequence)
            return
        if action == "drop_untaken":
            self.drop()
            return
        message.message_id = f"{self.mood.first_id + len(self.taken):x}".upper()
        self.taken.append(message)
        if action == "drop":
            self.drop()
        elif action == "hold":
            self._held.append((connection, message.sequence, message.message_id))
        elif action == "late":
            answer = (connection, message.sequence, message.message_id)
            threading.Thread(target=self._answer_late, args=answer, daemon=True).start()
        elif action == "receipt_first":
            self._report(message, "DELIVRD")
            time.sleep(0.05)
            _answer(connection, message.sequence, message.message_id)
        else:
            _answer(connection, message.sequence, message.message_id)
            # Those that waited are answered in the opposite order.
            for held in reversed(self._held):
                _answer(*held)
            self._held.clear()
            if self.mood.receipts:
                self._report(message, "DELIVRD")

    def _answer_late(self, connection: socket.socket, sequence: int, message_id: str) -> None:
        self.mood.answers_late.wait()
        _answer(connection, sequence, message_id)

    def _report(self, message: Submitted, state: str) -> None:
        dates = "submit date:1701010101 done date:1701010102"
        text = f"id:{message.message_id} sub:001 dlvrd:001 {dates} stat:{state} err:000 text:"
        self.deliver(text, source=message.destination, esm_class=0x04)


@contextmanager
def run_smsc(mood: Mood | None = None) -> Iterator[Smsc]:
    smsc = Smsc(mood or Mood())
    try:
        yield smsc
    finally:
        smsc.close()


def encode_tlv(tag: int, value: bytes) -> bytes:
    return struct.pack(">HH", tag, len(value)) + value


def _answer(connection: socket.socket, sequence: int, message_id: str) -> None:
    with suppress(OSError):
        _send(connection, 0x80000004, 0, sequence, message_id.encode() + b"\0")


def _send(connection: socket.socket, command: int, status: int, sequence: int, body: bytes = b"") -> None:
    connection.sendall(struct.pack(">IIII", 16 + len(body), command, status, sequence) + body)


def _read(connection: socket.socket, count: int) -> bytes:
    octets = b""
    while len(octets) < count:
        more = connection.recv(count - len(octets))
        if not more:
            raise EOFError
        octets += more
    return octets


def _parse(sequence: int, body: bytes) -> Submitted:
    _, rest = body.split(b"\0", 1)
    source, rest = rest[2:].split(b"\0", 1)
    destination, rest = rest[2:].split(b"\0", 1)
    esm_class, rest = rest[0], rest[3:]
    _, rest = rest.split(b"\0", 1)
    _, rest = rest.split(b"\0", 1)
    registered, coding, length = rest[0], rest[2], rest[4]
    octets, rest = rest[5 : 5 + length], rest[5 + length :]
    payload = b""
    while rest:
        tag, size = struct.unpack(">HH", rest[:4])
        if tag == 0x0424:
            payload = rest[4 : 4 + size]
        rest = rest[4 + size :]
    return Submitted(
        sequence, source.decode(), destination.decode(), esm_class, coding, registered, octets, payload
    )
