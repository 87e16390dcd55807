"""Questions of one event loop that are answered together: whatever came while others were answered.

Where nobody has to be waited for they are answered in the loop itself: the interpreter runs one thread at a time, and
two that take turns cost each other twice their time. Otherwise a thread answers them, and the loop is never blocked.
Nobody waits longer than for the answers under way and his own. Reads and writes no table.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeAlias, TypeVar

from aimwell.service.refusals import refuse_full

MOST_TOGETHER = 500
MOST_WAITING = 5_000
Question = TypeVar("Question")
Answer = TypeVar("Answer")
Together: TypeAlias = list[tuple[Question, asyncio.Future[Answer]]]


class Gathering(Generic[Question, Answer]):
    """``work`` answers many questions in a thread of ``executor``; an answer that is an exception is raised.

    ``at_once`` does it without waiting for anybody; None: not now.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Question]], Sequence[Answer | Exception]],
        executor: Executor,
        *,
        at_once: Callable[[Sequence[Question]], Sequence[Answer | Exception] | None] | None = None,
        most_together: int = MOST_TOGETHER,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self._work = work
        self._at_once = at_once
        self._executor = executor
        self._most_together = most_together
        self._most_waiting = most_waiting
        self._waiting: Together[Question, Answer] = []
        self._is_busy = False

    def ask(self, question: Question) -> asyncio.Future[Answer]:
        """The answer, later; Refused when too many wait."""
        if len(self._waiting) >= self._most_waiting:
            raise refuse_full()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        self._waiting.append((question, answer))
        if not self._is_busy:
            self._is_busy = True
            loop.call_soon(self._gather, loop, 1)
        return answer

    def _gather(self, loop: asyncio.AbstractEventLoop, before: int) -> None:
        """Begin once the loop brings nobody more at the moment, and who was answered has his answer.

        Begun any earlier, those whom the loop has read already would wait for this turn, and for their own.
        """
        if before < len(self._waiting) < self._most_together:
            loop.call_soon(self._gather, loop, len(self._waiting))
        else:
            self._begin(loop)

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        together = self._waiting[: self._most_together]
        del self._waiting[: self._most_together]
        if self._at_once is not None:
            answers: Sequence[Answer | Exception] | None
            try:
                answers = self._at_once([question for question, _ in together])
            except Exception as error:
                answers = [error] * len(together)
            if answers is not None:
                self._tell(loop, together, answers)
                return
        self._executor.submit(self._answer, loop, together)

    def _answer(self, loop: asyncio.AbstractEventLoop, together: Together[Question, Answer]) -> None:
        answers: Sequence[Answer | Exception]
        try:
            answers = self._work([question for question, _ in together])
        except Exception as error:
            answers = [error] * len(together)
        loop.call_soon_threadsafe(self._tell, loop, together, answers)

    def _tell(
        self,
        loop: asyncio.AbstractEventLoop,
        together: Together[Question, Answer],
        answers: Sequence[Answer | Exception],
    ) -> None:
        for (_, waiting), answer in zip(together, answers, strict=True):
            if waiting.done():
                continue
            if isinstance(answer, Exception):
                waiting.set_exception(answer)
            else:
                waiting.set_result(answer)
        if self._waiting:
            loop.call_soon(self._gather, loop, 0)
        else:
            self._is_busy = False
