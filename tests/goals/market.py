"""A shop of a size that tells: customers with habits, a weekday profile, newcomers; all drawn with a fixed seed."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np

from aimwell.core.tables import CUSTOMERS, ORDER_LINES, SEGMENT_MEMBERS
from aimwell.engine.workspace import Workspace

FIRST = date(2025, 1, 6)
"""A Monday."""
WEEK = np.array([0.8, 0.8, 0.9, 1.0, 1.2, 1.6, 1.4])


def make_orders(
    *, customers: int = 300, days: int = 280, rate: float = 0.06, seed: int = 7
) -> list[dict[str, Any]]:
    """Order lines of ``days`` days from FIRST: each customer buys on each day with a chance of their own."""
    random = np.random.default_rng(seed)
    habit = random.gamma(2.0, rate / 2.0, customers)
    joined = np.where(np.arange(customers) % 5 == 0, random.integers(0, days, customers), 0)
    lines: list[dict[str, Any]] = []
    for day in range(days):
        bought = random.random(customers) < habit * WEEK[day % 7]
        for customer in np.flatnonzero(bought & (joined <= day)):
            on = FIRST + timedelta(days=day)
            lines.append(
                {
                    "line_id": f"l{len(lines)}",
                    "order_id": f"o{len(lines)}",
                    "customer_id": f"c{customer}",
                    "ordered_at": datetime(on.year, on.month, on.day, tzinfo=UTC),
                    "ordered_on": on,
                    "revenue": Decimal(f"{random.lognormal(3.0, 0.6):.2f}"),
                    "source": "test",
                    "simulated": False,
                }
            )
    return lines


def open_shop(
    workspace: Workspace, lines: list[dict[str, Any]], *, customers: int = 300, members: int = 0
) -> None:
    """Bring customers and orders in; the first ``members`` customers are in the segment ``friends``, from FIRST on."""
    with workspace.run("data", as_of=FIRST) as run:
        people = [{"customer_id": f"c{number}", "source": "test"} for number in range(customers)]
        run.append("customers", CUSTOMERS.build(people))
        run.append("order_lines", ORDER_LINES.build(lines))
    if members:
        with workspace.run("analysis", as_of=FIRST) as run:
            rows = [
                {
                    "segment": "friends",
                    "customer_id": f"c{number}",
                    "entered_on": FIRST,
                    "left_on": None,
                    "run_id": run.id,
                }
                for number in range(members)
            ]
            run.append("segment_members", SEGMENT_MEMBERS.build(rows))
