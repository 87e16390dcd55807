"""The store's tables of journeys: journeys, who is in them, what they wait for.

Written by ``deployment.journeys``. Instants are milliseconds since 1970 in UTC. Who is where is one row of
``journey_enrolments``; ``journey_visits`` names nobody but by the number of such a row, and so nobody once it is gone.
"""

from __future__ import annotations

import sqlalchemy as sa

from aimwell.engine.store_metadata import METADATA
from aimwell.engine.store_tables import Instant

NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
"""A key that the database counts up: SQLite does so for INTEGER only."""

JOURNEYS = sa.Table(
    "journeys",
    METADATA,
    sa.Column("name", sa.String(64), primary_key=True),
    # Who enters from now on enters this version.
    sa.Column("version", sa.Integer, nullable=False),
    # running, paused or stopped.
    sa.Column("state", sa.String(16), nullable=False),
    # Draws of arms and splits are salted with it, so that no two journeys draw the same people.
    sa.Column("salt", sa.String(32), nullable=False),
    sa.Column("started_ms", sa.BigInteger, nullable=False),
    # Of the hot events only those after this position start it.
    sa.Column("start_position", sa.BigInteger, nullable=False),
    sa.Column("changed_ms", sa.BigInteger, nullable=False),
)
JOURNEY_VERSIONS = sa.Table(
    "journey_versions",
    METADATA,
    sa.Column("journey", sa.String(64), primary_key=True),
    sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("body", sa.JSON, nullable=False),
    sa.Column("saved_at", Instant, nullable=False),
)
"""Definitions that people walk by; a row never changes."""
JOURNEY_ENROLMENTS = sa.Table(
    "journey_enrolments",
    METADATA,
    sa.Column("enrolment_id", NUMBER, primary_key=True, autoincrement=True),
    sa.Column("journey", sa.String(64), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("customer_id", sa.String(255), nullable=False),
    # What let the customer in: an event, a day, a slot. Nobody enters twice for one occasion.
    sa.Column("occasion", sa.String(160), nullable=False),
    # treatment, or holdout: walks along without deliveries.
    sa.Column("arm", sa.String(16), nullable=False),
    sa.Column("node", sa.String(64), nullable=False),
    # ready: ``node`` is next to be done; waiting: ``node`` is a wait; ended.
    sa.Column("state", sa.String(8), nullable=False),
    # By which way ``node`` was reached, and with which probability that was drawn.
    sa.Column("edge", sa.String(64), nullable=False),
    sa.Column("probability", sa.Float, nullable=False),
    # When something is to be done; empty when ended.
    sa.Column("due_ms", sa.BigInteger),
    # Nodes visited so far: whoever moves the row raises it.
    sa.Column("step", sa.Integer, nullable=False),
    sa.Column("entered_ms", sa.BigInteger, nullable=False),
    sa.Column("ended_ms", sa.BigInteger),
    # Of an ended one: goal, exit, end or stopped.
    sa.Column("outcome", sa.String(16)),
    # Properties of the events that brought the customer here, as far as the journey asks for them.
    sa.Column("context", sa.JSON),
    sa.UniqueConstraint("customer_id", "journey", "occasion"),
    sqlite_autoincrement=True,
)
sa.Index("ix_journey_enrolments_due", JOURNEY_ENROLMENTS.c.journey, JOURNEY_ENROLMENTS.c.due_ms)
JOURNEY_VISITS = sa.Table(
    "journey_visits",
    METADATA,
    sa.Column("enrolment_id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("step", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("node", sa.String(64), nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    # The way by which it was reached, and with which probability that was drawn.
    sa.Column("edge", sa.String(64), nullable=False),
    sa.Column("probability", sa.Float, nullable=False),
    # Of an action: queued, withheld (holdout) or capped.
    sa.Column("result", sa.String(16)),
    sqlite_with_rowid=False,
)
"""Every node that everybody came to, in order: the log of transitions."""
JOURNEY_POSITIONS = sa.Table(
    "journey_positions",
    METADATA,
    sa.Column("source", sa.String(160), primary_key=True),
    sa.Column("position", sa.BigInteger, nullable=False),
)
"""How far segment changes, schedules and dates were looked through."""
JOURNEY_DECISIONS = sa.Table(
    "journey_decisions",
    METADATA,
    sa.Column("delivery_id", sa.String(64), primary_key=True),
    sa.Column("plan_id", sa.String(128), nullable=False),
    sa.Column("request_id", sa.String(128), nullable=False),
)
"""Deliveries on their way that carry a live decision: it is settled when the delivery ends, and the row goes."""
