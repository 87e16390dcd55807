"""What the simulated market needs to know of the workspace.

Reads customers, order_lines, products, events, actions, deliveries; writes nothing.
"""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np

from aimwell.engine.session import Queryable
from aimwell.strategy.market import Integers, MarketActions, MarketCustomers

FATIGUE_DAYS = 14
"""Contacts older than this tire nobody, in the imagined market."""

_FEATURES = """
WITH recent AS (
    SELECT l.customer_id, COALESCE(p.department, '') AS department, SUM(CAST(l.revenue AS DOUBLE)) AS revenue
    FROM order_lines AS l
    LEFT JOIN products AS p ON p.product_id = l.product_id
    WHERE l.ordered_on >= $recent_from AND l.ordered_on < $as_of
    GROUP BY l.customer_id, COALESCE(p.department, '')
)
SELECT customer_id, department, revenue FROM recent
"""
_PEOPLE = """
WITH lines AS (
    SELECT
        customer_id,
        SUM(CAST(revenue AS DOUBLE)) AS revenue,
        SUM(CAST(COALESCE(discount, 0) AS DOUBLE)) AS discount,
        COUNT(DISTINCT order_id) AS orders,
        MAX(ordered_on) AS last_on
    FROM order_lines
    WHERE ordered_on < $as_of
    GROUP BY customer_id
),
touches AS (
    SELECT customer_id, COUNT(*) AS touches
    FROM events
    WHERE name = 'Message Sent' AND occurred_on >= $touched_from AND occurred_on < $as_of
    GROUP BY customer_id
)
SELECT
    c.customer_id,
    CASE WHEN l.revenue + l.discount > 0 THEN l.discount / (l.revenue + l.discount) ELSE 0.0 END AS discount_share,
    CAST(CASE WHEN l.last_on IS NULL THEN 365 ELSE CAST($as_of AS DATE) - l.last_on END AS DOUBLE) AS recency_days,
    CASE WHEN l.orders > 0 THEN l.revenue / l.orders ELSE 0.0 END AS average_order,
    CAST(COALESCE(t.touches, 0) AS DOUBLE) AS recent_contacts
FROM customers AS c
LEFT JOIN lines AS l ON l.customer_id = c.customer_id
LEFT JOIN touches AS t ON t.customer_id = c.customer_id
ORDER BY c.customer_id
"""
_SENT = """
SELECT customer_id, action_id, SUM(CAST(unit_cost AS DOUBLE)) AS cost
FROM deliveries
WHERE plan_id = $plan_id AND state = 'sent'
GROUP BY customer_id, action_id
"""


def read_customers(reader: Queryable, as_of: date, margin_rate: float) -> tuple[MarketCustomers, list[str]]:
    """What the planted response depends on, as of a day; and the departments, in the order of the columns."""
    people = reader.query(_PEOPLE, {"as_of": as_of, "touched_from": as_of - timedelta(days=FATIGUE_DAYS)})
    shares = reader.query(_FEATURES, {"as_of": as_of, "recent_from": as_of - timedelta(days=90)})
    ids: list[str] = people["customer_id"].to_pylist()
    row_of = {customer: row for row, customer in enumerate(ids)}
    departments = sorted(set(shares["department"].to_pylist()) - {""})
    column_of = {department: column for column, department in enumerate(departments)}
    revenue = np.zeros((len(ids), len(departments) + 1))
    for customer, department, value in zip(
        *(shares[name].to_pylist() for name in shares.column_names), strict=True
    ):
        if customer in row_of:
            revenue[row_of[customer], column_of.get(department, len(departments))] += value
    total = np.maximum(revenue.sum(axis=1, keepdims=True), 1e-9)
    customers = MarketCustomers(
        customer_id=ids,
        department_share=(revenue / total)[:, : len(departments)],
        discount_share=people["discount_share"].to_numpy(),
        recency_days=people["recency_days"].to_numpy(),
        average_order=people["average_order"].to_numpy(),
        recent_contacts=people["recent_contacts"].to_numpy(),
        margin_rate=margin_rate,
    )
    return customers, departments


def read_market_actions(reader: Queryable, departments: list[str]) -> MarketActions:
    """The workspace's actions as the simulator needs them."""
    rows = reader.query(
        "SELECT action_id, channel, department, discount, CAST(redemption_cost AS DOUBLE) AS redemption_cost "
        "FROM actions ORDER BY action_id"
    ).to_pylist()
    index = {department: column for column, department in enumerate(departments)}
    return MarketActions(
        action_id=[row["action_id"] for row in rows],
        channel=[row["channel"] for row in rows],
        department=np.array([index.get(row["department"], -1) for row in rows], dtype=np.int64),
        discount=np.array([row["discount"] for row in rows], dtype=np.float64),
        redemption_cost=np.array([row["redemption_cost"] for row in rows], dtype=np.float64),
    )


def read_sent(
    reader: Queryable, plan_id: str, customers: MarketCustomers, actions: MarketActions
) -> tuple[Integers, float]:
    """The action with which each customer was reached (index; −1: none), and what the contacts cost together."""
    sent = reader.query(_SENT, {"plan_id": plan_id})
    row_of = {customer: row for row, customer in enumerate(customers.customer_id)}
    action_of = {name: index for index, name in enumerate(actions.action_id)}
    action = np.full(len(customers.customer_id), -1, dtype=np.int64)
    for customer, name in zip(sent["customer_id"].to_pylist(), sent["action_id"].to_pylist(), strict=True):
        action[row_of[customer]] = action_of[name]
    return action, float(sum(sent["cost"].to_pylist()))


def read_favourites(reader: Queryable, as_of: date) -> dict[str, str]:
    """The best-selling product of each department; '' stands for all."""
    sql = """
WITH sold AS (
    SELECT COALESCE(p.department, '') AS department, l.product_id, COUNT(*) AS lines
    FROM order_lines AS l
    LEFT JOIN products AS p ON p.product_id = l.product_id
    WHERE l.ordered_on < $as_of AND l.product_id IS NOT NULL
    GROUP BY COALESCE(p.department, ''), l.product_id
),
ranked AS (
    SELECT department, product_id,
        ROW_NUMBER() OVER (PARTITION BY department ORDER BY lines DESC, product_id) AS place,
        ROW_NUMBER() OVER (ORDER BY lines DESC, product_id) AS overall
    FROM sold
)
SELECT department, product_id FROM ranked WHERE place = 1 AND department <> ''
UNION ALL
SELECT '' AS department, product_id FROM ranked WHERE overall = 1
"""
    rows = reader.query(sql, {"as_of": as_of})
    return dict(zip(rows["department"].to_pylist(), rows["product_id"].to_pylist(), strict=True))
