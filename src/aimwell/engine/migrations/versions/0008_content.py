"""Coupons: pools, codes, and which delivery has which code."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "coupon_pools",
        sa.Column("pool", sa.String(length=64), nullable=False),
        sa.Column("made_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger()),
        sa.Column("valid_days", sa.Integer()),
        sa.PrimaryKeyConstraint("pool", name=op.f("pk_coupon_pools")),
    )
    op.create_table(
        "coupons",
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("shown", sa.String(length=64), nullable=False),
        sa.Column("pool", sa.String(length=64), nullable=False),
        sa.Column("place", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("expires_ms", sa.BigInteger()),
        sa.Column("redeemed_ms", sa.BigInteger()),
        sa.Column("redeemed_by", sa.String(length=255)),
        sa.PrimaryKeyConstraint("code", name=op.f("pk_coupons")),
    )
    op.create_index(op.f("ix_coupons_next"), "coupons", ["pool", "state", "place"], unique=False)
    op.create_table(
        "coupon_issues",
        sa.Column("delivery_id", sa.String(length=64), nullable=False),
        sa.Column("code", sa.String(length=64), nullable=False),
        sa.Column("pool", sa.String(length=64), nullable=False),
        sa.Column("customer_id", sa.String(length=255), nullable=False),
        sa.Column("issued_ms", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("delivery_id", name=op.f("pk_coupon_issues")),
        sa.UniqueConstraint("code", name=op.f("uq_coupon_issues_code")),
    )
    op.create_index(op.f("ix_coupon_issues_customer_id"), "coupon_issues", ["customer_id"], unique=False)


def downgrade() -> None:
    """Undo."""
    op.drop_table("coupon_issues")
    op.drop_table("coupons")
    op.drop_table("coupon_pools")
