"""A pytest plugin under which every workspace of a test has its store on PostgreSQL, each in a database of its own.

    AIMWELL_TEST_DATABASE=postgresql+psycopg://… python -m pytest -p tests.on_postgres tests/data/test_step.py

The database's name stands in the workspace's folder. A folder that was copied finds that it is another, and gets a copy
of the store, too. ``tests/conformance/test_postgres_store.py`` runs a selection of the tests so.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest
import sqlalchemy as sa

from aimwell.engine.settings import Settings
from aimwell.engine.store import Store
from aimwell.engine.store_copy import describe_tables, empty_tables, read_lines, set_following, write_lines

ADDRESS = "AIMWELL_TEST_DATABASE"
MARK = ".store-of-test"
_made: list[str] = []


def open_on_postgres(folder: Path, settings: Settings, *, new: bool = False, revision: str = "head") -> Store:
    """What stands in the place of ``engine.store.open_store``."""
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / MARK
    place = str(folder.resolve())
    known = mark.read_text(encoding="utf-8").split("\n") if mark.exists() else None
    if known is not None and known[1] == place:
        return connect(known[0])
    name = f"w{secrets.token_hex(10)}"
    create_database(name)
    store = connect(name)
    if known is not None:
        copy_store(connect(known[0]), store)
    mark.write_text(f"{name}\n{place}", encoding="utf-8")
    return store


def connect(database: str) -> Store:
    """A store on the test's server."""
    address = sa.make_url(os.environ[ADDRESS]).set(database=database)
    return Store(address.render_as_string(hide_password=False))


def create_database(name: str) -> None:
    """With all tables: a copy of one that was migrated, for that takes a tenth of the time."""
    if not _made:
        template = f"template_{secrets.token_hex(6)}"
        run(f"CREATE DATABASE {template}")
        store = connect(template)
        store.migrate()
        store.close()
        _made.append(template)
    run(f"CREATE DATABASE {name} TEMPLATE {_made[0]}")


def run(statement: str) -> None:
    """On the server itself."""
    engine = sa.create_engine(os.environ[ADDRESS], poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(statement)


def copy_store(source: Store, target: Store) -> None:
    """All rows."""
    with source.snapshot() as reading, target.begin() as writing:
        tables = describe_tables(reading)
        empty_tables(writing, tables)
        for name, copy in tables.items():
            lines = (line for piece in read_lines(reading, name) for line in piece.splitlines())
            write_lines(writing, name, copy, lines)
        set_following(writing, tables)
    source.close()


def pytest_configure(config: pytest.Config) -> None:
    """Every workspace that is opened from now on."""
    pytest.MonkeyPatch().setattr("aimwell.engine.workspace.open_store", open_on_postgres)
