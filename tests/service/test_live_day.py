"""The live day of a process: decided in the loop where nobody stops it, and looked after while nobody asks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from aimwell.core.errors import NotReady
from aimwell.engine import store, store_engine
from aimwell.engine.store_errors import BUSY
from aimwell.engine.workspace import Workspace
from aimwell.service.live_day import MOST_SECONDS, Decided, LiveDay, Question
from aimwell.strategy.live.settle import Outcome
from tests.postgres import Server, postgres  # noqa: F401 (a fixture)
from tests.service.live_world import open_today, read_decisions, read_used
from tests.service.scene import make_workspace

QUESTIONS = [Question(f"c{number}", f"r{number}", {}) for number in range(3)]


class Clock:
    """Now, as long as nobody turns it."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture(params=["sqlite", "postgresql"])
def made(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Workspace]:
    make_workspace(tmp_path / "w").close()
    if request.param == "postgresql":
        server: Server = request.getfixturevalue("postgres")
        name = f"day{abs(hash(tmp_path.name))}"
        server.run(f"CREATE DATABASE {name}")
        monkeypatch.setenv("AIMWELL_STORE__URL", server.address(name))
    workspace = Workspace.open(tmp_path / "w")
    yield workspace
    workspace.close()


def test_questions_are_decided_in_the_loop_once_the_day_is_at_hand(made: Workspace) -> None:
    plan = open_today(made.store)
    clock = Clock()
    day = LiveDay(made, clock=clock)

    async def ask(questions: list[Question]) -> list[Decided | Exception] | None:
        return await day.decide_in_loop(questions)

    # To open the day takes a while: that is for the thread.
    assert asyncio.run(ask(QUESTIONS)) is None
    day.look_after()
    told = asyncio.run(ask(QUESTIONS))
    assert told is not None
    assert [one.decision.action_id for one in told if isinstance(one, Decided)] == ["sms"] * 3
    assert {row["request_id"] for row in read_decisions(made.store)} == {"r0", "r1", "r2"}
    assert asyncio.run(ask([QUESTIONS[0]._replace(explain=True)])) is None
    # Nobody looked after it for too long; its own end comes before that.
    clock.ahead = MOST_SECONDS + 1
    assert asyncio.run(ask(QUESTIONS)) is None
    day.look_after()
    assert asyncio.run(ask(QUESTIONS)) is not None
    ends = datetime.fromtimestamp(plan.ends_ms / 1000, UTC).timestamp()
    clock.ahead = ends - time.time() - 1
    day.look_after()
    assert asyncio.run(ask(QUESTIONS)) is not None
    clock.ahead += 1.5
    assert asyncio.run(ask(QUESTIONS)) is None
    # Without a day that is open there is nothing to look after.
    day.look_after()


def test_others_who_decide_keep_nobody_waiting_in_the_loop(made: Workspace) -> None:
    open_today(made.store)
    day = LiveDay(made)
    day.look_after()
    decider = next(iter(day._deciders.values()))
    with decider._lock:
        assert asyncio.run(day.decide_in_loop(QUESTIONS)) is None
    assert asyncio.run(day.decide_in_loop(QUESTIONS)) is not None


def test_what_nobody_confirmed_is_given_back_though_nobody_asks(made: Workspace) -> None:
    open_today(made.store)
    clock = Clock()
    day = LiveDay(made, clock=clock)
    assert all(isinstance(one, Decided) for one in day.decide(QUESTIONS))
    (settled,) = day.settle([(Outcome("r0", True), None)])
    assert not isinstance(settled, Exception) and settled.state == "confirmed"
    day.look_after()
    assert read_used(made.store) == 30
    clock.ahead = 901
    day.look_after()
    assert read_used(made.store) == 10


@pytest.mark.parametrize("made", ["postgresql"], indirect=True)
def test_a_lock_that_was_waited_for_in_vain_is_told(made: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    open_today(made.store)
    monkeypatch.setattr(store_engine, "PATIENCE", 0.5)
    impatient = Workspace.open(made.path)
    day = LiveDay(impatient)
    day.look_after()
    # A thread would only wait once more.
    with made.store.begin(), pytest.raises(NotReady) as problem:
        asyncio.run(day.decide_in_loop(QUESTIONS))
    assert problem.value.code == BUSY
    assert asyncio.run(day.decide_in_loop(QUESTIONS)) is not None
    impatient.close()


@pytest.mark.parametrize("made", ["postgresql"], indirect=True)
def test_the_loop_waits_for_no_connection_of_others(made: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    open_today(made.store)
    day = LiveDay(made)
    day.look_after()
    monkeypatch.setattr(store, "MOST_CONNECTIONS", 1)
    with made.store.snapshot():
        assert asyncio.run(day.decide_in_loop(QUESTIONS)) is None
    assert asyncio.run(day.decide_in_loop(QUESTIONS)) is not None
