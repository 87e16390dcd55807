"""Small live plans and their customers, and what the store holds after they were decided."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sa

from aimwell.engine.live_tables import LIVE_DECISIONS, LIVE_LIMITS
from aimwell.engine.store import Store
from aimwell.strategy.large.instance import Instance
from aimwell.strategy.live.decide import LiveDecider
from aimwell.strategy.live.plan import LiveLimit, LivePlan, open_plan
from aimwell.strategy.live.requests import Context, Request

DAY = date(2026, 3, 2)
DAY_MS = 86_400_000
ACTIONS = ("sms", "mail", "banner")


def make_limit(name: str, each: list[int], bound: int, **more: Any) -> LiveLimit:
    """A limit for one segment, without a price unless told."""
    return LiveLimit(name, np.array([each], dtype=np.int64), bound, **{"price": 0.0, "gain": 0.0, **more})


def make_plan(plan_id: str = "monday", **more: Any) -> LivePlan:
    """A day of 24 hours from the epoch on, without limits unless told."""
    usual = {"day": DAY, "starts_ms": 0, "ends_ms": DAY_MS, "actions": ACTIONS, "limits": (), "salt": "pinch"}
    return LivePlan(plan_id, **{**usual, **more})


def ask(
    request: str,
    customer: str,
    values: list[float] | None = None,
    costs: list[int] | None = None,
    *,
    at_ms: int = DAY_MS // 2,
    segment: int = 0,
) -> Request:
    """One customer who comes."""
    return customer, Context(
        request, np.array(values or [3.0, 2.0, 1.0]), np.array(costs or [10, 5, 1]), segment, at_ms
    )


@contextmanager
def open_store(folder: Path) -> Iterator[Store]:
    store = Store.open_file(folder / "store.sqlite")
    try:
        yield store
    finally:
        store.close()


def read_log(store: Store, plan_id: str = "monday") -> list[dict[str, Any]]:
    """The plan's decisions in the order in which they were decided."""
    columns = LIVE_DECISIONS.c
    query = sa.select(LIVE_DECISIONS).where(columns.plan_id == plan_id).order_by(columns.batch, columns.place)
    with store.begin() as connection:
        return [dict(row) for row in connection.execute(query).mappings()]


def read_counters(store: Store, plan_id: str = "monday") -> dict[str, tuple[int, int]]:
    """Of each limit what is used, and its bound."""
    with store.begin() as connection:
        rows = connection.execute(sa.select(LIVE_LIMITS).where(LIVE_LIMITS.c.plan_id == plan_id)).all()
    return {row.name: (row.used, row.bound) for row in rows}


def count_use(plan: LivePlan, log: list[dict[str, Any]]) -> dict[str, int]:
    """What the log's decisions take of each limit, counted anew, without what was given back."""
    total = {limit.name: 0 for limit in plan.limits}
    for row in log:
        if row["state"] not in ("reserved", "confirmed"):
            continue
        action = plan.actions.index(row["action_id"])
        for limit in plan.limits:
            each = int(limit.table[row["segment"], action])
            total[limit.name] += each * (row["cost_cents"] if limit.of_cost else 1)
    return total


def check_books(store: Store, plan: LivePlan) -> list[dict[str, Any]]:
    """The log, whose sums are the counters, none of which is broken, and which has every request once."""
    log, counters = read_log(store, plan.plan_id), read_counters(store, plan.plan_id)
    assert {name: used for name, (used, _) in counters.items()} == count_use(plan, log)
    for limit in plan.limits:
        assert limit.sense == "at_least" or counters[limit.name][0] <= limit.bound
    assert len({row["request_id"] for row in log}) == len(log)
    return log


def list_requests(instance: Instance, order: np.ndarray, at: np.ndarray, *, prefix: str) -> list[Request]:
    """An instance's customers in this order, at these instants; ``prefix`` tells these requests from others."""
    assert instance.cost is not None
    value, cost = instance.value[order].astype(float), instance.cost[order].astype(np.int64)
    segment, times = instance.segment[order].tolist(), at.tolist()
    return [
        (f"c{who}", Context(f"{prefix}:{who}", value[place], cost[place], segment[place], times[place]))
        for place, who in enumerate(order.tolist())
    ]


def work(url: str, plan_id: str, requests: list[Request], together: int) -> list[tuple[Any, ...]]:
    """What one process does: decide ``requests``, so many at a time; its answers."""
    store = Store(url)
    decider = LiveDecider(store, plan_id)
    answers: list[tuple[Any, ...]] = []
    for start in range(0, len(requests), together):
        for answer in decider.decide_together(requests[start : start + together]):
            assert isinstance(answer, tuple), answer
            answers.append(tuple(answer))
    store.close()
    return answers


def work_until_killed(url: str, plan_id: str, requests: list[Request], path: str) -> None:
    """Decide one by one, and write each request id down once it was answered; the last is never asked."""
    store = Store(url)
    with LiveDecider(store, plan_id) as decider, Path(path).open("w", encoding="utf-8") as file:
        for customer, context in requests[:-1]:
            decision = decider.decide(customer, context)
            file.write(f"{decision.request_id} {decision.action_id}\n")
            file.flush()
        # However late the kill comes, it comes before the end.
        threading.Event().wait()


def keep(store: Store, plan: LivePlan) -> LivePlan:
    open_plan(store, plan)
    return plan
