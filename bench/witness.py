"""Who had the processors while a service was measured, second by second: what a slow answer is put down to (Linux).

``go_first`` takes the others out of the question: what is measured then goes before all else on the machine.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

_TICK = os.sysconf("SC_CLK_TCK")
_OURS = "bench"


class Reading(NamedTuple):
    """What was counted up to an instant."""

    at: float
    commits: float
    fast: float
    waited: float
    """Seconds for which threads of the service could have gone on, but had no processor."""
    machine: float
    cpu: Mapping[str, float]
    """CPU seconds by part: service, worker, database, bench (with its load generator)."""
    runs: frozenset[str]


@dataclass(frozen=True)
class Second:
    """What happened between two readings."""

    place: int
    commits: int
    slow: int
    waited: float
    others: float
    """CPU seconds of processes that have nothing to do with this bench."""
    idle: float
    cpu: Mapping[str, float]
    runs: list[str]
    """Kinds of what the worker wrote files for."""

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {seconds:.2f}" for name, seconds in self.cpu.items())
        return (
            f"second {self.place}: {self.slow} of {self.commits} slow; the service waited {1000 * self.waited:.0f} ms "
            f"for a processor; CPU seconds: {parts}, others {self.others:.2f}, idle {self.idle:.2f}; "
            f"the worker wrote files: {', '.join(self.runs) or 'none'}"
        )


class Witness:
    """Takes a reading each second while its block runs.

    ``parts`` has the processes that are looked at, children with them; ``count`` tells how many commits there were, and
    how many of them were fast; ``files`` is the warehouse's folder.
    """

    def __init__(
        self, parts: Mapping[str, int], count: Callable[[], tuple[float, float]], files: Path
    ) -> None:
        self._parts = {**parts, _OURS: os.getpid()}
        self._count = count
        self._files = files
        self._readings: list[Reading] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Witness:
        self._read()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._read()

    @property
    def seconds(self) -> list[Second]:
        """What happened, second by second."""
        pairs = zip(self._readings, self._readings[1:], strict=False)
        return [_compare(place, before, after) for place, (before, after) in enumerate(pairs)]

    def _watch(self) -> None:
        while not self._stop.wait(1.0):
            self._read()

    def _read(self) -> None:
        commits, fast = self._count()
        cpu = _sum_trees(self._parts)
        runs = frozenset(path.name for path in self._files.glob("*/*.parquet"))
        waited = _read_waiting(self._parts["service"])
        self._readings.append(Reading(time.monotonic(), commits, fast, waited, _read_machine(), cpu, runs))


def find_parent(pid: int) -> int:
    """The process that started ``pid``: of a connection to PostgreSQL, its server."""
    return _read_process(pid)[0]


def _compare(place: int, before: Reading, after: Reading) -> Second:
    cpu = {name: max(after.cpu[name] - before.cpu[name], 0.0) for name in after.cpu}
    commits = after.commits - before.commits
    busy = after.machine - before.machine
    return Second(
        place,
        commits=round(commits),
        slow=round(commits - (after.fast - before.fast)),
        waited=after.waited - before.waited,
        others=max(busy - sum(cpu.values()), 0.0),
        idle=max((os.cpu_count() or 1) * (after.at - before.at) - busy, 0.0),
        cpu=cpu,
        runs=sorted({name.partition("_")[0] for name in after.runs - before.runs}),
    )


def go_first(parts: Mapping[str, int]) -> None:
    """This process, those of ``parts`` and all that they start go before everything else from now on (SCHED_RR; root).

    Among each other they take turns: it is as on a machine of the same size that nobody else uses.
    """
    for pid in _find_parts({**parts, _OURS: os.getpid()}):
        for thread in Path(f"/proc/{pid}/task").glob("[0-9]*"):
            with suppress(ProcessLookupError):
                os.sched_setscheduler(int(thread.name), os.SCHED_RR, os.sched_param(1))


def _sum_trees(roots: Mapping[str, int]) -> dict[str, float]:
    """CPU seconds of each root's process and of all below it that are no root themselves or below one."""
    sums = dict.fromkeys(roots, 0.0)
    for name, seconds in _find_parts(roots).values():
        sums[name] += seconds
    return sums


def _find_parts(roots: Mapping[str, int]) -> dict[int, tuple[str, float]]:
    """Every process of a root or below it: of which root, and its CPU seconds."""
    processes: dict[int, tuple[int, float]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        # Some are gone before they are read.
        with suppress(OSError):
            processes[int(folder.name)] = _read_process(int(folder.name))
    names = {pid: name for name, pid in roots.items()}
    found = {}
    for pid, (_, seconds) in processes.items():
        above = pid
        while above in processes and above not in names:
            above = processes[above][0]
        if above in names:
            found[pid] = (names[above], seconds)
    return found


def _read_process(pid: int) -> tuple[int, float]:
    """Its parent, and its CPU seconds; those of children that ended count with it."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[1]), sum(map(int, fields[11:15])) / _TICK


def _read_machine() -> float:
    """Seconds for which the machine's processors were busy."""
    user, nice, system, _, _, *interrupts = map(int, Path("/proc/stat").read_text().split()[1:8])
    return (user + nice + system + sum(interrupts)) / _TICK


def _read_waiting(pid: int) -> float:
    """Seconds for which its threads waited for a processor."""
    total = 0
    for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
        with suppress(OSError):
            total += int(path.read_text().split()[1])
    return total / 1e9
