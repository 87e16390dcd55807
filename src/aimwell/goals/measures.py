"""The drivers of a company's total in a window of the workspace's own data, and how they usually vary.

Reads order_lines, products, deliveries, plans; writes nothing. Whoever's first order lies in the window is new, whoever
also bought in as many days before it is retained, the others are won back.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import numpy as np

from aimwell.core.errors import NotReady
from aimwell.core.money import to_money
from aimwell.core.text import say
from aimwell.core.time import Window
from aimwell.engine.session import Queryable
from aimwell.goals.audience import bind_members, filter_members
from aimwell.goals.company import Measure
from aimwell.goals.drivers import Node, find_value

WINDOWS = 13
"""How many windows, the baseline's included, tell how drivers usually vary."""

PARTS = ("retained", "won_back", "new")


def write_parts_sql(segment: str | None) -> str:
    """SQL of what each part of the active customers did in the window; ``$start``, ``$end``, ``$before`` bound."""
    return f"""WITH window_orders AS (
    SELECT
        l.customer_id,
        COUNT(DISTINCT l.order_id) AS orders,
        SUM(l.revenue) AS revenue,
        SUM(CASE
            WHEN p.unit_cost IS NOT NULL AND l.quantity IS NOT NULL
            THEN CAST(l.revenue AS DOUBLE) - l.quantity * CAST(p.unit_cost AS DOUBLE)
            ELSE CAST(l.revenue AS DOUBLE) * $margin_rate
        END) AS margin
    FROM order_lines AS l
    LEFT JOIN products AS p ON p.product_id = l.product_id
    WHERE l.ordered_on >= $start AND l.ordered_on < $end {filter_members(segment, "l.customer_id")}
    GROUP BY l.customer_id
),
earlier AS (
    SELECT customer_id, MAX(ordered_on) AS last_on
    FROM order_lines
    WHERE ordered_on < $start
    GROUP BY customer_id
),
placed AS (
    SELECT
        CASE
            WHEN e.last_on IS NULL THEN 'new'
            WHEN e.last_on >= $before THEN 'retained'
            ELSE 'won_back'
        END AS part,
        CASE WHEN w.orders >= 2 THEN 1 ELSE 0 END AS repeated,
        w.orders,
        w.revenue,
        w.margin
    FROM window_orders AS w
    LEFT JOIN earlier AS e ON e.customer_id = w.customer_id
)
SELECT
    part,
    repeated,
    COUNT(*) AS customers,
    SUM(orders) AS orders,
    COALESCE(SUM(revenue), 0) AS revenue,
    COALESCE(SUM(margin), 0.0) AS margin
FROM placed
GROUP BY part, repeated
ORDER BY part, repeated"""


_COSTS = """
SELECT COALESCE(SUM(d.unit_cost), 0) AS cost
FROM deliveries AS d
INNER JOIN plans AS p ON p.plan_id = d.plan_id
WHERE d.state = 'sent' AND p.as_of >= $start AND p.as_of < $end
"""


@dataclass(frozen=True)
class Part:
    """What one part of the active customers did: ``repeated``: those with two orders or more."""

    part: str
    repeated: bool
    customers: int
    orders: int
    revenue: Decimal
    margin: float


@dataclass(frozen=True)
class Activity:
    """A window's parts and what contacts cost in it (of the plans that began in it)."""

    window: Window
    parts: tuple[Part, ...]
    contact_cost: Decimal = Decimal(0)

    def count(self, what: str, part: str | None = None, *, repeated: bool | None = None) -> float:
        """The sum of ``customers``, ``orders``, ``revenue`` or ``margin`` over the parts that fit."""
        fitting = [
            row
            for row in self.parts
            if (part is None or row.part == part) and (repeated is None or row.repeated == repeated)
        ]
        return float(sum(Decimal(str(getattr(row, what))) for row in fitting))

    def total(self, measure: Measure) -> Decimal:
        """The measure's total, in cents (or whole orders)."""
        if measure == "contribution":
            return to_money(self.count("margin")) - self.contact_cost
        return to_money(sum((Decimal(getattr(row, measure)) for row in self.parts), Decimal(0)))

    def leaves(self) -> dict[str, float]:
        """The value of every driver that there is; a ratio without its denominator is 0."""
        customers, orders, revenue = (self.count(what) for what in ("customers", "orders", "revenue"))
        return {
            **{part: self.count("customers", part) for part in PARTS},
            "active": customers,
            "frequency": orders / customers if customers else 0.0,
            "order_value": revenue / orders if orders else 0.0,
            "margin_rate": self.count("margin") / revenue if revenue else 0.0,
            "contact_cost": float(self.contact_cost),
        }


