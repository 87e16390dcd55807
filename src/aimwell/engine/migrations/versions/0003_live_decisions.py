"""Live decisions: the plans that they go by, what is used of their limits, and the log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "live_plans",
        sa.Column("plan_id", sa.String(length=128), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("opened_at", sa.String(length=32), nullable=False),
        sa.Column("opened_turn", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("plan_id", name=op.f("pk_live_plans")),
    )
    op.create_table(
        "live_limits",
        sa.Column("plan_id", sa.String(length=128), nullable=False),
        sa.Column("place", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("sense", sa.String(length=16), nullable=False),
        sa.Column("bound", sa.BigInteger(), nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("sense = 'at_least' OR used <= bound", name=op.f("ck_live_limits_kept")),
        sa.CheckConstraint("used >= 0", name=op.f("ck_live_limits_not_negative")),
        sa.PrimaryKeyConstraint("plan_id", "place", name=op.f("pk_live_limits")),
    )
    op.create_table(
        "live_decisions",
        sa.Column("batch", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("place", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("plan_id", sa.String(length=128), nullable=False),
        sa.Column("request_id", sa.String(length=128), nullable=False),
        sa.Column("customer_id", sa.String(length=255), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("segment", sa.Integer(), nullable=False),
        sa.Column("action_id", sa.String(length=255)),
        sa.Column("probability", sa.Float(), nullable=False),
        sa.Column("choices", sa.Integer(), nullable=False),
        sa.Column("reason", sa.String(length=16), nullable=False),
        sa.Column("expected_profit", sa.Float(), nullable=False),
        sa.Column("cost_cents", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("batch", "place", name=op.f("pk_live_decisions")),
        sqlite_with_rowid=False,
    )


def downgrade() -> None:
    """Undo."""
    for name in ("live_decisions", "live_limits", "live_plans"):
        op.drop_table(name)
