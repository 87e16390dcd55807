"""What was known of every customer on a day: one query per snapshot, strictly before it.

A group is what a propensity is about: a department, else a category, else a product, else any order. The label
"bought group g within 28 days of S" is read from the snapshot 28 days later, so that features and labels can
never overlap. Reads order_lines and products; writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aimwell.engine.session import Queryable

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Grouping = Literal["department", "category", "product", "any"]

GROUP_COLUMNS: dict[Grouping, str] = {
    "department": "product.department",
    "category": "product.category",
    "product": "line.product_id",
    "any": "CAST(NULL AS VARCHAR)",
}
MOST_GROUPS = 12
SMALLEST_REACH = 0.03
"""A group that fewer customers than this bought within 364 days is no main one."""
LONG_AGO = 400.0

GROUPS_SQL = """
SELECT {group} AS name, COUNT(DISTINCT line.customer_id) AS customers
FROM order_lines AS line
LEFT JOIN products AS product ON product.product_id = line.product_id
WHERE line.ordered_on < $until AND line.ordered_on >= $since AND {group} IS NOT NULL AND {group} <> ''
GROUP BY {group}
ORDER BY customers DESC, name
LIMIT {limit}
"""
BASE_SQL = """
SELECT COUNT(DISTINCT customer_id) AS customers
FROM order_lines
WHERE ordered_on < $until AND ordered_on >= $since
"""
SNAPSHOT_SQL = """
WITH days AS (
    SELECT
        line.customer_id,
        {group} AS name,
        line.ordered_on,
        COUNT(*) AS lines,
        SUM(line.revenue) AS revenue,
        SUM(line.discount) AS discount
    FROM order_lines AS line
    LEFT JOIN products AS product ON product.product_id = line.product_id
    WHERE line.ordered_on < $until
    GROUP BY line.customer_id, {group}, line.ordered_on
),
whole_days AS (
    SELECT
        customer_id, CAST(NULL AS VARCHAR) AS name, ordered_on,
        SUM(lines) AS lines, SUM(revenue) AS revenue, SUM(discount) AS discount
    FROM days
    GROUP BY customer_id, ordered_on
),
combined AS (
    SELECT customer_id, COALESCE(name, '') AS name, FALSE AS whole, ordered_on, lines, revenue, discount
    FROM days WHERE name IN ({names})
    UNION ALL
    SELECT customer_id, '' AS name, TRUE AS whole, ordered_on, lines, revenue, discount FROM whole_days
)
SELECT
    customer_id,
    name,
    whole,
    MIN(ordered_on) AS first_on,
    MAX(ordered_on) AS last_on,
    COUNT(*) AS days_ever,
    SUM(CASE WHEN ordered_on >= $since_28 THEN 1 ELSE 0 END) AS days_28,
    SUM(CASE WHEN ordered_on >= $since_84 THEN 1 ELSE 0 END) AS days_84,
    SUM(CASE WHEN ordered_on >= $since_182 THEN 1 ELSE 0 END) AS days_182,
    SUM(CASE WHEN ordered_on >= $since_84 THEN lines ELSE 0 END) AS lines_84,
    CAST(SUM(CASE WHEN ordered_on >= $since_84 THEN revenue ELSE 0 END) AS DOUBLE) AS revenue_84,
    CAST(SUM(CASE WHEN ordered_on >= $since_84 THEN discount ELSE 0 END) AS DOUBLE) AS discount_84
