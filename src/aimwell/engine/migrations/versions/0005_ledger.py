"""What the ledger knows of each delivery beyond its plan: priority, purpose, days, rates; and who approved what."""

from __future__ import annotations

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""


def downgrade() -> None:
    """Undo."""
