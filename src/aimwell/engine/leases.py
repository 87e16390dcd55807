"""Leases of readers: while one is held, the files of its snapshot are not deleted.

A lease is an empty file in ``warehouse/leases``, taken before the manifest is read and given back at the end. It costs
no transaction, so readers never wait for writers. The lease of a process that died counts for nothing.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

FOLDER = "leases"
MOST_AGE = timedelta(hours=24)
"""A lease of another machine counts for so long: whether its process lives cannot be known here."""


@contextmanager
def hold_lease(warehouse: Path) -> Iterator[None]:
    """Hold a lease on all files that the manifest lists from now on."""
    folder = warehouse / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name_process()}:{secrets.token_hex(8)}"
    path.touch()
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def find_oldest_lease(warehouse: Path, at: datetime) -> datetime | None:
    """Since when the oldest living reader reads; leases of the dead are removed on the way."""
    oldest = None
    for path in (warehouse / FOLDER).glob("*:*:*"):
        try:
            taken = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        except FileNotFoundError:
            continue
        process = path.name.rpartition(":")[0]
        elsewhere = process.rpartition(":")[0] != socket.gethostname()
        if not is_alive(process) or (elsewhere and at - taken > MOST_AGE):
            path.unlink(missing_ok=True)
        elif oldest is None or taken < oldest:
            oldest = taken
    return oldest


def name_process() -> str:
    """This process: machine, number and, where the system tells it, when it started."""
    number = os.getpid()
    started = _find_start(number)
    return f"{socket.gethostname()}:{number}" + ("" if started is None else f"@{started}")


def is_alive(process: str) -> bool:
    """Whether a process so named may live; one of another machine always may.

    Numbers are given again: who has one now need not be who had it, unless it started at the same moment.
    """
    host, _, named = process.rpartition(":")
    if host != socket.gethostname():
        return True
    number, _, started = named.partition("@")
    try:
        os.kill(int(number), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return not started or _find_start(int(number)) in (None, started)


def _find_start(number: int) -> str | None:
    """When the process of this number started, in ticks since the machine did; None where nobody tells (not Linux)."""
    try:
        told = Path(f"/proc/{number}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name of the program comes second, in brackets, and may hold anything.
    return told.rpartition(")")[2].split()[19]
