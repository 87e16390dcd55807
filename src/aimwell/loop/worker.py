"""The worker: what has to happen again and again while events come in, in one process beside loaders and readers.

Every second hot rows are moved into files; now and then files are merged, what messages say about people is brought
in, tags and events are published, and files that nobody needs are deleted. Membership of segments follows the events,
and windows of segments expire when their day begins. Journeys go on, deliveries go out, campaigns start at their
instant, and what recipients answered comes in (``loop.outward``). Tasks stand in lanes, each a thread of its own, so
that no file keeps an event waiting; the lane of large files leaves the processor to the others. Each task stands for
itself: one that finds another process at work, or cannot be done for now, tries again at its next turn. Several workers
may run.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from threading import Event, Thread, get_native_id
from weakref import WeakKeyDictionary

from aimwell.analysis.live_members import LiveMembers
from aimwell.analysis.schedule import find_next_due, refresh_due
from aimwell.core.errors import Conflict, NotReady
from aimwell.core.time import now
from aimwell.data.event_profiles import merge_profiles
from aimwell.deployment.journeys.advance import find_due as find_journey
from aimwell.deployment.schedule import find_next_launch, launch_due
from aimwell.engine.compaction import compact, merge_files
from aimwell.engine.published import publish
from aimwell.engine.vacuum import vacuum
from aimwell.engine.workspace import Workspace
from aimwell.loop.outward import (
    check_ledger,
    deliver,
    find_decision,
    find_delivery,
    finish_deliveries,
    hand_over,
    hear_back,
    move_journeys,
    settle_decisions,
    stop_deliveries,
    take_mail,
)
from aimwell.loop.retention import forget_old


@dataclass(frozen=True)
class Task:
    """Something to do again every ``every`` seconds; ``act`` says how much it did."""

    name: str
    every: float
    act: Callable[[Workspace], int]
    lane: str = "rows"
    """Tasks of one lane wait for each other."""
    find_due: Callable[[Workspace], datetime | None] | None = None
    """The instant at which there is something to do, if that is known: nothing is done before."""
    finish: Callable[[Workspace], int] | None = None
    """For what goes on after ``act``: wait for it."""
    stop: Callable[[Workspace], None] | None = None
    """The same at the worker's end, as soon as that is safe."""


@dataclass
class Tally:
    """What the worker did so far, by task: units of work, turns that another process took, and turns in vain."""

    done: dict[str, int] = field(default_factory=dict)
    yielded: dict[str, int] = field(default_factory=dict)
    failed: dict[str, int] = field(default_factory=dict)
    tell: Callable[[NotReady], None] | None = None
    """Is shown why a turn was in vain; without it that is raised."""


def _compact(workspace: Workspace) -> int:
    return compact(workspace).rows


def _merge(workspace: Workspace) -> int:
    return merge_files(workspace).removed


def _publish(workspace: Workspace) -> int:
    return int(publish(workspace) is not None)


def _vacuum(workspace: Workspace) -> int:
    done = vacuum(workspace)
    return done.replaced + done.orphans


class _FollowMembers:
    """Remembers of each workspace what the segments' last step left."""

    def __init__(self) -> None:
        self._followers: WeakKeyDictionary[Workspace, LiveMembers] = WeakKeyDictionary()

    def __call__(self, workspace: Workspace) -> int:
        found = self._followers.get(workspace)
        if found is None:
            found = self._followers[workspace] = LiveMembers(workspace)
        return len(found.step())


def _tidy(workspace: Workspace) -> int:
    workspace.store.tidy()
    return 0


def _expire(workspace: Workspace) -> int:
    done = refresh_due(workspace, now())
    return 0 if done is None else done.entered + done.left


_LARGE = "files"
"""The lane whose tasks take long and may."""
_KINDNESS = 5
"""By how much that lane's priority is lower (nice)."""
_SWITCH = 0.0005
"""Seconds after which a thread lets another one go on: a transaction must not wait while another thread computes."""
TASKS = (
    Task("members", 0.1, _FollowMembers(), lane="members"),
    Task("windows", 60.0, _expire, lane="windows", find_due=find_next_due),
    Task("move", 1.0, _compact),
    Task("log", 1.0, _tidy),
    Task("profiles", 20.0, merge_profiles),
    Task("journeys", 0.2, move_journeys, lane="journeys", find_due=find_journey),
    Task("decisions", 5.0, settle_decisions, lane="journeys", find_due=find_decision),
    Task(
        "deliveries",
        0.2,
        deliver,
        lane="deliveries",
        find_due=find_delivery,
        finish=finish_deliveries,
        stop=stop_deliveries,
    ),
    Task("launches", 1.0, launch_due, lane="campaigns", find_due=find_next_launch),
    Task("answers", 1.0, hear_back, lane="answers"),
    Task("bounces", 60.0, take_mail, lane="answers"),
    Task("handover", 120.0, hand_over, lane=_LARGE),
    Task("sums", 3600.0, check_ledger, lane=_LARGE),
    Task("retention", 3600.0, forget_old, lane=_LARGE),
    Task("merge", 10.0, _merge, lane=_LARGE),
    Task("publish", 60.0, _publish, lane=_LARGE),
    Task("vacuum", 300.0, _vacuum, lane=_LARGE),
)


