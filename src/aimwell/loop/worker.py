"""The worker: what has to happen again and again while events come in, in one process beside loaders and readers.

Every second hot rows are moved into files; now and then files are merged, what messages say about people is brought
in, tags and events are published, and files that nobody needs are deleted. Each task stands for itself: one that
finds another process at work tries again at its next turn. Several workers may run.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event

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


TASKS = (
    Task("move", 1.0, _compact),
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
    due = {task.name: clock() for task in tasks}
    while not stop.is_set():
        for task in tasks:
            if due[task.name] <= clock() and not stop.is_set():
                _act(task, workspace, tally)
                due[task.name] = clock() + task.every
        stop.wait(max(min(due.values()) - clock(), 0.01))
    return tally


def _act(task: Task, workspace: Workspace, tally: Tally) -> int:
    try:
        done = task.act(workspace)
    except Conflict:
        tally.yielded[task.name] = tally.yielded.get(task.name, 0) + 1
        return 0
    tally.done[task.name] = tally.done.get(task.name, 0) + done
    return done
