"""Alembic's entry: runs the migrations on the connection that ``Store.migrate`` hands over."""

from __future__ import annotations

from alembic import context

import aimwell.engine.store  # noqa: F401  (adds all tables to METADATA)
from aimwell.engine.store_metadata import METADATA

context.configure(
    connection=context.config.attributes["connection"], target_metadata=METADATA, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
