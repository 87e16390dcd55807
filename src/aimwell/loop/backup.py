"""Copies a whole workspace into one file while everything goes on: store, warehouse, settings, templates.

The store is read in one transaction, and the manifest in it says which of the warehouse's files belong to that very
state; a lease keeps them from being deleted until they are copied. So whatever was answered before the backup began is
in it. The file has its name only once it is whole and on the disk.
Reads every table of the store and every file of the warehouse; writes the audit log.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import IO, Any

import sqlalchemy as sa

from aimwell import __version__
from aimwell.core.errors import AimwellError, BadInput, Conflict, NotReady
from aimwell.core.text import say
from aimwell.core.time import now
from aimwell.engine.audit import read_anchor
from aimwell.engine.files import sync_folder
from aimwell.engine.hot_tables import HOT_GATE
from aimwell.engine.leases import hold_lease
from aimwell.engine.manifest import list_hashes
from aimwell.engine.secret import SECRET_FILE, SECRET_VARIABLE
from aimwell.engine.settings import FILE_NAME
from aimwell.engine.store import STORE_FILE, read_migrations
from aimwell.engine.store_copy import describe_tables, read_lines
from aimwell.engine.workspace import Workspace
from aimwell.loop.archive import INDEX, SUFFIX, Archive, Index, Progress, Writer, read_pieces

ACTION = "workspace.backed_up"
"""In the audit log: so ``doctor`` knows how old the newest backup is."""


@dataclass(frozen=True)
class Backup:
    """A backup that was written."""

    file: Path
    checksum: str
    index: Index
    removed: tuple[str, ...] = ()
    """Older backups that went."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {
            "file": str(self.file),
            "checksum": self.checksum,
            "anchor": self.index.anchor,
            "created_at": self.index.created_at,
            "rows": self.index.rows,
            "files": len(self.index.members),
            "bytes": self.index.bytes,
            "secret": self.index.has_secret,
            "removed": list(self.removed),
        }


def back_up(
    workspace: Workspace,
    place: Path,
    *,
    with_secret: bool = False,
    keep: int | None = None,
    progress: Progress = lambda text: None,
) -> Backup:
    """Write a backup to the file ``place``, or into the folder ``place`` under a name with the instant.

    ``with_secret``: the workspace's secret goes along, without which links in mails that were sent no longer work and
    erased persons are not recognised. ``keep``: of the backups in that folder only so many newest stay.
    """
    target = _choose_file(workspace, place)
    secret = _find_secret(workspace.path) if with_secret else None
    with _writing(target) as stream, Writer(stream) as writer:
        with hold_lease(workspace.warehouse_folder):
            index, hashes = _copy_store(workspace, writer, progress)
            _copy_warehouse(workspace, writer, hashes, progress)
        _copy_folder(workspace.path, writer)
        if secret is not None:
            writer.add(SECRET_FILE, read_pieces(secret))
        checksum = writer.finish(replace(index, members=writer.members))
    index = replace(index, members=writer.members)
    detail = {"checksum": checksum, "anchor": index.anchor, "bytes": index.bytes, "secret": with_secret}
    workspace.store.audit(ACTION, target.name, detail)
    removed = _remove_old(target, keep) if keep is not None and place.is_dir() else ()
    return Backup(target, checksum, index, removed)


def name_backup(workspace: Workspace, at: datetime) -> str:
    """The file's name in a folder of backups: in the order of time."""
    return f"{workspace.path.resolve().name}-{at:%Y%m%dT%H%M%SZ}{SUFFIX}"


def _choose_file(workspace: Workspace, place: Path) -> Path:
    target = place / name_backup(workspace, now()) if place.is_dir() else place
    if not target.parent.is_dir():
        raise BadInput(
            "loop.no_folder",
            say("There is no folder {folder}.", folder=str(target.parent)),
            remedy=say("Make it first, or choose another place."),
            where={"file": str(target)},
        )
    if target.exists():
        raise Conflict(
            "loop.backup_exists",
            say("The file {file} is there already.", file=str(target)),
            remedy=say("Choose another name, or give a folder: then the name has the instant."),
            where={"file": str(target)},
        )
    return target


def _find_secret(folder: Path) -> Path:
    if os.environ.get(SECRET_VARIABLE) is not None:
        raise NotReady(
            "loop.secret_elsewhere",
            say("The secret comes from AIMWELL_SECRET, not from the workspace."),
            remedy=say("Keep it where you keep other secrets, and leave out --with-secret."),
        )
    return folder / SECRET_FILE if (folder / SECRET_FILE).exists() else _make_secret(folder)


