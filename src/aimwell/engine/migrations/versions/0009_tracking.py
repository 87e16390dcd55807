"""Links, opens, clicks, and what customers choose for themselves."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "link_keys",
        sa.Column("generation", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("since_ms", sa.BigInteger(), nullable=False),
        sa.Column("until_ms", sa.BigInteger()),
        sa.PrimaryKeyConstraint("generation", name=op.f("pk_link_keys")),
    )
    op.create_table(
        "tracked_links",
        sa.Column("link_id", sa.String(length=18), nullable=False),
        sa.Column("target", sa.Text(), nullable=False),
        sa.Column("since_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("link_id", name=op.f("pk_tracked_links")),
    )
    _create_hits()
    _create_preferences()


def _create_hits() -> None:
    op.create_table(
        "tracking_hits",
        sa.Column("hit_id", sa.String(length=32), nullable=False),
        sa.Column("delivery_id", sa.String(length=64), nullable=False),
        sa.Column("customer_id", sa.String(length=255), nullable=False),
        sa.Column("plan_id", sa.String(length=128), nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("link_id", sa.String(length=18)),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("visitor", sa.String(length=32), nullable=False),
        sa.Column("agent", sa.String(length=24), nullable=False),
        sa.Column("machine", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.String(length=24)),
        sa.Column("rejudged_at_ms", sa.BigInteger()),
        sa.Column("told_at_ms", sa.BigInteger()),
        sa.PrimaryKeyConstraint("hit_id", name=op.f("pk_tracking_hits")),
    )
    op.create_index("ix_tracking_hits_delivery", "tracking_hits", ["delivery_id", "at_ms"])
    op.create_index("ix_tracking_hits_told", "tracking_hits", ["told_at_ms", "at_ms"])
    op.create_table(
        "visitor_salts",
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("day", name=op.f("pk_visitor_salts")),
    )


def _create_preferences() -> None:
    op.create_table(
        "own_preferences",
        sa.Column("customer_id", sa.String(length=255), nullable=False),
        sa.Column("cap", sa.Integer()),
        sa.Column("cap_days", sa.Integer()),
        sa.Column("language", sa.String(length=8)),
        sa.Column("changed_at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("customer_id", name=op.f("pk_own_preferences")),
    )
    op.create_table(
        "topic_refusals",
        sa.Column("customer_id", sa.String(length=255), nullable=False),
        sa.Column("channel", sa.String(length=16), nullable=False),
        sa.Column("topic", sa.String(length=64), nullable=False),
        sa.Column("since_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("customer_id", "channel", "topic", name=op.f("pk_topic_refusals")),
    )
    op.create_table(
        "preference_changes",
        sa.Column("change", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("customer_id", sa.String(length=255), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("channel", sa.String(length=16)),
        sa.Column("allowed", sa.Boolean()),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.String(length=64), nullable=False),
        sa.Column("proof", sa.JSON(), nullable=False),
        sa.Column("told_at_ms", sa.BigInteger()),
        sa.PrimaryKeyConstraint("change", name=op.f("pk_preference_changes")),
        sqlite_autoincrement=True,
    )
    for column in ("customer_id", "told_at_ms"):
        op.create_index(op.f(f"ix_preference_changes_{column}"), "preference_changes", [column])


def downgrade() -> None:
    """Undo."""
    for table in (
        "preference_changes",
        "topic_refusals",
        "own_preferences",
        "visitor_salts",
        "tracking_hits",
        "tracked_links",
        "link_keys",
    ):
        op.drop_table(table)
