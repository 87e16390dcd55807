"""A worker in a thread of the test, and what it tells."""

from __future__ import annotations

import threading

from aimwell.engine.workspace import Workspace
from aimwell.loop.worker import TASKS, work


class Working(threading.Thread):
    """Does these tasks until ``stop`` is set. ``told``: codes of its troubles; ``ended``: None, or what it died of."""

    def __init__(self, workspace: Workspace, *names: str) -> None:
        super().__init__(daemon=True)
        self.told: list[str] = []
        self.ended: list[BaseException | None] = []
        self.stop = threading.Event()
        self._workspace = workspace
        self._tasks = tuple(task for task in TASKS if task.name in names)

    def run(self) -> None:
        """Work."""
        try:
            work(
                self._workspace, self.stop, tasks=self._tasks, tell=lambda error: self.told.append(error.code)
            )
            self.ended.append(None)
        except BaseException as error:
            self.ended.append(error)
