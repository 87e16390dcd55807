"""Alembic's entry: runs the migrations on the connection that ``Store.migrate`` hands over."""

from __future__ import annotations

from alembic import context

import aimwell.engine.hot_tables  # adds its tables to METADATA
import aimwell.engine.ledger_tables
import aimwell.engine.live_tables
import aimwell.engine.privacy_tables
import aimwell.engine.store_tables  # noqa: F401  (the same)
from aimwell.engine.store_metadata import METADATA

context.configure(
    connection=context.config.attributes["connection"], target_metadata=METADATA, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
