"""Looks whether everything is in order around a workspace, and says what to do where it is not.

No check changes anything, and none that fails keeps the others from being made: also of a workspace that cannot be
opened it is told why.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from aimwell.core.errors import AimwellError, NotReady
from aimwell.core.text import Text, say
from aimwell.core.time import now
from aimwell.engine.settings import FILE_NAME, Settings, load_settings
from aimwell.engine.store import STORE_FILE, Store, connect_store
from aimwell.loop.doctor_machine import (
    check_address,
    check_disk,
    check_mail,
    check_memory,
    check_programs,
    check_secret,
    check_zones,
)
from aimwell.loop.doctor_store import CHECKS, Place, check_version
from aimwell.loop.findings import Finding, Severity
from aimwell.loop.half_restored import UNFINISHED


@dataclass(frozen=True)
class Diagnosis:
    """All that was found."""

    findings: tuple[Finding, ...]

    @property
    def severity(self) -> Severity:
        """The worst."""
        order: tuple[Severity, ...] = ("ok", "warning", "error")
        return max((one.severity for one in self.findings), key=order.index, default="ok")

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {"severity": self.severity, "findings": [one.to_dict() for one in self.findings]}


def examine(folder: Path, *, thorough: bool = False, at: datetime | None = None) -> Diagnosis:
    """Make all checks of the workspace in ``folder``. ``thorough``: read every file whole, the store's too."""
    return Diagnosis(tuple(_examine(folder, thorough, at or now())))


def _examine(folder: Path, thorough: bool, at: datetime) -> Iterator[Finding]:
    settings, finding = _read_settings(folder)
    yield finding
    if settings is None:
        return
    yield from (_guard(name, check) for name, check in _list_machine_checks(folder, settings))
    store: Store | None = None
    try:
        store = _connect(folder, settings)
        place = Place(folder, store, at, thorough)
        version = _guard("store", partial(check_version, place))
        yield version
        if version.severity != "ok":
            return
        yield from (_guard(name, partial(check, place)) for name, check in CHECKS)
    except AimwellError as error:
        yield _fail("store", error)
    finally:
        if store is not None:
            store.close()


def _list_machine_checks(folder: Path, settings: Settings) -> list[tuple[str, Callable[[], Finding]]]:
    return [
        ("programs", partial(check_programs, settings)),
        ("disk", partial(check_disk, folder)),
        ("memory", partial(check_memory, settings)),
        ("zones", partial(check_zones, settings)),
        ("secret", partial(check_secret, folder)),
        ("address", check_address),
        ("mail", partial(check_mail, settings)),
    ]


def _read_settings(folder: Path) -> tuple[Settings | None, Finding]:
    title = say("Settings")
    if (folder / UNFINISHED).is_file():
        message = say(
            "A restore that was not finished left {folder}: it is no workspace.", folder=str(folder)
        )
        remedy = say("Start the restore again, into the same place: it takes this folder away.")
        return None, Finding("settings", title, "error", message, remedy)
    if not (folder / FILE_NAME).is_file():
        message = say("There is no workspace in {folder}.", folder=str(folder))
        remedy = say("Make one with: aimwell init {folder}", folder=str(folder))
        return None, Finding("settings", title, "error", message, remedy)
    try:
        settings = load_settings(folder / FILE_NAME)
    except AimwellError as error:
        return None, Finding("settings", title, "error", error.message, error.remedy)
    return settings, Finding("settings", title, "ok", say("The settings can be read."))


def _connect(folder: Path, settings: Settings) -> Store:
    if settings.store.url is None and not (folder / STORE_FILE).is_file():
        raise NotReady(
            "loop.no_store",
            say("The store's file {file} is missing.", file=STORE_FILE),
            remedy=say("Restore the newest backup into a new folder: aimwell restore."),
        )
    return connect_store(folder, settings)


def _guard(name: str, check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except AimwellError as error:
        return _fail(name, error)
    except (sa.exc.SQLAlchemyError, OSError) as error:
        # Its words may hold values of rows.
        message = say("The check could not be made ({problem}).", problem=type(error).__name__)
        return Finding(name, _TITLES[name], "error", message)


def _fail(name: str, error: AimwellError) -> Finding:
    return Finding(name, _TITLES[name], "error", error.message, error.remedy, {"code": error.code})


_TITLES: dict[str, Text] = {
    "programs": say("Programs"),
    "disk": say("Disk"),
    "memory": say("Memory"),
    "zones": say("Time zones"),
    "secret": say("Secret"),
    "address": say("Public address"),
    "mail": say("Mail server"),
    "store": say("Store"),
    "durability": say("Durability"),
    "clock": say("Clock"),
    "warehouse": say("Warehouse"),
    "worker": say("Worker"),
    "leases": say("Leases"),
    "queue": say("Queue"),
    "unsettled": say("Unsettled deliveries"),
    "audit": say("Audit log"),
    "backup": say("Backup"),
}
