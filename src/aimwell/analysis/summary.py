"""The figures of the analysis step for the report: coverage and distribution of tags, segments, RFM, lifecycle, value.

Reads the tags just computed (in memory and as ``tags`` of the run); writes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from aimwell.analysis.catalogue import describe_tag_rule
from aimwell.analysis.segment_lacks import explain_empty
from aimwell.analysis.segments import Membership, count_overlaps, share_revenue
from aimwell.analysis.tag import Tag
from aimwell.engine.session import Queryable
from aimwell.engine.sql_text import quote_name

MAIN_TAGS = (
    "recency_days",
    "days_between_orders",
    "orders_90d",
    "revenue_90d",
    "average_order_value",
    "revenue_trend",
    "discount_share_365d",
    "weekend_share",
    "departments_90d",
    "favourite_department",
    "favourite_hour",
    "favourite_weekday",
    "value_tier",
)
_BINS = 20
_MOST_VALUES = 24


def count_known(reader: Queryable, tags: tuple[Tag, ...]) -> tuple[dict[str, int], int]:
    """For how many customers each tag is known, and how many customers there are."""
    counts = ", ".join(f"COUNT({quote_name(tag.name)}) AS {quote_name(tag.name)}" for tag in tags)
    found = reader.query(f"SELECT COUNT(*) AS customers_there, {counts} FROM tags").to_pylist()[0]
    customers = found.pop("customers_there")
    return found, customers


def summarise_tags(tags: tuple[Tag, ...], known: Mapping[str, int], customers: int) -> dict[str, Any]:
    """The catalogue with the share of customers for whom each tag is known (0–1)."""
    catalogue = [
        {
            "name": tag.name,
            "title": tag.title.both(),
            "description": tag.description.both(),
            "kind": tag.kind,
            "unit": tag.unit,
            "type": tag.type.value,
            "coverage": round(known.get(tag.name, 0) / max(customers, 1), 4),
        }
        for tag in tags
    ]
    return {"count": len(tags), "catalogue": catalogue}


def summarise_segments(
    membership: Membership, table: pa.Table, missing: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Every segment with its rule in words, its size and its shares of customers and revenue (0–1).

    ``lacks`` says what keeps an empty one empty, when a tag of its rule is among the ``missing``.
    """
    pairs = zip(membership.segments, membership.sizes, strict=True)
    lacks = explain_empty({segment.name: segment.rule for segment, size in pairs if not size}, missing)
    revenue = pc.fill_null(table.column("revenue_365d"), 0.0).to_numpy()
    rows = max(table.num_rows, 1)
    return [
        {
            "name": segment.name,
            "title": segment.title.both(),
            "rule_text": describe_tag_rule(segment.rule).both(),
            "built_in": segment.built_in,
            "size": size,
            "share": round(size / rows, 6),
            "revenue_share": share_revenue(revenue, membership.inside[:, index]),
            "lacks": lacks[segment.name].both() if segment.name in lacks else None,
        }
        for index, (segment, size) in enumerate(zip(membership.segments, membership.sizes, strict=True))
    ]


def summarise_overlaps(membership: Membership) -> dict[str, Any]:
    """Customers in both of two segments, for all pairs."""
    return {
        "segments": [segment.name for segment in membership.segments],
        "customers": count_overlaps(membership),
    }


def summarise_distributions(table: pa.Table, tags: tuple[Tag, ...]) -> list[dict[str, Any]]:
    """A small histogram of each main tag that is known for anybody."""
    known = {tag.name: tag for tag in tags}
    found = []
    for name in MAIN_TAGS:
        values = table.column(name).drop_null()
        if len(values):
            tag = known[name]
            shape = _count_values(values) if _is_nominal(tag) else _count_bins(values)
            found.append(
                {"name": name, "title": tag.title.both(), "unit": tag.unit, "n": len(values), **shape}
            )
    return found


def describe_values(tag: Tag, values: pa.ChunkedArray) -> dict[str, Any]:
    """The known values of a tag: how many customers have each, or how many lie in each of 20 bins."""
    if _is_nominal(tag) or not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        return _count_values(values.cast(pa.string()))
    return _count_bins(values)


def _is_nominal(tag: Tag) -> bool:
    return tag.unit == ""


def _count_values(values: pa.ChunkedArray) -> dict[str, Any]:
    """The most frequent values, those that tie in their own order."""
    counted = [(row["values"], row["counts"]) for row in pc.value_counts(values.combine_chunks()).to_pylist()]
    first = sorted(counted, key=lambda pair: (-pair[1], pair[0]))[:_MOST_VALUES]
    return {"values": [{"value": value, "customers": count} for value, count in first]}


def _round(figure: float, whole: bool) -> float:
    return int(figure) if whole else round(float(figure), 4)


def _count_bins(values: pa.ChunkedArray) -> dict[str, Any]:
    """Equal bins up to the 99th percentile; the last one takes everything above.

    Whole numbers have bins of whole width, each from its first number to its last; others go up to the next bin.
    """
    whole = pa.types.is_integer(values.type)
    figures = values.to_numpy().astype(np.float64)
    low, high = float(figures.min()), float(np.quantile(figures, 0.99))
    if whole:
        width = math.ceil((math.floor(high) - low + 1) / _BINS)
        edges = low + width * np.arange(math.ceil((math.floor(high) - low + 1) / width) + 1)
        ends = edges[1:] - 1
    else:
        edges = np.linspace(low, high if high > low else low + 1.0, _BINS + 1)
        ends = edges[1:]
    counts, _ = np.histogram(np.minimum(figures, ends[-1]), edges)
    bins = [
        {"from": _round(start, whole), "to": _round(end, whole), "customers": int(count)}
        for start, end, count in zip(edges[:-1], ends, counts, strict=True)
    ]
    return {
        "bins": bins,
        "median": round(float(np.median(figures)), 4),
        "mean": round(float(figures.mean()), 4),
    }
