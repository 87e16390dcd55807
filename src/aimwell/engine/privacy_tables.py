"""The store's table of erasures that are under way: what must be finished after a crash.

The only place where a person who is being erased is named while the traces go; the row loses the name, and goes last.
"""

from __future__ import annotations

import sqlalchemy as sa

from aimwell.engine.store_metadata import METADATA
from aimwell.engine.store_tables import Instant

PENDING_ERASURES = sa.Table(
    "pending_erasures",
    METADATA,
    sa.Column("erasure_id", sa.String(64), primary_key=True),
    sa.Column("person", sa.JSON, nullable=False),
    sa.Column("keep_amounts", sa.Boolean, nullable=False),
    sa.Column("started_at", Instant, nullable=False),
)
