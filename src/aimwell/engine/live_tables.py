"""The store's tables of live decisions: the plans that are decided by, what is used of their limits, and the log.

Written by ``strategy.live``; ``live_turns`` is read by deployment, too, which counts live contacts. Amounts are whole
numbers: cents, seconds, pieces. A decision and what it takes of every limit are written in one transaction, and so are
its cancelling and what that gives back: the counters are the sums of what was not given back, at every moment. (An
erasure takes a person's rows out of the log; what they used stays used.)
"""

from __future__ import annotations

import sqlalchemy as sa

from aimwell.engine.store_metadata import METADATA
from aimwell.engine.store_tables import Instant

LIVE_PLANS = sa.Table(
    "live_plans",
    METADATA,
    sa.Column("plan_id", sa.String(128), primary_key=True),
    sa.Column("day", sa.Date, nullable=False),
    sa.Column("body", sa.JSON, nullable=False),
    sa.Column("opened_at", Instant, nullable=False),
    # The turn of the contact gate in which it was opened: its decisions have higher ones.
    sa.Column("opened_turn", sa.BigInteger, nullable=False),
    # Nothing is decided any more; empty: open.
    sa.Column("closed_at", Instant),
    # Of decisions up to this turn none still waits for its confirmation.
    sa.Column("swept_turn", sa.BigInteger, nullable=False, server_default="0"),
)
"""What live decisions of one business day go by (``strategy.live.plan``); all but the last two is never changed."""
LIVE_LIMITS = sa.Table(
    "live_limits",
    METADATA,
    sa.Column("plan_id", sa.String(128), primary_key=True),
    sa.Column("place", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("sense", sa.String(16), nullable=False),
    sa.Column("bound", sa.BigInteger, nullable=False),
    sa.Column("used", sa.BigInteger, nullable=False),
    # The last wall: whatever a program does, the database itself refuses what would break a limit.
    sa.CheckConstraint("sense = 'at_least' OR used <= bound", name="kept"),
    sa.CheckConstraint("used >= 0", name="not_negative"),
)
"""What is reserved of each limit by now."""
LIVE_DECISIONS = sa.Table(
    "live_decisions",
    METADATA,
    # The turn of the contact gate in which it was decided, so that numbers grow by commit; and its place in that batch.
    sa.Column("batch", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("place", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("plan_id", sa.String(128), nullable=False),
    sa.Column("request_id", sa.String(128), nullable=False),
    sa.Column("customer_id", sa.String(255), nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("segment", sa.Integer, nullable=False),
    # Empty: no action; then the reason says why.
    sa.Column("action_id", sa.String(255)),
    sa.Column("probability", sa.Float, nullable=False),
    sa.Column("choices", sa.Integer, nullable=False),
    sa.Column("reason", sa.String(16), nullable=False),
    sa.Column("expected_profit", sa.Float, nullable=False),
    sa.Column("cost_cents", sa.BigInteger, nullable=False),
    # reserved → confirmed, cancelled or expired; reserved → handed (a delivery carries it) → delivered or cancelled;
    # empty: no action.
    sa.Column("state", sa.String(16)),
    # Kept in the order of its key: it only ever grows at its end, and no page is written for a random id.
    sqlite_with_rowid=False,
)
"""Every decision, with the probability of its action given all decisions before it."""
LIVE_TURNS = sa.Table(
    "live_turns",
    METADATA,
    sa.Column("batch", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("plan_id", sa.String(128), nullable=False),
    sa.Column("day", sa.Date, nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    # Digests of 16 bytes: the requests in the order of their places, who was contacted, whose contact did not happen.
    sa.Column("requests", sa.LargeBinary, nullable=False),
    sa.Column("contacts", sa.LargeBinary, nullable=False),
    sa.Column("released", sa.LargeBinary, nullable=False),
)
"""One row per transaction that decided or settled: what other processes must know of it, quick to read.

An erasure puts random bytes in the place of a person's digests.
"""
LIVE_PROFILES = sa.Table(
    "live_profiles",
    METADATA,
    sa.Column("plan_id", sa.String(128), primary_key=True),
    sa.Column("customer_id", sa.String(255), primary_key=True),
    sa.Column("segment", sa.Integer, nullable=False),
    # Contacts by other systems in the cap's window, as the warehouse knew them.
    sa.Column("prior_contacts", sa.Integer, nullable=False),
    # Action → [expected profit, its standard error, cost in cents, what is taken off the profit before it competes].
    sa.Column("pairs", sa.JSON, nullable=False),
    sqlite_with_rowid=False,
)
"""What a live decision needs of a customer: the actions that the customer may get, and what they are worth."""
