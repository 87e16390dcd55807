"""The migrations build exactly the schema that the code declares."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext

from aimwell.engine.store import Store
from aimwell.engine.store_metadata import METADATA


def test_migrations_and_metadata_agree(tmp_path: Path) -> None:
    store = Store.open_file(tmp_path / "store.sqlite")
    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []


def test_migrating_twice_changes_nothing(tmp_path: Path) -> None:
    Store.open_file(tmp_path / "store.sqlite").close()
    store = Store.open_file(tmp_path / "store.sqlite")
    store.migrate()
    assert store.list_definitions("goal") == {}


def test_migrations_can_be_undone(tmp_path: Path) -> None:
    store = Store.open_file(tmp_path / "store.sqlite")
    config = Config()
    config.set_main_option("script_location", str(files("aimwell.engine") / "migrations"))
    with store.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
        assert sa.inspect(connection).get_table_names() == ["alembic_version"]
