"""What the database's errors mean for people: it cannot be reached, its disk is full, others came first.

The driver's words may hold addresses and values of rows: only kinds and codes go on.
"""

from __future__ import annotations

import errno
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import duckdb
import pyarrow as pa
import sqlalchemy as sa

from aimwell.core.errors import AimwellError, Conflict, NotReady
from aimwell.core.text import say

_CONTENDED = ("40001", "40P01")
"""Serialisation failure, deadlock: whoever begins anew succeeds."""
_BUSY = ("55P03",)
"""A lock that was not had in time."""
BUSY = "engine.store_busy"
"""The code of what was not done because others write."""
_FULL = ("53100",)
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_UNREACHABLE = ("08", "57P", "53300", "25P03")
"""Connection exceptions; shut down, crashed or starting; too many connections; ended for idleness."""
_REFUSED = ("28", "3D", "3F", "42501")
"""Wrong user or password, no such database or schema, no right."""

_REFUSALS = ("password", "authentication", "pg_hba.conf", "does not exist", "permission denied")


@contextmanager
def explained() -> Iterator[None]:
    """Errors of the database that are nobody's mistake in here become words; all others stay as they are."""
    try:
        yield
    except sa.exc.DBAPIError as error:
        known = find_meaning(error)
        if known is None:
            raise
        raise known from error
    except sqlite3.Error as error:
        # From a cursor of the driver's own.
        meaning = _explain_sqlite(error)
        if meaning is None:
            raise
        raise meaning from error


@contextmanager
def room_explained() -> Iterator[None]:
    """A disk that is full while files of the warehouse are written becomes words."""
    try:
        yield
    except (OSError, duckdb.Error, pa.ArrowException) as error:
        if getattr(error, "errno", None) in _NO_ROOM or "No space left on device" in str(error):
            raise disk_full() from error
        raise


def find_meaning(error: sa.exc.DBAPIError) -> AimwellError | None:
    """What people and callers must know of it; None for an error of the program."""
    if isinstance(error.orig, sqlite3.Error):
        return _explain_sqlite(error.orig)
    state = str(getattr(error.orig, "sqlstate", None) or "")
    if state in _CONTENDED:
        return Conflict(
            "engine.store_contended",
            say("Another process changed the same rows of the store at the same moment."),
            remedy=say("Do it again."),
        )
    if state in _BUSY:
        return busy()
    if state in _FULL:
        return disk_full()
    # While connecting the driver gives the server's words, and no code.
    words = "" if state else str(error.orig).casefold()
    if state.startswith(_REFUSED) or any(one in words for one in _REFUSALS):
        return NotReady(
            "engine.store_refused",
            say("The store's database does not let this user in (code {code}).", code=state or "–"),
            remedy=say(
                "Check [store] url, that database and schema are there, and the password: AIMWELL_STORE_PASSWORD or "
                "~/.pgpass."
            ),
        )
    if state.startswith(_UNREACHABLE) or error.connection_invalidated:
        return unreachable(state)
    no_code = isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError) and not state
    return unreachable(state) if no_code else None


def explain_failure(error: sa.exc.DBAPIError) -> Exception:
    """The same, or the error itself."""
    return find_meaning(error) or error


def unreachable(code: str = "") -> NotReady:
    """The database does not answer, or the connection broke."""
    return NotReady(
        "engine.store_unreachable",
        say("The store's database cannot be reached, or the connection broke ({code}).", code=code or "–"),
        remedy=say(
            "What was answered before is kept. Check that the database runs and the network is there, then do it "
            "again; worker and service try again by themselves."
        ),
    )


def is_busy(error: BaseException) -> bool:
    """Whether a lock of PostgreSQL was not had in time."""
    return getattr(error, "sqlstate", None) in _BUSY


def busy() -> NotReady:
    """Somebody writes, or has its lock and does nothing, for longer than anybody waits."""
    return NotReady(
        BUSY,
        say("Another process kept the store from being written for too long."),
        remedy=say("Do it again. If that does not help, end the process that hangs."),
    )


def disk_full() -> NotReady:
    """No room where the store lies."""
    return NotReady(
        "engine.disk_full",
        say("There is no room left on the disk."),
        remedy=say("What was answered before is kept. Free some room, then do it again."),
    )


def _explain_sqlite(error: sqlite3.Error) -> NotReady | None:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return disk_full()
    if code == sqlite3.SQLITE_BUSY:
        return busy()
    if code in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN):
        return NotReady(
            "engine.store_unwritable",
            say("The store's file cannot be read or written ({code}).", code=error.sqlite_errorname),
            remedy=say("Check the disk, its room, and who owns the workspace's folder."),
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return NotReady(
            "engine.store_damaged",
            say("The store's file is damaged ({code}).", code=error.sqlite_errorname),
            remedy=say(
                "Stop everything, keep the folder as it is, and restore the newest backup: aimwell restore."
            ),
        )
    return None
