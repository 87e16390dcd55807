"""The worker: tasks that wait for each other, one that does not, and a failure that ends the process."""

from __future__ import annotations

import time
from pathlib import Path
from threading import Event

import pytest

from aimwell.core.errors import Conflict
from aimwell.core.text import say
from aimwell.data.event_intake import take_events
from aimwell.engine.workspace import Workspace
from aimwell.loop.worker import Task, run_once, work


def test_every_task_once_leaves_nothing_hot(tmp_path: Path) -> None:
    with_events = Workspace.create(tmp_path / "w", zone="UTC")
    message = {"type": "identify", "userId": "u", "anonymousId": "a", "traits": {"city": "杭州"}}
    take_events(with_events, [message])
    tally = run_once(with_events)
    assert tally.done["move"] == 1
    with with_events.read() as reader:
        assert reader.query("SELECT city FROM customers").to_pylist() == [{"city": "杭州"}]
    assert run_once(with_events).done["move"] == 0
    with_events.close()


def test_a_task_of_its_own_is_kept_waiting_by_none(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "w", zone="UTC")
    stop, went_on = Event(), Event()

    def block(_: Workspace) -> int:
        assert went_on.wait(30)
        stop.set()
        return 1

    def follow(_: Workspace) -> int:
        went_on.set()
        return 1

    def yield_to_another(_: Workspace) -> int:
        raise Conflict(
            "test.taken", say("Another process follows the segments."), remedy=say("Let one process do it.")
        )

    tasks = (
        Task("yields", 60, yield_to_another),
        Task("block", 60, block),
        Task("follow", 60, follow, waits=False),
    )
    tally = work(workspace, stop, tasks=tasks, clock=time.monotonic)
    assert (tally.done, tally.yielded) == ({"block": 1, "follow": 1}, {"yields": 1})
    workspace.close()


def test_a_task_that_fails_ends_the_worker(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "w", zone="UTC")

    def fail(_: Workspace) -> int:
        raise OSError("disk full")

    tasks = (Task("fail", 1, fail, waits=False), Task("idle", 0.01, lambda _: 0))
    with pytest.raises(OSError, match="disk full"):
        work(workspace, Event(), tasks=tasks)
    workspace.close()
