"""The worker: tasks that wait for each other, one that does not, and a failure that ends the process."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from aimwell.analysis.rule_text import parse_rule
from aimwell.analysis.schedule import find_next_due
from aimwell.analysis.segments import save_segment
from aimwell.analysis.step import describe
from aimwell.core.errors import Conflict, NotReady
from aimwell.core.text import say
from aimwell.core.time import now
from aimwell.data.event_intake import take_events
from aimwell.engine.workspace import Workspace
from aimwell.loop.worker import TASKS, Task, run_once, work
from tests.analysis.shop import AS_OF, load_shop, make_workspace


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
        assert went_on.wait(180)
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
        Task("follow", 60, follow, lane="own"),
    )
    tally = work(workspace, stop, tasks=tasks)
    assert (tally.done, tally.yielded) == ({"block": 1, "follow": 1}, {"yields": 1})
    workspace.close()


def test_a_task_that_fails_ends_the_worker(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "w", zone="UTC")

    def fail(_: Workspace) -> int:
        raise OSError("disk full")

    tasks = (Task("fail", 1, fail, lane="own"), Task("idle", 0.01, lambda _: 0))
    with pytest.raises(OSError, match="disk full"):
        work(workspace, Event(), tasks=tasks)
    workspace.close()


def test_what_cannot_be_done_for_now_is_told_and_tried_again(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "w", zone="UTC")
    stop, told = Event(), []
    reason = NotReady("test.memory", say("The query needs more memory than the workspace allows."))

    def publish(_: Workspace) -> int:
        if len(told) < 2:
            raise reason
        stop.set()
        return 1

    tally = work(workspace, stop, tasks=(Task("publish", 0.01, publish),), tell=told.append)
    assert told == [reason, reason]
    assert (tally.done, tally.failed) == ({"publish": 1}, {"publish": 2})
    workspace.close()


def test_what_has_an_instant_is_done_when_it_comes_and_not_before(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "w", zone="UTC")
    midnight, stop = datetime(2026, 2, 1, tzinfo=UTC), Event()
    began = midnight - timedelta(seconds=1)
    state: dict[str, Any] = {"at": began, "due": midnight, "acted": [], "asked": 0}

    def tell() -> datetime:
        # Every look at the clock lets a tenth of a second pass.
        state["at"] += timedelta(seconds=0.1)
        return state["at"]

    def find_due(_: Workspace) -> datetime | None:
        state["asked"] += 1
        return state["due"]

    def expire(_: Workspace) -> int:
        state["acted"].append(state["at"])
        state["due"] = None
        stop.set()
        return 1

    tasks = (Task("windows", 60, expire, find_due=find_due),)
    tally = work(workspace, stop, tasks=tasks, clock=tell)
    assert tally.done == {"windows": 1}
    (acted,) = state["acted"]
    assert timedelta() <= acted - midnight < timedelta(seconds=1)
    assert state["asked"] <= 5, "it sleeps until the instant"
    workspace.close()


def test_windows_expire_when_their_day_begins(tmp_path: Path) -> None:
    """Nobody analyses again: the worker alone closes the memberships that time ends, and then waits for the next."""
    shop = make_workspace(tmp_path)
    load_shop(shop)
    save_segment(shop.store, "lately", parse_rule("bought in 2 days"))
    describe(shop, as_of=AS_OF)
    windows = tuple(task for task in TASKS if task.name == "windows")
    due = find_next_due(shop)
    assert due is not None
    assert due < now()
    assert run_once(shop, windows).done["windows"] > 0
    with shop.read() as reader:
        rows = reader.query("SELECT left_on FROM segment_members WHERE segment = 'lately'").to_pylist()
    assert rows
    assert all(row["left_on"] is not None for row in rows)
    following = find_next_due(shop)
    assert following is None or following > now()
    assert run_once(shop, windows).done == {}, "there is nothing to look at"
    shop.close()
