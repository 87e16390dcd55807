"""A small shop whose truth is known: departments with tastes, customers with rates, and a randomised plan."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from aimwell.core.tables import (
    ACTIONS,
    ASSIGNMENTS,
    CUSTOMERS,
    ORDER_LINES,
    OUTCOMES,
    PLAN_ITEMS,
    PLANS,
    PRODUCTS,
    Table,
)
from aimwell.core.text import say
from aimwell.engine.workspace import Workspace

START = date(2024, 1, 1)
DAY = date(2024, 9, 1)
DEPARTMENTS = ("BAKERY", "DAIRY", "MEAT")


def make_shop(
    folder: Path,
    *,
    customers: int = 320,
    days: int = 244,
    departments: bool = True,
    revenue: bool = True,
    seed: int = 1,
) -> Workspace:
    random = np.random.default_rng(seed)
    workspace = Workspace.create(folder, name="shop", zone="UTC", currency="EUR")
    names = [f"c{number:04d}" for number in range(customers)]
    rates = random.gamma(1.5, 0.06, customers)
    tastes = random.dirichlet([1.0, 1.0, 1.0], customers)
    lines = []
    first = DAY - timedelta(days=days)
    for who, name in enumerate(names):
        for day in np.flatnonzero(random.random(days) < rates[who]):
            for number in range(1 + int(random.poisson(1.0))):
                department = int(random.choice(3, p=tastes[who]))
                product = f"{DEPARTMENTS[department]}{random.integers(0, 6)}"
                lines.append(
                    (name, first + timedelta(days=int(day)), number, product, float(random.gamma(3.0, 4.0)))
                )
    with workspace.run("data", as_of=DAY) as run:
        run.replace("customers", _make_customers(names))
        run.append("order_lines", _make_lines(lines, revenue))
        if departments:
            run.replace("products", _make_products())
    return workspace


def add_experiment(
    workspace: Workspace, *, effect: float = 4.0, customers: int = 300, seed: int = 2, noise: float = 2.0
) -> None:
    """A finished pilot: two offers × two channels at random, three quarters treated."""
    random = np.random.default_rng(seed)
    actions = [(f"{o}:{c}", o, c, d) for o, d in (("all", None), ("meat", "MEAT")) for c in ("email", "sms")]
    title = say("Action").to_json()
    with workspace.read() as reader:
        names = reader.query("SELECT customer_id FROM customers ORDER BY customer_id").column(0).to_pylist()
    names = names[:customers]
    treated = random.random(len(names)) < 0.75
    chosen = random.integers(0, len(actions), len(names))
    before = random.gamma(2.0, 10.0, len(names))
    after = before + random.normal(0, noise, len(names)) + treated * effect
    with workspace.run("strategy", as_of=DAY - timedelta(days=28)) as run:
        run.replace("actions", _build(ACTIONS, [_make_action(*action, title) for action in actions]))
        run.append("plans", _build(PLANS, [_make_plan(len(names))]))
        rows = list(zip(names, chosen, treated, before, after, strict=True))
        run.append(
            "plan_items",
            _build(
                PLAN_ITEMS,
                [
                    {
                        "plan_id": "p1",
                        "customer_id": name,
                        "action_id": actions[place][0],
                        "expected_profit": 0.0,
                        "standard_error": 0.0,
                        "expected_cost": 0.0,
                        "probability": 0.25,
                        "explored": False,
                        "reason": title,
                        "run_id": run.id,
                    }
                    for name, place, *_ in rows
                ],
            ),
        )
        run.append(
            "assignments",
            _build(
                ASSIGNMENTS,
                [
                    {
                        "plan_id": "p1",
                        "customer_id": name,
                        "arm": "treatment" if arm else "control",
                        "action_id": actions[place][0],
                        "probability": 0.75 if arm else 0.25,
                        "stratum": "all",
                        "run_id": run.id,
                    }
                    for name, place, arm, *_ in rows
                ],
            ),
        )
        run.append(
            "outcomes",
            _build(
                OUTCOMES,
                [
                    {
                        "plan_id": "p1",
                        "customer_id": name,
                        "orders": 2.0,
                        "revenue": late * 3,
                        "contribution": late,
                        "redeemed": float(arm and place > 1),
                        "orders_before": 2.0,
                        "revenue_before": early * 3,
                        "contribution_before": early,
                        "simulated": True,
                        "run_id": run.id,
                    }
                    for name, place, arm, early, late in rows
                ],
            ),
        )


def _build(table: Table, rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=table.schema)


def _make_action(
    action: str, offer: str, channel: str, department: str | None, title: str
) -> dict[str, object]:
    return {
        "action_id": action,
        "offer": offer,
        "title": title,
        "channel": channel,
        "department": department,
        "discount": 0.2,
        "unit_cost": Decimal("0.05"),
        "redemption_cost": Decimal("2.00"),
        "minutes": 0.0,
        "rule": None,
        "run_id": "r",
    }


def _make_plan(audience: int) -> dict[str, object]:
    return {
        "plan_id": "p1",
        "goal": "g",
        "round_number": 1,
        "wave": "pilot",
        "method": "randomised",
        "as_of": DAY - timedelta(days=28),
        "days": 28,
        "audience": audience,
        "chosen": audience,
        "expected_profit": 0.0,
        "expected_profit_se": 0.0,
        "upper_bound": None,
        "gap": None,
        "cost": Decimal("1.00"),
        "fingerprint": "x",
        "simulated": True,
        "run_id": "r",
    }


def _make_customers(names: list[str]) -> pa.Table:
    return _build(
        CUSTOMERS, [{"customer_id": name, "email": f"{name}@example.com", "source": "test"} for name in names]
    )


def _make_products() -> pa.Table:
    return _build(
        PRODUCTS,
        [
            {
                "product_id": f"{name}{number}",
                "department": name,
                "unit_cost": Decimal("1.00"),
                "source": "test",
            }
            for name in DEPARTMENTS
            for number in range(6)
        ],
    )


def _make_lines(lines: list[tuple[str, date, int, str, float]], revenue: bool) -> pa.Table:
    return _build(
        ORDER_LINES,
        [
            {
                "line_id": f"{name}-{day}-{number}",
                "order_id": f"{name}-{day}",
                "customer_id": name,
                "product_id": product,
                "ordered_at": datetime(day.year, day.month, day.day, tzinfo=UTC),
                "ordered_on": day,
                "quantity": 1.0,
                "revenue": Decimal(str(round(amount, 2))) if revenue else None,
                "discount": Decimal("0.50"),
                "source": "test",
                "simulated": False,
            }
            for name, day, number, product, amount in lines
        ],
    )
