"""Offers proposed from the data: the departments with the widest reach, at a depth that leaves margin.

Reads ``order_lines`` and ``products``; writes nothing (``actions`` are written by the step). The rules:

- A department is a candidate when its margin is known to leave room for a discount, or unknown (then the
  business's margin rate stands in), and when it is not a residue or pass-through (fuel, miscellaneous, coupons,
  gift cards, postage, tobacco). Without departments, categories stand in, then single products.
- The three with the most customers in the last 365 days are taken, and one offer on everything.
- Depth: the median discount of discounted lines, at most two thirds of the margin rate, in steps of 5 points.
- ``redemption_cost``: depth × the median spend on the department in a basket.
- Stock: a fifth of the department's baskets of the last 28 days (or the known stock, if less) can be given away.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

from aimwell.core.money import to_money
from aimwell.core.text import Text, say
from aimwell.engine.session import Queryable

OFFERS = 3
EXCLUDED = "fuel|gas|misc|coupon|coup/|gift|postage|tobacco|cigarette|lottery|deposit|charit|unknown"
STEP = 5
LEAST_DEPTH, GREATEST_DEPTH, USUAL_DEPTH = 5, 50, 15
STOCK_SHARE = 0.2
SHORT = 40

GROUPINGS = ("department", "category", "product")

REACH_SQL = """
WITH lines AS (
    SELECT
        {grouping} AS grouping,
        order_lines.customer_id,
        order_lines.order_id,
        order_lines.ordered_on,
        CAST(order_lines.revenue AS DOUBLE) AS revenue,
        CAST(COALESCE(order_lines.discount, 0) AS DOUBLE) AS discount,
        CASE WHEN products.unit_cost IS NULL OR order_lines.quantity IS NULL THEN NULL
             ELSE CAST(order_lines.revenue AS DOUBLE)
                  - order_lines.quantity * CAST(products.unit_cost AS DOUBLE) END AS margin,
        CASE WHEN products.unit_cost IS NULL OR order_lines.quantity IS NULL THEN 0
             ELSE CAST(order_lines.revenue AS DOUBLE) END AS costed_revenue
    FROM order_lines
    LEFT JOIN products ON products.product_id = order_lines.product_id
    WHERE order_lines.ordered_on >= $since AND order_lines.ordered_on < $as_of
      AND order_lines.revenue > 0
),
baskets AS (
    SELECT grouping, order_id, SUM(revenue) AS spend, MAX(ordered_on) AS ordered_on
    FROM lines
    WHERE grouping IS NOT NULL
    GROUP BY grouping, order_id
),
spending AS (
    SELECT
        grouping,
        MEDIAN(spend) AS median_spend,
        SUM(CASE WHEN ordered_on >= $recent THEN 1 ELSE 0 END) AS recent_baskets
    FROM baskets
    GROUP BY grouping
),
reach AS (
    SELECT
        grouping,
        COUNT(DISTINCT customer_id) AS customers,
        MEDIAN(CASE WHEN discount > 0 THEN discount / (revenue + discount) END) AS depth,
        SUM(margin) AS margin,
        SUM(costed_revenue) AS costed_revenue
    FROM lines
    WHERE grouping IS NOT NULL
    GROUP BY grouping
)
SELECT
    reach.grouping, reach.customers, reach.depth, reach.margin, reach.costed_revenue,
    spending.median_spend, spending.recent_baskets
FROM reach
JOIN spending ON spending.grouping = reach.grouping
ORDER BY reach.customers DESC, reach.grouping
LIMIT 200
"""
BASKETS_SQL = """
SELECT {grouping} AS grouping, COUNT(DISTINCT order_lines.order_id) AS baskets
FROM order_lines
LEFT JOIN products ON products.product_id = order_lines.product_id
WHERE order_lines.ordered_on >= $recent AND order_lines.ordered_on < $as_of AND order_lines.revenue > 0
  AND {grouping} IS NOT NULL