FROM combined
GROUP BY customer_id, name, whole
ORDER BY customer_id, name, whole
"""
MEASURES = ("days_ever", "days_28", "days_84", "days_182", "lines_84", "revenue_84", "discount_84")


@dataclass(frozen=True)
class Snapshot:
    """n customers who had ordered before ``day``. ``whole`` (n × W) describes them, ``own`` (n × groups × V) their
    buying in each group, ``last`` (n × groups) the ordinal of the last day they bought it (0: never)."""

    day: date
    customer_ids: tuple[str, ...]
    whole: Floats
    own: Floats
    last: Integers

    def __len__(self) -> int:
        return len(self.customer_ids)

    def label(self, later: Snapshot) -> NDArray[np.bool_]:
        """n × groups: bought from this day on and before ``later.day``."""
        place = {customer: row for row, customer in enumerate(later.customer_ids)}
        rows = np.array([place[customer] for customer in self.customer_ids], dtype=np.int64)
        return np.asarray(later.last[rows] >= self.day.toordinal())


def choose_groups(source: Queryable, *, as_of: date) -> tuple[Grouping, tuple[str, ...]]:
    """The main departments; where there are not two, categories, then products; else any order."""
    bounds = {"until": as_of, "since": _back(as_of, 364)}
    base = source.query(BASE_SQL, bounds).column("customers")[0].as_py()
    for grouping in ("department", "category", "product"):
        sql = GROUPS_SQL.format(group=GROUP_COLUMNS[grouping], limit=MOST_GROUPS)
        rows = source.query(sql, bounds).to_pylist()
        names = tuple(row["name"] for row in rows if row["customers"] >= SMALLEST_REACH * base)
        if len(names) >= 2:
            return grouping, names
    return "any", ("any",)


def take_snapshot(source: Queryable, *, day: date, grouping: Grouping, names: tuple[str, ...]) -> Snapshot:
    """Everything that is known strictly before ``day``."""
    bounds: dict[str, object] = {"until": day}
    bounds |= {f"since_{days}": _back(day, days) for days in (28, 84, 182)}
    bounds |= {f"name_{place}": name for place, name in enumerate(names)}
    places = ", ".join(f"$name_{place}" for place in range(len(names)))
    sql = SNAPSHOT_SQL.format(group=GROUP_COLUMNS[grouping], names=places)
    rows = source.query(sql, bounds)
    whole = rows.column("whole").to_numpy(zero_copy_only=False).astype(bool)
    customers = rows.column("customer_id").combine_chunks().dictionary_encode()
    codes = customers.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    ids = tuple(customers.dictionary.to_pylist())
    group = pc.index_in(rows.column("name"), value_set=pa.array(names, type=pa.string())).fill_null(-1)
    group_codes = group.to_numpy(zero_copy_only=False).astype(np.int64)
    values = np.column_stack([_to_floats(rows.column(name)) for name in MEASURES])
    last = _to_days(rows.column("last_on"))
    first = _to_days(rows.column("first_on"))
    total = np.zeros((len(ids), len(MEASURES)))
    total[codes[whole]] = values[whole]
    bounds_of = np.zeros((len(ids), 2))
    bounds_of[codes[whole]] = np.column_stack([first[whole], last[whole]])
    own = np.zeros((len(ids), len(names), len(MEASURES)))
    own_last = np.zeros((len(ids), len(names)), dtype=np.int64)
    if grouping == "any":
        own[:, 0], own_last[:, 0] = total, bounds_of[:, 1]
    else:
        own[codes[~whole], group_codes[~whole]] = values[~whole]
        own_last[codes[~whole], group_codes[~whole]] = last[~whole]
    now = day.toordinal()
    return Snapshot(
        day, ids, _describe_whole(total, bounds_of, now), _describe_own(own, own_last, total, now), own_last
    )


def _describe_whole(total: Floats, bounds: Floats, now: int) -> Floats:
    ever, days_28, days_84, days_182, lines, revenue, discount = total.T
    tenure, recency = now - bounds[:, 0], now - bounds[:, 1]
    gap = tenure / np.maximum(ever, 1)
    return np.column_stack(
        [
            np.log1p(recency),
            np.log1p(tenure),
            np.log1p(days_28),
            np.log1p(days_84),
            np.log1p(days_182),
            np.log(np.maximum(gap, 0.1)),
            recency / np.maximum(gap, 1.0),
            np.log1p(np.maximum(revenue, 0.0)),
            np.log1p(lines),
            discount / np.maximum(np.abs(revenue) + discount, 1e-9),
            days_28 / np.maximum(days_84, 1.0),
        ]
    )


def _describe_own(own: Floats, last: Integers, total: Floats, now: int) -> Floats:
    recency = np.where(last > 0, now - last, LONG_AGO).astype(float)
    ever, days_28, days_84, days_182, lines, revenue, _ = np.moveaxis(own, 2, 0)
    return np.stack(
        [
            np.log1p(np.minimum(recency, LONG_AGO)),
            np.log1p(ever),
            np.log1p(days_28),
            np.log1p(days_84),
            np.log1p(days_182),
            np.log1p(lines),
            np.log1p(np.maximum(revenue, 0.0)),
            revenue / np.maximum(total[:, None, 5], 1e-9).clip(1e-9),
            days_182 / np.maximum(total[:, None, 3], 1.0),
            ever / np.maximum(total[:, None, 0], 1.0),
        ],
        axis=2,
    )


def _back(day: date, days: int) -> date:
    return date.fromordinal(day.toordinal() - days)


def _to_floats(column: pa.ChunkedArray) -> Floats:
    return np.asarray(np.nan_to_num(column.to_numpy(zero_copy_only=False).astype(float)))


def _to_days(column: pa.ChunkedArray) -> Integers:
    days = column.to_numpy(zero_copy_only=False).astype("datetime64[D]").astype(np.int64)
    return np.asarray(days + date(1970, 1, 1).toordinal(), dtype=np.int64)
