"""What the ledger knows of each delivery beyond its plan: priority, purpose, days, rates; and who approved what."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def _list_columns() -> dict[str, tuple[sa.Column[Any], ...]]:
    # Made anew each time: a column belongs to one table.
    return {
        "deliveries": (
            sa.Column("priority", sa.BigInteger(), nullable=False, server_default="0"),
            sa.Column("purpose", sa.String(length=16), nullable=False, server_default="marketing"),
            sa.Column("content_id", sa.String(length=128)),
            sa.Column("expires_ms", sa.BigInteger()),
            sa.Column("fallback", sa.JSON()),
            sa.Column("detail", sa.JSON()),
            sa.Column("zone", sa.String(length=64)),
        ),
        "contact_gate": (
            sa.Column("halted_at_ms", sa.BigInteger()),
            sa.Column("halted_by", sa.String(length=128)),
        ),
        "campaigns": (
            sa.Column("launched_by", sa.String(length=128)),
            sa.Column("launched_at_ms", sa.BigInteger()),
            sa.Column("start_at_ms", sa.BigInteger()),
            sa.Column("start_on", sa.Date()),
            sa.Column("pace", sa.JSON()),
            sa.Column("audience", sa.BigInteger()),
            sa.Column("minute_ms", sa.BigInteger(), nullable=False, server_default="0"),
            sa.Column("hour_ms", sa.BigInteger(), nullable=False, server_default="0"),
        ),
    }


_QUEUED, _HELD = "state = 'queued'", "state IN ('leased', 'intent')"
_INDEXES = {
    "ix_deliveries_source": (("plan_id", "channel"), None),
    "ix_deliveries_work": (("plan_id", "channel", "priority", "delivery_id"), _QUEUED),
    "ix_deliveries_priority": (("channel", "priority", "delivery_id"), _QUEUED),
    "ix_deliveries_due": (("channel", "not_before_ms"), _QUEUED),
    "ix_deliveries_leases": (("channel", "lease_until_ms"), _HELD),
}


def upgrade() -> None:
    """Apply."""
    for table, columns in _list_columns().items():
        for column in columns:
            op.add_column(table, column)
    op.drop_index("ix_deliveries_work", "deliveries")
    for name, (parts, where) in _INDEXES.items():
        which = None if where is None else sa.text(where)
        op.create_index(name, "deliveries", list(parts), sqlite_where=which, postgresql_where=which)


def downgrade() -> None:
    """Undo."""
    for name in _INDEXES:
        op.drop_index(name, "deliveries")
    op.create_index("ix_deliveries_work", "deliveries", ["plan_id", "channel", "state", "delivery_id"])
    for table, columns in _list_columns().items():
        for column in columns:
            op.execute(f"ALTER TABLE {table} DROP COLUMN {column.name}")
