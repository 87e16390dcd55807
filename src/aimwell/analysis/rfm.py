"""RFM: recency, frequency and monetary value of every buyer, each from 1 to 5 (5 is best), and the cells of the map.

Scores are quintiles by mid-rank: 1 + ⌊5 · (buyers who are worse + half of those who tie) ÷ buyers⌋. Customers who
tie have the same score whatever their order, three buyers spread over 1, 3 and 5, and one alone is a 3.
Source: Hughes, Strategic Database Marketing (1994); mid-ranks as in Hollander and Wolfe (1973).
Reads the tags recency_days, orders_365d, revenue_365d; writes rfm_r, rfm_f, rfm_m, rfm_cell.
"""

from __future__ import annotations

from typing import Any

from aimwell.analysis.tag import Tag
from aimwell.core.tables import Type
from aimwell.core.text import say
from aimwell.engine.session import Queryable

RFM_TAGS: tuple[Tag, ...] = (
    Tag(
        "rfm_r",
        say("Recency score"),
        say("1 to 5: how recently the customer bought, compared with all buyers; 5 is best."),
        "behavioural",
        "score",
        Type.INTEGER,
        ("order_lines",),
    ),
    Tag(
        "rfm_f",
        say("Frequency score"),
        say(
            "1 to 5: how often the customer bought in {days} days, compared with all buyers; 5 is best.",
            days=365,
        ),
        "behavioural",
        "score",
        Type.INTEGER,
        ("order_lines",),
    ),
    Tag(
        "rfm_m",
        say("Monetary score"),
        say(
            "1 to 5: how much the customer paid in {days} days, compared with all buyers; 5 is best.",
            days=365,
        ),
        "behavioural",
        "score",
        Type.INTEGER,
        ("order_lines.revenue",),
    ),
    Tag(
        "rfm_cell",
        say("RFM cell"),
        say("The three scores side by side, such as 545."),
        "behavioural",
        "",
        Type.TEXT,
        ("order_lines.revenue",),
    ),
)

_CELLS = """\
SELECT
    rfm_r AS r,
    rfm_f AS f,
    COUNT(*) AS customers,
    COALESCE(SUM(revenue_365d), 0) AS revenue
FROM tags
WHERE rfm_r IS NOT NULL AND rfm_f IS NOT NULL
GROUP BY rfm_r, rfm_f
ORDER BY rfm_r, rfm_f"""


def render_quintile(column: str, *, best: str) -> str:
    """SQL of the mid-rank quintile of ``column`` among the rows; ``best``: 'high' or 'low' values are 5."""
    direction = "ASC" if best == "high" else "DESC"
    worse = f"RANK() OVER (ORDER BY {column} {direction}) - 1"
    ties = f"COUNT(*) OVER (PARTITION BY {column})"
    return f"1 + FLOOR(5.0 * (2 * ({worse}) + {ties}) / (2.0 * COUNT(*) OVER ()))"


def count_cells(reader: Queryable) -> list[dict[str, Any]]:
    """The map: customers and revenue of 365 days in each cell of recency × frequency; money as float."""
    return [
        {**cell, "revenue": round(float(cell["revenue"]), 2)} for cell in reader.query(_CELLS).to_pylist()
    ]
