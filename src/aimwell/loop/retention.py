"""What the store keeps of the past has an end: rows that nothing needs any more go, a few at a time.

Each transaction deletes few rows, so that nobody waits long for the store. What goes is elsewhere (live decisions and
hits of links stand in the warehouse) or is of no more use; the audit log, consents, suppressions, the ledger and what
a file of the warehouse rests on stay. Ids of messages are forgotten by ``engine.compaction``, files by
``engine.vacuum``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from aimwell.core.time import now
from aimwell.deployment.channels.inbox import drop_expired
from aimwell.deployment.desk.tasks import forget_tasks
from aimwell.deployment.journeys.versions import forget_ended
from aimwell.deployment.tracking.hits import forget_hits
from aimwell.engine.channel_tables import PROVIDER_MESSAGES
from aimwell.engine.hot_tables import LIVE_CHANGES
from aimwell.engine.live_tables import LIVE_DECISIONS, LIVE_PLANS, LIVE_PROFILES, LIVE_TURNS
from aimwell.engine.store import Store
from aimwell.engine.store_tables import RUNS, TABLE_VERSIONS, Instant
from aimwell.engine.tracking_tables import SHORT_LINKS
from aimwell.engine.workspace import Workspace

BATCH = 2_000
"""Rows of one transaction."""
_WHOLE_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Rule:
    """Rows of ``table`` that may go before an instant."""

    table: sa.Table
    condition: Callable[[Workspace, datetime], sa.ColumnElement[bool]]


def _end_of_runs(workspace: Workspace, at: datetime) -> sa.ColumnElement[bool]:
    before = at - timedelta(days=workspace.settings.retention.run_days)
    rests = sa.exists().where(TABLE_VERSIONS.c.run_id == RUNS.c.run_id)
    return (RUNS.c.status != "running") & (RUNS.c.started_at < before) & ~rests


def _end_of_changes(workspace: Workspace, at: datetime) -> sa.ColumnElement[bool]:
    return LIVE_CHANGES.c.at < at - timedelta(days=workspace.settings.retention.change_days)


def _end_of_messages(workspace: Workspace, at: datetime) -> sa.ColumnElement[bool]:
    before = _to_ms(at - timedelta(days=workspace.settings.retention.message_days))
    columns = PROVIDER_MESSAGES.c
    return (sa.func.coalesce(columns.taken_at_ms, before) < before) & (
        sa.func.coalesce(columns.status_at_ms, 0) < before
    )


def _end_of_links(workspace: Workspace, at: datetime) -> sa.ColumnElement[bool]:
    return SHORT_LINKS.c.expires_ms <= _to_ms(at)


def _closed_before(workspace: Workspace, at: datetime) -> sa.Select[tuple[str]]:
    """Live days whose decisions were handed to the warehouse, and which no contact cap looks back to."""
    contact, retention = workspace.settings.contact, workspace.settings.retention
    before = at - max(timedelta(days=retention.live_days), timedelta(days=contact.cap_days) + _WHOLE_DAY)
    # Compared as the text that the store keeps of an instant.
    closed = sa.type_coerce(LIVE_PLANS.c.closed_at, sa.String) < Instant.write(before)
    return sa.select(LIVE_PLANS.c.plan_id).where(LIVE_PLANS.c.closed_at.is_not(None), closed)


def _end_of(table: sa.Table) -> Callable[[Workspace, datetime], sa.ColumnElement[bool]]:
    return lambda workspace, at: table.c.plan_id.in_(_closed_before(workspace, at))


RULES = (
    Rule(RUNS, _end_of_runs),
    Rule(LIVE_CHANGES, _end_of_changes),
    Rule(LIVE_PROFILES, _end_of(LIVE_PROFILES)),
    Rule(LIVE_DECISIONS, _end_of(LIVE_DECISIONS)),
    Rule(LIVE_TURNS, _end_of(LIVE_TURNS)),
    Rule(PROVIDER_MESSAGES, _end_of_messages),
    Rule(SHORT_LINKS, _end_of_links),
)


def forget_old(workspace: Workspace, at: datetime | None = None) -> int:
    """Delete what has outlived its time at the instant ``at`` (now); how many rows. For the worker, every hour."""
    at = at or now()
    settings = workspace.settings
    gone = sum(delete_slowly(workspace.store, rule.table, rule.condition(workspace, at)) for rule in RULES)
    gone += forget_ended(workspace.store, _to_ms(at - timedelta(days=settings.retention.journey_days)))
    hits, messages, tasks = (
        _to_ms(at - timedelta(days=days))
        for days in (
            settings.tracking.hit_days,
            settings.retention.message_days,
            settings.retention.task_days,
        )
    )
    with workspace.store.begin() as connection:
        gone += forget_hits(connection, before_ms=hits, now_ms=_to_ms(at))
    with workspace.store.begin() as connection:
        gone += drop_expired(connection, messages)
    with workspace.store.begin() as connection:
        gone += forget_tasks(connection, tasks)
    return gone


def delete_slowly(store: Store, table: sa.Table, condition: sa.ColumnElement[bool]) -> int:
    """Delete the rows of ``table`` for which ``condition`` holds, ``BATCH`` in a transaction; how many."""
    keys = list(table.primary_key)
    query = sa.select(*keys).where(condition).order_by(*keys).limit(BATCH)
    gone = 0
    while True:
        # Looked for without keeping anybody from writing.
        with store.snapshot() as connection:
            found = [tuple(row) for row in connection.execute(query)]
        if not found:
            return gone
        which = keys[0].in_([row[0] for row in found]) if len(keys) == 1 else sa.tuple_(*keys).in_(found)
        with store.begin() as connection:
            gone += connection.execute(sa.delete(table).where(which, condition)).rowcount


def _to_ms(at: datetime) -> int:
    return int(at.timestamp() * 1000)
