"""Lifecycle: prospect, new, active, declining, dormant or lost, measured on each customer's own rhythm.

A customer's rhythm is the mean number of days between orders, at least 7; who bought on one day only is given the
median rhythm of all others (30 days when nobody bought twice). A stage is a number of rhythms without an order.
A weekly shopper is declining after 3 weeks; a customer who buys each quarter is not.
Reads the tags recency_days, tenure_days, days_between_orders, orders_trend, orders_90d; writes lifecycle_stage.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from aimwell.analysis.tag import Tag
from aimwell.core.tables import Type
from aimwell.core.text import Text, say
from aimwell.engine.session import Queryable

NEW_DAYS = 30
SHORTEST_RHYTHM = 7.0
USUAL_RHYTHM = 30.0
DECLINING_AFTER = 3.0
DORMANT_AFTER = 8.0
LOST_AFTER = 26.0
LOST_DAYS = 730
DECLINING_TREND = -0.5
DECLINING_ORDERS = 4

STAGES: dict[str, Text] = {
    "prospect": say("Prospect"),
    "new": say("New"),
    "active": say("Active"),
    "declining": say("Declining"),
    "dormant": say("Dormant"),
    "lost": say("Lost"),
}
LIFECYCLE_TAG = Tag(
    "lifecycle_stage",
    say("Lifecycle stage"),
    say("Prospect, new, active, declining, dormant or lost, by the customer's own rhythm of buying."),
    "behavioural",
    "",
    Type.TEXT,
    ("order_lines",),
)

_STAGES = """\
SELECT
    lifecycle_stage AS stage,
    COUNT(*) AS customers,
    COALESCE(SUM(revenue_365d), 0) AS revenue
FROM tags
WHERE lifecycle_stage IS NOT NULL
GROUP BY lifecycle_stage"""


STAGE_INPUTS = ("recency_days", "tenure_days", "days_between_orders", "orders_trend", "orders_90d")
"""The tags that a stage is found from."""


def find_usual_rhythm(tags: pa.Table) -> float:
    """The median days between orders over customers who bought on two days or more; days."""
    gaps = tags.column("days_between_orders").drop_null().to_numpy()
    return float(np.median(gaps)) if len(gaps) else USUAL_RHYTHM


def render_stage(usual_rhythm: float) -> str:
    """SQL of the stage over the measured tags ``m``."""
    rhythm = f"GREATEST(COALESCE(m.days_between_orders, {usual_rhythm!r}), {SHORTEST_RHYTHM})"
    return f"""\
CASE
            WHEN m.recency_days IS NULL THEN 'prospect'
            WHEN m.tenure_days <= {NEW_DAYS} THEN 'new'
            WHEN m.recency_days > {LOST_AFTER} * {rhythm} OR m.recency_days > {LOST_DAYS} THEN 'lost'
            WHEN m.recency_days > {DORMANT_AFTER} * {rhythm} THEN 'dormant'
            WHEN m.recency_days > {DECLINING_AFTER} * {rhythm} THEN 'declining'
            WHEN m.orders_trend < {DECLINING_TREND} AND m.orders_90d >= {DECLINING_ORDERS} THEN 'declining'
            ELSE 'active'
        END"""


def count_stages(reader: Queryable) -> list[dict[str, Any]]:
    """Customers and revenue of 365 days in each stage, in the order of a customer's life; money as float."""
    found = {row["stage"]: row for row in reader.query(_STAGES).to_pylist()}
    return [
        {
            "stage": stage,
            "title": title.both(),
            "customers": found[stage]["customers"] if stage in found else 0,
            "revenue": round(float(found[stage]["revenue"]), 2) if stage in found else 0.0,
        }
        for stage, title in STAGES.items()
    ]
