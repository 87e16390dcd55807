"""The first schema of the store."""

from __future__ import annotations

from alembic import op

from aimwell.engine.store_metadata import METADATA

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    METADATA.create_all(op.get_bind())


def downgrade() -> None:
    """Undo."""
    METADATA.drop_all(op.get_bind())
