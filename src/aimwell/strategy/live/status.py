"""How a live day stands: what of each limit is used, reserved and left, its pace and price; what is not kept exactly.

Reads the store's ``live_plans``, ``live_limits`` and ``live_decisions``; writes nothing.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import sqlalchemy as sa

from aimwell.core.errors import NotReady
from aimwell.core.text import Text, say
from aimwell.engine.live_tables import LIVE_DECISIONS, LIVE_PLANS
from aimwell.engine.store import Store
from aimwell.strategy.live.answer import count_shown, describe_price, find_prices
from aimwell.strategy.live.kernels import find_passed
from aimwell.strategy.live.ledger import CONFIRMED, PLAIN_STATES, RESERVED, read_used
from aimwell.strategy.live.plan import LiveLimit, LivePlan
from aimwell.strategy.live.requests import REASONS

_LOG = LIVE_DECISIONS.c


def find_live_plan(store: Store, name: str | None = None) -> str:
    """The live plan of that name, or the newest that is open, or the newest; NotReady when there is none."""
    columns = LIVE_PLANS.c
    query = sa.select(columns.plan_id).order_by(
        sa.case((columns.closed_at.is_(None), 0), else_=1), columns.day.desc(), columns.opened_turn.desc()
    )
    if name is not None:
        query = query.where(columns.plan_id == name)
    with store.snapshot() as connection:
        found = connection.execute(query.limit(1)).scalar()
    if found is None:
        problem = (
            say("No live day was opened yet.")
            if name is None
            else say("There is no live plan named '{name}'.", name=name)
        )
        raise NotReady(
            "strategy.no_live_plan",
            problem,
            remedy=say("Open one with: aimwell strategy live open"),
            where={"value": name},
        )
    return str(found)


def find_open_plan(store: Store, now_ms: int) -> str:
    """The live plan by which decisions are made at ``now_ms``, the newest of several; NotReady when there is none."""
    columns = LIVE_PLANS.c
    starts, ends = (
        sa.cast(columns.body[name].as_string(), sa.BigInteger) for name in ("starts_ms", "ends_ms")
    )
    query = (
        sa.select(columns.plan_id)
        .where(columns.closed_at.is_(None), starts <= now_ms, ends > now_ms)
        .order_by(columns.day.desc(), columns.opened_turn.desc())
    )
    with store.snapshot() as connection:
        found = connection.execute(query.limit(1)).scalar()
    if found is not None:
        return str(found)
    raise NotReady(
        "strategy.no_open_live_day",
        say("No live day is open now."),
        remedy=say("Open one with: aimwell strategy live open"),
    )


def describe_day(store: Store, plan: LivePlan, now_ms: int) -> dict[str, Any]:
    """The day's figures at ``now_ms``; texts in both languages."""
    with store.snapshot() as connection:
        row = connection.execute(sa.select(LIVE_PLANS).where(LIVE_PLANS.c.plan_id == plan.plan_id)).one()
        used = read_used(connection, plan.plan_id)
        query = (
            sa.select(_LOG.state, _LOG.reason, _LOG.segment, _LOG.action_id, sa.func.count().label("decisions"),
                      sa.func.sum(_LOG.cost_cents).label("cents"), sa.func.sum(_LOG.expected_profit).label("profit"))
            .where(_LOG.batch > row.opened_turn, _LOG.plan_id == plan.plan_id)
            .group_by(_LOG.state, _LOG.reason, _LOG.segment, _LOG.action_id)
        )  # fmt: skip
        log = connection.execute(query).all()
    prices = find_prices(plan, used, now_ms)
    passed = float(find_passed(now_ms, plan.starts_ms, plan.ends_ms, np.array(plan.rhythm)))
    states, reasons = Counter[str](), Counter[str]()
    for part in log:
        reasons[part.reason] += part.decisions
        if part.state is not None:
            states[_plain(part)] += part.decisions
    limits = [
        _describe_limit(plan, limit, int(used[place]), float(prices[place]), log, passed)
        for place, limit in enumerate(plan.limits)
    ]
    return {
        "plan_id": plan.plan_id,
        "source": plan.source,
        "day": plan.day.isoformat(),
        "state": _find_state(plan, row.closed_at is not None, now_ms),
        "passed": passed,
        "decisions": sum(reasons.values()),
        "with_action": sum(states.values()),
        "states": {name: states[name] for name in ("reserved", "confirmed", "cancelled", "expired")},
        "reasons": [
            {"reason": code, "title": REASONS[code].both(), "decisions": reasons[code]}
            for code in REASONS
            if reasons[code]
        ],
        "expected_profit": sum(part.profit for part in log if _plain(part) in (RESERVED, CONFIRMED)),
        "limits": limits,
        "notices": [text.both() for text in list_notices(plan)],
    }


def list_notices(plan: LivePlan) -> tuple[Text, ...]:
    """What is kept exactly, and what is not."""
    told = [say("Limits of at most, stock and contact caps are kept exactly, by all processes together.")]
    told += [Text.from_json(packed) for packed in plan.notices]
    if plan.hold_ms is not None:
        told.append(
            say(
                "What is not confirmed within {seconds} seconds is given back; shown later, it counts only if there "
                "is still room.",
                seconds=plan.hold_ms // 1000,
            )
        )
    return tuple(told)


def _plain(part: Any) -> str:
    state: str = part.state
    return PLAIN_STATES.get(state, state)


def _find_state(plan: LivePlan, closed: bool, now_ms: int) -> str:
    if closed:
        return "closed"
    if now_ms < plan.starts_ms:
        return "not_begun"
    return "over" if now_ms >= plan.ends_ms else "open"


def _describe_limit(
    plan: LivePlan, limit: LiveLimit, used: int, price: float, log: Any, passed: float
) -> dict[str, Any]:
    scale = count_shown(limit)
    held = Counter[str]()
    for part in log:
        if _plain(part) in (RESERVED, CONFIRMED):
            each = int(limit.table[part.segment, plan.actions.index(part.action_id)])
            held[_plain(part)] += each * int(part.cents if limit.of_cost else part.decisions)
    share = used / limit.bound if limit.bound else None
    return {
        **describe_price(limit, price),
        "sense": limit.sense,
        "exact": limit.sense == "at_most",
        "limit": limit.bound / scale,
        "used": used / scale,
        "reserved": held[RESERVED] / scale,
        # What an erased customer used stays used, although nobody knows any more by whom.
        "kept": (used - held[RESERVED]) / scale,
        "left": max(0, limit.bound - used) / scale,
        "share_used": share,
        "ahead": None if share is None else share - passed,
    }
