"""Tags that compare a customer with all others: RFM quintiles, percentile and class of value, lifecycle stage.

They are worked out for everybody from a few figures of each, however few customers were measured anew.
Reads the tags recency_days, orders_365d, revenue_365d and days_between_orders of everybody; writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from aimwell.analysis.aligned import lay_over
from aimwell.analysis.rfm import render_quintiles
from aimwell.analysis.tag import Tag
from aimwell.core.tables import Type

INPUTS = ("recency_days", "orders_365d", "revenue_365d")
RHYTHM = ("recency_days", "tenure_days", "order_days_total")
"""What days_between_orders, and with it the usual rhythm, is worked out from."""
FIGURES = "tags_figures"
_SCORES = """\
WITH buyers AS (
    SELECT customer_id, number, recency_days, orders_365d, revenue_365d
    FROM tags_figures
    WHERE recency_days IS NOT NULL
),
counted AS (
    SELECT COUNT(*) AS buyers, COUNT(CASE WHEN revenue_365d > 0 THEN 1 END) AS spenders
    FROM buyers
),
recency AS (
{recency}
),
frequency AS (
{frequency}
),
monetary AS (
{monetary}
),
tiers AS (
    SELECT
        m.value,
        m.ties,
        m.score,
        (2 * m.worse + m.ties) / (2.0 * c.buyers) AS percentile,
        c.buyers - m.worse - m.ties AS better,
        CEIL(c.spenders / 5.0) AS best_places,
        CEIL(c.spenders / 2.0) AS middle_places
    FROM monetary AS m
    CROSS JOIN counted AS c
),
-- Who ties across the border of a tier: the order of the names decides among them.
bordering AS (
    SELECT b.customer_id, t.better + ROW_NUMBER() OVER (PARTITION BY t.value ORDER BY b.customer_id) AS place
    FROM tiers AS t
    INNER JOIN buyers AS b ON b.revenue_365d = t.value
    WHERE (t.better < t.best_places AND t.better + t.ties > t.best_places)
        OR (t.better < t.middle_places AND t.better + t.ties > t.middle_places)
),
placed AS (
    SELECT
        b.customer_id,
        b.number,
        r.score AS rfm_r,
        f.score AS rfm_f,
        t.score AS rfm_m,
        t.percentile,
        COALESCE(o.place, t.better + t.ties) AS place,
        CASE WHEN b.revenue_365d > 0 THEN t.best_places ELSE 0 END AS best_places,
        CASE WHEN b.revenue_365d > 0 THEN t.middle_places ELSE 0 END AS middle_places
    FROM buyers AS b
    LEFT JOIN recency AS r ON r.value = b.recency_days
    LEFT JOIN frequency AS f ON f.value = b.orders_365d
    LEFT JOIN tiers AS t ON t.value = b.revenue_365d
    LEFT JOIN bordering AS o ON o.customer_id = b.customer_id
)
SELECT
    customer_id,
    CAST(rfm_r AS BIGINT) AS rfm_r,
    CAST(rfm_f AS BIGINT) AS rfm_f,
    CAST(rfm_m AS BIGINT) AS rfm_m,
    CONCAT(CAST(rfm_r AS BIGINT), CAST(rfm_f AS BIGINT), CAST(rfm_m AS BIGINT)) AS rfm_cell,
    CAST(percentile AS DOUBLE) AS value_percentile,
    CASE
        WHEN place <= best_places THEN 'best_20'
        WHEN place <= middle_places THEN 'middle'
        ELSE 'low'
    END AS value_tier,
    CASE WHEN place <= best_places THEN TRUE ELSE FALSE END AS is_best_20
FROM placed
ORDER BY number"""
ARROW = {
    Type.INTEGER: pa.int64(),
    Type.REAL: pa.float64(),
    Type.TEXT: pa.string(),
    Type.BOOLEAN: pa.bool_(),
    Type.DATE: pa.date32(),
}


def number_figures(figures: pa.Table) -> pa.Table:
    """What is to be registered as ``FIGURES``: ``figures`` (``INPUTS`` and more) of sorted customers, with their place.

    Putting a million buyers back in order by a number takes a fifth of what it takes by their names.
    """
    numbers = pa.array(np.arange(figures.num_rows, dtype=np.int64))
    return figures.append_column("number", numbers)


def compile_scores() -> str:
    """The query over ``FIGURES`` that answers a row per buyer, sorted; who never bought has none.

    Values are ranked once each, however many customers share them: sorting the customers is what costs.
    """
    return _SCORES.format(
        recency=render_quintiles("recency_days", best="low"),
        frequency=render_quintiles("orders_365d", best="high"),
        monetary=render_quintiles("revenue_365d", best="high"),
    )


def align_scores(scores: pa.Table, names: pa.ChunkedArray) -> dict[str, pa.ChunkedArray]:
    """The tags of ``compile_scores`` for each of ``names``: who never bought has a low value, and no scores."""
    empty = {
        name: pa.nulls(len(names), scores[name].type) for name in scores.column_names if name != "customer_id"
    }
    columns = lay_over(names, {name: pa.chunked_array([column]) for name, column in empty.items()}, scores)
    columns["value_tier"] = columns["value_tier"].fill_null("low")
    columns["is_best_20"] = columns["is_best_20"].fill_null(False)
    return columns


def add_empty_columns(table: pa.Table, tags: Iterable[Tag]) -> pa.Table:
    """``table`` with an empty column for each of ``tags`` that it lacks, so that later SQL may name them all."""
    for tag in tags:
        if tag.name not in table.column_names:
            table = table.append_column(tag.name, pa.nulls(table.num_rows, ARROW[tag.type]))
    return table
