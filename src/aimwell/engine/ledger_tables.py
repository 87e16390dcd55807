"""The ledger's tables in the store: deliveries, suppressions, consents as they stand now, campaigns, the gate.

Written by ``deployment``, and by whoever records a consent or a suppression. Milliseconds are whole numbers since
1970 in UTC, so that a lease is compared alike on every database; money is kept in cents. No address and no name of a
customer stands here.
"""

from __future__ import annotations

import sqlalchemy as sa

from aimwell.engine.store_metadata import METADATA

__all__ = [
    "CAMPAIGNS",
    "CONSENT_STATES",
    "CONTACT_GATE",
    "CONTACT_STATES",
    "DELIVERIES",
    "METADATA",
    "SUPPRESSIONS",
]

CONTACT_STATES = ("leased", "intent", "sent", "in_doubt")
"""Of a delivery: what may have reached the customer, or is about to. All of it counts towards the contact cap."""

DELIVERIES = sa.Table(
    "deliveries",
    METADATA,
    # SHA-256 of plan, customer and action: enqueuing twice makes one row, and providers reject repeats by it.
    sa.Column("delivery_id", sa.String(64), primary_key=True),
    sa.Column("plan_id", sa.String(128), nullable=False),
    sa.Column("customer_id", sa.String(255), nullable=False),
    sa.Column("action_id", sa.String(255), nullable=False),
    sa.Column("channel", sa.String(16), nullable=False),
    # The business day of the contact: the contact cap rolls over these.
    sa.Column("contact_on", sa.Date, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reason", sa.String(64)),
    sa.Column("reachable", sa.Boolean, nullable=False),
    # Contacts by other systems in the cap's window, as the warehouse knows them.
    sa.Column("prior_contacts", sa.Integer, nullable=False, default=0),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("unit_cost_cents", sa.BigInteger, nullable=False),
    sa.Column("owner", sa.String(128)),
    # The number of the reservation that holds the row; whoever comes later holds a higher one.
    sa.Column("fence", sa.BigInteger, nullable=False, default=0),
    sa.Column("lease_until_ms", sa.BigInteger),
    sa.Column("not_before_ms", sa.BigInteger, nullable=False, default=0),
    sa.Column("provider_id", sa.String(255)),
    sa.Column("finished_at_ms", sa.BigInteger),
)
sa.Index(
    "ix_deliveries_work",
    DELIVERIES.c.plan_id,
    DELIVERIES.c.channel,
    DELIVERIES.c.state,
    DELIVERIES.c.delivery_id,
)
sa.Index("ix_deliveries_contacts", DELIVERIES.c.customer_id, DELIVERIES.c.contact_on)

SUPPRESSIONS = sa.Table(
    "suppressions",
    METADATA,
    sa.Column("customer_id", sa.String(255), primary_key=True),
    # A channel, or 'all'.
    sa.Column("channel", sa.String(16), primary_key=True),
    sa.Column("source", sa.String(64), nullable=False),
    sa.Column("since_ms", sa.BigInteger, nullable=False),
)

CONSENT_STATES = sa.Table(
    "consent_states",
    METADATA,
    sa.Column("customer_id", sa.String(255), primary_key=True),
    sa.Column("channel", sa.String(16), primary_key=True),
    sa.Column("allowed", sa.Boolean, nullable=False),
    sa.Column("since_ms", sa.BigInteger, nullable=False),
    # From when the permission no longer holds; empty: no end.
    sa.Column("until_ms", sa.BigInteger),
)

CONTACT_GATE = sa.Table(
    "contact_gate",
    METADATA,
    sa.Column("gate", sa.Integer, primary_key=True, autoincrement=False),
    # Every reservation takes the next turn: it locks the row, so that two plans cannot pass a cap together.
    sa.Column("turn", sa.BigInteger, nullable=False),
)

CAMPAIGNS = sa.Table(
    "campaigns",
    METADATA,
    sa.Column("plan_id", sa.String(128), primary_key=True),
    sa.Column("goal", sa.String(128), nullable=False),
    sa.Column("round_number", sa.Integer, nullable=False),
    sa.Column("wave", sa.String(16), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("control", sa.String(16), nullable=False),
    sa.Column("fingerprint", sa.String(64)),
    sa.Column("approved_by", sa.String(128)),
    sa.Column("approved_at_ms", sa.BigInteger),
    sa.Column("go", sa.Boolean),
    sa.Column("decision", sa.JSON),
    sa.Column("changed_at_ms", sa.BigInteger, nullable=False),
)
