"""The store's tables of tracking: link targets, opens and clicks, what customers choose for themselves, signing keys.

Written by ``deployment.tracking``. Milliseconds are whole numbers since 1970 in UTC. Of whoever opened or clicked no
address is kept: ``visitor`` is a digest with a salt that is made for the day and deleted after it.
"""

from __future__ import annotations

import sqlalchemy as sa

from aimwell.engine.store_metadata import METADATA

LINK_KEYS = sa.Table(
    "link_keys",
    METADATA,
    sa.Column("generation", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("since_ms", sa.BigInteger, nullable=False),
    # Until when its signatures are still accepted; empty: it is the one that signs.
    sa.Column("until_ms", sa.BigInteger),
)
"""Generations of the keys that sign links; the keys themselves follow from the workspace's secret. Empty: the first."""
TRACKED_LINKS = sa.Table(
    "tracked_links",
    METADATA,
    # The first 9 bytes of the target's SHA-256, in hexadecimal digits.
    sa.Column("link_id", sa.String(18), primary_key=True),
    sa.Column("target", sa.Text, nullable=False),
    sa.Column("since_ms", sa.BigInteger, nullable=False),
)
"""Where links of messages lead: the only addresses that a click is ever sent on to."""
SHORT_LINKS = sa.Table(
    "short_links",
    METADATA,
    sa.Column("token", sa.String(16), primary_key=True),
    sa.Column("delivery_id", sa.String(64), nullable=False),
    sa.Column("customer_id", sa.String(255), nullable=False),
    sa.Column("link_id", sa.String(18), nullable=False),
    # Counts the links of the message from 0.
    sa.Column("place", sa.Integer, nullable=False),
    sa.Column("since_ms", sa.BigInteger, nullable=False),
    # From when on it leads nowhere, and may be deleted.
    sa.Column("expires_ms", sa.BigInteger, nullable=False),
)
"""What the short links of SMS stand for: a link (``tracked_links``) of a delivery."""
TRACKING_HITS = sa.Table(
    "tracking_hits",
    METADATA,
    # A digest of delivery, kind, place, visitor and instant: the same request is kept once.
    sa.Column("hit_id", sa.String(32), primary_key=True),
    sa.Column("delivery_id", sa.String(64), nullable=False),
    sa.Column("customer_id", sa.String(255), nullable=False),
    sa.Column("plan_id", sa.String(128), nullable=False),
    sa.Column("channel", sa.String(16), nullable=False),
    # open, click or honeypot.
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("link_id", sa.String(18)),
    sa.Column("place", sa.Integer, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("visitor", sa.String(32), nullable=False),
    # The class of the user agent (``deployment.tracking.agents``).
    sa.Column("agent", sa.String(24), nullable=False),
    sa.Column("machine", sa.Boolean, nullable=False),
    sa.Column("reason", sa.String(24)),
    # When later evidence turned the verdict round; empty: it stands as it was first.
    sa.Column("rejudged_at_ms", sa.BigInteger),
    # When the verdict as it stands reached the warehouse; empty: it waits.
    sa.Column("told_at_ms", sa.BigInteger),
)
"""Opens, clicks and hits of the hidden link, each with whether a machine made it, and why we think so."""
sa.Index("ix_tracking_hits_delivery", TRACKING_HITS.c.delivery_id, TRACKING_HITS.c.at_ms)
sa.Index("ix_tracking_hits_told", TRACKING_HITS.c.told_at_ms, TRACKING_HITS.c.at_ms)
VISITOR_SALTS = sa.Table(
    "visitor_salts",
    METADATA,
    sa.Column("day", sa.Date, primary_key=True),
    sa.Column("salt", sa.LargeBinary, nullable=False),
)
"""The salt of each UTC day, deleted soon after it."""
OWN_PREFERENCES = sa.Table(
    "own_preferences",
    METADATA,
    sa.Column("customer_id", sa.String(255), primary_key=True),
    # At most ``cap`` contacts in ``cap_days`` days; both empty: no limit of the customer's own.
    sa.Column("cap", sa.Integer),
    sa.Column("cap_days", sa.Integer),
    sa.Column("language", sa.String(8)),
    sa.Column("changed_at_ms", sa.BigInteger, nullable=False),
)
"""How often and in which language customers want to hear from us."""
TOPIC_REFUSALS = sa.Table(
    "topic_refusals",
    METADATA,
    sa.Column("customer_id", sa.String(255), primary_key=True),
    sa.Column("channel", sa.String(16), primary_key=True),
    sa.Column("topic", sa.String(64), primary_key=True),
    sa.Column("since_ms", sa.BigInteger, nullable=False),
)
"""Topics that customers do not want by a channel whose marketing they allow."""
PREFERENCE_CHANGES = sa.Table(
    "preference_changes",
    METADATA,
    sa.Column("change", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("customer_id", sa.String(255), nullable=False, index=True),
    # marketing, topic, frequency or language.
    sa.Column("kind", sa.String(16), nullable=False),
    # Empty: it is not about one channel.
    sa.Column("channel", sa.String(16)),
    sa.Column("allowed", sa.Boolean),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("source", sa.String(64), nullable=False),
    # What was shown, in which language, when, on which page, from which delivery; and what was chosen.
    sa.Column("proof", sa.JSON, nullable=False),
    sa.Column("told_at_ms", sa.BigInteger, index=True),
    sqlite_autoincrement=True,
)
"""What customers changed themselves, with the proof; the warehouse is told of each once (``told_at_ms``)."""
