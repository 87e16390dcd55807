"""Journeys, who is in them, what they wait for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    _create_definitions()
    op.create_table(
        "journey_enrolments",
        sa.Column(
            "enrolment_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("journey", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("customer_id", sa.String(length=255), nullable=False),
        sa.Column("occasion", sa.String(length=160), nullable=False),
        sa.Column("arm", sa.String(length=16), nullable=False),
        sa.Column("node", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=8), nullable=False),
        sa.Column("edge", sa.String(length=64), nullable=False),
        sa.Column("probability", sa.Float(), nullable=False),
        sa.Column("due_ms", sa.BigInteger()),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("entered_ms", sa.BigInteger(), nullable=False),
        sa.Column("ended_ms", sa.BigInteger()),
        sa.Column("outcome", sa.String(length=16)),
        sa.Column("context", sa.JSON()),
        sa.PrimaryKeyConstraint("enrolment_id", name=op.f("pk_journey_enrolments")),
        sa.UniqueConstraint(
            "customer_id",
            "journey",
            "occasion",
            name=op.f("uq_journey_enrolments_customer_id_journey_occasion"),
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_journey_enrolments_due", "journey_enrolments", ["journey", "due_ms"])
    op.create_table(
        "journey_visits",
        sa.Column("enrolment_id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("step", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("node", sa.String(length=64), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("edge", sa.String(length=64), nullable=False),
        sa.Column("probability", sa.Float(), nullable=False),
        sa.Column("result", sa.String(length=16)),
        sa.PrimaryKeyConstraint("enrolment_id", "step", name=op.f("pk_journey_visits")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "journey_positions",
        sa.Column("source", sa.String(length=160), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("source", name=op.f("pk_journey_positions")),
    )


def _create_definitions() -> None:
    op.create_table(
        "journeys",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("salt", sa.String(length=32), nullable=False),
        sa.Column("started_ms", sa.BigInteger(), nullable=False),
        sa.Column("start_position", sa.BigInteger(), nullable=False),
        sa.Column("changed_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_journeys")),
    )
    op.create_table(
        "journey_versions",
        sa.Column("journey", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("saved_at", sa.String(length=32), nullable=False),
        sa.PrimaryKeyConstraint("journey", "version", name=op.f("pk_journey_versions")),
    )


def downgrade() -> None:
    """Undo."""
    for table in (
        "journey_positions",
        "journey_visits",
        "journey_enrolments",
        "journey_versions",
        "journeys",
    ):
        op.drop_table(table)