@dataclass(frozen=True)
class Swing:
    """How a driver usually changes from one window to the next: root mean square, relative to its mean level.

    ``changes``: how many there were; None of them: nothing is known.
    """

    relative: float | None
    changes: int
    largest: float | None
    """The largest relative rise seen."""


def read_activity(
    reader: Queryable,
    window: Window,
    *,
    margin_rate: float,
    segment: str | None = None,
    member_day: date | None = None,
) -> Activity:
    """What happened in ``window``; of the segment's members on ``member_day`` (the window's first), if one is named."""
    values: dict[str, Any] = {
        "start": window.start,
        "end": window.end,
        "before": window.start - timedelta(days=window.days),
        "margin_rate": margin_rate,
        **bind_members(segment, member_day or window.start),
    }
    rows = reader.query(write_parts_sql(segment), values).to_pylist()
    cost = reader.query(_COSTS, {"start": window.start, "end": window.end})["cost"][0].as_py()
    parts = tuple(
        Part(
            row["part"],
            bool(row["repeated"]),
            int(row["customers"]),
            int(row["orders"]),
            to_money(row["revenue"]),
            float(row["margin"]),
        )
        for row in rows
    )
    return Activity(window, parts, to_money(cost) if segment is None else Decimal(0))


def read_period(reader: Queryable, *, with_revenue: bool = True) -> tuple[date, date]:
    """The first and the last day with orders; NotReady without orders, or without amounts where they are needed."""
    sql = "SELECT MIN(ordered_on) AS first_on, MAX(ordered_on) AS last_on, COUNT(revenue) AS paid FROM order_lines"
    row = reader.query(sql).to_pylist()[0]
    if row["first_on"] is None or (with_revenue and not row["paid"]):
        raise NotReady(
            "goals.no_orders",
            say("There are no orders with amounts to find a baseline from.")
            if with_revenue
            else say("There are no orders to find a baseline from."),
            remedy=say("Add an order file: aimwell data add FILE --as order_lines"),
            where={"table": "order_lines"},
        )
    return row["first_on"], row["last_on"]


def list_windows(newest: Window, first: date, *, most: int = WINDOWS) -> list[Window]:
    """``newest`` and the windows before it, oldest first, as far as each has a whole window of data before it."""
    found = [newest]
    while len(found) < most:
        earlier = Window.before(found[-1].start, newest.days)
        if earlier.start - timedelta(days=newest.days) < first:
            break
        found.append(earlier)
    return found[::-1]


def measure_swings(root: Node, history: Sequence[Activity]) -> dict[str, Swing]:
    """How each node of the tree usually changes between neighbouring windows, oldest first."""
    leaves = [activity.leaves() for activity in history]
    return {
        node.name: _measure_swing(np.array([find_value(node, values) for values in leaves]))
        for node in root.walk()
    }


def _measure_swing(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> Swing:
    level = float(np.abs(values).mean()) if len(values) else 0.0
    if len(values) < 2 or not level:
        return Swing(None, 0, None)
    changes = np.diff(values) / level
    rises = [later / earlier - 1 for earlier, later in itertools.pairwise(values) if earlier > 0]
    return Swing(float(np.sqrt((changes**2).mean())), len(changes), float(max(rises)) if rises else None)
