"""Closes live days: nothing is decided by them any more, and their decisions are handed over.

Reads and writes what ``settle`` and ``exposures`` do.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import sqlalchemy as sa

from aimwell.engine.live_tables import LIVE_PLANS
from aimwell.engine.store import Store
from aimwell.engine.workspace import Workspace
from aimwell.strategy.live.decide import LiveDecider
from aimwell.strategy.live.exposures import publish_exposures
from aimwell.strategy.live.plan import close_plan


def close_day(workspace: Workspace, plan_id: str, *, clock: Callable[[], float] = time.time) -> int:
    """Give back what nobody confirmed in time, close the day, hand its decisions over; how many there are.

    Safe to repeat: what was confirmed since is handed over then. NotReady when there is no such day.
    """
    decider = LiveDecider(workspace.store, plan_id, clock=clock)
    decider.release_expired()
    close_plan(workspace.store, plan_id)
    handed = publish_exposures(workspace, decider.plan)
    workspace.store.audit("live.closed", plan_id, {"decisions": handed})
    return handed


def list_past(store: Store, now_ms: int) -> list[str]:
    """The live days that are over and were not closed, the oldest first."""
    columns = LIVE_PLANS.c
    query = sa.select(columns.plan_id, columns.body).where(columns.closed_at.is_(None))
    with store.snapshot() as connection:
        rows = connection.execute(query.order_by(columns.day, columns.opened_turn)).all()
    return [row.plan_id for row in rows if row.body["ends_ms"] <= now_ms]
