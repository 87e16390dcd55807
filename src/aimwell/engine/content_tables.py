"""The store's tables of coupons. Contents themselves are definitions (``store_tables.DEFINITIONS``, kind ``content``).

Which customer has which code stands in ``coupon_issues`` alone, so that erasing a person leaves every code counted, and
none is given to somebody else.
"""

from __future__ import annotations

import sqlalchemy as sa

from aimwell.engine.store_metadata import METADATA

__all__ = ["COUPONS", "COUPON_ISSUES", "COUPON_POOLS", "METADATA"]

COUPON_POOLS = sa.Table(
    "coupon_pools",
    METADATA,
    sa.Column("pool", sa.String(64), primary_key=True),
    sa.Column("made_ms", sa.BigInteger, nullable=False),
    # From when on no code of it is given out or accepted; empty: never.
    sa.Column("expires_ms", sa.BigInteger),
    # How long one code can be used from its issue; empty: as long as the pool.
    sa.Column("valid_days", sa.Integer),
)

COUPONS = sa.Table(
    "coupons",
    METADATA,
    # In its one form: capitals, without blanks and hyphens.
    sa.Column("code", sa.String(64), primary_key=True),
    # As it is shown to people.
    sa.Column("shown", sa.String(64), nullable=False),
    sa.Column("pool", sa.String(64), nullable=False),
    # The order in which codes are given out, within the pool.
    sa.Column("place", sa.BigInteger, nullable=False),
    # free, issued or redeemed.
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("expires_ms", sa.BigInteger),
    sa.Column("redeemed_ms", sa.BigInteger),
    # The order or event by which it was redeemed: repeating it changes nothing.
    sa.Column("redeemed_by", sa.String(255)),
)
sa.Index("ix_coupons_next", COUPONS.c.pool, COUPONS.c.state, COUPONS.c.place)

COUPON_ISSUES = sa.Table(
    "coupon_issues",
    METADATA,
    # One delivery has one code, and one code at most one delivery.
    sa.Column("delivery_id", sa.String(64), primary_key=True),
    sa.Column("code", sa.String(64), nullable=False, unique=True),
    sa.Column("pool", sa.String(64), nullable=False),
    sa.Column("customer_id", sa.String(255), nullable=False),
    sa.Column("issued_ms", sa.BigInteger, nullable=False),
)
sa.Index("ix_coupon_issues_customer_id", COUPON_ISSUES.c.customer_id)
