"""The store's tables of channels: what channels keep: in-app messages, tasks of the call centre, answers of providers.

Written by ``deployment``. Whatever may hold words of or about a customer names the customer, so that an erasure takes
the whole row. Instants are milliseconds since 1970 in UTC.
"""

from __future__ import annotations

import sqlalchemy as sa

from aimwell.engine.store_metadata import METADATA

IN_APP_MESSAGES = sa.Table(
    "in_app_messages",
    METADATA,
    sa.Column("delivery_id", sa.String(64), primary_key=True),
    sa.Column("customer_id", sa.String(255), nullable=False),
    sa.Column("plan_id", sa.String(128), nullable=False),
    sa.Column("language", sa.String(8), nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("link", sa.Text),
    sa.Column("created_at_ms", sa.BigInteger, nullable=False),
    # From then on it is shown no more; empty: never.
    sa.Column("expires_at_ms", sa.BigInteger),
    sa.Column("read_at_ms", sa.BigInteger),
    sa.Column("dismissed_at_ms", sa.BigInteger),
)
sa.Index("ix_in_app_messages_customer", IN_APP_MESSAGES.c.customer_id, IN_APP_MESSAGES.c.created_at_ms)

PROVIDER_MESSAGES = sa.Table(
    "provider_messages",
    METADATA,
    # A number that a provider gave to (a part of) a delivery, and what it reported of it since. A report may come
    # before the answer that tells whose number it is: then delivery and customer are filled in later.
    sa.Column("provider", sa.String(32), primary_key=True),
    sa.Column("message_id", sa.String(128), primary_key=True),
    sa.Column("delivery_id", sa.String(64)),
    sa.Column("customer_id", sa.String(255)),
    sa.Column("part", sa.Integer, nullable=False, default=1),
    sa.Column("parts", sa.Integer, nullable=False, default=1),
    sa.Column("taken_at_ms", sa.BigInteger),
    sa.Column("status", sa.String(16)),
    sa.Column("code", sa.String(64)),
    sa.Column("status_at_ms", sa.BigInteger),
)
sa.Index("ix_provider_messages_delivery", PROVIDER_MESSAGES.c.delivery_id)

CHANNEL_EVENTS = sa.Table(
    "channel_events",
    METADATA,
    # What channels learned and the intake has not taken yet: written in the transaction that learned it, deleted when
    # it was taken in. The id is the message's, by which the intake knows a repeat.
    sa.Column("event_id", sa.String(64), primary_key=True),
    sa.Column("customer_id", sa.String(255), nullable=False),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
    sa.Column("body", sa.JSON, nullable=False),
)
sa.Index("ix_channel_events_at", CHANNEL_EVENTS.c.at_ms)

CALL_TASKS = sa.Table(
    "call_tasks",
    METADATA,
    # Of a call delivery its id.
    sa.Column("task_id", sa.String(64), primary_key=True),
    sa.Column("customer_id", sa.String(255), nullable=False),
    # call, or reply: an answer that somebody must read.
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("plan_id", sa.String(128), nullable=False),
    # open, taken or done.
    sa.Column("state", sa.String(16), nullable=False),
    # What the agent sees: name, phone, reason, offer, script. Emptied when the task is done.
    sa.Column("card", sa.JSON, nullable=False),
    sa.Column("priority", sa.BigInteger, nullable=False),
    sa.Column("planned_seconds", sa.Integer, nullable=False),
    # Hour of the business's day at which the customer is most likely reached.
    sa.Column("best_hour", sa.Integer),
    sa.Column("due_ms", sa.BigInteger, nullable=False),
    sa.Column("expires_ms", sa.BigInteger),
    # The customer was promised a call at ``due_ms``.
    sa.Column("promised", sa.Boolean, nullable=False, default=False),
    sa.Column("agent", sa.String(128)),
    sa.Column("lease_until_ms", sa.BigInteger),
    # How often the task was taken: whoever took it earlier may not enter an outcome any more.
    sa.Column("turn", sa.Integer, nullable=False, default=0),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    sa.Column("outcome", sa.String(16)),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("finished_ms", sa.BigInteger),
)
sa.Index("ix_call_tasks_work", CALL_TASKS.c.state, CALL_TASKS.c.due_ms)
sa.Index("ix_call_tasks_agent", CALL_TASKS.c.agent, CALL_TASKS.c.state)

CALL_ATTEMPTS = sa.Table(
    "call_attempts",
    METADATA,
    sa.Column("task_id", sa.String(64), primary_key=True),
    sa.Column("turn", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("customer_id", sa.String(255), nullable=False),
    sa.Column("agent", sa.String(128), nullable=False),
    sa.Column("outcome", sa.String(16), nullable=False),
    sa.Column("seconds", sa.Integer, nullable=False),
    sa.Column("note", sa.Text),
    sa.Column("at_ms", sa.BigInteger, nullable=False),
)
sa.Index("ix_call_attempts_agent", CALL_ATTEMPTS.c.agent, CALL_ATTEMPTS.c.at_ms)

VISITS = sa.Table(
    "visits",
    METADATA,
    # SHA-256 of account manager, customer and day: planning twice makes one visit.
    sa.Column("visit_id", sa.String(64), primary_key=True),
    sa.Column("customer_id", sa.String(255), nullable=False),
    sa.Column("account_manager", sa.String(128), nullable=False),
    sa.Column("visit_on", sa.Date, nullable=False),
    sa.Column("customer_class", sa.String(32), nullable=False),
    sa.Column("value_cents", sa.BigInteger, nullable=False),
    # overdue, due or early.
    sa.Column("reason", sa.String(16), nullable=False),
    # planned, done or missed.
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("outcome", sa.String(16)),
    sa.Column("note", sa.Text),
    sa.Column("changed_ms", sa.BigInteger, nullable=False),
)
sa.Index("ix_visits_customer", VISITS.c.customer_id, VISITS.c.visit_on)
sa.Index("ix_visits_day", VISITS.c.visit_on, VISITS.c.account_manager)
