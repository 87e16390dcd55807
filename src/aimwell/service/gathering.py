"""Questions of one event loop that are answered together: whatever came while others were answered.

Where it can be done they are answered in the loop itself: the interpreter runs one thread at a time, and two that take
turns cost each other twice their time. Otherwise a thread answers them, and the loop is never blocked. Nobody waits
longer than for the answers under way and his own. Reads and writes no table.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeAlias, TypeVar

from aimwell.service.refusals import refuse_full

MOST_TOGETHER = 500
MOST_WAITING = 5_000
APART = 0.004
"""So many seconds after a round of several begins the next one at the earliest, if it is small. The loop stands still
meanwhile: to wake for each who comes, and to begin a round for three of them, costs more than all that they ask."""
_SMALL = 50
Question = TypeVar("Question")
Answer = TypeVar("Answer")
Together: TypeAlias = list[tuple[Question, asyncio.Future[Answer]]]


class Gathering(Generic[Question, Answer]):
    """``work`` answers many questions in a thread of ``executor``; an answer that is an exception is raised.

    ``in_loop`` does it without stopping the loop; None: not now, and nothing was done.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Question]], Sequence[Answer | Exception]],
        executor: Executor,
        *,
        in_loop: Callable[[Sequence[Question]], Awaitable[Sequence[Answer | Exception] | None]] | None = None,
        most_together: int = MOST_TOGETHER,
        most_waiting: int = MOST_WAITING,
        clock: Callable[[], float] = time.monotonic,
        rest: Callable[[float], None] = time.sleep,
    ) -> None:
        self._work = work
        self._in_loop = in_loop
        self._executor = executor
        self._most_together = most_together
        self._most_waiting = most_waiting
        self._waiting: Together[Question, Answer] = []
        self._is_busy = False
        self._under_way: asyncio.Task[None] | None = None
        self._clock, self._rest = clock, rest
        self._begun = -math.inf
        """When the last round of several began."""

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

    async def finish(self) -> None:
        """Wait for what is under way in the loop; for when nobody asks any more."""
        while self._under_way is not None and not self._under_way.done():
            await asyncio.wait([self._under_way])

    def _gather(self, loop: asyncio.AbstractEventLoop, before: int) -> None:
        """Begin once the loop brings nobody more at the moment, and who was answered has his answer.

        Begun any earlier, those whom the loop has read already would wait for this turn, and for their own.
        """
        if before < len(self._waiting) < self._most_together:
            loop.call_soon(self._gather, loop, len(self._waiting))
            return
        if self._is_early():
            # What was just answered leaves this process at the end of the loop's turn.
            loop.call_soon(self._stand_still, loop)
        else:
            self._begin(loop)

    def _stand_still(self, loop: asyncio.AbstractEventLoop) -> None:
        self._rest(max(self._begun + APART - self._clock(), 0.0))
        loop.call_soon(self._gather, loop, 0)

    def _is_early(self) -> bool:
        since = self._clock() - self._begun
        return self._in_loop is not None and len(self._waiting) < _SMALL and 0 <= since < APART

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        together = self._waiting[: self._most_together]
        if len(together) > 1:
            self._begun = self._clock()
        del self._waiting[: self._most_together]
        if self._in_loop is not None:
            answers = self._in_loop([question for question, _ in together])
            self._under_way = loop.create_task(self._await(loop, together, answers))
        else:
            self._executor.submit(self._answer, loop, together)

    async def _await(
        self,
        loop: asyncio.AbstractEventLoop,
        together: Together[Question, Answer],
        coming: Awaitable[Sequence[Answer | Exception] | None],
    ) -> None:
        answers: Sequence[Answer | Exception] | None
        try:
            answers = await coming
        except Exception as error:
            answers = [error] * len(together)
        if answers is None:
            self._executor.submit(self._answer, loop, together)
        else:
            self._tell(loop, together, answers)

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
