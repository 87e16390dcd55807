"""Makes a workspace out of a backup: in a new folder, its store in a file there or in a PostgreSQL database.

Everything is verified before anything is written, and the folder has its name only once all of it is there; what a
restore that was killed left of it goes (``half_restored``). This is also the way from SQLite to PostgreSQL and back.
What the old workspace did after the backup is not known here, so nothing is sent until somebody says so.
Writes every table of the store and the files of the warehouse.
"""

from __future__ import annotations

import os
import re
import shutil
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import sqlalchemy as sa

from aimwell.core.errors import BadInput, Conflict
from aimwell.core.text import Text, say
from aimwell.core.time import now
from aimwell.engine.audit import Anchor, record, verify
from aimwell.engine.files import sync_folder
from aimwell.engine.manifest import list_hashes
from aimwell.engine.permissions import halt
from aimwell.engine.settings import FILE_NAME, load_settings
from aimwell.engine.store import connect_store, open_store, read_migrations
from aimwell.engine.store_copy import empty_tables, set_following, write_lines
from aimwell.engine.store_engine import has_password, hide_password, read_address
from aimwell.engine.store_tables import RUNS, TABLE_FILES
from aimwell.loop.archive import Archive, Index, Progress, copy_to
from aimwell.loop.half_restored import (
    RESTORED,
    UNFINISHED,
    clear_folders,
    empty_database,
    name_aside,
    note_whole,
    release_database,
    take_database,
)


@dataclass(frozen=True)
class Restored:
    """What came back. ``rows``: of the store; ``halted``: nothing is sent until somebody says so."""

    folder: Path
    created_at: datetime
    rows: int
    files: int
    database: str
    has_secret: bool
    halted: bool
    notices: tuple[Text, ...]


def restore(
    file: Path,
    folder: Path,
    *,
    url: str | None = None,
    schema_name: str | None = None,
    moved: bool = False,
    progress: Progress = lambda text: None,
) -> Restored:
    """Make the workspace ``folder`` out of the backup ``file``.

    ``url`` and ``schema_name``: where the store shall be on PostgreSQL. ``moved``: the old workspace was stopped before
    the backup and stays so; then this one goes on where it stood. BadInput when the backup is damaged, Conflict when
    there is something in the folder or in the database already.
    """
    _check_folder(folder)
    _check_address(url)
    with Archive(file) as archive:
        _check_version(archive)
        archive.verify(progress)
        clear_folders(folder)
        aside = name_aside(folder)
        try:
            restored = _fill(archive, aside, folder, url, schema_name, moved, progress)
            with suppress(FileNotFoundError):
                folder.rmdir()
            os.rename(aside, folder)
            sync_folder(folder.parent)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        _release(folder)
    return Restored(
        folder,
        datetime.fromisoformat(archive.index.created_at),
        sum(archive.index.rows.values()),
        len(restored),
        "sqlite" if url is None else "postgresql",
        archive.index.has_secret,
        not moved,
        _tell(archive.index, moved),
    )


