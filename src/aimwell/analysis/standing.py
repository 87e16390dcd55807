"""Tags that compare a customer with all others: RFM quintiles, percentile and class of value, lifecycle stage.

They are worked out for everybody from a few figures of each, however few customers were measured anew.
Reads the tags recency_days, orders_365d, revenue_365d and days_between_orders of everybody; writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

import pyarrow as pa

from aimwell.analysis.rfm import render_quintile
from aimwell.analysis.tag import Tag
from aimwell.core.tables import Type

INPUTS = ("recency_days", "orders_365d", "revenue_365d")
RHYTHM = ("recency_days", "tenure_days", "order_days_total")
"""What days_between_orders, and with it the usual rhythm, is worked out from."""
FIGURES = "tags_figures"
SCORES = "tags_scored"
_SCORES = """\
WITH buyers AS (
    SELECT customer_id, recency_days, orders_365d, revenue_365d
    FROM tags_figures
    WHERE recency_days IS NOT NULL
),
scored AS (
    SELECT
        customer_id,
        {recency} AS rfm_r,
        {frequency} AS rfm_f,
        {monetary} AS rfm_m,
        (2 * (RANK() OVER (ORDER BY revenue_365d) - 1) + COUNT(*) OVER (PARTITION BY revenue_365d))
            / (2.0 * COUNT(*) OVER ()) AS value_percentile
    FROM buyers
),
spenders AS (
    SELECT
        customer_id,
        ROW_NUMBER() OVER (ORDER BY revenue_365d DESC, customer_id) AS place,
        COUNT(*) OVER () AS everybody
    FROM buyers
    WHERE revenue_365d > 0
)
SELECT
    s.customer_id,
    s.rfm_r,
    s.rfm_f,
    s.rfm_m,
    CONCAT(CAST(s.rfm_r AS BIGINT), CAST(s.rfm_f AS BIGINT), CAST(s.rfm_m AS BIGINT)) AS rfm_cell,
    CAST(s.value_percentile AS DOUBLE) AS value_percentile,
    CASE
        WHEN v.place <= CEIL(v.everybody / 5.0) THEN 'best_20'
        WHEN v.place <= CEIL(v.everybody / 2.0) THEN 'middle'
        ELSE 'low'
    END AS value_tier,
    CASE WHEN v.place <= CEIL(v.everybody / 5.0) THEN TRUE ELSE FALSE END AS is_best_20
FROM scored AS s
LEFT JOIN spenders AS v ON v.customer_id = s.customer_id
ORDER BY s.customer_id"""
_ARROW = {
    Type.INTEGER: pa.int64(),
    Type.REAL: pa.float64(),
    Type.TEXT: pa.string(),
    Type.BOOLEAN: pa.bool_(),
    Type.DATE: pa.date32(),
}


def compile_scores() -> str:
    """The query over ``FIGURES`` that answers a row per buyer; who never bought has none."""
    return _SCORES.format(
        recency=render_quintile("recency_days", best="low"),
        frequency=render_quintile("orders_365d", best="high"),
        monetary=render_quintile("revenue_365d", best="high"),
    )


def render_standing(name: str) -> str:
    """SQL of a tag of ``compile_scores`` over ``s``, which is empty for who never bought."""
    if name == "value_tier":
        return "COALESCE(s.value_tier, 'low')"
    if name == "is_best_20":
        return "COALESCE(s.is_best_20, FALSE)"
    return f"s.{name}"


def add_empty_columns(table: pa.Table, tags: Iterable[Tag]) -> pa.Table:
    """``table`` with an empty column for each of ``tags`` that it lacks, so that later SQL may name them all."""
    for tag in tags:
        if tag.name not in table.column_names:
            table = table.append_column(tag.name, pa.nulls(table.num_rows, _ARROW[tag.type]))
    return table
