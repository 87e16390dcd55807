"""The simulated market's answer as rows of order_lines and events, every one labelled simulated."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from aimwell.core.money import to_money
from aimwell.core.seeds import generator
from aimwell.core.tables import EVENTS, ORDER_LINES
from aimwell.core.time import zone
from aimwell.loop.record import Wave
from aimwell.strategy.market import Integers, MarketActions, MarketCustomers, Responses

SIMULATED_SOURCE = "simulated_market"


@dataclass(frozen=True)
class Answer:
    """Who was reached with what, and what they did; arrays are by customer."""

    wave: Wave
    customers: MarketCustomers
    departments: list[str]
    actions: MarketActions
    action: Integers
    responses: Responses
    favourites: dict[str, str]
    seed: int
    zone_name: str

    def product_of(self, row: int) -> str | None:
        """What the customer in ``row`` buys more of: the best seller of the offer's department."""
        column = int(self.actions.department[self.action[row]])
        department = self.departments[column] if column >= 0 else ""
        return self.favourites.get(department, self.favourites.get(""))

    def offer_of(self, row: int) -> str:
        """The offer that the customer in ``row`` was sent."""
        return str(self.actions.action_id[int(self.action[row])]).split(":")[0]

    def draw_instants(self, purpose: str, count: int) -> list[datetime]:
        """``count`` opening-hour instants spread over the wave's window."""
        random = generator(self.seed, purpose, self.wave.plan_id)
        days = random.integers(0, self.wave.days, count)
        hours = random.integers(8, 21, count)
        local = zone(self.zone_name)
        return [
            datetime.combine(self.wave.as_of + timedelta(days=int(day)), time(int(hour)), tzinfo=local)
            for day, hour in zip(days, hours, strict=True)
        ]


def make_lines(answer: Answer) -> pa.Table:
    """The additional orders; revenue is split over a customer's orders to the cent."""
    orders = answer.responses.orders
    instants = iter(answer.draw_instants("order instants", int(orders.sum())))
    rows: list[dict[str, Any]] = []
    for row in np.flatnonzero(orders):
        for number, cents in enumerate(_split_cents(float(answer.responses.revenue[row]), int(orders[row]))):
            rows.append(_make_line(answer, int(row), number, cents, next(instants)))
    return ORDER_LINES.build(rows)


def make_redemptions(answer: Answer) -> pa.Table:
    """One event per redeemed offer, with what it cost."""
    redeemers = np.flatnonzero(answer.responses.redemptions)
    instants = answer.draw_instants("redemption instants", len(redeemers))
    return EVENTS.build(
        [
            _make_redemption(answer, int(row), instant)
            for row, instant in zip(redeemers, instants, strict=True)
        ]
    )


def _split_cents(revenue: float, parts: int) -> list[int]:
    cents = round(revenue * 100)
    shares = [cents // parts] * parts
    shares[0] += cents - sum(shares)
    return shares


def _make_line(answer: Answer, row: int, number: int, cents: int, instant: datetime) -> dict[str, Any]:
    order = f"sim-{answer.wave.plan_id}-{answer.customers.customer_id[row]}-{number}"
    return {
        "line_id": order,
        "order_id": order,
        "customer_id": answer.customers.customer_id[row],
        "product_id": answer.product_of(row),
        "ordered_at": instant,
        "ordered_on": instant.date(),
        "ordered_hour": instant.hour,
        "quantity": 1.0,
        "revenue": to_money(cents) / 100,
        "discount": to_money(0),
        "source": SIMULATED_SOURCE,
        "simulated": True,
    }


def _make_redemption(answer: Answer, row: int, instant: datetime) -> dict[str, Any]:
    cost = to_money(float(answer.responses.offer_cost[row]))
    return {
        "event_id": f"sim-{answer.wave.plan_id}-{answer.customers.customer_id[row]}-redeemed",
        "customer_id": answer.customers.customer_id[row],
        "name": "Coupon Redeemed",
        "occurred_at": instant,
        "occurred_on": instant.date(),
        "campaign_id": answer.wave.plan_id,
        "channel": answer.actions.channel[answer.action[row]],
        "properties": json.dumps({"offer": answer.offer_of(row), "cost": str(cost)}),
        "source": SIMULATED_SOURCE,
        "simulated": True,
    }
