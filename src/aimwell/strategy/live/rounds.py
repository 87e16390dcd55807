"""Requests of many threads that wait for one commit together. Reads and writes no tables.

Who comes while a commit is under way joins the next round; all of a round are woken at once. A future for each of them
would cost as much as the decision.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import NamedTuple

from aimwell.core.errors import AimwellError
from aimwell.strategy.live.requests import Answer, Decision, Request

MOST_TOGETHER = 1_000
MOST_ROUNDS = 10
"""Rounds that may wait; who brings more is held up until there is room."""


class Round:
    """What becomes one transaction."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answers: list[Answer] = []
        self.error: BaseException | None = None
        self.done = threading.Event()


class Pending(NamedTuple):
    """A place in a round."""

    round: Round
    place: int

    def result(self, timeout: float | None = None) -> Decision:
        """The decision, once it is durable; raises what is wrong with the request, or why the round failed.

        TimeoutError after ``timeout`` seconds: whether it was decided, the same request asked again tells.
        """
        done = self.round.done
        if not done.is_set() and not done.wait(timeout):
            raise TimeoutError
        if self.round.error is not None:
            raise self.round.error
        answer = self.round.answers[self.place]
        if isinstance(answer, AimwellError):
            raise answer
        return answer


class Rounds:
    """The rounds that wait, the newest of which is joined."""

    def __init__(self) -> None:
        self._waiting: deque[Round] = deque()
        self._ended = False
        self._changed = threading.Condition()

    def join(self, request: Request) -> Pending:
        """A place in the newest round; waits for room where too many wait. RuntimeError after the end."""
        with self._changed:
            waiting = self._waiting
            if self._ended or not waiting or len(waiting[-1].requests) >= MOST_TOGETHER:
                self._begin_round()
            newest = waiting[-1]
            requests = newest.requests
            requests.append(request)
            return Pending(newest, len(requests) - 1)

    def _begin_round(self) -> None:
        while not self._ended and self._is_full() and len(self._waiting) >= MOST_ROUNDS:
            self._changed.wait()
        if self._ended:
            raise RuntimeError("the decider has ended")
        if self._is_full():
            self._waiting.append(Round())
            self._changed.notify_all()

    def take(self) -> Round | None:
        """The oldest round, as soon as there is one; None after the end, when none is left."""
        with self._changed:
            while not self._waiting and not self._ended:
                self._changed.wait()
            if not self._waiting:
                return None
            self._changed.notify_all()
            return self._waiting.popleft()

    def end(self) -> None:
        """Nobody can join any more."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _is_full(self) -> bool:
        return not self._waiting or len(self._waiting[-1].requests) >= MOST_TOGETHER
