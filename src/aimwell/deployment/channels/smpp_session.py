"""One connection to an SMS centre over SMPP 3.4: bound, kept alive, its answers matched with what was asked.

A thread reads: answers go to whoever waits for them, in whatever order they come; what the centre delivers goes to
``take`` and is acknowledged when that returns. ``submit`` either puts a whole packet on its way or raises OSError, and
then the centre cannot have read a whole one: surely not taken. A packet that is on its way and gets no answer may
have been taken.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from aimwell.deployment.channels.smpp_pdu import (
    BIND_TRANSCEIVER,
    DELIVER_SM,
    ENQUIRE_LINK,
    ESME_RINVCMDID,
    ESME_ROK,
    ESME_RX_T_APPN,
    GENERIC_NACK,
    RESPONSE,
    SUBMIT_SM,
    UNBIND,
    BadPacket,
    Packet,
    ShortMessage,
    encode_text,
    read_header,
    read_short_message,
)

_VERSION = 0x34
_LAST_SEQUENCE = 0x7FFFFFFF
_REJECTED = 0x66
"""ESME_RX_R_APPN: the centre shall not deliver this again."""
_MOST_UNANSWERED = 10_000
_LONGEST_CONNECT = 10.0


class BindRefused(ConnectionError):
    """The centre does not let us in; ``status`` is its answer."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(f"the centre refused the bind with status 0x{status:08x}")


@dataclass(frozen=True)
class Centre:
    """Where an SMS centre is and how it wants to be spoken to. ``timeout`` and ``idle`` in seconds."""

    host: str
    port: int
    system_id: str
    password: str
    system_type: str = ""
    tls: bool = False
    timeout: float = 30.0
    """How long an answer is waited for."""
    idle: float = 30.0
    """After so long without a word the centre is asked whether it is there; and given up after as long again."""


class Slot:
    """A packet that waits for its answer."""

    def __init__(self) -> None:
        self.status: int | None = None
        self.body = b""
        self._done = threading.Event()
        self._late: Callable[[int, bytes], None] | None = None
        self._lock = threading.Lock()

    def wait(self, seconds: float, late: Callable[[int, bytes], None] | None = None) -> bool:
        """Whether there is an answer now; if not, ``late`` is called should it come afterwards."""
        self._done.wait(seconds)
        with self._lock:
            if self.status is None:
                self._late = late
            return self.status is not None

    def settle(self, status: int, body: bytes) -> None:
        """The answer came."""
        with self._lock:
            self.status, self.body = status, body
            late = self._late
        self._done.set()
        if late is not None:
            late(status, body)

    def lose(self) -> None:
        """No answer will come any more."""
        self._done.set()


