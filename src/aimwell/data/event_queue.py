"""Many senders of single events share one durable commit (group commit).

A commit waits for the disk, whatever it holds: while one is under way, the events that arrive meanwhile gather and
become the next one. Nobody is answered before his event is durable. Writes what ``take_events`` writes.
"""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future
from types import TracebackType

from aimwell.data.event_intake import SOURCE, Receipt, take_events
from aimwell.engine.workspace import Workspace

MOST_WAITING = 10_000
"""Events that may wait; senders beyond that are held up until there is room."""
MOST_TOGETHER = 1_000


class EventQueue:
    """Takes single events of many threads; a context manager, at whose end all that wait are written."""

    def __init__(self, workspace: Workspace, *, source: str = SOURCE) -> None:
        self._workspace = workspace
        self._source = source
        self._waiting: queue.Queue[tuple[object, Future[Receipt]] | None] = queue.Queue(MOST_WAITING)
        self._writer = threading.Thread(target=self._write, name="event-queue", daemon=True)
        self.commits = 0

    def __enter__(self) -> EventQueue:
        self._writer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._waiting.put(None)
        self._writer.join()

    def put(self, message: object) -> Future[Receipt]:
        """Hand one message over; the future has its receipt once it is durable, or the error of the commit.

        A future that is cancelled before its commit begins takes its message along.
        """
        answer: Future[Receipt] = Future()
        self._waiting.put((message, answer))
        return answer

    def _write(self) -> None:
        ended = False
        while not ended:
            together = [self._waiting.get()]
            while len(together) < MOST_TOGETHER and together[-1] is not None:
                try:
                    together.append(self._waiting.get_nowait())
                except queue.Empty:
                    break
            ended = together[-1] is None
            # Who gave up waiting was told nothing, and is owed nothing; from here on nobody can give up any more.
            waiting = [one for one in together if one is not None]
            self._commit([one for one in waiting if one[1].set_running_or_notify_cancel()])

    def _commit(self, together: list[tuple[object, Future[Receipt]]]) -> None:
        if not together:
            return
        try:
            receipts = take_events(self._workspace, [message for message, _ in together], source=self._source)
        except BaseException as error:
            # Whoever waits must learn that nothing is known to be durable; the next commit is tried all the same.
            for _, answer in together:
                answer.set_exception(error)
            return
        self.commits += 1
        for (_, answer), receipt in zip(together, receipts, strict=True):
            answer.set_result(receipt)
