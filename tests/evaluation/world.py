"""A small shop with a randomised plan whose true effect is known: the real engine, no mocks."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from aimwell.core.money import to_money
from aimwell.core.seeds import generator
from aimwell.core.tables import TABLES
from aimwell.core.text import say
from aimwell.engine.workspace import Workspace

START = date(2026, 3, 2)
DAYS = 28
END = START + timedelta(days=DAYS)
ACTIONS = ("fresh_20:email", "fresh_20:call")
UNIT_COSTS = {"fresh_20:email": Decimal("0.01"), "fresh_20:call": Decimal("1.50")}


@dataclass(frozen=True)
class World:
    """What the shop is like; ``effect`` is extra revenue of each treated customer who responds."""

    customers: int = 900
    control: float = 0.25
    holdout: float = 0.1
    effect: float = 30.0
    response: float = 0.3
    wave: str = "rollout"
    promised: float = 1500.0
    history_days: int = 120
    simulated: bool = True
    sent: bool = True
    margin_rate: float = 0.3
    offer_cost: float = 1.0
    seed: int = 7
    plan_id: str = "plan_a"
    spend: bool = True

    def with_(self, **changes: Any) -> World:
        return replace(self, **changes)


@dataclass(frozen=True)
class Truth:
    """Totals over the treated, as planted."""

    orders: float
    revenue: float
    contribution: float
    cost: float

    @property
    def profit(self) -> float:
        return self.contribution - self.cost


def make_workspace(folder: Path, world: World) -> tuple[Workspace, Truth]:
    """A workspace with one plan of ``world`` in it, and what the plan truly caused."""
    workspace = Workspace.create(folder, name="shop", zone="UTC", currency="USD")
    return workspace, write_plan(workspace, world)


def write_plan(workspace: Workspace, world: World) -> Truth:
    random = generator(world.seed, "world", world.plan_id)
    n = world.customers
    names = [f"c{index:05d}" for index in range(n)]
    rate = np.exp(random.normal(0.0, 0.8, n)) / 14
    tier = np.where(rate > np.quantile(rate, 0.8), "best_20", "other") if n > 1 else np.array(["other"] * n)
    draw = random.random(n)
    keep = 1 - world.holdout
    arm = np.where(
        draw < world.holdout,
        "holdout",
        np.where(draw < world.holdout + keep * world.control, "control", "treatment"),
    )
    chance = {
        "holdout": world.holdout,
        "control": keep * world.control,
        "treatment": keep * (1 - world.control),
    }
    action = np.array(ACTIONS)[random.integers(0, 2, n)]
    lines = _draw_lines(world, random, names, rate)
    extra, events, truth = _respond(world, random, names, arm, action)
    deliveries = [
        _make_delivery(world, name, str(action[index]))
        for index, name in enumerate(names)
        if arm[index] == "treatment"
    ]
    assignments = [
        {
            "plan_id": world.plan_id,
            "customer_id": name,
            "arm": str(arm[index]),
            "action_id": None if arm[index] == "holdout" else str(action[index]),
            "probability": chance[str(arm[index])],
            "stratum": str(tier[index]),
        }
        for index, name in enumerate(names)
    ]
    items = [
        {
            "plan_id": world.plan_id,
            "customer_id": name,
            "action_id": str(action[index]),
            "expected_profit": world.promised / max(1, int((arm == "treatment").sum())),
            "standard_error": 1.0,
            "expected_cost": 1.0,
            "probability": 0.5,
            "explored": False,
            "reason": say("Budget").to_json(),
        }
        for index, name in enumerate(names)
        if arm[index] != "holdout"
    ]
    with workspace.run("strategy", as_of=START) as run:
        _append(run, "plans", [_make_plan(world, n)])
        _append(run, "assignments", assignments)
        _append(run, "plan_items", items)
        _append(run, "deliveries", deliveries)
        _append(run, "order_lines", lines + extra)
        _append(run, "events", events)
        run.replace("actions", TABLES["actions"].build([_make_action(name, run.id) for name in ACTIONS]))
    return truth


def _append(run: Any, table: str, rows: list[dict[str, Any]]) -> None:
    declared = {column.name for column in TABLES[table].columns}
    marks = {"run_id": run.id} if "run_id" in declared else {}
    run.append(table, TABLES[table].build([{**row, **marks} for row in rows]) if rows else pa.table({}))


def _draw_lines(
    world: World, random: np.random.Generator, names: list[str], rate: np.ndarray
) -> list[dict[str, Any]]:
    lines = []
    if not world.spend:
        return [
            _make_line(world, "other", "o-other", START, 1.0),
            _make_line(world, "other", "o-late", END, 1.0),
        ]
    for index, name in enumerate(names):
        count = int(random.poisson(rate[index] * (world.history_days + DAYS)))
        days = random.integers(-world.history_days, DAYS, count)
        for number, day in enumerate(days):
            amount = float(np.exp(random.normal(2.5, 0.7)))
            lines.append(
                _make_line(world, name, f"o-{name}-{number}", START + timedelta(days=int(day)), amount)
            )
    # So that data reach over the whole window, whoever buys.
    return [*lines, _make_line(world, "other", "o-last", END - timedelta(days=1), 1.0)]


def _respond(
    world: World, random: np.random.Generator, names: list[str], arm: np.ndarray, action: np.ndarray
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], Truth]:
    lines, events, cost = [], [], 0.0
    for index, name in enumerate(names):
        if arm[index] != "treatment":
            continue
        cost += float(UNIT_COSTS[str(action[index])]) if world.sent else 0.0
        if random.random() >= world.response:
            continue
        day = START + timedelta(days=int(random.integers(0, DAYS)))
        lines.append(
            {**_make_line(world, name, f"x-{name}", day, world.effect), "simulated": world.simulated}
        )
        events.append(_make_redemption(world, name, day))
    revenue = world.effect * len(lines)
    contribution = revenue * world.margin_rate - world.offer_cost * len(lines)
    return lines, events, Truth(len(lines), revenue, contribution, cost)


def _make_line(world: World, customer: str, order: str, day: date, amount: float) -> dict[str, Any]:
    return {
        "line_id": f"{world.plan_id}-{order}",
        "order_id": f"{world.plan_id}-{order}",
        "customer_id": customer,
        "product_id": "p1",
        "ordered_at": datetime.combine(day, time(12), UTC),
        "ordered_on": day,
        "quantity": 1.0,
        "revenue": to_money(round(amount, 2)),
        "source": "test",
        "simulated": False,
    }


def _make_redemption(world: World, customer: str, day: date) -> dict[str, Any]:
    return {
        "event_id": f"{world.plan_id}-{customer}",
        "customer_id": customer,
        "name": "Coupon Redeemed",
        "occurred_at": datetime.combine(day, time(12), UTC),
        "occurred_on": day,
        "campaign_id": world.plan_id,
        "properties": json.dumps({"offer": "fresh_20", "cost": f"{world.offer_cost:.2f}"}),
        "source": "market",
        "simulated": world.simulated,
    }


def _make_delivery(world: World, customer: str, action: str) -> dict[str, Any]:
    return {
        "delivery_id": f"{world.plan_id}-{customer}",
        "plan_id": world.plan_id,
        "customer_id": customer,
        "action_id": action,
        "channel": action.split(":")[1],
        "state": "sent" if world.sent else "skipped",
        "attempts": 1,
        "unit_cost": UNIT_COSTS[action] if world.sent else Decimal("0.00"),
    }


def _make_plan(world: World, n: int) -> dict[str, Any]:
    return {
        "plan_id": world.plan_id,
        "goal": "round",
        "round_number": 1,
        "wave": world.wave,
        "method": "lagrangian",
        "as_of": START,
        "days": DAYS,
        "audience": n,
        "chosen": n,
        "expected_profit": world.promised,
        "expected_profit_se": 400.0,
        "cost": Decimal("100.00"),
        "fingerprint": "f",
        "simulated": world.simulated,
    }


def _make_action(name: str, run_id: str) -> dict[str, Any]:
    return {
        "action_id": name,
        "offer": "fresh_20",
        "title": say("Budget").to_json(),
        "channel": name.split(":")[1],
        "discount": 0.2,
        "unit_cost": UNIT_COSTS[name],
        "redemption_cost": Decimal("1.00"),
        "minutes": 0.0,
        "run_id": run_id,
    }
