"""Value: the best 20 %, the middle 30 % and the low 50 % of buyers by revenue of the last 365 days, and the curve.

Tiers are drawn in a total order (revenue, then customer_id), so that the best 20 % are exactly that many; the
percentile gives those who tie the same value. Customers without revenue in the year are low.
Reads the tag revenue_365d; writes value_percentile, value_tier, is_best_20.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from aimwell.analysis.tag import Tag
from aimwell.core.tables import Type
from aimwell.core.text import Text, say

_NEEDS = ("order_lines.revenue",)
TIERS: dict[str, Text] = {"best_20": say("best 20 %"), "middle": say("middle"), "low": say("low")}
VALUE_TAGS: tuple[Tag, ...] = (
    Tag(
        "value_percentile",
        say("Value percentile"),
        say("Share of buyers who paid less in {days} days: close to 1 is best.", days=365),
        "behavioural",
        "share",
        Type.REAL,
        _NEEDS,
    ),
    Tag(
        "value_tier",
        say("Value tier"),
        say("Best 20 %, middle 30 % or low, by revenue of {days} days among buyers.", days=365),
        "behavioural",
        "",
        Type.TEXT,
        _NEEDS,
    ),
    Tag(
        "is_best_20",
        say("Best 20 %"),
        say("One of the 20 % of buyers who paid most in {days} days.", days=365),
        "behavioural",
        "",
        Type.BOOLEAN,
        _NEEDS,
    ),
)


def measure_curve(tags: pa.Table, *, points: int = 21) -> dict[str, Any]:
    """How revenue of 365 days concentrates: share of buyers, best first, against their share of revenue.

    Returns ``top20_revenue_share`` (0–1, None without revenue) and ``curve``, at most ``points`` pairs from
    (0, 0) to (1, 1).
    """
    revenue = tags.column("revenue_365d").drop_null().to_numpy().astype(np.float64)
    revenue = -np.sort(-revenue[revenue > 0])
    if not len(revenue):
        return {"top20_revenue_share": None, "curve": []}
    cumulated = np.concatenate([[0.0], np.cumsum(revenue)]) / revenue.sum()
    shares = np.linspace(0.0, 1.0, points)
    reached = np.interp(shares * len(revenue), np.arange(len(revenue) + 1), cumulated)
    top = int(np.ceil(len(revenue) / 5))
    pairs = [[round(float(x), 4), round(float(y), 4)] for x, y in zip(shares, reached, strict=True)]
    return {"top20_revenue_share": round(float(cumulated[top]), 4), "curve": pairs}
