"""What people settle by hand: deliveries in doubt, deliveries that were given up; and the sum that always holds.

A delivery in doubt may have arrived. Whoever finds out (in the provider's own records, from the customer) says so:
it was sent, it was not, or it is to be tried again. Everything is audited. Reads and writes the store's
``deliveries``; reads ``journey_decisions``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from aimwell.core.errors import Conflict
from aimwell.core.text import say
from aimwell.core.time import now
from aimwell.deployment.ledger_rows import DECISION_KEY, split
from aimwell.engine import audit
from aimwell.engine.journey_tables import JOURNEY_DECISIONS
from aimwell.engine.ledger_tables import CAMPAIGNS, DELIVERIES
from aimwell.engine.permissions import take_turn
from aimwell.engine.store import Store

Finding = Literal["sent", "not_sent", "repeat"]
FINDINGS: tuple[Finding, ...] = ("sent", "not_sent", "repeat")
STATES = ("queued", "leased", "intent", "sent", "failed", "skipped", "in_doubt")
_D = DELIVERIES.c


@dataclass(frozen=True)
class Unsettled:
    """A delivery that a person may settle. No address, no name."""

    delivery_id: str
    plan_id: str
    customer_id: str
    channel: str
    reason: str | None
    attempts: int
    finished_at_ms: int | None


def list_doubt(store: Store, source: str | None = None, *, limit: int | None = None) -> list[Unsettled]:
    """Deliveries in doubt (of one source), the oldest first."""
    return _list(store, _D.state == "in_doubt", source, limit)


def list_dead(store: Store, source: str | None = None, *, limit: int | None = None) -> list[Unsettled]:
    """Dead letters: deliveries that failed for good (of one source), the oldest first."""
    return _list(store, _D.state == "failed", source, limit)


def settle_doubt(store: Store, ids: Sequence[str], finding: Finding, *, by: str) -> int:
    """Record what somebody found out; how many were in doubt. Conflict when one is not (any more): nothing changes."""
    values: dict[Finding, dict[str, Any]] = {
        "sent": {"state": "sent", "reason": None},
        "not_sent": {"state": "failed", "reason": "not_arrived"},
        "repeat": _start_again(),
    }
    return _change(store, ids, "in_doubt", values[finding], f"delivery.settled.{finding}", by)


def requeue(store: Store, ids: Sequence[str], *, by: str) -> int:
    """Try dead letters again from the beginning; Conflict when one is none, or carried a live decision.

    What such a decision had reserved was given back when its message failed: others may have it by now.
    """
    return _change(store, ids, "failed", _start_again(), "delivery.requeued", by, check=_refuse_decided)


@dataclass(frozen=True)
class Sum:
    """A source's audience, as it was wanted, and its deliveries by state. ``audience`` None: nobody counted it."""

    source: str
    audience: int | None
    states: Mapping[str, int]

    @property
    def holds(self) -> bool:
        """Whether the states are known ones and add up to the audience."""
        known = set(self.states) <= set(STATES)
        return known and self.audience in (None, sum(self.states.values()))


def check_sums(store: Store) -> list[Sum]:
    """The sum of every source, in order of their names: the audience is what is planned, sent, held or in doubt.

    A campaign whose launch broke off before all was queued does not hold: launch it again.
    """
    query = sa.select(_D.plan_id, _D.state, sa.func.count()).group_by(_D.plan_id, _D.state)
    wanted = sa.select(CAMPAIGNS.c.plan_id, CAMPAIGNS.c.audience).where(CAMPAIGNS.c.audience.is_not(None))
    with store.snapshot() as connection:
        audiences = {row.plan_id: int(row.audience) for row in connection.execute(wanted)}
        states: dict[str, dict[str, int]] = {source: {} for source in audiences}
        for source, state, rows in connection.execute(query):
            states.setdefault(source, {})[state] = int(rows)
    return [Sum(source, audiences.get(source), states[source]) for source in sorted(states)]


def _start_again() -> dict[str, Any]:
    return {
        "state": "queued",
        "reason": "requeued",
        "attempts": 0,
        "not_before_ms": 0,
        "finished_at_ms": None,
    }


def _list(
    store: Store, which: sa.ColumnElement[bool], source: str | None, limit: int | None
) -> list[Unsettled]:
    columns = [_D[name] for name in Unsettled.__dataclass_fields__]
    query = sa.select(*columns).where(which).order_by(_D.finished_at_ms, _D.delivery_id).limit(limit)
    if source is not None:
        query = query.where(_D.plan_id == source)
    with store.snapshot() as connection:
        return [Unsettled(*row) for row in connection.execute(query)]


def _refuse_decided(connection: sa.Connection, ids: Sequence[str]) -> None:
    carried = sa.select(JOURNEY_DECISIONS.c.delivery_id)
    decided = 0
    for chunk in split(ids):
        mine = _D.delivery_id.in_(list(chunk))
        rows = connection.execute(sa.select(_D.detail, _D.delivery_id.in_(carried)).where(mine))
        decided += sum(DECISION_KEY in (detail or {}) or bool(still) for detail, still in rows)
    if decided:
        raise Conflict(
            "deployment.decision_ended",
            say(
                "{count} of these messages carried a live decision, whose budget and stock were given back"
                " when they failed.",
                count=decided,
            ),
            remedy=say(
                "Leave them out: a journey decides anew when the customer comes to it again. Nothing was changed."
            ),
        )


def _change(
    store: Store,
    ids: Sequence[str],
    state: str,
    values: dict[str, Any],
    action: str,
    by: str,
    *,
    check: Callable[[sa.Connection, Sequence[str]], None] | None = None,
) -> int:
    wanted = sorted(set(ids))
    finished = {} if "finished_at_ms" in values else {"finished_at_ms": int(now().timestamp() * 1000)}
    changed = 0
    with store.begin() as connection:
        take_turn(connection)
        if check is not None:
            check(connection, wanted)
        for chunk in split(wanted):
            rows = _D.delivery_id.in_(list(chunk)) & (_D.state == state)
            update = sa.update(DELIVERIES).where(rows).values(**values, **finished)
            changed += connection.execute(update).rowcount
        if changed != len(wanted):
            raise Conflict(
                "deployment.not_unsettled",
                say(
                    "{count} of these deliveries are not in that state any more.", count=len(wanted) - changed
                ),
                remedy=say("List them again. Nothing was changed."),
            )
        audit.record(connection, action, f"{changed} deliveries", {"deliveries": wanted[:100]}, actor=by)
    return changed
