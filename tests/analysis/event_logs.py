"""Loads behaviour logs into workspaces straight from their files, for tests of this room alone."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import duckdb
import pyarrow as pa

from aimwell.engine.workspace import Workspace

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
TAOBAO = """
SELECT
    'e' || LPAD(CAST(ROW_NUMBER() OVER () AS VARCHAR), 6, '0') AS event_id,
    user_id AS customer_id,
    behavior AS name,
    TO_TIMESTAMP(moment) AS occurred_at,
    CAST(TO_TIMESTAMP(moment) AT TIME ZONE 'Asia/Shanghai' AS DATE) AS occurred_on,
    item_id AS product_id,
    'taobao' AS source,
    FALSE AS simulated
FROM read_csv('{path}', header = false, ignore_errors = true, columns = {{
    'user_id': 'VARCHAR', 'item_id': 'VARCHAR', 'category': 'VARCHAR', 'behavior': 'VARCHAR', 'moment': 'BIGINT'}})
WHERE behavior IN ('pv', 'cart', 'fav', 'buy')
"""
SHOP = """
SELECT
    'e' || LPAD(CAST(ROW_NUMBER() OVER () AS VARCHAR), 6, '0') AS event_id,
    user_id AS customer_id,
    event AS name,
    CAST(CAST("timestamp" AS VARCHAR) || '+00' AS TIMESTAMPTZ) AS occurred_at,
    CAST("timestamp" AS DATE) AS occurred_on,
    JSON_OBJECT('platform', platform, 'lifecycle', user_lifecycle, 'acquired', acquisition_channel) AS properties,
    'shop' AS source,
    FALSE AS simulated
FROM read_csv('{path}')
"""
SHOPPERS = """
SELECT user_id AS customer_id, 'shop' AS source, MIN(user_cohort) AS cohort, MIN(platform) AS platform
FROM read_csv('{path}')
GROUP BY user_id
"""


def load_taobao(folder: Path) -> Workspace:
    """The behaviour log of 815 customers: views, carts, favourites, purchases; no orders, no attributes."""
    path = SHARED / "taobao_userbehavior" / "UserBehavior.csv"
    workspace = Workspace.create(folder, name="taobao", zone="Asia/Shanghai", currency="CNY")
    with workspace.run("data", as_of=date(2017, 12, 4)) as run:
        events = _read(TAOBAO, path)
        run.append("events", events)
        ids = sorted(set(events["customer_id"].to_pylist()))
        run.replace("customers", pa.table({"customer_id": ids, "source": ["taobao"] * len(ids)}))
    return workspace


def load_shop(folder: Path) -> Workspace:
    """The synthetic clickstream with five documented stories; days are UTC's."""
    path = SHARED / "retentioneering_ecom" / "ecom.csv.gz"
    workspace = Workspace.create(folder, name="shop", zone="UTC", currency="USD")
    with workspace.run("data", as_of=date(2024, 7, 1)) as run:
        run.append("events", _read(SHOP, path))
        run.replace("customers", _read(SHOPPERS, path))
    return workspace


def _read(sql: str, path: Path) -> pa.Table:
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return connection.sql(sql.format(path=path)).to_arrow_table()
