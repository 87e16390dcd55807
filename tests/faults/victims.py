"""Processes that a test kills: forked from a clean one that has everything imported, so that to start one costs a
hundredth of a second and not two.

``AIMWELL_KILLS=10 python -m pytest tests/faults`` kills ten times as often as usual.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from aimwell.deployment.dispatch import Dispatcher
from aimwell.deployment.journeys.composing import JourneyComposers
from aimwell.deployment.ledger import Terms
from aimwell.engine.store import Store
from aimwell.engine.workspace import Workspace
from aimwell.loop import outward
from aimwell.loop.backup import back_up
from aimwell.loop.restore import restore
from aimwell.loop.worker import TASKS, work
from aimwell.service.server import run_server

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["tests.faults.victims"])
VARIABLE = "AIMWELL_KILLS"
# A lease that a slow machine does not outlast between a reservation and its first window.
TERMS = Terms(lease=3.0, retry=0.0, attempts=50)
PATIENCE = 300.0
"""Seconds for whatever must happen: none of it is slow, but the machine may be."""


def count_kills(usual: int) -> int:
    """How often to kill where ``usual`` is enough for every day."""
    return max(1, round(usual * float(os.environ.get(VARIABLE, "1"))))


def start(act: Callable[..., None], *arguments: Any) -> Any:
    """``act`` in a process of its own, with the variables of this one as they are now."""
    process = PROCESSES.Process(target=_begin, args=(dict(os.environ), act, arguments), daemon=True)
    process.start()
    return process


def _begin(variables: dict[str, str], act: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    os.environ.clear()
    os.environ.update(variables)
    act(*arguments)


def kill(process: Any) -> bool:
    """SIGKILL; whether it still lived."""
    lived = process.exitcode is None
    process.kill()
    process.join()
    return lived


def wait_until(reached: Callable[[], object], what: str, *, process: Any = None) -> None:
    """``what`` says what did not come."""
    end = time.monotonic() + PATIENCE
    while not reached():
        assert time.monotonic() < end, what
        assert process is None or process.is_alive(), f"the process ended by itself: {what}"
        time.sleep(0.005)


def sleep_at_random(chance: random.Random, longest: float) -> None:
    """So that the kill falls anywhere."""
    time.sleep(chance.random() * longest)


# What they do.


def serve(folder: Path, listener: socket.socket) -> None:
    """The service, on a socket that others go on to hold when it dies."""
    run_server(Workspace.open(folder), listener)


def work_on(folder: Path, *names: str) -> None:
    """The worker with these tasks (or all), those that come once a minute or an hour every few moments."""
    outward._DISPATCHERS = outward.PerWorkspace(
        lambda workspace: Dispatcher(
            workspace, composers={"journey:": JourneyComposers(workspace)}, terms=TERMS
        )
    )
    some = [task for task in TASKS if not names or task.name in names]
    tasks = tuple(replace(task, every=min(task.every, 0.3)) for task in some)
    work(Workspace.open(folder), threading.Event(), tasks=tasks, tell=lambda error: None)


def save(folder: Path, target: Path) -> None:
    """One backup."""
    back_up(Workspace.open(folder), target)


def bring_back(file: Path, folder: Path, url: str | None) -> None:
    """One restore."""
    restore(file, folder, url=url)


def migrate(url: str) -> None:
    """The schema to its newest version."""
    Store(url).migrate()
