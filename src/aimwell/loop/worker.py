"""The worker: what has to happen again and again while events come in, in one process beside loaders and readers.

Every second hot rows are moved into files; now and then files are merged, what messages say about people is brought
in, tags and events are published, and files that nobody needs are deleted. Beside them, in a thread of its own so that
no file keeps it waiting, membership of segments follows the events. Each task stands for itself: one that finds
another process at work tries again at its next turn. Several workers may run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event, Thread
from weakref import WeakKeyDictionary

from aimwell.analysis.live_members import LiveMembers
from aimwell.core.errors import Conflict
from aimwell.data.event_profiles import merge_profiles
from aimwell.engine.compaction import compact, merge_files
from aimwell.engine.published import publish
from aimwell.engine.vacuum import vacuum
from aimwell.engine.workspace import Workspace


@dataclass(frozen=True)
class Task:
    """Something to do again every ``every`` seconds; ``act`` says how much it did."""

    name: str
    every: float
    act: Callable[[Workspace], int]
    waits: bool = True
    """Whether it may wait until the tasks before it are done."""


@dataclass
class Tally:
    """What the worker did so far, by task: units of work, and turns that another process took."""

    done: dict[str, int] = field(default_factory=dict)
    yielded: dict[str, int] = field(default_factory=dict)


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


TASKS = (
    Task("members", 0.2, _FollowMembers(), waits=False),
    Task("move", 1.0, _compact),
    Task("log", 1.0, _tidy),
    Task("profiles", 20.0, merge_profiles),
    Task("merge", 10.0, _merge),
    Task("publish", 60.0, _publish),
    Task("vacuum", 300.0, _vacuum),
)


def run_once(workspace: Workspace, tasks: tuple[Task, ...] = TASKS) -> Tally:
    """Every task once, those that move rows until nothing is left to move."""
    tally = Tally()
    for task in tasks:
        while _act(task, workspace, tally) and task.act is _compact:
            pass
    return tally


def work(
    workspace: Workspace,
    stop: Event,
    *,
    tasks: tuple[Task, ...] = TASKS,
    clock: Callable[[], float] = time.monotonic,
) -> Tally:
    """Do each task whenever its time has come, until ``stop`` is set."""
    tally = Tally()
    failures: list[BaseException] = []

    def follow(task: Task) -> None:
        try:
            _repeat((task,), workspace, stop, tally, clock)
        except BaseException as error:
            # A thread that dies must end the process, not leave it half at work.
            failures.append(error)
            stop.set()

    threads = [
        Thread(target=follow, args=(task,), name=f"worker-{task.name}") for task in tasks if not task.waits
    ]
    for thread in threads:
        thread.start()
    try:
        _repeat(tuple(task for task in tasks if task.waits), workspace, stop, tally, clock)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]
    return tally


def _repeat(
    tasks: tuple[Task, ...], workspace: Workspace, stop: Event, tally: Tally, clock: Callable[[], float]
) -> None:
    due = {task.name: clock() for task in tasks}
    while not stop.is_set():
        for task in tasks:
            if due[task.name] <= clock() and not stop.is_set():
                _act(task, workspace, tally)
                due[task.name] = clock() + task.every
        stop.wait(max(min(due.values(), default=clock() + 1) - clock(), 0.01))


def _act(task: Task, workspace: Workspace, tally: Tally) -> int:
    try:
        done = task.act(workspace)
    except Conflict:
        tally.yielded[task.name] = tally.yielded.get(task.name, 0) + 1
        return 0
    tally.done[task.name] = tally.done.get(task.name, 0) + done
    return done
