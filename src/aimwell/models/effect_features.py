"""What effects may depend on, per customer and day: value, activity, sensitivity to discounts, affinity to offers.

Everything but consents is known strictly before the day, so that an old plan is learnt from as it was decided.
Reads customers, order_lines, products, events and consents; writes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from aimwell.core.time import find_knowledge_end
from aimwell.engine.consent import bind_instant, select_consents
from aimwell.engine.session import Queryable
from aimwell.models.effect_design import CustomerFeatures

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

NEVER = 400.0
SIZE_PRIOR_DAYS = 5.0
SMALLEST_SHARE = 0.01
SIZE_BOUNDS = (0.2, 5.0)

TRAITS_SQL = """
WITH people AS (
    SELECT customer_id FROM customers
    UNION
    SELECT customer_id FROM order_lines WHERE ordered_on < $until
),
days AS (
    SELECT
        customer_id,
        ordered_on,
        SUM(revenue) AS revenue,
        SUM(discount) AS discount
    FROM order_lines
    WHERE ordered_on < $until
    GROUP BY customer_id, ordered_on
),
bought AS (
    SELECT
        customer_id,
        COUNT(*) AS days_ever,
        MIN(ordered_on) AS first_on,
        MAX(ordered_on) AS last_on,
        SUM(CASE WHEN ordered_on >= $since_28 THEN revenue ELSE 0 END) AS revenue_28,
        SUM(CASE WHEN ordered_on >= $since_84 THEN revenue ELSE 0 END) AS revenue_84,
        SUM(CASE WHEN ordered_on >= $since_84 THEN 1 ELSE 0 END) AS days_84,
        SUM(CASE WHEN ordered_on >= $since_364 THEN 1 ELSE 0 END) AS days_364,
        SUM(CASE WHEN ordered_on >= $since_364 THEN revenue ELSE 0 END) AS revenue_364,
        SUM(CASE WHEN ordered_on >= $since_364 THEN discount ELSE 0 END) AS discount_364
    FROM days
    GROUP BY customer_id
),
redeemed AS (
    SELECT customer_id, COUNT(*) AS redemptions
    FROM events
    WHERE name = 'Coupon Redeemed' AND occurred_on < $until AND occurred_on >= $since_364
    GROUP BY customer_id
)
SELECT
    people.customer_id,
    COALESCE(bought.days_ever, 0) AS days_ever,
    bought.first_on,
    bought.last_on,
    CAST(COALESCE(bought.revenue_28, 0) AS DOUBLE) AS revenue_28,
    CAST(COALESCE(bought.revenue_84, 0) AS DOUBLE) AS revenue_84,
    COALESCE(bought.days_84, 0) AS days_84,
    COALESCE(bought.days_364, 0) AS days_364,
    CAST(COALESCE(bought.revenue_364, 0) AS DOUBLE) AS revenue_364,
    CAST(COALESCE(bought.discount_364, 0) AS DOUBLE) AS discount_364,
    COALESCE(redeemed.redemptions, 0) AS redemptions
FROM people
LEFT JOIN bought ON bought.customer_id = people.customer_id
LEFT JOIN redeemed ON redeemed.customer_id = people.customer_id
ORDER BY people.customer_id
"""
AFFINITY_SQL = """
WITH matched AS (
    SELECT product_id, department AS name FROM products WHERE department IN ({names})
    UNION
    SELECT product_id, category AS name FROM products WHERE category IN ({names})
    UNION
    SELECT product_id, product_id AS name FROM order_lines WHERE product_id IN ({names})
)
SELECT
    line.customer_id,
    matched.name,
    CAST(SUM(line.revenue) AS DOUBLE) AS revenue
FROM order_lines AS line
INNER JOIN matched ON matched.product_id = line.product_id
WHERE line.ordered_on < $until AND line.ordered_on >= $since
GROUP BY line.customer_id, matched.name
ORDER BY line.customer_id, matched.name
"""
REACH_SQL = f"""
WITH latest AS (
{select_consents(purpose="marketing")}
),
allowed AS (
    SELECT
        customer_id,
        SUM(CASE
            WHEN NOT allowed THEN 0
            WHEN channel = 'email' THEN 1 WHEN channel = 'sms' THEN 2
            WHEN channel = 'call' THEN 4 WHEN channel = 'mail' THEN 8
            WHEN channel = 'push' THEN 16 WHEN channel = 'web' THEN 32 ELSE 64
        END) AS pattern
    FROM latest
    GROUP BY customer_id
)
SELECT
    customers.customer_id,
    COALESCE(allowed.pattern, 0)
        + CASE WHEN customers.email IS NULL THEN 0 ELSE 128 END
        + CASE WHEN customers.phone IS NULL THEN 0 ELSE 256 END
        + CASE WHEN customers.address IS NULL THEN 0 ELSE 512 END AS pattern
