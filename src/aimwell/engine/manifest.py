"""The warehouse's manifest, which lives in the store: which files are the newest version of each table.

A version of a table is the set of files that were added up to it and not removed before it. Files exist for readers
only once the manifest says so, in the transaction that ends the run.
"""

from __future__ import annotations

import sqlalchemy as sa

from aimwell.engine.store_tables import TABLE_FILES, TABLE_VERSIONS


def list_files(connection: sa.Connection) -> dict[str, list[str]]:
    """The files of the newest version of every table, after checking nothing: see ``verify_files``."""
    query = (
        sa.select(TABLE_FILES.c.table_name, TABLE_FILES.c.path)
        .where(TABLE_FILES.c.removed_in.is_(None))
        .order_by(TABLE_FILES.c.table_name, TABLE_FILES.c.added_in, TABLE_FILES.c.path)
    )
    files: dict[str, list[str]] = {}
    for row in connection.execute(query):
        files.setdefault(row.table_name, []).append(row.path)
    return files


def list_versions(connection: sa.Connection) -> dict[str, int]:
    """The newest version of every table that was ever written."""
    query = sa.select(TABLE_VERSIONS.c.table_name, sa.func.max(TABLE_VERSIONS.c.version)).group_by(
        TABLE_VERSIONS.c.table_name
    )
    return {name: int(version) for name, version in connection.execute(query)}


def list_hashes(connection: sa.Connection) -> dict[str, str]:
    """The SHA-256 of every file of the newest versions, by path."""
    query = sa.select(TABLE_FILES.c.path, TABLE_FILES.c.sha256).where(TABLE_FILES.c.removed_in.is_(None))
    return {path: sha256 for path, sha256 in connection.execute(query)}
