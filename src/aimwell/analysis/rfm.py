"""RFM: recency, frequency and monetary value of every buyer, each from 1 to 5 (5 is best), and the cells of the map.

Scores are quintiles by mid-rank: 1 + ⌊5 · (buyers who are worse + half of those who tie) ÷ buyers⌋. Customers who
tie have the same score whatever their order, three buyers spread over 1, 3 and 5, and one alone is a 3.
Source: Hughes, Strategic Database Marketing (1994); mid-ranks as in Hollander and Wolfe (1973).
Reads the tags recency_days, orders_365d, revenue_365d; writes rfm_r, rfm_f, rfm_m, rfm_cell.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from aimwell.analysis.tag import Tag
from aimwell.core.errors import NotReady
from aimwell.core.tables import Type
from aimwell.core.text import Text, say
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


def render_quintiles(column: str, *, best: str) -> str:
    """SQL of a row per ``value`` of ``column`` among ``buyers``: its ties, how many are worse, its mid-rank quintile.

    ``best``: 'high' or 'low' values are 5.
    """
    direction = "ASC" if best == "high" else "DESC"
    return f"""\
    SELECT value, ties, worse, 1 + FLOOR(5.0 * (2 * worse + ties) / (2.0 * everybody)) AS score
    FROM (
        SELECT
            value,
            ties,
            CAST(SUM(ties) OVER (ORDER BY value {direction} ROWS UNBOUNDED PRECEDING) - ties AS BIGINT) AS worse,
            CAST(SUM(ties) OVER () AS BIGINT) AS everybody
        FROM (SELECT {column} AS value, COUNT(*) AS ties FROM buyers GROUP BY {column}) AS grouped
    ) AS ranked"""


def count_cells(reader: Queryable) -> list[dict[str, Any]]:
    """The map: customers and revenue of 365 days in each cell of recency × frequency; money as float."""
    return [
        {**cell, "revenue": round(float(cell["revenue"]), 2)} for cell in reader.query(_CELLS).to_pylist()
    ]


@dataclass(frozen=True)
class Area:
    """A part of the map of recency × frequency that calls for one thing to do; scores from–to, both included."""

    name: str
    title: Text
    recency: tuple[int, int]
    frequency: tuple[int, int]
    advice: Text


AREAS: tuple[Area, ...] = (
    Area(
        "loyal",
        say("Loyal"),
        (4, 5),
        (4, 5),
        say("Thank them and keep the discount: early access, service, asking for a recommendation."),
    ),
    Area(
        "promising",
        say("Promising"),
        (4, 5),
        (2, 3),
        say("Offer what goes with their last order; a second department makes them regulars."),
    ),
    Area("fresh", say("Fresh"), (4, 5), (1, 1), say("Make the second order easy: it decides who stays.")),
    Area(
        "cooling",
        say("Cooling"),
        (3, 3),
        (3, 5),
        say("Remind them at their own rhythm, before the habit is gone; test an incentive on a random half."),
    ),
    Area("passing", say("Passing by"), (3, 3), (1, 2), say("Only cheap channels: little is at stake here.")),
    Area(
        "at_risk",
        say("At risk"),
        (1, 2),
        (4, 5),
        say("Win them back in person and soon: they bought most often and have stopped; ask why."),
    ),
    Area(
        "slipping",
        say("Slipping away"),
        (1, 2),
        (2, 3),
        say("One good offer on what they used to buy; if it does not work, let them rest."),
    ),
    Area(
        "gone", say("Gone"), (1, 2), (1, 1), say("Spend nothing but the cheapest message; check the address.")
    ),
)


def find_area(recency: int, frequency: int) -> Area:
    """The area of a cell of the map; scores from 1 to 5."""
    return next(
        area
        for area in AREAS
        if area.recency[0] <= recency <= area.recency[1]
        and area.frequency[0] <= frequency <= area.frequency[1]
    )


def map_rfm(reader: Queryable) -> dict[str, Any]:
    """The grid with sizes and revenue, and per area its shares of both (0–1) and what to do.

    NotReady when nobody has scores.
    """
    cells = count_cells(reader)
    if not cells:
        raise NotReady(
            "analysis.no_scores",
            say("Nobody has RFM scores: they need orders, and a run of the analysis."),
            remedy=say("Add order lines, then: aimwell analysis run"),
        )
    customers = sum(cell["customers"] for cell in cells)
    revenue = sum(cell["revenue"] for cell in cells)
    areas = []
    for area in AREAS:
        inside = [cell for cell in cells if find_area(int(cell["r"]), int(cell["f"])) is area]
        size, paid = sum(cell["customers"] for cell in inside), sum(cell["revenue"] for cell in inside)
        areas.append(
            {
                "name": area.name,
                "title": area.title.both(),
                "customers": size,
                "share": round(size / customers, 4),
                "revenue": round(paid, 2),
                "revenue_share": round(paid / revenue, 4) if revenue else None,
                "advice": area.advice.both(),
            }
        )
    return {"customers": customers, "revenue": round(revenue, 2), "cells": cells, "areas": areas}