FROM customers
LEFT JOIN allowed ON allowed.customer_id = customers.customer_id
ORDER BY customers.customer_id
"""
REACH_BITS = 10


@dataclass(frozen=True)
class CustomerSheet:
    """n customers as of a day: effect features, the sums that go with them, and how they can be reached."""

    customer_ids: tuple[str, ...]
    features: CustomerFeatures
    recent_revenue: Floats
    """Revenue of the last 28 days, of the last 84, and order days of the last 84 (n × 3)."""
    reach: Integers
    """Bits of consents and addresses on file (n): customers of one pattern may be offered the same channels."""


def load_sheet(source: Queryable, *, until: date, departments: tuple[str | None, ...]) -> CustomerSheet:
    """Everybody as known strictly before ``until``; ``departments``: what each offer is about (None: everything)."""
    bounds: dict[str, object] = {"until": until}
    bounds |= {f"since_{days}": until - timedelta(days=days) for days in (28, 84, 364)}
    rows = source.query(TRAITS_SQL, bounds)
    ids = tuple(rows.column("customer_id").to_pylist())
    column = {
        name: np.nan_to_num(rows.column(name).to_numpy(zero_copy_only=False).astype(float))
        for name in rows.column_names
        if name not in {"customer_id", "first_on", "last_on"}
    }
    tenure = _count_days(rows.column("first_on").to_numpy(zero_copy_only=False), until)
    recency = _count_days(rows.column("last_on").to_numpy(zero_copy_only=False), until)
    place = {customer: row for row, customer in enumerate(ids)}
    affinity = _load_affinity(source, until, departments, place, column["revenue_364"])
    modifiers = _describe(column, tenure, recency)
    recent = np.column_stack([column["revenue_28"], column["revenue_84"], column["days_84"]])
    reach = np.zeros(len(ids), dtype=np.int64)
    # Consents count until now, as they do for plans: undated ones would otherwise be missing from old days.
    instant = bind_instant(find_knowledge_end(until, "UTC"))
    for row in source.query(REACH_SQL, instant).to_pylist():
        reach[place[row["customer_id"]]] = int(row["pattern"])
    return CustomerSheet(ids, CustomerFeatures(modifiers, affinity, _measure_size(column)), recent, reach)


def _describe(column: dict[str, Floats], tenure: Floats, recency: Floats) -> Floats:
    """Sensitivity to discounts, value, lapse, trend, activity, recency, tenure, use of coupons; NaN: never bought."""
    paid, given = column["revenue_364"], column["discount_364"]
    listed = np.abs(paid) + given
    share = np.divide(given, listed, out=np.full_like(paid, np.nan), where=listed > 0)
    gap = tenure / np.maximum(column["days_ever"], 1.0)
    now, before = column["revenue_28"] / 28, (column["revenue_84"] - column["revenue_28"]) / 56
    active = np.abs(now) + np.abs(before)
    trend = np.divide(now - before, active, out=np.zeros_like(now), where=active > 0)
    return np.column_stack(
        [
            share,
            np.log1p(np.maximum(column["revenue_84"], 0.0)),
            np.log1p(recency / np.maximum(gap, 1.0)),
            trend,
            np.log1p(column["days_84"]),
            np.log1p(recency),
            np.log1p(tenure),
            np.log1p(column["redemptions"]),
        ]
    )


def _measure_size(column: dict[str, Floats]) -> Floats:
    """Spend per order day of the last 364 days, drawn to the mean by five days' worth, relative to the mean."""
    spent, days = np.maximum(column["revenue_364"], 0.0), column["days_364"]
    mean = float(spent.sum()) / max(float(days.sum()), 1.0)
    if mean <= 0:
        return np.ones(len(spent))
    size: Floats = (spent + SIZE_PRIOR_DAYS * mean) / (days + SIZE_PRIOR_DAYS) / mean
    return np.clip(size, *SIZE_BOUNDS)


def _load_affinity(
    source: Queryable,
    until: date,
    departments: tuple[str | None, ...],
    place: dict[str, int],
    revenue: Floats,
) -> Floats:
    """n × offers: affinity to what the offer is about, by the revenue of 364 days; 0 for an offer on everything."""
    affinity = np.zeros((len(place), len(departments)))
    names = tuple(sorted({name for name in departments if name}))
    if not names:
        return affinity
    marks = ", ".join(f"$name_{number}" for number in range(len(names)))
    bounds: dict[str, object] = {f"name_{number}": name for number, name in enumerate(names)}
    bounds |= {"until": until, "since": until - timedelta(days=364)}
    columns = {name: [at for at, wanted in enumerate(departments) if wanted == name] for name in names}
    for row in source.query(AFFINITY_SQL.format(names=marks), bounds).to_pylist():
        who = place[row["customer_id"]]
        part = float(row["revenue"] or 0.0) / max(float(revenue[who]), 1e-9)
        affinity[who, columns[row["name"]]] = min(max(part, 0.0), 1.0)
    return _index_affinity(affinity, np.array([name is not None for name in departments]))


def _index_affinity(share: Floats, about: NDArray[np.bool_]) -> Floats:
    """The logarithm of the affinity index (TGI): a customer's share against the average share; 0 is average.

    Shares themselves cannot be compared between a department that takes half of every basket and one that
    takes a twentieth.
    """
    average = share.mean(axis=0)
    index = np.log((share + SMALLEST_SHARE) / (average + SMALLEST_SHARE))
    return np.where(about[None, :], index, 0.0)


def _count_days(days: NDArray[np.generic], until: date) -> Floats:
    since = (np.datetime64(until) - days.astype("datetime64[D]")).astype(float)
    unknown = np.isnat(days.astype("datetime64[D]"))
    return np.asarray(np.where(unknown, NEVER, since))
