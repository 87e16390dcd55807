"""Processes of Aimwell's own that a bench measures from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aimwell.engine.settings import Settings, StoreSettings


@contextmanager
def run_service(folder: Path) -> Iterator[tuple[int, subprocess.Popen[bytes]]]:
    """``aimwell service`` on a free port; the port and the process, which ends with the block unless it was killed."""
    line = [sys.executable, "-m", "aimwell", "--json", "-w", str(folder), "service", "--port", "0"]
    with subprocess.Popen(line, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        url = json.loads(process.stdout.readline())["url"]
        try:
            yield int(url.rpartition(":")[2]), process
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)


@contextmanager
def run_worker(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """``aimwell worker`` beside it."""
    line = [sys.executable, "-m", "aimwell", "--json", "-w", str(folder), "worker"]
    with subprocess.Popen(line, stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)


AS_DEPLOYED = ("shared_buffers=512MB", "max_wal_size=4GB", "checkpoint_timeout=15min")
"""PostgreSQL's settings in deploy/compose.yaml."""


@contextmanager
def serve_store(store: str, database: str) -> Iterator[Settings | None]:
    """Where a workspace keeps its store; a password goes to the processes by their environment.

    None for ``sqlite``; otherwise a PostgreSQL of the bench's own, with fsync.
    """
    if store == "sqlite":
        yield None
        return
    from tests.postgres import PASSWORD, find_programs, serve_durably

    if find_programs() is None:
        raise SystemExit("PostgreSQL's server programs are not installed")
    with serve_durably(*AS_DEPLOYED) as server:
        server.run(f"CREATE DATABASE {database}")
        os.environ["AIMWELL_STORE_PASSWORD"] = PASSWORD
        yield Settings(store=StoreSettings(url=server.address(database, password=None)))


class CpuSeconds:
    """What a process uses from now on (Linux)."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._before = self._measure()

    def read(self) -> float:
        """CPU seconds since it was made."""
        return self._measure() - self._before

    def _measure(self) -> float:
        fields = Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
