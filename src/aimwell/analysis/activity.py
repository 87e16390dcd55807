"""The map of recency and frequency where nothing was bought: by what customers do, with breadth in place of money.

Recency is the instant of the last event (in a log of some days nearly everybody was there on the last one), frequency
the days with an event in 365 days, both scored as in ``analysis.rfm`` among all who were active in these days.
Breadth is how many different products a customer's events were about, or how many different things were done where no
event names a product. Reads order_lines, events; writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from typing import Any, Literal, TypeAlias

from aimwell.analysis.rfm import AREAS, find_area, map_rfm, render_quintiles
from aimwell.core.errors import NotReady
from aimwell.core.text import Text, say
from aimwell.engine.session import Queryable

Activity: TypeAlias = Literal["orders", "events"]

ADVICE: dict[str, Text] = {
    "loyal": say("Give them a reason to stay: what is new first, service, asking for a recommendation."),
    "promising": say(
        "Show what goes with what they looked at last; a second field of interest makes them regulars."
    ),
    "fresh": say("Make the second visit easy: it decides who stays."),
    "cooling": say("Remind them at their own rhythm, before the habit is gone; test it on a random half."),
    "passing": say("Only cheap channels: little is at stake here."),
    "at_risk": say("Call them back soon: they came most often and have stopped; ask why."),
    "slipping": say(
        "One good reason to look at what they used to look at; if it does not work, let them rest."
    ),
    "gone": say("Spend nothing but the cheapest message; check the address."),
}
_DAYS = 365


def _render_cells(breadth: str) -> str:
    """The query of the map; binds ``$since`` and ``$as_of``."""
    return f"""\
WITH buyers AS (
    SELECT
        customer_id,
        MAX(occurred_at) AS recency,
        COUNT(DISTINCT occurred_on) AS frequency,
        COUNT(*) AS events,
        COUNT(DISTINCT {breadth}) AS breadth
    FROM events
    WHERE occurred_on >= $since AND occurred_on < $as_of
    GROUP BY customer_id
), recencies AS (
{render_quintiles("recency", best="high")}
), frequencies AS (
{render_quintiles("frequency", best="high")}
)
SELECT
    CAST(r.score AS BIGINT) AS r,
    CAST(f.score AS BIGINT) AS f,
    COUNT(*) AS customers,
    CAST(SUM(b.events) AS BIGINT) AS events,
    CAST(SUM(b.breadth) AS BIGINT) AS breadth
FROM buyers AS b
JOIN recencies AS r ON r.value = b.recency
JOIN frequencies AS f ON f.value = b.frequency
GROUP BY r.score, f.score
ORDER BY r.score, f.score"""


def find_activity(reader: Queryable) -> Activity:
    """``orders`` where anything was bought, else ``events``."""
    return "orders" if _has_rows(reader, "SELECT 1 FROM order_lines LIMIT 1") else "events"


def map_customers(reader: Queryable, *, as_of: date) -> dict[str, Any]:
    """The map by orders (``analysis.rfm``), or by activity before ``as_of`` where nothing was bought: ``by`` tells.

    NotReady when nobody can be placed.
    """
    if find_activity(reader) == "orders":
        return {"by": "orders", **map_rfm(reader)}
    return {"by": "activity", **map_activity(reader, as_of=as_of)}


def map_activity(reader: Queryable, *, as_of: date) -> dict[str, Any]:
    """The map by the events of the 365 days before ``as_of``: cells and areas have ``events`` in place of revenue.

    ``breadth`` is a mean over customers; ``breadth_of`` says whether it counts products or names. ``days`` is on how
    many of these days anything happened: with few, to be late is a matter of hours. NotReady without events.
    """
    products = _has_rows(reader, "SELECT 1 FROM events WHERE product_id IS NOT NULL LIMIT 1")
    bound = {"since": as_of - timedelta(days=_DAYS), "as_of": as_of}
    cells = reader.query(_render_cells("product_id" if products else "name"), bound).to_pylist()
    if not cells:
        raise NotReady(
            "analysis.no_activity",
            say(
                "Nobody can be placed on the map: there are neither orders nor events of the last {days} days.",
                days=_DAYS,
            ),
            remedy=say("Add order lines or events, then: aimwell analysis run"),
        )
    days = "SELECT COUNT(DISTINCT occurred_on) AS n FROM events WHERE occurred_on >= $since AND occurred_on < $as_of"
    everybody = _add_up(cells)
    areas = []
    for area in AREAS:
        inside = _add_up(cell for cell in cells if find_area(cell["r"], cell["f"]) is area)
        areas.append(
            {
                "name": area.name,
                "title": area.title.both(),
                **inside,
                "share": round(inside["customers"] / everybody["customers"], 4),
                "events_share": round(inside["events"] / everybody["events"], 4),
                "advice": ADVICE[area.name].both(),
            }
        )
    return {
        "days": reader.query(days, bound)["n"][0].as_py(),
        "breadth_of": "products" if products else "names",
        **everybody,
        "cells": [{"r": cell["r"], "f": cell["f"], **_add_up([cell])} for cell in cells],
        "areas": areas,
    }


def _add_up(cells: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Customers and events of some cells, and the mean breadth of their customers (None without any)."""
    rows = list(cells)
    customers, events, breadth = (
        sum(row[name] for row in rows) for name in ("customers", "events", "breadth")
    )
    return {
        "customers": customers,
        "events": events,
        "breadth": round(breadth / customers, 2) if customers else None,
    }


def _has_rows(reader: Queryable, sql: str) -> bool:
    return bool(reader.query(f"SELECT COUNT(*) AS n FROM ({sql}) AS found")["n"][0].as_py())