class Session:
    """A bound connection. ``take`` gets what the centre delivers; what it raises lets the centre try again later."""

    def __init__(self, centre: Centre, take: Callable[[ShortMessage], None]) -> None:
        self.centre = centre
        self._take = take
        self._sequence = 0
        self._waiting: dict[int, Slot] = {}
        self._writing = threading.Lock()
        self._buffer = bytearray()
        self._alive = True
        self._asked: Slot | None = None
        self._socket = _connect(centre)
        try:
            self._bind()
        except BaseException:
            self._socket.close()
            raise
        self._socket.settimeout(centre.idle)
        self._reader = threading.Thread(target=self._read, name="smpp", daemon=True)
        self._reader.start()

    @property
    def alive(self) -> bool:
        """Whether more can be submitted."""
        return self._alive

    def submit(self, body: bytes) -> Slot:
        """Send a submit_sm; OSError when it was surely not sent as a whole."""
        return self._send(SUBMIT_SM, body)

    def close(self) -> None:
        """Unbind, and wait for the answer as long as for any other."""
        try:
            if self._alive:
                self._send(UNBIND, b"").wait(min(self.centre.timeout, 5.0))
        except OSError:
            pass
        self._end()
        self._reader.join(self.centre.timeout)

    def _bind(self) -> None:
        centre = self.centre
        body = b"".join(
            (
                encode_text(centre.system_id, 16),
                # The standard allows eight characters; centres with longer passwords are many.
                encode_text(centre.password, 65),
                encode_text(centre.system_type, 13),
                bytes((_VERSION, 0, 0)),
                b"\0",
            )
        )
        self._sequence = 1
        self._socket.settimeout(centre.timeout)
        self._socket.sendall(Packet(BIND_TRANSCEIVER, ESME_ROK, 1, body).encode())
        while True:
            packet = self._receive()
            if packet is None:
                raise ConnectionError("the centre closed the connection before the bind")
            if packet.command in (BIND_TRANSCEIVER | RESPONSE, GENERIC_NACK):
                break
        if packet.status != ESME_ROK or packet.command == GENERIC_NACK:
            raise BindRefused(packet.status)

    def _send(self, command: int, body: bytes) -> Slot:
        slot = Slot()
        with self._writing:
            if not self._alive:
                raise ConnectionError("the connection to the centre is closed")
            self._sequence = self._sequence % _LAST_SEQUENCE + 1
            if len(self._waiting) >= _MOST_UNANSWERED:
                self._waiting.pop(next(iter(self._waiting))).lose()
            # Before sending: the answer may be read before this thread goes on.
            self._waiting[self._sequence] = slot
            try:
                self._socket.sendall(Packet(command, ESME_ROK, self._sequence, body).encode())
            except OSError:
                # Not all of its octets were accepted, so that the centre cannot have a whole packet; nor can it
                # understand anything that would follow.
                del self._waiting[self._sequence]
                self._alive = False
                raise
        return slot

    def _answer(self, packet: Packet, status: int, command: int | None = None) -> None:
        body = b"\0" if packet.command == DELIVER_SM else b""
        answer = Packet(command or packet.command | RESPONSE, status, packet.sequence, body)
        with self._writing:
            self._socket.sendall(answer.encode())

    def _read(self) -> None:
        try:
            while self._alive:
                try:
                    packet = self._receive()
                except TimeoutError:
                    self._ask_whether_there()
                    continue
                if packet is None:
                    break
                self._asked = None
                self._handle(packet)
        except (OSError, ValueError):
            # Broken, or out of step: what has no answer yet never gets one.
            self._alive = False
        finally:
            self._end()

    def _ask_whether_there(self) -> None:
        if self._asked is not None:
            raise ConnectionError("the centre does not answer")
        self._asked = self._send(ENQUIRE_LINK, b"")

    def _receive(self) -> Packet | None:
        """The next packet; None when the other side closed. A TimeoutError loses nothing of what came so far."""
        while True:
            if len(self._buffer) >= 16:
                length, command, status, sequence = read_header(bytes(self._buffer[:16]))
                if len(self._buffer) >= length:
                    body = bytes(self._buffer[16:length])
                    del self._buffer[:length]
                    return Packet(command, status, sequence, body)
            octets = self._socket.recv(65_536)
            if not octets:
                return None
            self._buffer += octets

    def _handle(self, packet: Packet) -> None:
        if packet.command & RESPONSE:
            slot = self._waiting.pop(packet.sequence, None)
            if slot is not None:
                refused = packet.command == GENERIC_NACK and packet.status == ESME_ROK
                slot.settle(ESME_RINVCMDID if refused else packet.status, packet.body)
        elif packet.command == DELIVER_SM:
            self._answer(packet, self._take_delivery(packet.body))
        elif packet.command == ENQUIRE_LINK:
            self._answer(packet, ESME_ROK)
        elif packet.command == UNBIND:
            self._answer(packet, ESME_ROK)
            self._alive = False
        else:
            self._answer(packet, ESME_RINVCMDID, GENERIC_NACK)

    def _take_delivery(self, body: bytes) -> int:
        try:
            message = read_short_message(body)
        except BadPacket:
            return _REJECTED
        try:
            self._take(message)
        except Exception:
            # Whatever went wrong on our side: the centre keeps it and tries again.
            return ESME_RX_T_APPN
        return ESME_ROK

    def _end(self) -> None:
        self._alive = False
        with suppress(OSError):
            # Closing alone would not wake the thread that reads.
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        while self._waiting:
            try:
                _, slot = self._waiting.popitem()
            except KeyError:
                break
            slot.lose()


def _connect(centre: Centre) -> socket.socket:
    plain = socket.create_connection(
        (centre.host, centre.port), timeout=min(centre.timeout, _LONGEST_CONNECT)
    )
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if not centre.tls:
        return plain
    try:
        return ssl.create_default_context().wrap_socket(plain, server_hostname=centre.host)
    except BaseException:
        plain.close()
        raise
