"""What a restore that was killed left behind: a folder beside the place, and tables in a database.

The folder is named after the process that fills it, and so is a mark in the database, until the workspace has its
place. Whoever restores to the same place takes away what nobody fills any more; nothing that was used ever.
Writes the table ``aimwell_restoring``, which exists only meanwhile.
"""

from __future__ import annotations

import re
import secrets
import shutil
from contextlib import suppress
from pathlib import Path

import sqlalchemy as sa
from alembic import command

from aimwell.core.errors import Conflict
from aimwell.core.text import say
from aimwell.engine.leases import is_alive, name_process
from aimwell.engine.settings import FILE_NAME
from aimwell.engine.store import Store, read_migrations
from aimwell.engine.store_engine import create_schema
from aimwell.engine.store_tables import AUDIT_LOG

UNFINISHED = f"{FILE_NAME}.restoring"
"""The settings' name until everything else is there: a folder without them is no workspace."""
RESTORED = "workspace.restored"
"""What the audit log says at the end of a restore."""
_OWNER = re.compile(r"(.+)\+(\d+(?:=\d+)?)\+[0-9a-f]+")
_MARK = sa.Table(
    "aimwell_restoring",
    sa.MetaData(),
    sa.Column("process", sa.String(255), nullable=False),
    sa.Column("folder", sa.Text, nullable=False),
    # All of it is there; only the folder has not its name yet.
    sa.Column("whole", sa.Boolean, nullable=False),
)


def name_aside(folder: Path) -> Path:
    """Where this process fills what will be ``folder``."""
    process = name_process().replace(":", "+").replace("@", "=")
    return folder.with_name(f"{_begin_name(folder)}{process}+{secrets.token_hex(4)}")


def clear_folders(folder: Path) -> int:
    """Remove what killed processes of this machine left of ``folder``; how many folders that were."""
    removed = 0
    beginning = _begin_name(folder)
    for path in [one for one in folder.parent.iterdir() if one.name.startswith(beginning)]:
        owner = _OWNER.fullmatch(path.name.removeprefix(beginning))
        if owner is None or path.is_symlink() or is_alive(f"{owner[1]}:{owner[2].replace('=', '@')}"):
            continue
        shutil.rmtree(path, ignore_errors=True)
        removed += 1
    return removed


def _begin_name(folder: Path) -> str:
    return f".{folder.name}.restoring-"


def take_database(store: Store, folder: Path) -> None:
    """Mark an empty database as this process's; what a killed restore made of it goes first. In a file: nothing to do.

    Conflict while another process fills it. A database that others use is left to whoever opens it, and refuses.
    """
    if store.is_sqlite:
        return
    if store.schema is not None:
        create_schema(store.url, store.schema)
    if _has_mark(store):
        _take_over(store)
    if store.read_revision() is None:
        with store.begin() as connection:
            _MARK.create(connection)
            mark = {"process": name_process(), "folder": str(folder.resolve()), "whole": False}
            connection.execute(sa.insert(_MARK), mark)


def note_whole(connection: sa.Connection) -> None:
    """Within the transaction that ends the filling of a database."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.update(_MARK).values(whole=True))


def release_database(store: Store) -> None:
    """The workspace has its place: what is in the database is used from now on."""
    if not store.is_sqlite:
        with store.begin() as connection:
            _MARK.drop(connection, checkfirst=True)


def empty_database(store: Store) -> None:
    """Bring a database back to having no table of ours; a file goes with its folder."""
    if store.is_sqlite:
        return
    config, _ = read_migrations()
    with suppress(Exception), store.begin() as connection:
        if sa.inspect(connection).has_table("alembic_version"):
            config.attributes["connection"] = connection
            command.downgrade(config, "base")
            connection.execute(sa.text("DROP TABLE IF EXISTS alembic_version"))
        _MARK.drop(connection, checkfirst=True)


def _has_mark(store: Store) -> bool:
    with store.snapshot() as connection:
        return sa.inspect(connection).has_table(_MARK.name)


def _take_over(store: Store) -> None:
    with store.snapshot() as connection:
        mark = connection.execute(sa.select(_MARK)).one()
        last = None
        if mark.whole:
            query = sa.select(AUDIT_LOG.c.action).order_by(AUDIT_LOG.c.entry.desc()).limit(1)
            last = connection.execute(query).scalar()
    if is_alive(mark.process):
        raise Conflict(
            "loop.restore_running",
            say("Another restore is filling this database."),
            remedy=say(
                "Wait for its end. If it ran on a machine that is gone, give another database or another schema."
            ),
        )
    if mark.whole and (last != RESTORED or (Path(mark.folder) / FILE_NAME).is_file()):
        # Killed after its very end: the workspace is there, and perhaps at work.
        release_database(store)
    else:
        empty_database(store)
