"""Deliveries that carry live decisions of journeys."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "journey_decisions",
        sa.Column("delivery_id", sa.String(length=64), nullable=False),
        sa.Column("plan_id", sa.String(length=128), nullable=False),
        sa.Column("request_id", sa.String(length=128), nullable=False),
        sa.PrimaryKeyConstraint("delivery_id", name=op.f("pk_journey_decisions")),
    )


def downgrade() -> None:
    """Undo."""
    op.drop_table("journey_decisions")
