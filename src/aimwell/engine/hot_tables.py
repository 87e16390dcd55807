"""The store's tables for events of the last minutes and for those who read them as a stream.

A batch of events is one row that holds its rows in Arrow's form, so that a durable commit costs the same for one
event and for a thousand. Positions grow by commit, without a gap that could be filled later: whoever has read up
to a position has seen everything up to it.
"""

from __future__ import annotations

import sqlalchemy as sa

from aimwell.engine.store_metadata import METADATA
from aimwell.engine.store_tables import Instant

HOT_GATE = sa.Table(
    "hot_gate",
    METADATA,
    sa.Column("gate", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("turn", sa.BigInteger, nullable=False),
)
"""One row, whose turn is the position of the newest batch; taking the next turn also makes writers queue."""
HOT_BATCHES = sa.Table(
    "hot_batches",
    METADATA,
    sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("table_name", sa.String(64), primary_key=True),
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
)
"""Rows that no file holds yet, per table."""
HOT_DIGESTS = sa.Table(
    "hot_digests",
    METADATA,
    sa.Column("position", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("received_on", sa.Date, nullable=False, index=True),
    sa.Column("digests", sa.LargeBinary, nullable=False),
)
"""16 bytes of BLAKE2b for each message id that was taken in, kept for a few days."""
HOT_CONSUMERS = sa.Table(
    "hot_consumers",
    METADATA,
    sa.Column("consumer", sa.String(128), primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False),
    sa.Column("changed_at", Instant, nullable=False),
)
"""How far each reader of the stream has come; the batches after it stay where they are."""
LIVE_FOLLOWERS = sa.Table(
    "live_followers",
    METADATA,
    sa.Column("consumer", sa.String(128), primary_key=True),
    sa.Column("turn", sa.BigInteger, nullable=False),
    sa.Column("body", sa.JSON, nullable=False),
)
"""What the states of a consumer rest on; whoever writes them raises the turn, and so keeps out whoever did not know."""
LIVE_STATES = sa.Table(
    "live_states",
    METADATA,
    sa.Column("consumer", sa.String(128), primary_key=True),
    sa.Column("run", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("part", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
)
"""What live rules remember of their customers, many customers in a row; the runs add up (``analysis.live_state``)."""
LIVE_CHANGES = sa.Table(
    "live_changes",
    METADATA,
    sa.Column("change", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("consumer", sa.String(128), nullable=False),
    sa.Column("rule", sa.String(128), nullable=False),
    sa.Column("customer_id", sa.String(255), nullable=False),
    sa.Column("inside", sa.Boolean, nullable=False),
    sa.Column("at", Instant, nullable=False),
    sqlite_autoincrement=True,
)
"""Who entered and who left, in order, for those who act on it."""
LIVE_MEMBERS = sa.Table(
    "live_members",
    METADATA,
    sa.Column("segment", sa.String(64), primary_key=True),
    sa.Column("customer_id", sa.String(255), primary_key=True),
    sa.Column("inside", sa.Boolean, nullable=False),
    sa.Column("since", Instant, nullable=False),
    sa.Column("base", sa.String(64), nullable=False),
)
"""Where membership is by now another than the run ``base`` decided: who came in, who is out, since when."""