def _check_folder(folder: Path) -> None:
    if not folder.resolve().parent.is_dir():
        raise BadInput(
            "loop.no_folder",
            say("There is no folder {folder}.", folder=str(folder.resolve().parent)),
            remedy=say("Make it first, or choose another place."),
            where={"file": str(folder)},
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Conflict(
            "loop.folder_not_empty",
            say("There is something in {folder} already.", folder=str(folder)),
            remedy=say("Give the name of a folder that is empty or does not exist yet."),
            where={"file": str(folder)},
        )


def _check_address(url: str | None) -> None:
    if url is None:
        return
    if has_password(url):
        raise BadInput(
            "loop.password_in_address",
            say("The address of the database holds a password."),
            remedy=say(
                "Write it as postgresql://user@host/database, and give the password in the environment variable "
                "AIMWELL_STORE_PASSWORD or in ~/.pgpass."
            ),
        )
    try:
        read_address(url)
    except ValueError as error:
        raise BadInput(
            "loop.bad_address",
            say("'{address}' is no address of a PostgreSQL database.", address=hide_password(url)),
            remedy=say("Write it as postgresql://user@host/database."),
        ) from error


def _check_version(archive: Archive) -> None:
    _, scripts = read_migrations()
    if archive.index.revision not in {script.revision for script in scripts.walk_revisions()}:
        raise BadInput(
            "loop.backup_newer",
            say("The backup {file} was written by a newer version of Aimwell.", file=archive.path.name),
            remedy=say("Install the newer version: pip install --upgrade aimwell."),
            where={"file": str(archive.path)},
        )


def _fill(
    archive: Archive,
    aside: Path,
    folder: Path,
    url: str | None,
    schema_name: str | None,
    moved: bool,
    progress: Progress,
) -> list[str]:
    """Everything into the folder ``aside``; the warehouse's files."""
    aside.mkdir(mode=0o700)
    files = [name for name in archive.index.members if name.startswith("warehouse/")]
    (aside / "warehouse").mkdir()
    for number, name in enumerate(files, 1):
        if number % 100 == 1:
            progress(say("Warehouse: file {number} of {count} …", number=number, count=len(files)))
        _write_file(archive, name, aside / name)
    for name in archive.index.members:
        if name.startswith("files/"):
            _write_file(archive, name, aside / name.removeprefix("files/"))
    if archive.index.has_secret:
        _write_file(archive, "secret", aside / "secret")
    settings = aside / UNFINISHED
    _write_file(archive, FILE_NAME, settings)
    settings.write_text(
        point_settings(settings.read_text(encoding="utf-8"), url, schema_name), encoding="utf-8"
    )
    _fill_store(archive, aside, folder, moved, progress)
    settings.rename(aside / FILE_NAME)
    return files


def _write_file(archive: Archive, name: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as stream:
        os.chmod(path, 0o600 if name == "secret" else 0o644)
        copy_to(archive.read(name), stream)
        stream.flush()
        os.fsync(stream.fileno())


def point_settings(text: str, url: str | None, schema_name: str | None) -> str:
    """The settings with another store; every other line stays as somebody wrote it."""
    kept: list[str] = []
    section = ""
    for line in text.splitlines():
        found = re.match(r"\s*\[+([^\]]+)\]+", line)
        section = found[1].strip() if found else section
        if not (section == "store" and re.match(r"\s*(url|schema_name)\s*=", line)):
            kept.append(line)
    own = [f'{name} = "{value}"' for name, value in (("url", url), ("schema_name", schema_name)) if value]
    heads = [place for place, line in enumerate(kept) if re.match(r"\s*\[store\]", line)]
    if heads:
        kept[heads[0] + 1 : heads[0] + 1] = own
    elif own:
        kept += ["", "[store]", *own]
    return "\n".join(kept) + "\n"


def _fill_store(archive: Archive, aside: Path, folder: Path, moved: bool, progress: Progress) -> None:
    settings = load_settings(aside / UNFINISHED)
    with closing(connect_store(aside, settings)) as empty:
        take_database(empty, folder)
        try:
            store = open_store(aside, settings, new=True, revision=archive.index.revision)
        except BaseException:
            # It is another's, whatever it holds.
            release_database(empty)
            raise
    try:
        with store.begin() as connection:
            _write_rows(connection, archive, progress)
        store.migrate()
        with store.begin() as connection:
            _check(connection, archive)
            _settle(connection, archive, moved)
            note_whole(connection)
        store.tidy()
    except BaseException:
        empty_database(store)
        raise
    finally:
        store.close()


def _write_rows(connection: sa.Connection, archive: Archive, progress: Progress) -> None:
    tables = archive.index.tables
    empty_tables(connection, tables)
    for number, (name, copy) in enumerate(tables.items(), 1):
        progress(
            say("Store: table {number} of {count}, {table} …", number=number, count=len(tables), table=name)
        )
        written = write_lines(connection, name, copy, archive.read_lines(f"store/{name}.jsonl"))
        if written != archive.index.rows[name]:
            raise _incomplete(archive, name)


def _check(connection: sa.Connection, archive: Archive) -> None:
    """What stands there is what was there: the files of the manifest, and the audit log up to its newest entry."""
    listed = list_hashes(connection)
    there = {
        name.removeprefix("warehouse/"): member.sha256
        for name, member in archive.index.members.items()
        if name.startswith("warehouse/")
    }
    if listed != there:
        raise _incomplete(archive, "table_files")
    anchor = Anchor.read(archive.index.anchor)
    if any(one.problem in ("anchor", "end_missing") for one in verify(connection, [anchor]).breaks):
        raise _incomplete(archive, "audit_log")


def _settle(connection: sa.Connection, archive: Archive, moved: bool) -> None:
    """Nothing of the old place goes on here by itself."""
    set_following(connection, archive.index.tables)
    connection.execute(sa.delete(TABLE_FILES).where(TABLE_FILES.c.removed_in.is_not(None)))
    # Their processes are elsewhere, and nobody here could tell that they do not live.
    running = sa.update(RUNS).where(RUNS.c.status == "running")
    connection.execute(running.values(status="interrupted", finished_at=now()))
    if not moved:
        # What the old workspace sent after the backup would go out again.
        halt(connection, "restore")
    detail = {"created_at": archive.index.created_at, "checksum": archive.checksum, "halted": not moved}
    record(connection, RESTORED, archive.path.name, detail)


def _release(folder: Path) -> None:
    with closing(connect_store(folder, load_settings(folder / FILE_NAME))) as store:
        release_database(store)


def _incomplete(archive: Archive, table: str) -> BadInput:
    return BadInput(
        "loop.backup_incomplete",
        say("The backup {file} contradicts itself at {table}.", file=archive.path.name, table=table),
        remedy=say("Use another backup. Nothing was changed."),
        where={"file": str(archive.path), "value": table},
    )


def _tell(index: Index, moved: bool) -> tuple[Text, ...]:
    notices = [say("Whoever was erased after the backup is in it: erase them again.")]
    if not moved:
        notices.append(
            say(
                "Nothing is sent yet, for what was sent after the backup is not known here. Look through campaigns and "
                "journeys, then lift the halt: aimwell deployment continue"
            )
        )
    if not index.has_secret:
        notices.append(
            say(
                "The backup holds no secret: links in mails that were sent no longer work, and erased persons are not "
                "recognised, unless AIMWELL_SECRET or the file 'secret' of the old workspace is put in place first."
            )
        )
    return tuple(notices)
