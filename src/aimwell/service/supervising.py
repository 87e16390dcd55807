"""Several processes as one: what dies is started again, later each time; a signal ends all of them gracefully.

The listening socket belongs to the supervisor: while a service starts again, whoever connects waits instead of being
refused. Reads and writes no table.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
STEADY_SECONDS = 60.0
"""What lived so long starts again at once."""
END_SECONDS = 45.0
"""Longer than the service takes to answer what is under way."""
_LOOK = 0.2
_DEATH_SIGNAL = 1
"""Linux's PR_SET_PDEATHSIG."""


@dataclass(frozen=True)
class Program:
    """What one child runs; ``shared``: descriptors that it inherits; ``variables``: of its environment."""

    name: str
    command: Sequence[str]
    shared: tuple[int, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass
class _Child:
    program: Program
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    starts_at: float = 0.0
    deaths: int = 0


@dataclass
class Supervisor:
    """Keeps ``programs`` running; ``tell`` is told the name and the exit code of one that died."""

    programs: Sequence[Program]
    tell: Callable[[str, int], None]
    end_seconds: float = END_SECONDS
    _children: list[_Child] = field(default_factory=list)

    def run(self, stop: Event) -> None:
        """Until ``stop`` is set; then all are ended, and waited for."""
        self._children = [_Child(program) for program in self.programs]
        try:
            while not stop.is_set():
                for child in self._children:
                    self._look_after(child)
                stop.wait(_LOOK)
        finally:
            self._end()

    def list_processes(self) -> dict[str, int]:
        """The process numbers by name."""
        found = [(child.program.name, child.process) for child in self._children]
        return {name: process.pid for name, process in found if process is not None}

    def _look_after(self, child: _Child) -> None:
        at = time.monotonic()
        if child.process is not None and (code := child.process.poll()) is not None:
            child.process = None
            child.deaths = 0 if at - child.started_at >= STEADY_SECONDS else child.deaths + 1
            child.starts_at = at + min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** max(child.deaths - 1, 0))
            self.tell(child.program.name, code)
        if child.process is None and at >= child.starts_at:
            child.started_at = at
            child.process = start(child.program)

    def _end(self) -> None:
        running = [child.process for child in self._children if child.process is not None]
        for process in running:
            process.send_signal(signal.SIGTERM)
        until = time.monotonic() + self.end_seconds
        for process in running:
            try:
                process.wait(max(until - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def start(program: Program) -> subprocess.Popen[bytes]:
    """Start a program."""
    variables = {**os.environ, **program.variables}
    return subprocess.Popen(list(program.command), pass_fds=program.shared, env=variables)


def make_command(*arguments: str) -> list[str]:
    """``aimwell`` with these arguments, as a child that ends when this process does."""
    code = (
        f"from aimwell.service.supervising import follow; follow({os.getpid()}); "
        "from aimwell.cli.app import main; main()"
    )
    return [sys.executable, "-c", code, *arguments]


def follow(parent: int) -> None:
    """End when ``parent`` does, whatever ends it: what nobody looks after must not keep the socket (Linux)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGTERM)
    # It may have died before we asked to be told.
    if os.getppid() != parent:
        raise SystemExit(1)
