"""What was observed of every customer of an experiment, in its window and before it.

Reads assignments, order_lines, products, events, deliveries, actions. Writes outcomes. Customers who bought
nothing get zeros: whoever is missing from the orders is not missing from the experiment.
"""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pyarrow as pa

from aimwell.core.tables import OUTCOMES
from aimwell.engine.session import Queryable
from aimwell.engine.workspace import Run
from aimwell.evaluation.plan import Periods, Plan
from aimwell.stats.cap import find_cap

_LINES = """
experiment AS (
    SELECT customer_id, arm, action_id, probability, stratum, unit
    FROM assignments
    WHERE plan_id = $plan_id
),
lines AS (
    SELECT
        l.customer_id,
        l.order_id,
        l.ordered_on,
        CASE WHEN l.ordered_on >= $start THEN 1 ELSE 0 END AS inside,
        CASE WHEN l.simulated THEN 1 ELSE 0 END AS simulated,
        COALESCE(l.revenue, 0) AS revenue,
        CASE
            WHEN p.unit_cost IS NOT NULL AND l.quantity IS NOT NULL
            THEN CAST(COALESCE(l.revenue, 0) - l.quantity * CAST(p.unit_cost AS DOUBLE) AS DECIMAL(18, 4))
            ELSE CAST(COALESCE(l.revenue, 0) * $margin_rate AS DECIMAL(18, 4))
        END AS margin
    FROM order_lines AS l
    INNER JOIN experiment AS x ON x.customer_id = l.customer_id
    LEFT JOIN products AS p ON p.product_id = l.product_id
    WHERE l.ordered_on >= $before_start AND l.ordered_on < $end
)"""

OUTCOMES_SQL = f"""
WITH {_LINES},
bought AS (
    SELECT
        customer_id,
        COUNT(DISTINCT CASE WHEN inside = 1 THEN order_id ELSE NULL END) AS orders,
        SUM(CASE WHEN inside = 1 THEN revenue ELSE 0 END) AS revenue,
        SUM(CASE WHEN inside = 1 THEN margin ELSE 0 END) AS margin,
        COUNT(DISTINCT CASE WHEN inside = 0 THEN order_id ELSE NULL END) AS orders_before,
        SUM(CASE WHEN inside = 0 THEN revenue ELSE 0 END) AS revenue_before,
        SUM(CASE WHEN inside = 0 THEN margin ELSE 0 END) AS margin_before,
        MAX(CASE WHEN inside = 1 THEN simulated ELSE 0 END) AS simulated
    FROM lines
    GROUP BY customer_id
),
redeemed AS (
    SELECT
        e.customer_id,
        COUNT(*) AS redeemed,
        SUM(COALESCE(
            TRY_CAST(json_extract_string(e.properties, '$.cost') AS DECIMAL(18, 2)), a.redemption_cost, 0
        )) AS offer_cost,
        MAX(CASE WHEN e.simulated THEN 1 ELSE 0 END) AS simulated
    FROM events AS e
    INNER JOIN experiment AS x ON x.customer_id = e.customer_id
    LEFT JOIN actions AS a ON a.action_id = x.action_id
    WHERE
        e.campaign_id = $plan_id
        AND e.name = 'Coupon Redeemed'
        AND e.occurred_on >= $start
        AND e.occurred_on < $end
    GROUP BY e.customer_id
),
contacted AS (
    SELECT
        customer_id,
        SUM(CASE WHEN state = 'sent' THEN unit_cost ELSE 0 END) AS contact_cost,
        MAX(CASE WHEN state = 'sent' THEN 1 ELSE 0 END) AS reached
    FROM deliveries
    WHERE plan_id = $plan_id
    GROUP BY customer_id
)
SELECT
    x.customer_id,
    x.arm,
    x.action_id,
    x.probability,
    x.stratum,
    x.unit,
    CAST(COALESCE(b.orders, 0) AS DOUBLE) AS orders,
    CAST(COALESCE(b.revenue, 0) AS DOUBLE) AS revenue,
    CAST(COALESCE(b.margin, 0) AS DOUBLE) - CAST(COALESCE(r.offer_cost, 0) AS DOUBLE) AS contribution,
    CAST(COALESCE(r.redeemed, 0) AS DOUBLE) AS redeemed,
    CAST(COALESCE(r.offer_cost, 0) AS DOUBLE) AS offer_cost,
    CAST(COALESCE(b.orders_before, 0) AS DOUBLE) * $scale AS orders_before,
    CAST(COALESCE(b.revenue_before, 0) AS DOUBLE) * $scale AS revenue_before,
    CAST(COALESCE(b.margin_before, 0) AS DOUBLE) * $scale AS contribution_before,
    CAST(COALESCE(c.contact_cost, 0) AS DOUBLE) AS contact_cost,
    COALESCE(c.reached, 0) AS reached,
    CASE WHEN COALESCE(b.simulated, 0) + COALESCE(r.simulated, 0) > 0 THEN true ELSE false END AS simulated
FROM experiment AS x
LEFT JOIN bought AS b ON b.customer_id = x.customer_id
LEFT JOIN redeemed AS r ON r.customer_id = x.customer_id
LEFT JOIN contacted AS c ON c.customer_id = x.customer_id
ORDER BY x.customer_id
"""

