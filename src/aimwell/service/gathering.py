"""Questions of one event loop that are answered together in a thread: whatever came while the thread was busy.

The loop is never blocked, and nobody waits longer than for the answers under way and his own. Reads and writes no
table.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeVar

from aimwell.service.refusals import refuse_full

MOST_TOGETHER = 500
MOST_WAITING = 5_000
Question = TypeVar("Question")
Answer = TypeVar("Answer")


class Gathering(Generic[Question, Answer]):
    """``work`` answers many questions in a thread of ``executor``; an answer that is an exception is raised."""

    def __init__(
        self,
        work: Callable[[Sequence[Question]], Sequence[Answer | Exception]],
        executor: Executor,
        *,
        most_together: int = MOST_TOGETHER,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self._work = work
        self._executor = executor
        self._most_together = most_together
        self._most_waiting = most_waiting
        self._waiting: list[tuple[Question, asyncio.Future[Answer]]] = []
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
            # Not at once: who comes in the same turn of the loop comes along.
            loop.call_soon(self._begin, loop)
        return answer

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        together = self._waiting[: self._most_together]
        del self._waiting[: self._most_together]
        self._executor.submit(self._answer, loop, together)

    def _answer(
        self, loop: asyncio.AbstractEventLoop, together: list[tuple[Question, asyncio.Future[Answer]]]
    ) -> None:
        answers: Sequence[Answer | Exception]
        try:
            answers = self._work([question for question, _ in together])
        except Exception as error:
            answers = [error] * len(together)
        loop.call_soon_threadsafe(self._tell, loop, together, answers)

    def _tell(
        self,
        loop: asyncio.AbstractEventLoop,
        together: list[tuple[Question, asyncio.Future[Answer]]],
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
            self._begin(loop)
        else:
            self._is_busy = False
