"""Metric definitions: one readable query each, over the tables, one row per unit with its value.

Every query binds ``$start`` and ``$end`` (business days, half-open), ``$before`` (as long before ``$start`` as
``$end`` is after it) and ``$margin_rate``. A metric is the mean of ``value``; the unit is what the mean is over.
Reads customers, order_lines, products, events.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from aimwell.core.errors import BadInput
from aimwell.core.lists import join_list
from aimwell.core.text import Text, say
from aimwell.core.time import Window

Family = Literal["retention", "growth", "activation", "acquisition"]
Kind = Literal["money", "orders", "share", "customers"]

FAMILIES: dict[Family, Text] = {
    "retention": say("Retention: customers who buy go on buying"),
    "growth": say("Growth: customers who buy are worth more"),
    "activation": say("Activation: customers who are silent buy again"),
    "acquisition": say("Acquisition: more people become customers"),
}


@dataclass(frozen=True)
class Metric:
    """A named mean over the tables."""

    name: str
    family: Family
    title: Text
    kind: Kind
    sql: str


_WINDOW_ORDERS = """window_orders AS (
    SELECT customer_id, COUNT(DISTINCT order_id) AS orders, SUM(CAST(revenue AS DOUBLE)) AS revenue
    FROM order_lines
    WHERE ordered_on >= $start AND ordered_on < $end
    GROUP BY customer_id
)"""

_WINDOW_MARGIN = """window_margin AS (
    SELECT
        l.customer_id,
        SUM(CASE
            WHEN p.unit_cost IS NOT NULL AND l.quantity IS NOT NULL
            THEN CAST(l.revenue AS DOUBLE) - l.quantity * CAST(p.unit_cost AS DOUBLE)
            ELSE CAST(l.revenue AS DOUBLE) * $margin_rate
        END) AS margin
    FROM order_lines AS l
    LEFT JOIN products AS p ON p.product_id = l.product_id
    WHERE l.ordered_on >= $start AND l.ordered_on < $end
    GROUP BY l.customer_id
)"""

# 0 … 9999, without a function that only one engine has: the days of 27 years.
_NUMBERS = f"""digits AS (
    {" UNION ALL ".join(f"SELECT {digit} AS digit" for digit in range(10))}
),
numbers AS (
    SELECT a.digit + 10 * b.digit + 100 * c.digit + 1000 * d.digit AS number
    FROM digits AS a
    CROSS JOIN digits AS b
    CROSS JOIN digits AS c
    CROSS JOIN digits AS d
)"""

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric(
            "profit_per_customer",
            "growth",
            say("Margin per customer"),
            "money",
            f"""WITH {_WINDOW_MARGIN}
SELECT c.customer_id, COALESCE(m.margin, 0.0) AS value
FROM customers AS c
LEFT JOIN window_margin AS m ON m.customer_id = c.customer_id""",
        ),
        Metric(
            "revenue_per_customer",
            "growth",
            say("Revenue per customer"),
            "money",
            f"""WITH {_WINDOW_ORDERS}
SELECT c.customer_id, COALESCE(o.revenue, 0.0) AS value
FROM customers AS c
LEFT JOIN window_orders AS o ON o.customer_id = c.customer_id""",
        ),
        Metric(
            "orders_per_customer",
            "growth",
            say("Orders per customer"),
            "orders",
            f"""WITH {_WINDOW_ORDERS}
SELECT c.customer_id, CAST(COALESCE(o.orders, 0) AS DOUBLE) AS value
FROM customers AS c
LEFT JOIN window_orders AS o ON o.customer_id = c.customer_id""",
        ),
        Metric(
            "retention_rate",
            "retention",
            say("Retention: buyers of the period before who bought again"),
            "share",
            f"""WITH {_WINDOW_ORDERS},
earlier AS (
    SELECT DISTINCT customer_id
    FROM order_lines
    WHERE ordered_on >= $before AND ordered_on < $start
)
SELECT e.customer_id, CAST(CASE WHEN o.orders > 0 THEN 1 ELSE 0 END AS DOUBLE) AS value
FROM earlier AS e
LEFT JOIN window_orders AS o ON o.customer_id = e.customer_id""",
        ),
        Metric(
            "repeat_rate",
            "retention",
            say("Repeat purchase: buyers with two orders or more"),
            "share",
            f"""WITH {_WINDOW_ORDERS}
SELECT customer_id, CAST(CASE WHEN orders >= 2 THEN 1 ELSE 0 END AS DOUBLE) AS value
FROM window_orders""",
        ),
        Metric(
            "active_rate",
            "activation",
            say("Active customers: share of known customers who bought"),
            "share",
            f"""WITH {_WINDOW_ORDERS}
SELECT c.customer_id, CAST(CASE WHEN o.orders > 0 THEN 1 ELSE 0 END AS DOUBLE) AS value
FROM customers AS c
LEFT JOIN window_orders AS o ON o.customer_id = c.customer_id""",
        ),
        Metric(
            "reactivation_rate",
            "activation",
            say("Reactivation: silent customers who bought again"),
            "share",
            f"""WITH {_WINDOW_ORDERS},
silent AS (
    SELECT customer_id
    FROM order_lines
    WHERE ordered_on < $start
    GROUP BY customer_id
    HAVING MAX(ordered_on) < $before
)
SELECT s.customer_id, CAST(CASE WHEN o.orders > 0 THEN 1 ELSE 0 END AS DOUBLE) AS value
FROM silent AS s
LEFT JOIN window_orders AS o ON o.customer_id = s.customer_id""",
        ),
        Metric(
            "new_customers_per_day",
            "acquisition",
            say("New customers per day"),
            "customers",
            f"""WITH firsts AS (
    SELECT customer_id, MIN(ordered_on) AS first_on
    FROM order_lines
    GROUP BY customer_id
),
{_NUMBERS},
days AS (
    SELECT CAST($start AS DATE) + CAST(n.number AS INTEGER) AS day
    FROM numbers AS n
    WHERE n.number < DATE_DIFF('day', CAST($start AS DATE), CAST($end AS DATE))
)
SELECT CAST(d.day AS VARCHAR) AS customer_id, CAST(COUNT(f.customer_id) AS DOUBLE) AS value
FROM days AS d
LEFT JOIN firsts AS f ON f.first_on = d.day
GROUP BY d.day""",
        ),
    )
}


def find_metric(name: str) -> Metric:
    """The metric called ``name``; BadInput lists those that there are."""
    if name not in METRICS:
        raise BadInput(
            "goals.unknown_metric",
            say("There is no metric called '{metric}'.", metric=name),
            remedy=say("Choose one of: {metrics}.", metrics=join_list(METRICS)),
            where={"value": name},
        )
    return METRICS[name]


def bind_window(metric: Metric, window: Window, margin_rate: float) -> dict[str, Any]:
    """The values that the metric's query binds, and only those."""
    values = {
        "start": window.start,
        "end": window.end,
        "before": window.start - timedelta(days=window.days),
        "margin_rate": margin_rate,
    }
    return {name: value for name, value in values.items() if f"${name}" in metric.sql}
