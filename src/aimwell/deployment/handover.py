"""What deployment hands to the other steps: the ledger as ``deliveries``, and 'Message Sent' as ``events``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from aimwell.core.tables import CHANNELS, DELIVERIES, EVENTS
from aimwell.core.time import business_day, now, zone
from aimwell.deployment.audience import OUR_SOURCE
from aimwell.engine.ledger_tables import DELIVERIES as LEDGER
from aimwell.engine.workspace import Run, Workspace

_FINAL = ("sent", "failed", "skipped", "in_doubt")
_REPLAYED_AT = time(10, 0)


class Handover:
    """Brings the warehouse up to date with what the ledger finished meanwhile; costs one count when nothing was."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._known: dict[str, int] | None = None

    def step(self) -> int:
        """How many deliveries the warehouse now has, if anything changed; else 0."""
        query = sa.select(LEDGER.c.state, sa.func.count()).group_by(LEDGER.c.state)
        with self._workspace.store.snapshot() as connection:
            counts = {state: int(rows) for state, rows in connection.execute(query) if state in _FINAL}
            if counts == self._known:
                return 0
            rows = [dict(row._mapping) for row in connection.execute(sa.select(LEDGER))]
        zone_name = self._workspace.settings.business.zone
        with self._workspace.run("deployment", as_of=business_day(now(), zone_name)) as run:
            write_tables(run, rows, zone_name=zone_name)
        self._known = counts
        return len(rows)


def write_tables(run: Run, rows: Sequence[Mapping[str, Any]], *, zone_name: str) -> None:
    """Replace ``deliveries`` by the whole ledger, and append the events that are not there yet.

    Test sends are nobody's contact, and channels that no action can have are told by their own tables: both stay out.
    """
    rows = [row for row in rows if row["purpose"] != "test" and row["channel"] in CHANNELS]
    run.replace("deliveries", DELIVERIES.build([_build_delivery(row, run.id, zone_name) for row in rows]))
    known = set(_list_known(run))
    sent = [row for row in rows if row["state"] == "sent" and _identify_event(row) not in known]
    if sent:
        run.append("events", EVENTS.build([_build_event(row, zone_name) for row in sent]))


def place_in_time(contact_on: date, finished_at_ms: int, zone_name: str) -> datetime:
    """The instant of a contact in the plan's own time.

    A wave that is sent on its day keeps the true instant. One that is replayed (past data, or sent over more than a
    day) is filed at ten in the morning of its day, so that nothing falls outside the window that it opens.
    """
    instant = datetime.fromtimestamp(finished_at_ms / 1000, UTC)
    if business_day(instant, zone_name) == contact_on:
        return instant
    return datetime.combine(contact_on, _REPLAYED_AT, zone(zone_name)).astimezone(UTC)


def _list_known(run: Run) -> list[str]:
    sql = "SELECT event_id FROM events WHERE name = 'Message Sent' AND source = $ours"
    found: pa.Table = run.query(sql, {"ours": OUR_SOURCE})
    names: list[str] = found["event_id"].to_pylist()
    return names


def _identify_event(row: Mapping[str, Any]) -> str:
    return f"sent:{row['delivery_id']}"


def _build_delivery(row: Mapping[str, Any], run_id: str, zone_name: str) -> dict[str, Any]:
    finished = row["finished_at_ms"]
    return {
        "delivery_id": row["delivery_id"],
        "plan_id": row["plan_id"],
        "customer_id": row["customer_id"],
        "action_id": row["action_id"],
        "channel": row["channel"],
        "state": row["state"],
        "reason": row["reason"],
        "attempts": row["attempts"],
        "unit_cost": Decimal(row["unit_cost_cents"] if row["state"] == "sent" else 0) / 100,
        "finished_at": None if finished is None else place_in_time(row["contact_on"], finished, zone_name),
        "run_id": run_id,
    }


def _build_event(row: Mapping[str, Any], zone_name: str) -> dict[str, Any]:
    occurred_at = place_in_time(row["contact_on"], row["finished_at_ms"], zone_name)
    return {
        "event_id": _identify_event(row),
        "customer_id": row["customer_id"],
        "name": "Message Sent",
        "occurred_at": occurred_at,
        "occurred_on": business_day(occurred_at, zone_name),
        "campaign_id": row["plan_id"],
        "channel": row["channel"],
        "source": OUR_SOURCE,
        "simulated": False,
    }
