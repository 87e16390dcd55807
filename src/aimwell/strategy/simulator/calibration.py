"""A crowd like the workspace's own: how often everybody orders, of what size, how far sizes vary, and value segments.

Reads ``order_lines``, ``products`` (before ``as_of``); writes nothing. Rates are shrunk: of a customer with few days
of history little is known, so the rate is the posterior mean of a gamma prior that fits all customers' counts
(method of moments; Fader and Hardie 2005 for the model of counts).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np

from aimwell.core.errors import NotReady
from aimwell.core.text import say
from aimwell.engine.session import Queryable
from aimwell.strategy.market import MarketCustomers
from aimwell.strategy.problem import Flags, Reals
from aimwell.strategy.simulator.crowd import Crowd

HISTORY_DAYS = 180
_ORDERS = """
SELECT
    customer_id,
    order_id,
    SUM(CAST(revenue AS DOUBLE)) AS revenue,
    SUM(CAST(COALESCE(discount, 0) AS DOUBLE)) AS discount,
    MAX(ordered_on) AS ordered_on
FROM order_lines
WHERE ordered_on >= $since AND ordered_on < $as_of
GROUP BY customer_id, order_id
ORDER BY customer_id, order_id
"""
_DEPARTMENTS = """
SELECT l.customer_id, COALESCE(p.department, '') AS department, SUM(CAST(l.revenue AS DOUBLE)) AS revenue
FROM order_lines AS l
LEFT JOIN products AS p ON p.product_id = l.product_id
WHERE l.ordered_on >= $since AND l.ordered_on < $as_of
GROUP BY l.customer_id, COALESCE(p.department, '')
ORDER BY l.customer_id, COALESCE(p.department, '')
"""


def read_crowd(
    queryable: Queryable, customers: Sequence[str], allowed: Flags, *, as_of: date, margin_rate: float
) -> tuple[Crowd, list[str]]:
    """The crowd of these customers, and the departments in the order of its columns; NotReady without orders.

    ``allowed``: customers × actions.
    """
    window = {"since": as_of - timedelta(days=HISTORY_DAYS), "as_of": as_of}
    place = {customer: row for row, customer in enumerate(customers)}
    orders = [row for row in queryable.query(_ORDERS, window).to_pylist() if row["customer_id"] in place]
    if not orders:
        raise NotReady(
            "strategy.no_recent_orders",
            say(
                "No order of the {days} days before {day} is known.", days=HISTORY_DAYS, day=as_of.isoformat()
            ),
            remedy=say("Load orders, or choose a day after them."),
            where={"table": "order_lines"},
        )
    n, owner = len(customers), np.array([place[row["customer_id"]] for row in orders])
    revenue = np.array([row["revenue"] for row in orders], dtype=np.float64)
    discount = np.bincount(owner, weights=[row["discount"] for row in orders], minlength=n)
    count = np.bincount(owner, minlength=n).astype(np.float64)
    spent = np.bincount(owner, weights=np.maximum(revenue, 0.0), minlength=n)
    average = np.where(count > 0, spent / np.maximum(count, 1), spent.sum() / count.sum())
    since = np.full(n, float(HISTORY_DAYS))
    np.minimum.at(since, owner, [float((as_of - row["ordered_on"]).days) for row in orders])
    positive = revenue > 0
    logs = np.log(revenue[positive] / np.maximum(average[owner[positive]], 1e-9))
    shares, departments = _read_shares(queryable, window, place)
    people = MarketCustomers(
        customer_id=list(customers),
        department_share=shares,
        discount_share=discount / np.maximum(spent + discount, 1e-9),
        recency_days=since,
        average_order=average,
        recent_contacts=np.zeros(n),
        margin_rate=margin_rate,
    )
    rate = shrink_rates(count, float(HISTORY_DAYS))
    worth = rate * average
    segment = np.searchsorted(np.quantile(worth, (0.4, 0.8)), worth).astype(np.int64)
    spread = float(np.clip(logs.std(), 0.05, 2.0))
    return Crowd(people, rate, spread, segment, ("low", "middle", "best"), allowed), departments


def shrink_rates(count: Reals, days: float) -> Reals:
    """Orders a day of each customer from ``count`` (n) in ``days``: posterior means under a gamma prior."""
    mean, variance = float(count.mean()), float(count.var())
    shape = mean**2 / max(variance - mean, 1e-9 + 0.01 * mean)
    return np.asarray((count + shape) / (days * (1 + shape / max(mean, 1e-9))))


def _read_shares(
    queryable: Queryable, window: dict[str, date], place: dict[str, int]
) -> tuple[Reals, list[str]]:
    rows = [row for row in queryable.query(_DEPARTMENTS, window).to_pylist() if row["customer_id"] in place]
    names = sorted({row["department"] for row in rows} - {""})
    column = {name: at for at, name in enumerate(names)}
    revenue = np.zeros((len(place), len(names) + 1))
    for row in rows:
        at = column.get(row["department"], len(names))
        revenue[place[row["customer_id"]], at] += max(row["revenue"], 0.0)
    total = np.maximum(revenue.sum(axis=1, keepdims=True), 1e-9)
    return (revenue / total)[:, : len(names)], names
