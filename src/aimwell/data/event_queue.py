"""Many senders share one durable commit (group commit).

A commit waits for the disk, whatever it holds: while one is under way, the events that arrive meanwhile gather and
become the next one. Nobody is answered before his event is durable. Writes what ``take_events`` writes.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

from sqlalchemy.exc import SQLAlchemyError

from aimwell.core.errors import AimwellError
from aimwell.data.event_intake import SOURCE, Receipt, prepare, take_events
from aimwell.engine.workspace import Workspace

MOST_WAITING = 10_000
"""Events that may wait; senders beyond that are held up until there is room, or sent away (``offer``)."""
MOST_TOGETHER = 1_000
MOST_BYTES = 16_000_000
"""Bytes of JSON that may wait: few large events must not fill the memory either."""
MOST_BYTES_TOGETHER = 4_000_000


@dataclass(frozen=True)
class _Sent:
    """What came together, and who waits for it."""

    messages: Sequence[object]
    size: int
    answer: Future[Any]
    give: Callable[[list[Receipt]], object]
    since: float = field(default_factory=time.monotonic)


class EventQueue:
    """Takes events of many threads; a context manager, at whose end all that wait are written.

    ``watch`` is told, of each call whose events became durable, how many seconds they waited for it.
    """

    def __init__(
        self,
        workspace: Workspace,
        *,
        source: str = SOURCE,
        most_waiting: int = MOST_WAITING,
        most_bytes: int = MOST_BYTES,
        watch: Callable[[float], object] | None = None,
    ) -> None:
        self._workspace = workspace
        self._source = source
        self._most_waiting = most_waiting
        self._most_bytes = most_bytes
        self._watch = watch
        self._waiting: deque[_Sent] = deque()
        self._count = 0
        self._size = 0
        self._ended = False
        self._changed = threading.Condition()
        self._writer = threading.Thread(target=self._write, name="event-queue", daemon=True)
        self.commits = 0

    def __enter__(self) -> EventQueue:
        prepare(self._workspace)
        self._writer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._writer.join()

    @property
    def depth(self) -> int:
        """How many events wait for a commit to begin."""
        return self._count

    def put(self, message: object, *, size: int = 0) -> Future[Receipt]:
        """Hand one message over; the future has its receipt once it is durable, or the error of the commit.

        ``size``: the bytes of its JSON. Waits for room. A future that is cancelled before its commit begins takes its
        message along.
        """
        answer: Future[Receipt] = Future()
        with self._changed:
            while not self._has_room(1, size):
                self._changed.wait()
            self._add(_Sent([message], size, answer, _give_first))
        return answer

    def offer(self, messages: Sequence[object], *, size: int = 0) -> Future[list[Receipt]] | None:
        """Hand messages over that become durable together; never waits. None: there is no room, nothing was taken.

        ``size``: the bytes of their JSON. The future has their receipts in order. Messages of one call are one commit:
        all of them are kept, or none.
        """
        answer: Future[list[Receipt]] = Future()
        with self._changed:
            if not self._has_room(len(messages), size):
                return None
            self._add(_Sent(messages, size, answer, list))
        return answer

    def _has_room(self, count: int, size: int) -> bool:
        # What is larger than the whole queue is taken when nothing waits.
        return not self._count or (
            self._count + count <= self._most_waiting and self._size + size <= self._most_bytes
        )

    def _add(self, sent: _Sent) -> None:
        if self._ended:
            raise RuntimeError("the queue has ended")
        self._waiting.append(sent)
        self._count += len(sent.messages)
        self._size += sent.size
        self._changed.notify_all()

    def _take(self) -> list[_Sent]:
        """What becomes the next commit, as soon as there is something; empty after the end, when nothing is left."""
        together: list[_Sent] = []
        count = size = 0
        with self._changed:
            while not self._waiting and not self._ended:
                self._changed.wait()
            while self._waiting and (not together or _fits(self._waiting[0], count, size)):
                together.append(self._waiting.popleft())
                count += len(together[-1].messages)
                size += together[-1].size
            self._count -= count
            self._size -= size
            self._changed.notify_all()
        return together

    def _write(self) -> None:
        while together := self._take():
            # Who gave up waiting was told nothing, and is owed nothing; from here on nobody can give up any more.
            self._commit([sent for sent in together if sent.answer.set_running_or_notify_cancel()])

    def _commit(self, together: list[_Sent]) -> None:
        if not together:
            return
        messages = [message for sent in together for message in sent.messages]
        try:
            receipts = take_events(self._workspace, messages, source=self._source)
        except (AimwellError, SQLAlchemyError, OSError, MemoryError) as error:
            # Whoever waits must learn that nothing is known to be durable; the next commit is tried all the same.
            _fail(together, error)
            return
        except BaseException as error:
            # One message that nobody foresaw must not take the others along.
            if len(together) == 1:
                _fail(together, error)
            else:
                for sent in together:
                    self._commit([sent])
            return
        self.commits += 1
        place = 0
        for sent in together:
            sent.answer.set_result(sent.give(receipts[place : place + len(sent.messages)]))
            place += len(sent.messages)
            if self._watch is not None:
                self._watch(time.monotonic() - sent.since)


def _fits(sent: _Sent, count: int, size: int) -> bool:
    return count + len(sent.messages) <= MOST_TOGETHER and size + sent.size <= MOST_BYTES_TOGETHER


def _give_first(receipts: list[Receipt]) -> Receipt:
    return receipts[0]


def _fail(together: Sequence[_Sent], error: BaseException) -> None:
    for sent in together:
        sent.answer.set_exception(error)
