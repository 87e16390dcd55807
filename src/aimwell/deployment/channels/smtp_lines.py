"""Connections to a mail server, spoken on at once by one thread.

What is said on a connection is a dialogue: a generator that yields bytes and is given the server's next reply, or the
OSError that ended the connection. A thread for each connection took twice the processor time, most of it for waking
one another. TLS and signing in are left to the standard library, which opens the connection.
"""

from __future__ import annotations

import selectors
import smtplib
import ssl
import time
from collections.abc import Callable, Generator
from contextlib import suppress
from functools import partial

from aimwell.deployment.channels.channel import Receipt

Reply = tuple[int, bytes]
"""Code (-1: none that could be read) and text."""
Dialogue = Generator[bytes, Reply, Receipt]
"""Yields what is to be said, nothing where only the next reply is wanted; ends with the receipt."""
_MOST_READ = 65_536
_MOST_REPLY = 65_536
_LATER = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class Line:
    """One connection. ``carried``: it had a mail before. A dialogue sets ``lost`` where nothing more can follow."""

    def __init__(self, session: smtplib.SMTP) -> None:
        if session.sock is None:
            raise smtplib.SMTPServerDisconnected("the connection is closed")
        self.session = session
        self.pipelining = session.has_extn("pipelining")
        self.carried = False
        self.lost = False
        self.deadline = 0.0
        self.unsent = b""
        self.socket = session.sock
        self._timeout = self.socket.gettimeout()
        self._received = bytearray()
        self.socket.setblocking(False)

    def speak(self, data: bytes = b"") -> None:
        """Send ``data`` after what was not sent yet, as far as the connection takes it."""
        waiting = memoryview(self.unsent + data if self.unsent else data)
        try:
            while waiting:
                waiting = waiting[self.socket.send(waiting) :]
        except _LATER:
            pass
        self.unsent = bytes(waiting)

    def hear(self) -> None:
        """Take in what has come; ConnectionError at the end of the connection."""
        try:
            data = self.socket.recv(_MOST_READ)
        except _LATER:
            return
        if not data or len(self._received) > _MOST_REPLY:
            raise ConnectionError("the server has ended the connection, or does not come to an end")
        self._received += data

    def take_reply(self) -> Reply | None:
        """The next reply that is there as a whole."""
        texts, start = [], 0
        while (end := self._received.find(b"\n", start)) >= 0:
            line, start = bytes(self._received[start:end]), end + 1
            texts.append(line[4:].strip(b" \t\r"))
            code = int(line[:3]) if line[:3].isdigit() else -1
            if code < 0 or line[3:4] != b"-":
                del self._received[:start]
                return code, b"\n".join(texts)
        return None

    def leave(self) -> None:
        """Say goodbye and close."""
        with suppress(OSError):
            self.socket.settimeout(self._timeout)
            if not self.lost and not self.unsent:
                self.session.quit()
        self.session.close()


class Exchange:
    """All connections to a server; ``timeout`` in seconds, for every answer. For one thread at a time."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._selector = selectors.DefaultSelector()
        self._idle: list[Line] = []
        self._talks: dict[Line, tuple[int, Dialogue]] = {}
        self._ended: dict[int, Receipt] = {}
        self._look_at = 0.0

    def take_idle(self) -> Line | None:
        """A connection that waits for its next mail."""
        return self._idle.pop() if self._idle else None

    def begin(self, place: int, line: Line, dialogue: Dialogue) -> None:
        """Begin the dialogue of the mail number ``place`` on ``line``."""
        if not line.carried:
            self._selector.register(line.socket, _READ, line)
        self._talks[line] = place, dialogue
        self._resume(line, dialogue.__next__)

    def finish(self) -> dict[int, Receipt]:
        """Wait for what was begun; the receipts by number."""
        while self._talks:
            for key, events in self._selector.select(max(self._look_at - time.monotonic(), 0.0)):
                self._serve(key.data, events)
            self._end_late()
        ended, self._ended = self._ended, {}
        return ended

    def close(self) -> None:
        """Say goodbye on all connections."""
        while (line := self.take_idle()) is not None:
            self._forget(line)

    def _serve(self, line: Line, events: int) -> None:
        talk = self._talks.get(line)
        if talk is None:
            # What a server says to an idle connection is a goodbye.
            if line in self._idle:
                self._idle.remove(line)
                line.lost = True
                self._forget(line)
            return
        try:
            if events & _WRITE:
                self._speak(line)
            if events & _READ:
                line.hear()
                line.deadline = time.monotonic() + self._timeout
        except OSError as error:
            self._break(line, error)
            return
        # A reply that comes before all was said is not about all of it.
        while line in self._talks and not line.unsent and (reply := line.take_reply()) is not None:
            self._resume(line, partial(talk[1].send, reply))

    def _resume(self, line: Line, step: Callable[[], bytes]) -> None:
        try:
            said = step()
        except StopIteration as end:
            place, _ = self._talks.pop(line)
            self._ended[place] = end.value
            line.carried = True
            if line.lost:
                self._forget(line)
            else:
                self._idle.append(line)
            return
        try:
            if said:
                self._speak(line, said)
        except OSError as error:
            self._break(line, error)

    def _speak(self, line: Line, data: bytes = b"") -> None:
        waited = bool(line.unsent)
        line.speak(data)
        line.deadline = time.monotonic() + self._timeout
        if waited is not bool(line.unsent):
            self._selector.modify(line.socket, _READ | _WRITE if line.unsent else _READ, line)

    def _break(self, line: Line, error: OSError) -> None:
        line.lost = True
        dialogue = self._talks[line][1]
        self._resume(line, partial(dialogue.throw, error))

    def _end_late(self) -> None:
        at = time.monotonic()
        if at >= self._look_at:
            for line in [line for line in self._talks if line.deadline <= at]:
                self._break(line, TimeoutError("the server did not answer in time"))
            self._look_at = min((line.deadline for line in self._talks), default=at)

    def _forget(self, line: Line) -> None:
        self._selector.unregister(line.socket)
        line.leave()