def run_once(
    workspace: Workspace,
    tasks: tuple[Task, ...] = TASKS,
    *,
    tell: Callable[[NotReady], None] | None = None,
) -> Tally:
    """Every task once, those that move rows until nothing is left to move. ``tell``: see ``work``."""
    tally = Tally(tell=tell)
    for task in tasks:
        while _is_due(task, workspace, now()) and _act(task, workspace, tally) and task.act is _compact:
            pass
        if task.finish is not None:
            _act(replace(task, act=task.finish), workspace, tally)
    return tally


def work(
    workspace: Workspace,
    stop: Event,
    *,
    tasks: tuple[Task, ...] = TASKS,
    clock: Callable[[], datetime] = now,
    tell: Callable[[NotReady], None] | None = None,
) -> Tally:
    """Do each task whenever its time has come by ``clock``, until ``stop`` is set.

    With ``tell``, NotReady (too little memory to publish, say) is told, and the task tried again at its next turn:
    events must come in nevertheless. Whatever else a task raises, other than Conflict, ends the worker and is raised.
    """
    tally = Tally(tell=tell)
    failures: list[BaseException] = []

    def follow(lane: str) -> None:
        try:
            if lane == _LARGE:
                _give_way()
            _repeat(tuple(task for task in tasks if task.lane == lane), workspace, stop, tally, clock)
        except BaseException as error:
            # A thread that dies must end the process, not leave it half at work.
            failures.append(error)
            stop.set()

    lanes = dict.fromkeys(task.lane for task in tasks)
    threads = [Thread(target=follow, args=(lane,), name=f"worker-{lane}") for lane in lanes]
    with _switching_often():
        for thread in threads:
            thread.start()
        try:
            stop.wait()
        finally:
            stop.set()
            for thread in threads:
                thread.join()
            for task in tasks:
                if task.stop is not None:
                    task.stop(workspace)
    if failures:
        raise failures[0]
    return tally


def _repeat(
    tasks: tuple[Task, ...],
    workspace: Workspace,
    stop: Event,
    tally: Tally,
    clock: Callable[[], datetime],
) -> None:
    due = {task.name: clock() for task in tasks}
    while not stop.is_set():
        for task in tasks:
            # A clock that was put back must not keep the worker idle until then.
            has_come = not clock() < due[task.name] <= clock() + timedelta(seconds=task.every)
            if has_come and not stop.is_set():
                due[task.name] = _take_turn(task, workspace, tally, clock)
        stop.wait(max((min(due.values()) - clock()).total_seconds(), 0.01))


def _take_turn(task: Task, workspace: Workspace, tally: Tally, clock: Callable[[], datetime]) -> datetime:
    """Do the task if there is something to do; when to look again."""
    latest = clock() + timedelta(seconds=task.every)
    try:
        if _is_due(task, workspace, clock()):
            _act(task, workspace, tally)
        due = task.find_due(workspace) if task.find_due else None
    except NotReady as error:
        # The store could not be asked (a database that is being restarted).
        if tally.tell is None:
            raise
        tally.tell(error)
        return latest
    # What is due still could not be done, or another process is at it.
    return latest if due is None or due <= clock() else min(due, latest)


def _is_due(task: Task, workspace: Workspace, at: datetime) -> bool:
    if task.find_due is None:
        return True
    due = task.find_due(workspace)
    return due is not None and due <= at


def _act(task: Task, workspace: Workspace, tally: Tally) -> int:
    try:
        done = task.act(workspace)
    except Conflict:
        tally.yielded[task.name] = tally.yielded.get(task.name, 0) + 1
        return 0
    except NotReady as error:
        if tally.tell is None:
            raise
        tally.failed[task.name] = tally.failed.get(task.name, 0) + 1
        tally.tell(error)
        return 0
    tally.done[task.name] = tally.done.get(task.name, 0) + done
    return done


def _give_way() -> None:
    """Lower the priority of this thread; only Linux has one for each thread."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, get_native_id(), _KINDNESS)


@contextmanager
def _switching_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SWITCH)
    try:
        yield
    finally:
        sys.setswitchinterval(before)
