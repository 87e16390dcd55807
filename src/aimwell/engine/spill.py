"""Folders for rows that do not fit into memory, or that another process must read: each is one living process's own.

They stand in the workspace, in ``warehouse/temporary``, where an erasure finds what they hold. Each is locked for as
long as its process lives: by the lock, not by an age, it is known what a killed process left, and whoever makes a
folder removes that first. Writes and deletes below ``warehouse/temporary``, and no table.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

import duckdb

from aimwell.engine.manifest import changed_meanwhile

FOLDER = "temporary"
_LOCK = "lock"
_CLEARED = b"cleared"


class SpillFolder:
    """A folder below ``warehouse/temporary`` until ``close``, or until nobody has it any more."""

    def __init__(self, warehouse: Path, kind: str) -> None:
        """``kind`` begins its name and says whose it is."""
        self.path, self._lock = _make(warehouse, kind)
        self._end = weakref.finalize(self, _remove, self.path, self._lock)

    def __enter__(self) -> SpillFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def is_open(self) -> bool:
        """Whether it is still there: somebody may have removed the whole workspace."""
        return self._end.alive and self.path.is_dir()

    def close(self) -> None:
        """Remove the folder with all that it holds; a second time does nothing."""
        self._end()

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Errors that come of an erasure having taken files away are told as that: Conflict."""
        try:
            yield
        except (OSError, duckdb.Error) as error:
            if self._end.alive and os.fstat(self._lock).st_size:
                raise changed_meanwhile("erasures") from error
            raise


def remove_dead(warehouse: Path) -> list[int]:
    """Remove what killed processes left behind; how many bytes each folder or file had."""
    freed = []
    for path in _list(warehouse):
        with suppress(FileNotFoundError):
            size = _remove_dead(path)
            freed += [] if size is None else [size]
    return freed


def clear(warehouse: Path, *, patience: float) -> None:
    """No file is left of what stands there now, not even of living processes after ``patience`` seconds.

    A query that still needs one fails, and whoever asked it learns why (``SpillFolder.watch``). What this process
    itself has put there goes at once.
    """
    remove_dead(warehouse)
    own = f"-{os.getpid()}-"
    begun = _list(warehouse)
    end = time.monotonic() + patience
    while time.monotonic() < end and any(own not in path.name and _list_files(path) for path in begun):
        time.sleep(0.05)
    for path in begun:
        files = _list_files(path)
        for file in files:
            file.unlink(missing_ok=True)
        if files:
            _mark_cleared(path)


def _list(warehouse: Path) -> list[Path]:
    return sorted((warehouse / FOLDER).glob("*"))


def _list_files(path: Path) -> list[Path]:
    return [one for one in path.rglob("*") if one != path / _LOCK and (one.is_file() or one.is_symlink())]


def _make(warehouse: Path, kind: str) -> tuple[Path, int]:
    root = warehouse / FOLDER
    root.mkdir(parents=True, exist_ok=True)
    remove_dead(warehouse)
    while True:
        path = Path(tempfile.mkdtemp(prefix=f"{kind}-{os.getpid()}-", dir=root))
        try:
            lock = os.open(path / _LOCK, os.O_CREAT | os.O_RDWR, 0o600)
        except FileNotFoundError:
            # Somebody took the empty folder for left over.
            continue
        if _take(lock) and os.fstat(lock).st_nlink:
            return path, lock
        os.close(lock)


def _take(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove(path: Path, lock: int) -> None:
    shutil.rmtree(path, ignore_errors=True)
    os.close(lock)


def _remove_dead(path: Path) -> int | None:
    """Its bytes, if nobody living has it; None when somebody does."""
    if not path.is_dir() or path.is_symlink():
        size = path.lstat().st_size
        path.unlink()
        return size
    with suppress(OSError):
        # Empty: its maker may be about to lock it, and then makes another.
        path.rmdir()
        return 0
    try:
        lock = os.open(path / _LOCK, os.O_RDWR)
    except FileNotFoundError:
        # The lock is the first file of a folder and may be the first to go: nobody comes back to this one.
        return _delete(path)
    except PermissionError:
        return None
    try:
        return _delete(path) if _take(lock) else None
    finally:
        os.close(lock)


def _delete(path: Path) -> int:
    size = 0
    for file in _list_files(path):
        with suppress(FileNotFoundError):
            size += file.lstat().st_size
    shutil.rmtree(path, ignore_errors=True)
    return size


def _mark_cleared(path: Path) -> None:
    with suppress(FileNotFoundError):
        lock = os.open(path / _LOCK, os.O_WRONLY)
        try:
            os.write(lock, _CLEARED)
        finally:
            os.close(lock)
