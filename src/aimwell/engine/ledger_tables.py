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
    "HELD",
    "METADATA",
    "SUPPRESSIONS",
    "WAITING",
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
    # What the contact is worth, in cents: of two that want a customer's last contact, the higher one gets it.
    sa.Column("priority", sa.BigInteger, nullable=False, server_default="0"),
    # marketing, service (no marketing consent, no cap) or test (to whoever tests, not to the customer).
    sa.Column("purpose", sa.String(16), nullable=False, server_default="marketing"),
    sa.Column("content_id", sa.String(128)),
    # From when on it is too late; empty: never.
    sa.Column("expires_ms", sa.BigInteger),
    # Channels to be tried next, as a list of names.
    sa.Column("fallback", sa.JSON(none_as_null=True)),
    # What its message needs beside the plan: coupon, variant, node of a journey. No address, no name.
    sa.Column("detail", sa.JSON(none_as_null=True)),
    # The customer's time zone; empty: the business's.
    sa.Column("zone", sa.String(64)),
)
WAITING = DELIVERIES.c.state == sa.literal("queued", literal_execute=True)
"""Of rows that wait; written out, so that a database sees that its indexes hold just these."""
HELD = DELIVERIES.c.state.in_([sa.literal_column("'leased'"), sa.literal_column("'intent'")])
"""Of rows that a worker holds; written out, too."""
# Only what waits or is held stands in these indexes: a message on its way changes few of them.
_QUEUED, _HELD = sa.text("state = 'queued'"), sa.text("state IN ('leased', 'intent')")
sa.Index("ix_deliveries_source", DELIVERIES.c.plan_id, DELIVERIES.c.channel)
sa.Index(
    "ix_deliveries_work",
    DELIVERIES.c.plan_id,
    DELIVERIES.c.channel,
    DELIVERIES.c.priority,
    DELIVERIES.c.delivery_id,
    sqlite_where=_QUEUED,
    postgresql_where=_QUEUED,
)
# Of all sources: what is due next on a channel, the most valuable first; and when anything is due at all.
sa.Index(
    "ix_deliveries_priority",
    DELIVERIES.c.channel,
    DELIVERIES.c.priority,
    DELIVERIES.c.delivery_id,
    sqlite_where=_QUEUED,
    postgresql_where=_QUEUED,
)
sa.Index(
    "ix_deliveries_due",
    DELIVERIES.c.channel,
    DELIVERIES.c.not_before_ms,
    sqlite_where=_QUEUED,
    postgresql_where=_QUEUED,
)
sa.Index(
    "ix_deliveries_leases",
    DELIVERIES.c.channel,
    DELIVERIES.c.lease_until_ms,
    sqlite_where=_HELD,
    postgresql_where=_HELD,
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
    # The kill switch: since when, and by whom, nothing may be reserved or handed over; empty: it is off.
    sa.Column("halted_at_ms", sa.BigInteger),
    sa.Column("halted_by", sa.String(128)),
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
    # Who started it or ordered its start, and when: with a second person's approval these are two people.
    sa.Column("launched_by", sa.String(128)),
    sa.Column("launched_at_ms", sa.BigInteger),
    # When the worker shall launch it, for contacts on which business day.
    sa.Column("start_at_ms", sa.BigInteger),
    sa.Column("start_on", sa.Date),
    # Rates and waves (``deployment.ramp.Pace``); and the instants from which the next message has its place.
    sa.Column("pace", sa.JSON(none_as_null=True)),
    # How many deliveries were wanted at its launch: what the states must add up to.
    sa.Column("audience", sa.BigInteger),
    sa.Column("minute_ms", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("hour_ms", sa.BigInteger, nullable=False, server_default="0"),
)
