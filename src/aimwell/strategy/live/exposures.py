"""Live decisions for whoever learns from them: the log of a day as the warehouse's ``exposures``, contacts as events.

A decision's probability is exact, given all decisions before it: any other policy can be valued from these rows, those
without an action included. What was not shown says so by its state. Writing a day again replaces it.

Reads the store's ``live_decisions`` and ``live_plans``; writes ``exposures`` and ``events`` ('Message Sent').
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import sqlalchemy as sa

from aimwell.core.tables import EVENTS, EXPOSURES
from aimwell.core.time import business_day
from aimwell.engine.live_tables import LIVE_DECISIONS, LIVE_PLANS
from aimwell.engine.workspace import Run, Workspace
from aimwell.strategy.live.ledger import CONFIRMED, PLAIN_STATES
from aimwell.strategy.live.opening import OURS
from aimwell.strategy.live.plan import LivePlan

_LOG = LIVE_DECISIONS.c
_SOME = 50_000
KNOWN_SQL = """
SELECT event_id FROM events WHERE name = 'Message Sent' AND source = $ours AND campaign_id = $plan_id
"""


def publish_exposures(workspace: Workspace, plan: LivePlan) -> int:
    """Bring the warehouse up to date with the day's log; how many decisions there are."""
    zone_name = workspace.settings.business.zone
    parameters = {"live_plan": plan.plan_id}
    with workspace.run("strategy", as_of=plan.day, parameters=parameters) as run:
        exposures, events = [], []
        known = {
            row["event_id"]
            for row in run.query(KNOWN_SQL, {"ours": OURS, "plan_id": plan.plan_id}).to_pylist()
        }
        channels = dict(zip(plan.actions, plan.channels or (None,) * len(plan.actions), strict=True))
        for rows in _read_log(workspace, plan):
            exposures.append(EXPOSURES.build([_build_exposure(row, run, zone_name) for row in rows]))
            # What a delivery carried is told by the ledger.
            shown = [row for row in rows if row.state == CONFIRMED and channels[row.action_id] is not None]
            fresh = [row for row in shown if _name_event(row) not in known]
            if fresh:
                events.append(
                    EVENTS.build([_build_event(row, channels[row.action_id], zone_name) for row in fresh])
                )
        table = _with_erased(run, plan, pa.concat_tables(exposures) if exposures else EXPOSURES.build([]))
        run.put("exposures", table, column="plan_id", value=plan.plan_id)
        if events:
            run.append("events", pa.concat_tables(events))
    return int(table.num_rows)


def _with_erased(run: Run, plan: LivePlan, table: pa.Table) -> pa.Table:
    """The same with what the warehouse keeps of people who were erased from the log since."""
    kept = run.query("SELECT * FROM exposures WHERE plan_id = $plan_id", {"plan_id": plan.plan_id})
    gone = pc.invert(pc.is_in(kept["request_id"], value_set=table["request_id"].combine_chunks()))
    return pa.concat_tables([table, kept.filter(gone).select(table.column_names).cast(table.schema)])


def _read_log(workspace: Workspace, plan: LivePlan) -> Iterator[Sequence[Any]]:
    opened = sa.select(LIVE_PLANS.c.opened_turn).where(LIVE_PLANS.c.plan_id == plan.plan_id).scalar_subquery()
    query = (
        sa.select(LIVE_DECISIONS)
        .where(_LOG.plan_id == plan.plan_id, _LOG.batch > opened)
        .order_by(_LOG.batch, _LOG.place)
    )
    with workspace.store.snapshot() as connection:
        yield from connection.execute(query).partitions(_SOME)


def _build_exposure(row: Any, run: Run, zone_name: str) -> dict[str, Any]:
    decided = datetime.fromtimestamp(row.at_ms / 1000, UTC)
    return {
        "plan_id": row.plan_id,
        "request_id": row.request_id,
        "customer_id": row.customer_id,
        "decided_at": decided,
        "decided_on": business_day(decided, zone_name),
        "action_id": row.action_id,
        "probability": row.probability,
        "choices": row.choices,
        "reason": row.reason,
        "expected_profit": row.expected_profit,
        "cost": Decimal(row.cost_cents) / 100,
        "state": PLAIN_STATES.get(row.state, row.state),
        "run_id": run.id,
    }


def _name_event(row: Any) -> str:
    return f"live:{row.plan_id}:{row.request_id}"


def _build_event(row: Any, channel: str | None, zone_name: str) -> dict[str, Any]:
    occurred = datetime.fromtimestamp(row.at_ms / 1000, UTC)
    return {
        "event_id": _name_event(row),
        "customer_id": row.customer_id,
        "name": "Message Sent",
        "occurred_at": occurred,
        "occurred_on": business_day(occurred, zone_name),
        "campaign_id": row.plan_id,
        "channel": channel,
        "source": OURS,
        "simulated": False,
    }
