"""What channels keep: in-app messages, tasks of the call centre, answers of providers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    _create_messages()
    _create_calls()
    _create_visits()


def _create_messages() -> None:
    op.create_table(
        "in_app_messages",
        sa.Column("delivery_id", sa.String(length=64), nullable=False),
        sa.Column("customer_id", sa.String(length=255), nullable=False),
        sa.Column("plan_id", sa.String(length=128), nullable=False),
        sa.Column("language", sa.String(length=8), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("link", sa.Text()),
        sa.Column("created_at_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger()),
        sa.Column("read_at_ms", sa.BigInteger()),
        sa.Column("dismissed_at_ms", sa.BigInteger()),
        sa.PrimaryKeyConstraint("delivery_id", name=op.f("pk_in_app_messages")),
    )
    op.create_index("ix_in_app_messages_customer", "in_app_messages", ["customer_id", "created_at_ms"])
    op.create_table(
        "provider_messages",
        sa.Column("provider", sa.String(length=32), nullable=False),
        sa.Column("message_id", sa.String(length=128), nullable=False),
        sa.Column("delivery_id", sa.String(length=64)),
        sa.Column("customer_id", sa.String(length=255)),
        sa.Column("part", sa.Integer(), nullable=False),
        sa.Column("parts", sa.Integer(), nullable=False),
        sa.Column("taken_at_ms", sa.BigInteger()),
        sa.Column("status", sa.String(length=16)),
        sa.Column("code", sa.String(length=64)),
        sa.Column("status_at_ms", sa.BigInteger()),
        sa.PrimaryKeyConstraint("provider", "message_id", name=op.f("pk_provider_messages")),
    )
    op.create_index("ix_provider_messages_delivery", "provider_messages", ["delivery_id"])
    op.create_table(
        "channel_events",
        sa.Column("event_id", sa.String(length=64), nullable=False),
        sa.Column("customer_id", sa.String(length=255), nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name=op.f("pk_channel_events")),
    )
    op.create_index("ix_channel_events_at", "channel_events", ["at_ms"])


def _create_calls() -> None:
    op.create_table(
        "call_tasks",
        sa.Column("task_id", sa.String(length=64), nullable=False),
        sa.Column("customer_id", sa.String(length=255), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("plan_id", sa.String(length=128), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("card", sa.JSON(), nullable=False),
        sa.Column("priority", sa.BigInteger(), nullable=False),
        sa.Column("planned_seconds", sa.Integer(), nullable=False),
        sa.Column("best_hour", sa.Integer()),
        sa.Column("due_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger()),
        sa.Column("promised", sa.Boolean(), nullable=False),
        sa.Column("agent", sa.String(length=128)),
        sa.Column("lease_until_ms", sa.BigInteger()),
        sa.Column("turn", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.String(length=16)),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("finished_ms", sa.BigInteger()),
        sa.PrimaryKeyConstraint("task_id", name=op.f("pk_call_tasks")),
    )
    op.create_index("ix_call_tasks_work", "call_tasks", ["state", "due_ms"])
    op.create_index("ix_call_tasks_agent", "call_tasks", ["agent", "state"])
    op.create_table(
        "call_attempts",
        sa.Column("task_id", sa.String(length=64), nullable=False),
        sa.Column("turn", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("customer_id", sa.String(length=255), nullable=False),
        sa.Column("agent", sa.String(length=128), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("seconds", sa.Integer(), nullable=False),
        sa.Column("note", sa.Text()),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("task_id", "turn", name=op.f("pk_call_attempts")),
    )
    op.create_index("ix_call_attempts_agent", "call_attempts", ["agent", "at_ms"])


def _create_visits() -> None:
    op.create_table(
        "visits",
        sa.Column("visit_id", sa.String(length=64), nullable=False),
        sa.Column("customer_id", sa.String(length=255), nullable=False),
        sa.Column("account_manager", sa.String(length=128), nullable=False),
        sa.Column("visit_on", sa.Date(), nullable=False),
        sa.Column("customer_class", sa.String(length=32), nullable=False),
        sa.Column("value_cents", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("outcome", sa.String(length=16)),
        sa.Column("note", sa.Text()),
        sa.Column("changed_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("visit_id", name=op.f("pk_visits")),
    )
    op.create_index("ix_visits_customer", "visits", ["customer_id", "visit_on"])
    op.create_index("ix_visits_day", "visits", ["visit_on", "account_manager"])


def downgrade() -> None:
    """Undo."""
    for name in (
        "visits",
        "call_attempts",
        "call_tasks",
        "channel_events",
        "provider_messages",
        "in_app_messages",
    ):
        op.drop_table(name)
