"""Customer data at scale: what loading, hot events, privacy, tags and segments keep in the store."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    _create_privacy()
    _create_hot_events()
    _create_live_rules()
    _create_segment_schedule()


def downgrade() -> None:
    """Undo."""
    _drop_privacy()
    _drop_live_rules()
    _drop_hot_events()
    _drop_segment_schedule()


def _create_hot_events() -> None:
    gate = op.create_table(
        "hot_gate",
        sa.Column("gate", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("turn", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("gate", name=op.f("pk_hot_gate")),
    )
    op.bulk_insert(gate, [{"gate": 1, "turn": 0}])
    op.create_table(
        "hot_batches",
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("table_name", sa.String(length=64), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("position", "table_name", name=op.f("pk_hot_batches")),
    )
    op.create_table(
        "hot_digests",
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("received_on", sa.Date(), nullable=False),
        sa.Column("digests", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("position", name=op.f("pk_hot_digests")),
    )
    op.create_index(op.f("ix_hot_digests_received_on"), "hot_digests", ["received_on"], unique=False)
    op.create_table(
        "hot_consumers",
        sa.Column("consumer", sa.String(length=128), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("changed_at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("consumer", name=op.f("pk_hot_consumers")),
    )


def _create_live_rules() -> None:
    op.create_table(
        "live_followers",
        sa.Column("consumer", sa.String(length=128), nullable=False),
        sa.Column("turn", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("consumer", name=op.f("pk_live_followers")),
    )
    op.create_table(
        "live_states",
        sa.Column("consumer", sa.String(length=128), nullable=False),
        sa.Column("run", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("part", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("consumer", "run", "part", name=op.f("pk_live_states")),
    )
    op.create_table(
        "live_members",
        sa.Column("segment", sa.String(length=64), nullable=False),
        sa.Column("customer_id", sa.String(length=255), nullable=False),
        sa.Column("inside", sa.Boolean(), nullable=False),
        sa.Column("since", sa.String(length=32), nullable=False),
        sa.Column("base", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("segment", "customer_id", name=op.f("pk_live_members")),
    )
    op.create_table(
        "live_changes",
        sa.Column("change", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("consumer", sa.String(length=128), nullable=False),
        sa.Column("rule", sa.String(length=128), nullable=False),
        sa.Column("customer_id", sa.String(length=255), nullable=False),
        sa.Column("inside", sa.Boolean(), nullable=False),
        sa.Column("at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("change", name=op.f("pk_live_changes")),
        sqlite_autoincrement=True,
    )


def _drop_live_rules() -> None:
    for name in ("live_changes", "live_members", "live_states", "live_followers"):
        op.drop_table(name)


def _drop_hot_events() -> None:
    op.drop_table("hot_consumers")
    op.drop_index(op.f("ix_hot_digests_received_on"), table_name="hot_digests")
    for name in ("hot_digests", "hot_batches", "hot_gate"):
        op.drop_table(name)


def _create_privacy() -> None:
    op.add_column("consent_states", sa.Column("until_ms", sa.BigInteger()))

    op.create_table(
        "pending_erasures",
        sa.Column("erasure_id", sa.String(length=64), nullable=False),
        sa.Column("person", sa.JSON(), nullable=False),
        sa.Column("keep_amounts", sa.Boolean(), nullable=False),
        sa.Column("started_at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("erasure_id", name=op.f("pk_pending_erasures")),
    )


def _drop_privacy() -> None:
    op.drop_table("pending_erasures")
    op.drop_column("consent_states", "until_ms")


def _create_segment_schedule() -> None:
    op.create_table(
        "segment_schedule",
        sa.Column("segment", sa.String(length=64), nullable=False),
        sa.Column("due_on", sa.Date(), nullable=False),
        sa.Column("due_at", sa.String(length=32), nullable=False),
        sa.Column("customers", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("segment", "due_on", name=op.f("pk_segment_schedule")),
    )
    op.create_index(op.f("ix_segment_schedule_due_at"), "segment_schedule", ["due_at"], unique=False)


def _drop_segment_schedule() -> None:
    op.drop_index(op.f("ix_segment_schedule_due_at"), table_name="segment_schedule")
    op.drop_table("segment_schedule")