PAST_WINDOWS_SQL = f"""
WITH {_LINES},
cut AS (
    SELECT
        customer_id,
        CASE WHEN ordered_on >= $last THEN 1 WHEN ordered_on >= $middle THEN 2 ELSE 3 END AS past,
        margin
    FROM lines
    WHERE inside = 0 AND ordered_on >= $first
)
SELECT customer_id, past, CAST(SUM(margin) AS DOUBLE) AS contribution
FROM cut
GROUP BY customer_id, past
ORDER BY customer_id, past
"""


def query_outcomes(reader: Queryable, plan: Plan, *, periods: Periods, margin_rate: float) -> pa.Table:
    """One row per customer of the plan's experiment, sorted by customer, with arm, costs and whether
    reached.
    """
    return reader.query(OUTCOMES_SQL, _bind(plan, periods, margin_rate) | {"scale": periods.scale})


def find_contribution_cap(
    reader: Queryable, plan: Plan, *, periods: Periods, margin_rate: float, customers: int
) -> float | None:
    """The cap on a customer's contribution, from up to three windows before the plan; None without a whole
    one.
    """
    past = min(3, periods.before.days // plan.days) if periods.before else 0
    if past == 0 or customers == 0:
        return None
    cuts = [plan.start - timedelta(days=plan.days * min(number, past)) for number in (1, 2, 3)]
    bounds = dict(zip(("last", "middle", "first"), cuts, strict=True))
    seen = reader.query(PAST_WINDOWS_SQL, _bind(plan, periods, margin_rate) | bounds)
    values = np.zeros(customers * past)
    values[: seen.num_rows] = seen.column("contribution").to_numpy()
    return find_cap(values)


def keep_outcomes(run: Run, plan: Plan, observed: pa.Table, *, simulated: bool) -> None:
    """Put the plan's rows into ``outcomes``; rows of an earlier evaluation of the same plan give way."""
    rows = observed.num_rows
    columns = {
        "plan_id": pa.array([plan.plan_id] * rows, pa.string()),
        "simulated": pa.array([simulated] * rows, pa.bool_()),
        "run_id": pa.array([run.id] * rows, pa.string()),
    }
    names = [column.name for column in OUTCOMES.columns]
    made = pa.table({name: columns[name] if name in columns else observed.column(name) for name in names})
    run.put("outcomes", made, column="plan_id", value=plan.plan_id)


def _bind(plan: Plan, periods: Periods, margin_rate: float) -> dict[str, object]:
    return {
        "plan_id": plan.plan_id,
        "start": periods.window.start,
        "end": periods.window.end,
        "before_start": periods.before.start if periods.before else periods.window.start,
        "margin_rate": margin_rate,
    }
