"""Questions that come together are answered together: in the loop where nobody is waited for, else in a thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pytest

from aimwell.service.gathering import APART, Gathering
from aimwell.service.refusals import Refused

T = TypeVar("T")


class Work:
    """Answers a number with its double; an odd one is wrong. Notes who came together, and in which thread."""

    def __init__(self) -> None:
        self.rounds: list[tuple[str, list[int]]] = []
        self.is_free = True
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, questions: Sequence[int]) -> list[int | Exception]:
        assert self.gate.wait(60)
        self.rounds.append((threading.current_thread().name, list(questions)))
        if 13 in questions:
            raise RuntimeError("a defect")
        return [ValueError(question) if question % 2 else 2 * question for question in questions]

    async def in_loop(self, questions: Sequence[int]) -> list[int | Exception] | None:
        return self(questions) if self.is_free else None


def play(work: Work, act: Callable[[Gathering[int, int]], Coroutine[Any, Any, T]], **more: Any) -> T:
    """Let ``act`` ask in a loop."""
    with ThreadPoolExecutor(1, thread_name_prefix="beside") as executor:

        async def run() -> T:
            return await act(Gathering(work, executor, in_loop=work.in_loop, **more))

        return asyncio.run(run())


@pytest.mark.parametrize("is_free", [True, False])
def test_each_gets_his_own_answer(is_free: bool) -> None:
    work = Work()
    work.is_free = is_free

    async def act(gathering: Gathering[int, int]) -> list[object]:
        first = await asyncio.gather(*map(gathering.ask, range(5)), return_exceptions=True)
        return [*first, *await asyncio.gather(gathering.ask(12), gathering.ask(13), return_exceptions=True)]

    told = play(work, act)
    assert [str(one) for one in told] == ["0", "1", "4", "3", "8", "a defect", "a defect"]
    assert [type(one) for one in told[1:4]] == [ValueError, int, ValueError]
    # Those who ask at one moment are answered in one round.
    assert [questions for _, questions in work.rounds] == [[0, 1, 2, 3, 4], [12, 13]]
    assert all(name.startswith("beside") != is_free for name, _ in work.rounds)


def test_who_comes_while_others_are_answered_comes_next_and_together() -> None:
    work = Work()
    work.is_free = False
    work.gate.clear()

    async def act(gathering: Gathering[int, int]) -> list[int]:
        first = gathering.ask(0)
        await asyncio.sleep(0.05)
        others = [gathering.ask(2 * number) for number in range(1, 8)]
        # The thread stands still; the loop does not.
        assert not first.done()
        work.gate.set()
        return await asyncio.gather(first, *others)

    assert play(work, act, most_together=4) == [4 * number for number in range(8)]
    assert [questions for _, questions in work.rounds] == [[0], [2, 4, 6, 8], [10, 12, 14]]


def test_the_loop_goes_on_while_answers_in_it_wait_for_something() -> None:
    came = asyncio.Event()
    rounds: list[list[int]] = []

    async def wait(questions: Sequence[int]) -> list[int | Exception]:
        rounds.append(list(questions))
        await came.wait()
        return [10 * question for question in questions]

    async def act() -> list[int]:
        with ThreadPoolExecutor(1) as executor:
            gathering: Gathering[int, int] = Gathering(Work(), executor, in_loop=wait)
            first = gathering.ask(1)
            while not rounds:
                await asyncio.sleep(0)
            others = [gathering.ask(number) for number in (2, 3)]
            assert not first.done()
            ending = asyncio.create_task(gathering.finish())
            await asyncio.sleep(0)
            assert not ending.done()
            came.set()
            told = await asyncio.gather(first, *others)
            await ending
            return told

    assert asyncio.run(act()) == [10, 20, 30]
    assert rounds == [[1], [2, 3]]


def test_answers_go_out_before_the_next_round_begins() -> None:
    work = Work()
    seen: list[int] = []

    async def act(gathering: Gathering[int, int]) -> None:
        async def ask(number: int) -> None:
            await gathering.ask(number)
            seen.append(len(work.rounds))

        await asyncio.gather(*map(ask, range(0, 24, 2)))

    play(work, act, most_together=4)
    assert seen == [1] * 4 + [2] * 4 + [3] * 4


def test_too_many_are_sent_away() -> None:
    work = Work()

    async def act(gathering: Gathering[int, int]) -> list[int]:
        waiting = [gathering.ask(2 * number) for number in range(3)]
        with pytest.raises(Refused):
            gathering.ask(6)
        told = await asyncio.gather(*waiting)
        return [*told, await gathering.ask(8)]

    assert play(work, act, most_waiting=3) == [0, 4, 8, 16]


def test_whoever_is_gone_is_left_out() -> None:
    work = Work()

    async def act(gathering: Gathering[int, int]) -> int:
        gone, stays = gathering.ask(2), gathering.ask(4)
        gone.cancel()
        return await stays

    assert play(work, act) == 8


class Clock:
    """Goes on only while somebody rests."""

    def __init__(self) -> None:
        self.now = 100.0
        self.rests: list[float] = []

    def __call__(self) -> float:
        return self.now

    def rest(self, seconds: float) -> None:
        self.rests.append(seconds)
        self.now += seconds


def play_rounds(clock: Clock, *sizes: int, in_loop: bool = True) -> list[int]:
    """Ask so many together, one group after the other; how many questions each round had."""
    work = Work()

    async def act() -> None:
        with ThreadPoolExecutor(1) as executor:
            gathering: Gathering[int, int] = Gathering(
                work, executor, in_loop=work.in_loop if in_loop else None, clock=clock, rest=clock.rest
            )
            for size in sizes:
                await asyncio.gather(*(gathering.ask(0) for _ in range(size)))

    asyncio.run(act())
    return [len(questions) for _, questions in work.rounds]


def test_after_a_round_of_several_a_small_one_waits_for_more() -> None:
    clock = Clock()
    assert play_rounds(clock, 3, 2) == [3, 2]
    assert clock.rests == [pytest.approx(APART)]


@pytest.mark.parametrize("sizes", [(1, 2), (2, 60), (1, 1, 1)])
def test_nobody_waits_after_a_lonely_one_and_many_wait_for_nobody(sizes: tuple[int, ...]) -> None:
    clock = Clock()
    assert play_rounds(clock, *sizes) == list(sizes)
    assert clock.rests == []


def test_a_thread_waits_for_nobody() -> None:
    clock = Clock()
    assert play_rounds(clock, 3, 2, in_loop=False) == [3, 2]
    assert clock.rests == []


def test_nobody_waits_long_after_a_round() -> None:
    clock = Clock()
    work = Work()

    async def act() -> None:
        with ThreadPoolExecutor(1) as executor:
            gathering: Gathering[int, int] = Gathering(
                work, executor, in_loop=work.in_loop, clock=clock, rest=clock.rest
            )
            for step in (APART, -1.0):
                await asyncio.gather(gathering.ask(0), gathering.ask(0))
                # A clock that was set back keeps nobody waiting, either.
                clock.now += step
            await asyncio.gather(gathering.ask(0), gathering.ask(0))

    asyncio.run(act())
    assert clock.rests == []


def test_who_comes_meanwhile_is_answered_with_them_and_whoever_was_answered_knows_it() -> None:
    clock, work = Clock(), Work()
    told: list[int] = []
    asked: list[asyncio.Future[int]] = []

    async def act() -> None:
        with ThreadPoolExecutor(1) as executor:

            def rest(seconds: float) -> None:
                clock.rest(seconds)
                # Both answers of the first round are out.
                assert len(told) == 2
                asked.append(gathering.ask(4))

            gathering: Gathering[int, int] = Gathering(
                work, executor, in_loop=work.in_loop, clock=clock, rest=rest
            )

            async def ask(number: int) -> None:
                told.append(await gathering.ask(number))

            await asyncio.gather(ask(0), ask(2))
            await asyncio.gather(gathering.ask(6), gathering.ask(8))
            await asked[0]

    asyncio.run(act())
    assert [sorted(questions) for _, questions in work.rounds] == [[0, 2], [4, 6, 8]]
