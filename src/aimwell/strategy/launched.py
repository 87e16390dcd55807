"""Whether a plan was launched: its arms and its test's rule must not change any more.

Reads ``deliveries`` and the store's ledger.
"""

from __future__ import annotations

import sqlalchemy as sa

from aimwell.engine.ledger_tables import DELIVERIES
from aimwell.engine.session import Queryable
from aimwell.engine.workspace import Workspace


def is_launched(workspace: Workspace, queryable: Queryable, plan_id: str) -> bool:
    """Whether anything of the plan was queued or sent."""
    sql = "SELECT plan_id FROM deliveries WHERE plan_id = $plan_id LIMIT 1"
    if queryable.query(sql, {"plan_id": plan_id}).num_rows:
        return True
    # The ledger knows first: a launch that was interrupted has not written the table yet.
    query = sa.select(DELIVERIES.c.delivery_id).where(DELIVERIES.c.plan_id == plan_id).limit(1)
    with workspace.store.begin() as connection:
        return connection.execute(query).first() is not None