GROUP BY {grouping}
"""
STOCK_SQL = """
SELECT {grouping} AS grouping, SUM(stock) AS stock
FROM products
WHERE stock IS NOT NULL AND {grouping} IS NOT NULL
GROUP BY {grouping}
"""


@dataclass(frozen=True)
class Offer:
    """What is proposed to customers, whatever the channel."""

    name: str
    title: Text
    department: str | None
    """What it is about (a department, else a category or product); None: everything."""
    discount: float
    redemption_cost: Decimal
    stock: int | None
    """How many can be given away; None: no limit."""


def propose_offers(queryable: Queryable, *, as_of: date, margin_rate: float) -> tuple[Offer, ...]:
    """Up to three offers on what most customers buy, and one on everything; empty when nothing was ever sold."""
    overall = measure_reach(queryable, "'everything'", as_of)
    if not overall:
        return ()
    found: list[Offer] = []
    taken: set[str] = set()
    for row, stock in _find_candidates(queryable, as_of):
        offer = _make_offer(row, stock, margin_rate)
        if offer is not None and offer.name not in taken:
            found.append(offer)
            taken.add(offer.name)
        if len(found) == OFFERS:
            break
    return (*found, _make_everything(overall[0], margin_rate))


def measure_stock(queryable: Queryable, offers: Mapping[str, str | None], *, as_of: date) -> dict[str, int]:
    """How many of each offer (name → department) can be given away now, by the rule above."""
    limits: dict[str, int] = {}
    baskets = _count_baskets(queryable, "'everything'", as_of)
    limits.update(
        {name: _share_out(baskets.get("everything", 0), None) for name, d in offers.items() if d is None}
    )
    wanted = {name: department for name, department in offers.items() if department is not None}
    for grouping in GROUPINGS:
        if not wanted:
            break
        expression, column = _name_columns(grouping)
        baskets = _count_baskets(queryable, expression, as_of)
        if set(wanted.values()) & set(baskets):
            stock = _read_stock(queryable, column)
            for name, department in wanted.items():
                limits[name] = _share_out(baskets.get(department, 0), stock.get(department))
            break
    return limits


def _count_baskets(queryable: Queryable, expression: str, as_of: date) -> dict[str, int]:
    sql = BASKETS_SQL.format(grouping=expression)
    rows = queryable.query(sql, {"as_of": as_of, "recent": as_of - timedelta(days=28)}).to_pylist()
    return {row["grouping"]: int(row["baskets"]) for row in rows}


def _read_stock(queryable: Queryable, column: str) -> dict[str, int]:
    rows = queryable.query(STOCK_SQL.format(grouping=column)).to_pylist()
    return {row["grouping"]: int(row["stock"]) for row in rows}


def _name_columns(grouping: str) -> tuple[str, str]:
    """The SQL expression over order lines and products, and the column of ``products``."""
    return (
        ("order_lines.product_id", "product_id")
        if grouping == "product"
        else (f"products.{grouping}", grouping)
    )


def list_departments(queryable: Queryable) -> frozenset[str]:
    """Whatever an offer can be about: departments, categories and products."""
    found: set[str] = set()
    for grouping in GROUPINGS:
        column = _name_columns(grouping)[1]
        rows = queryable.query(f"SELECT DISTINCT {column} AS name FROM products WHERE {column} IS NOT NULL")
        found.update(rows["name"].to_pylist())
    return frozenset(found)


def measure_reach(queryable: Queryable, grouping: str, as_of: date) -> list[dict[str, Any]]:
    """Customers, discounts, margin and baskets of the last 365 days by ``grouping`` (an SQL expression)."""
    sql = REACH_SQL.format(grouping=grouping)
    parameters = {"as_of": as_of, "since": as_of - timedelta(days=365), "recent": as_of - timedelta(days=28)}
    rows: list[dict[str, Any]] = queryable.query(sql, parameters).to_pylist()
    return rows


def _find_candidates(queryable: Queryable, as_of: date) -> list[tuple[dict[str, Any], int | None]]:
    for grouping in GROUPINGS:
        expression, column = _name_columns(grouping)
        rows = measure_reach(queryable, expression, as_of)
        wanted = [row for row in rows if not re.search(EXCLUDED, str(row["grouping"]), re.IGNORECASE)]
        if wanted:
            stock = _read_stock(queryable, column)
            return [(row, stock.get(row["grouping"])) for row in wanted]
    return []


def _make_offer(row: Mapping[str, Any], stock: int | None, margin_rate: float) -> Offer | None:
    depth = choose_depth(row["depth"], _rate_margin(row, margin_rate))
    if depth is None:
        return None
    name = str(row["grouping"])
    return Offer(
        name=f"{_slug(name)}_{depth}",
        title=say("{percent} % off {department}", percent=depth, department=name.strip()),
        department=name,
        discount=depth / 100,
        redemption_cost=to_money(float(row["median_spend"]) * depth / 100),
        stock=_share_out(int(row["recent_baskets"] or 0), stock),
    )


def _make_everything(row: Mapping[str, Any], margin_rate: float) -> Offer:
    depth = choose_depth(row["depth"], _rate_margin(row, margin_rate)) or LEAST_DEPTH
    # On the whole basket half of the usual depth is as large a gift.
    depth = max(LEAST_DEPTH, depth // 2 // STEP * STEP)
    return Offer(
        name=f"everything_{depth}",
        title=say("{percent} % off everything", percent=depth),
        department=None,
        discount=depth / 100,
        redemption_cost=to_money(float(row["median_spend"]) * depth / 100),
        stock=_share_out(int(row["recent_baskets"] or 0), None),
    )


def choose_depth(historical: float | None, margin: float) -> int | None:
    """The discount in per cent, in steps of 5; None when the margin leaves no room for the smallest."""
    greatest = min(GREATEST_DEPTH, int(margin * 200 / 3 / STEP) * STEP)
    if greatest < LEAST_DEPTH:
        return None
    wanted = USUAL_DEPTH if historical is None else round(historical * 100 / STEP) * STEP
    return int(min(greatest, max(LEAST_DEPTH, wanted)))


def _rate_margin(row: Mapping[str, Any], margin_rate: float) -> float:
    if row["margin"] is None or not row["costed_revenue"]:
        return margin_rate
    return float(row["margin"]) / float(row["costed_revenue"])


def _share_out(baskets: int, stock: int | None) -> int:
    usual = int(STOCK_SHARE * baskets)
    return usual if stock is None else min(usual, max(0, stock))


def _slug(name: str) -> str:
    return re.sub(r"\W+", "_", name.strip().lower()).strip("_")[:SHORT] or "offer"
