"""The store's table of service: the keys with which programs call it.

Of a key only a digest is kept. Written by ``service.keys``; no row names a person.
"""

from __future__ import annotations

import sqlalchemy as sa

from aimwell.engine.store_metadata import METADATA
from aimwell.engine.store_tables import Instant

API_KEYS = sa.Table(
    "api_keys",
    METADATA,
    # The beginning of the key, which may be shown.
    sa.Column("key_id", sa.String(32), primary_key=True),
    # Of the program that has it.
    sa.Column("name", sa.String(100), nullable=False),
    # SHA-256 of the whole key: 256 random bits need nothing slower.
    sa.Column("digest", sa.String(64), nullable=False),
    sa.Column("scopes", sa.JSON, nullable=False),
    # Requests per second, each process by itself.
    sa.Column("rate", sa.Integer, nullable=False),
    sa.Column("created_at", Instant, nullable=False),
    # A key that was rotated ends then, so that its successor can be put everywhere first.
    sa.Column("expires_at", Instant),
    sa.Column("revoked_at", Instant),
)
"""Keys of programs: what each may do, and until when."""
