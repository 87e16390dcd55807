"""Alembic's entry: runs the migrations on the connection that ``Store.migrate`` hands over."""

from __future__ import annotations

from alembic import context

from aimwell.engine import ledger_tables, store_tables
from aimwell.engine.store_metadata import METADATA

assert ledger_tables.METADATA is METADATA is store_tables.METADATA

context.configure(
    connection=context.config.attributes["connection"], target_metadata=METADATA, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
