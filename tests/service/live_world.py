"""A live day of today with some customers, whose profiles and consents stand in the store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import sqlalchemy as sa

from aimwell.engine.ledger_tables import CONSENT_STATES
from aimwell.engine.live_tables import LIVE_DECISIONS, LIVE_LIMITS
from aimwell.engine.store import Store
from aimwell.strategy.live.plan import LiveLimit, LivePlan, open_plan

DAY_MS = 86_400_000
ACTIONS = ("sms", "mail", "banner")


def open_today(
    store: Store, *, name: str = "today", people: int = 20, budget: int = 1_000, days: int = 0, **more: Any
) -> LivePlan:
    """Open the day that is ``days`` after today: three actions, a budget in cents, consent to SMS for everybody.

    It ends two hours late: a test that runs over midnight does not see it end.
    """
    begins = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=days)
    starts = int(begins.timestamp() * 1000)
    limit = LiveLimit("budget", np.ones((1, 3), dtype=np.int64), budget, 0.0, 0.0, of_cost=True, unit="cents")
    plan = LivePlan(
        name, begins.date(), starts, starts + DAY_MS + 7_200_000, ACTIONS, (limit,), "pinch",
        **{"channels": ("sms", "email", None), "hold_ms": 900_000, **more},
    )  # fmt: skip
    pairs = {"sms": [3.0, 0.5, 10, 0.0], "mail": [2.0, 0.5, 5, 0.0], "banner": [1.0, 0.5, 1, 0.0]}
    rows = [
        {"plan_id": name, "customer_id": f"c{number}", "segment": 0, "prior_contacts": 0, "pairs": pairs}
        for number in range(people)
    ]
    open_plan(store, plan, [rows])
    consents = [
        {"customer_id": f"c{number}", "channel": "sms", "allowed": True, "since_ms": 0}
        for number in range(people)
    ]
    with store.begin() as connection:
        if not connection.execute(sa.select(CONSENT_STATES.c.channel).limit(1)).first():
            connection.execute(sa.insert(CONSENT_STATES), consents)
    return plan


def read_decisions(store: Store) -> list[dict[str, Any]]:
    with store.snapshot() as connection:
        return [dict(row) for row in connection.execute(sa.select(LIVE_DECISIONS)).mappings()]


def read_used(store: Store, name: str = "today") -> int:
    with store.snapshot() as connection:
        query = sa.select(LIVE_LIMITS.c.used).where(LIVE_LIMITS.c.plan_id == name)
        return int(connection.execute(query).scalar_one())
