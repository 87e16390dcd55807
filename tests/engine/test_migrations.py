"""The migrations build exactly the schema that the code declares, and lead both ways with rows in every table."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from aimwell.engine.audit import verify
from aimwell.engine.store import Store, read_migrations
from aimwell.engine.store_metadata import METADATA
from tests.postgres import Server, postgres  # noqa: F401 (a fixture)

OWN = ("alembic_version",)


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """A store without any schema yet."""
    if request.param == "sqlite":
        store = Store(f"sqlite:///{tmp_path / 'store.sqlite'}")
    else:
        server: Server = request.getfixturevalue("postgres")
        name = f"migrations{abs(hash(request.node.name))}"
        server.run(f"CREATE DATABASE {name}")
        store = Store(server.address(name))
    yield store
    store.close()


def migrate(store: Store, revision: str, *, down: bool = False) -> None:
    config, _ = read_migrations()
    with store.engine.begin() as connection:
        config.attributes["connection"] = connection
        (command.downgrade if down else command.upgrade)(config, revision)


def list_revisions() -> list[str]:
    """From the first to the newest."""
    _, scripts = read_migrations()
    return [script.revision for script in scripts.walk_revisions()][::-1]


def read_schema(store: Store) -> dict[str, list[str]]:
    look = sa.inspect(store.engine)
    return {
        name: sorted(f"{column['name']} {column['nullable']}" for column in look.get_columns(name))
        for name in look.get_table_names()
        if name not in OWN
    }


def build_value(column: sa.Column[Any]) -> Any:
    kind = column.type
    if isinstance(kind, sa.JSON):
        return {"customer_id": "客户", "list": [1, None]}
    if isinstance(kind, sa.Boolean):
        return True
    if isinstance(kind, sa.Integer | sa.Float | sa.Numeric):
        return 1
    if isinstance(kind, sa.Date):
        return date(2026, 1, 2)
    if isinstance(kind, sa.LargeBinary):
        return b"\x00\xff"
    # An instant is text of this form, and whatever is no instant may be called so.
    return "2026-01-02T03:04:05.678901+00:00"[: getattr(kind, "length", None)]


def fill(store: Store) -> None:
    """A row in every table that has none."""
    known = sa.MetaData()
    known.reflect(store.engine)
    with store.begin() as connection:
        for table in known.sorted_tables:
            empty = connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one() == 0
            if table.name not in OWN and empty:
                row = {column.name: build_value(column) for column in table.columns}
                connection.execute(sa.insert(table).values(row))


def count(store: Store) -> dict[str, int]:
    known = sa.MetaData()
    known.reflect(store.engine)
    with store.snapshot() as connection:
        return {
            name: connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()
            for name, table in known.tables.items()
            if name not in OWN
        }


def test_migrations_and_metadata_agree(empty: Store) -> None:
    empty.migrate()
    with empty.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []


def test_migrating_twice_changes_nothing(empty: Store) -> None:
    empty.migrate()
    before = read_schema(empty)
    empty.migrate()
    assert read_schema(empty) == before
    assert empty.list_definitions("goal") == {}


def test_migrations_lead_up_down_and_up_again_with_rows_in_every_table(empty: Store) -> None:
    revisions = list_revisions()
    schemas = {}
    for revision in revisions:
        migrate(empty, revision)
        schemas[revision] = read_schema(empty)
        fill(empty)
    full = count(empty)
    assert set(full) == set(METADATA.tables)
    assert all(rows >= 1 for rows in full.values())
    for revision in reversed(revisions[:-1]):
        migrate(empty, revision, down=True)
        assert read_schema(empty) == schemas[revision], f"down to {revision}"
    first = count(empty)
    assert first == {name: full[name] for name in first}, "rows of the first tables stayed"
    for revision in revisions[1:]:
        migrate(empty, revision)
        assert read_schema(empty) == schemas[revision], f"up again to {revision}"
    assert count(empty) == full | {name: rows for name, rows in count(empty).items() if name not in first}
    migrate(empty, "base", down=True)
    assert read_schema(empty) == {}


def test_entries_from_before_the_chain_become_its_beginning(empty: Store) -> None:
    migrate(empty, "0005")
    log = sa.table("audit_log", *(sa.column(name) for name in ("entry", "at", "actor", "action", "subject")),
                   sa.column("detail", sa.JSON))  # fmt: skip
    rows = [
        {"entry": entry, "at": "2026-01-02T03:04:05.678901+00:00", "actor": "王芳", "action": "a", "subject": "s",
         "detail": {"customer_id": f"c{entry}"}}
        for entry in (1, 2, 5)
    ]  # fmt: skip
    with empty.begin() as connection:
        connection.execute(sa.insert(log), rows)
    empty.migrate()
    empty.audit("test.written", "after")
    with empty.snapshot() as connection:
        found = verify(connection)
    # A number that no entry ever had (it was rolled back) is not held for one that was taken out.
    assert (found.entries, found.anchor.entry, found.breaks) == (4, 4, ())
    migrate(empty, "0005", down=True)
    with empty.begin() as connection:
        inserted = {key: value for key, value in rows[0].items() if key != "entry"}
        connection.execute(sa.insert(log).values(inserted))
    empty.migrate()
    with empty.snapshot() as connection:
        assert verify(connection).breaks == ()