def _make_secret(folder: Path) -> Path:
    from aimwell.engine.secret import load_secret

    load_secret(folder)
    return folder / SECRET_FILE


@contextmanager
def _writing(target: Path) -> Iterator[IO[bytes]]:
    """A file aside that gets its name at the end; interrupted, it goes. What a killed process left is written over."""
    aside = target.with_name(f".{target.name}.writing")
    descriptor = os.open(aside, os.O_RDWR | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "w+b") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Conflict(
                "loop.backup_running",
                say("Another backup to {file} is being written.", file=str(target)),
                remedy=say("Wait until it has ended."),
            ) from error
        try:
            stream.truncate()
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
            os.replace(aside, target)
            sync_folder(target.parent)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise


def _copy_store(workspace: Workspace, writer: Writer, progress: Progress) -> tuple[Index, dict[str, str]]:
    _, scripts = read_migrations()
    with workspace.store.snapshot() as connection:
        # The first query fixes the state that all others see.
        position = connection.execute(sa.select(HOT_GATE.c.turn)).scalar_one()
        at, rows = now(), {}
        tables = describe_tables(connection)
        for number, name in enumerate(tables, 1):
            progress(
                say(
                    "Store: table {number} of {count}, {table} …",
                    number=number,
                    count=len(tables),
                    table=name,
                )
            )
            pieces = _CountLines(read_lines(connection, name))
            writer.add(f"store/{name}.jsonl", pieces)
            rows[name] = pieces.lines
        index = Index(
            format=1,
            aimwell=__version__,
            revision=str(scripts.get_current_head()),
            created_at=at.isoformat(),
            database=connection.dialect.name,
            anchor=str(read_anchor(connection)),
            position=int(position),
            tables=tables,
            rows=rows,
        )
        return index, list_hashes(connection)


class _CountLines:
    """Counts the lines of what passes."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self.lines = 0

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            self.lines += piece.count(b"\n")
            yield piece


def _copy_warehouse(workspace: Workspace, writer: Writer, hashes: dict[str, str], progress: Progress) -> None:
    for number, (path, expected) in enumerate(sorted(hashes.items()), 1):
        if number % 100 == 1:
            progress(say("Warehouse: file {number} of {count} …", number=number, count=len(hashes)))
        try:
            found = writer.add(
                f"warehouse/{path}", read_pieces(workspace.warehouse_folder / path), packed=False
            )
        except FileNotFoundError as error:
            raise Conflict(
                "loop.backup_overtaken",
                say("A person was erased while the backup was being written."),
                remedy=say("Begin the backup anew."),
            ) from error
        if found.sha256 != expected:
            raise _damaged_file(path)


def _damaged_file(path: str) -> AimwellError:
    return NotReady(
        "loop.warehouse_damaged",
        say("The warehouse's file {file} is not what was written: the disk changed it.", file=path),
        remedy=say("Restore it from an older backup: aimwell doctor names all damaged files."),
        where={"file": path},
    )


def _copy_folder(folder: Path, writer: Writer) -> None:
    """Settings, templates, and what was written for people and providers; not the secret, nor other backups."""
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        ours = parts[0] == "warehouse" or parts[0].startswith((STORE_FILE, SECRET_FILE))
        if ours or parts[-1].startswith(".") or path.is_symlink() or not path.is_file():
            continue
        if path.name.endswith(SUFFIX):
            continue
        name = FILE_NAME if parts == (FILE_NAME,) else "files/" + "/".join(parts)
        try:
            writer.add(name, read_pieces(path))
        except FileNotFoundError:
            # Written for somebody who has taken it away meanwhile.
            continue


def _remove_old(newest: Path, keep: int) -> tuple[str, ...]:
    stem = newest.name.rpartition("-")[0]
    found = sorted(path for path in newest.parent.glob(f"{stem}-*{SUFFIX}") if _is_backup(path))
    gone = found[: max(len(found) - max(keep, 1), 0)]
    for path in gone:
        path.unlink(missing_ok=True)
    return tuple(path.name for path in gone)


def _is_backup(path: Path) -> bool:
    try:
        with Archive(path) as archive:
            return INDEX not in archive.index.members
    except BadInput:
        return False
