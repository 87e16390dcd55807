"""The store's table of when windows expire: on which days members of a segment must be looked at again."""

from __future__ import annotations

import sqlalchemy as sa

from aimwell.engine.store_metadata import METADATA
from aimwell.engine.store_tables import Instant

SEGMENT_SCHEDULE = sa.Table(
    "segment_schedule",
    METADATA,
    sa.Column("segment", sa.String(64), primary_key=True),
    sa.Column("due_on", sa.Date, primary_key=True),
    sa.Column("due_at", Instant, nullable=False, index=True),
    sa.Column("customers", sa.BigInteger, nullable=False),
)
