"""68 tags of the same rows four ways: by our compiler, by SQL written by hand for DuckDB, by Polars, by ClickHouse.

Each way answers a row per customer with the same columns. Peers read the rows as they were delivered: by month, the
customers in no order. Reads Parquet files of customers, events and order_lines; writes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from aimwell.analysis.tag import count_events, count_lines, count_orders, count_values, sum_lines
from aimwell.analysis.tag_measuring import split_customers
from aimwell.engine.compile_tags import compile_tags, find_spans
from aimwell.engine.specification import (
    Aggregate,
    Condition,
    DaysSince,
    Measure,
    Ratio,
    TagSpec,
    TopValue,
    Window,
)
from aimwell.engine.tag_plan import Among
from bench.generated import AS_OF, CHANNELS, NAMES

Files = Mapping[str, list[str]]
DAYS = (7, 30, 90, 365)
ALIASES = dict(zip(("views", "adds", "wishes", "checkouts", "sent", "opened"), NAMES, strict=True))
SUMMED = {"revenue": "revenue", "discount": "discount", "units": "quantity"}
RATIOS = {
    "view_to_cart_90d": ("adds_90d", "views_90d"),
    "cart_to_checkout_365d": ("checkouts_365d", "adds_365d"),
}
FIRST = ("views", "adds")


def _list_specs() -> dict[str, TagSpec]:
    specs: dict[str, TagSpec] = {}
    for alias, name in ALIASES.items():
        specs |= {f"{alias}_{days}d": Measure(count_events(name, days)) for days in DAYS}
        specs[f"days_since_{alias}"] = DaysSince("events", "last", (Condition("name", "=", name),))
    for alias in FIRST:
        which = (Condition("name", "=", ALIASES[alias]),)
        specs[f"days_since_first_{alias}"] = DaysSince("events", "first", which)
    for channel in CHANNELS:
        by = (Condition("channel", "=", channel),)
        for days in (30, 365):
            specs[f"{channel}_{days}d"] = Measure(Aggregate("events", "count", None, by, Window(days)))
    specs["view_to_cart_90d"] = Ratio(count_events(ALIASES["adds"], 90), count_events(ALIASES["views"], 90))
    specs["cart_to_checkout_365d"] = Ratio(
        count_events(ALIASES["checkouts"], 365), count_events(ALIASES["adds"], 365)
    )
    for days in (30, 90):
        specs[f"products_seen_{days}d"] = Measure(count_values("events", "product_id", days))
    for days in DAYS:
        specs[f"lines_{days}d"] = Measure(count_lines(days))
        specs[f"orders_{days}d"] = Measure(count_orders(days))
        specs |= {f"{alias}_{days}d": Measure(sum_lines(name, days)) for alias, name in SUMMED.items()}
    for days in (90, 365):
        specs[f"products_{days}d"] = Measure(count_values("order_lines", "product_id", days))
    specs["days_since_order"] = DaysSince("order_lines", "last")
    specs["top_store"] = TopValue("order_lines", "store_id", "revenue", Window(365))
    return specs


SPECS = _list_specs()


def check(table: pa.Table) -> list[float]:
    """One number per tag: the sum, or the sum of the digits of names."""
    sums = []
    for name in SPECS:
        column = table.column(name)
        if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
            column = pc.cast(column, pa.string()).drop_null()
            column = pc.cast(pc.utf8_slice_codeunits(column, 1), pa.int64())
        sums.append(float(pc.sum(pc.cast(column, pa.float64())).as_py() or 0.0))
    return sums


def connect(files: Files) -> duckdb.DuckDBPyConnection:
    """DuckDB with a view per table, as the engine sets it up."""
    connection = duckdb.connect(config={"threads": 2, "memory_limit": "3GB"})
    connection.execute("SET preserve_insertion_order = false; SET enable_progress_bar = false")
    for table, paths in files.items():
        connection.execute(f"CREATE VIEW {table} AS SELECT * FROM read_parquet({paths!r})")
    return connection


def ask_ours(files: Files) -> pa.Table:
    """One query for everybody, as the compiler writes it."""
    connection = connect(files)
    query = compile_tags(
        SPECS,
        as_of=AS_OF,
        among=Among(everybody="customers"),
        spans=find_spans(lambda sql: connection.sql(sql).to_arrow_table(), AS_OF, ("order_lines", "events")),
    )
    return connection.sql(query.sql, params=dict(query.parameters)).to_arrow_table()


def ask_ours_in_ranges(files: Files) -> list[pa.Table]:
    """A range of customers at a time, as ``aimwell analysis run`` goes."""
    connection = connect(files)
    connection.execute("SET memory_limit = '1GB'")
    spans = find_spans(lambda sql: connection.sql(sql).to_arrow_table(), AS_OF, ("order_lines", "events"))
    names = connection.sql("SELECT customer_id FROM customers ORDER BY customer_id").to_arrow_table()
    parts = []
    for among in split_customers(names["customer_id"], len(SPECS), "customers"):
        query = compile_tags(SPECS, as_of=AS_OF, among=among, spans=spans)
        parts.append(connection.sql(query.sql, params=dict(query.parameters)).to_arrow_table())
    return parts


# ---------------------------------------------------------------- by hand


def ask_by_hand(files: Files) -> pa.Table:
    """What an analyst would write for DuckDB: a FILTER per tag, one scan per table, its own functions."""
    return connect(files).sql(_write_by_hand()).to_arrow_table()


def _write_by_hand() -> str:
    day = f"DATE '{AS_OF}'"
    counts = [
        f"COUNT(*) FILTER (name = '{name}' AND occurred_on >= {_since(days)}) AS {alias}_{days}d"
        for alias, name in ALIASES.items()
        for days in DAYS
    ]
    counts += [
        f"COUNT(*) FILTER (channel = '{channel}' AND occurred_on >= {_since(days)}) AS {channel}_{days}d"
        for channel in CHANNELS
        for days in (30, 365)
    ]
    counts += [
        f"MAX(occurred_on) FILTER (name = '{name}') AS last_{alias}" for alias, name in ALIASES.items()
    ]
    counts += [f"MIN(occurred_on) FILTER (name = '{ALIASES[alias]}') AS first_{alias}" for alias in FIRST]
    counts += [
        f"COUNT(DISTINCT product_id) FILTER (occurred_on >= {_since(days)}) AS products_seen_{days}d"
        for days in (30, 90)
    ]
    lines = [f"COUNT(*) FILTER (ordered_on >= {_since(days)}) AS lines_{days}d" for days in DAYS]
    lines += [
        f"SUM({name}) FILTER (ordered_on >= {_since(days)})::DOUBLE AS {alias}_{days}d"
        for alias, name in SUMMED.items()
        for days in DAYS
    ]
    lines += [
        f"COUNT(DISTINCT product_id) FILTER (ordered_on >= {_since(days)}) AS products_{days}d"
        for days in (90, 365)
    ]
    orders = [f"COUNT(*) FILTER (day >= {_since(days)}) AS orders_{days}d" for days in DAYS]
    since = [f"DATE_DIFF('day', last_{alias}, {day}) AS days_since_{alias}" for alias in ALIASES]
    since += [f"DATE_DIFF('day', first_{alias}, {day}) AS days_since_first_{alias}" for alias in FIRST]
    ratios = [f"{part} / NULLIF({whole}, 0) AS {name}" for name, (part, whole) in RATIOS.items()]
    return f"""
WITH e AS (
    SELECT customer_id, {", ".join(counts)} FROM events WHERE occurred_on < {day} GROUP BY customer_id
), l AS (
    SELECT customer_id, {", ".join(lines)}, MAX(ordered_on) AS last_order
    FROM order_lines WHERE ordered_on < {day} GROUP BY customer_id
), o AS (
    SELECT customer_id, {", ".join(orders)}
    FROM (
        SELECT customer_id, order_id, MIN(ordered_on) AS day FROM order_lines WHERE ordered_on < {day}
        GROUP BY ALL HAVING BOOL_OR(NOT COALESCE(quantity < 0 OR revenue < 0, FALSE))
    ) GROUP BY customer_id
), s AS (
    SELECT customer_id, ARG_MIN(store_id, (-paid, store_id)) AS top_store
    FROM (
        SELECT customer_id, store_id, SUM(revenue) AS paid FROM order_lines
        WHERE ordered_on < {day} AND ordered_on >= {_since(365)} AND store_id IS NOT NULL GROUP BY ALL
        HAVING SUM(revenue) > 0
    ) GROUP BY customer_id
)
SELECT c.customer_id, e.* EXCLUDE (customer_id), l.* EXCLUDE (customer_id), o.* EXCLUDE (customer_id), s.top_store,
    DATE_DIFF('day', last_order, {day}) AS days_since_order, {", ".join(since + ratios)}
FROM customers AS c LEFT JOIN e USING (customer_id) LEFT JOIN l USING (customer_id)
LEFT JOIN o USING (customer_id) LEFT JOIN s USING (customer_id) ORDER BY c.customer_id"""


def _since(days: int) -> str:
    return f"DATE '{AS_OF - timedelta(days=days)}'"


# ---------------------------------------------------------------- ClickHouse


def ask_clickhouse(files: Files) -> pa.Table:
    """What an analyst would write for ClickHouse (chDB): countIf, sumIf, uniqExactIf, argMax."""
    import chdb

    tables = {name: f"file('{_join_paths(paths)}', Parquet)" for name, paths in files.items()}
    return chdb.query(_write_clickhouse(tables), "ArrowTable")


def _join_paths(paths: list[str]) -> str:
    folder = os.path.dirname(paths[0])
    names = [os.path.basename(path) for path in paths]
    return f"{folder}/{{{','.join(names)}}}" if len(names) > 1 else paths[0]


def _day(value: date) -> str:
    return f"toDate32('{value}')"


def _write_clickhouse(tables: Mapping[str, str]) -> str:
    day = _day(AS_OF)

    def since(days: int) -> str:
        return _day(AS_OF - timedelta(days=days))

    counts = [
        f"countIf(name = '{name}' AND occurred_on >= {since(days)}) AS {alias}_{days}d"
        for alias, name in ALIASES.items()
        for days in DAYS
    ]
    counts += [
        f"countIf(channel = '{channel}' AND occurred_on >= {since(days)}) AS {channel}_{days}d"
        for channel in CHANNELS
        for days in (30, 365)
    ]
    counts += [
        f"maxOrNullIf(occurred_on, name = '{name}') AS last_{alias}" for alias, name in ALIASES.items()
    ]
    counts += [f"minOrNullIf(occurred_on, name = '{ALIASES[alias]}') AS first_{alias}" for alias in FIRST]
    counts += [
        f"uniqExactIf(product_id, occurred_on >= {since(days)}) AS products_seen_{days}d" for days in (30, 90)
    ]
    lines = [f"countIf(ordered_on >= {since(days)}) AS lines_{days}d" for days in DAYS]
    lines += [
        f"toFloat64(sumIf({name}, ordered_on >= {since(days)})) AS {alias}_{days}d"
        for alias, name in SUMMED.items()
        for days in DAYS
    ]
    lines += [
        f"uniqExactIf(product_id, ordered_on >= {since(days)}) AS products_{days}d" for days in (90, 365)
    ]
    orders = [f"countIf(day >= {since(days)}) AS orders_{days}d" for days in DAYS]
    ages = [f"dateDiff('day', last_{alias}, {day}) AS days_since_{alias}" for alias in ALIASES]
    ages += [f"dateDiff('day', first_{alias}, {day}) AS days_since_first_{alias}" for alias in FIRST]
    ratios = [f"{part} / nullIf({whole}, 0) AS {name}" for name, (part, whole) in RATIOS.items()]
    made = ("days_since", "view_to", "cart_to", "top_")
    kept = ", ".join(name for name in SPECS if not name.startswith(made))
    return f"""
SELECT c.customer_id, {kept}, top_store, dateDiff('day', last_order, {day}) AS days_since_order,
    {", ".join(ages + ratios)}
FROM (SELECT assumeNotNull(customer_id) AS customer_id FROM {tables["customers"]}) AS c
LEFT JOIN (
    SELECT assumeNotNull(customer_id) AS customer_id, {", ".join(counts)} FROM {tables["events"]}
    WHERE occurred_on < {day} GROUP BY customer_id
) AS e ON e.customer_id = c.customer_id
LEFT JOIN (
    SELECT assumeNotNull(customer_id) AS customer_id, {", ".join(lines)}, max(ordered_on) AS last_order
    FROM {tables["order_lines"]} WHERE ordered_on < {day} GROUP BY customer_id
) AS l ON l.customer_id = c.customer_id
LEFT JOIN (
    SELECT customer_id, {", ".join(orders)}
    FROM (
        SELECT assumeNotNull(customer_id) AS customer_id, order_id, min(ordered_on) AS day
        FROM {tables["order_lines"]} WHERE ordered_on < {day} GROUP BY customer_id, order_id
        HAVING max(NOT coalesce(quantity < 0 OR revenue < 0, 0))
    ) GROUP BY customer_id
) AS o ON o.customer_id = c.customer_id
LEFT JOIN (
    SELECT customer_id, argMin(store_id, (-paid, store_id)) AS top_store
    FROM (
        SELECT assumeNotNull(customer_id) AS customer_id, store_id, sum(revenue) AS paid
        FROM {tables["order_lines"]}
        WHERE ordered_on < {day} AND ordered_on >= {since(365)} AND store_id IS NOT NULL
        GROUP BY customer_id, store_id HAVING paid > 0
    ) GROUP BY customer_id
) AS s ON s.customer_id = c.customer_id
ORDER BY c.customer_id
SETTINGS max_threads = 2, join_use_nulls = 1"""


# ---------------------------------------------------------------- Polars


def ask_polars(files: Files) -> pa.Table:
    """What an analyst would write for Polars: lazy scans, one group_by per table."""
    import polars as pl

    def within(column: str, days: int) -> Any:
        return pl.col(column) >= AS_OF - timedelta(days=days)

    def named(alias: str) -> Any:
        return pl.col("name") == ALIASES[alias]

    events = pl.scan_parquet(files["events"]).filter(pl.col("occurred_on") < AS_OF)
    lines = pl.scan_parquet(files["order_lines"]).filter(pl.col("ordered_on") < AS_OF)
    seen = events.group_by("customer_id").agg(
        *(
            (named(alias) & within("occurred_on", days)).sum().alias(f"{alias}_{days}d")
            for alias in ALIASES
            for days in DAYS
        ),
        *(
            ((pl.col("channel") == channel) & within("occurred_on", days)).sum().alias(f"{channel}_{days}d")
            for channel in CHANNELS
            for days in (30, 365)
        ),
        *(pl.col("occurred_on").filter(named(alias)).max().alias(f"last_{alias}") for alias in ALIASES),
        *(pl.col("occurred_on").filter(named(alias)).min().alias(f"first_{alias}") for alias in FIRST),
        *(
            pl.col("product_id")
            .filter(within("occurred_on", days))
            .n_unique()
            .alias(f"products_seen_{days}d")
            for days in (30, 90)
        ),
    )
    bought = lines.group_by("customer_id").agg(
        *(within("ordered_on", days).sum().alias(f"lines_{days}d") for days in DAYS),
        *(
            pl.col(name).filter(within("ordered_on", days)).sum().alias(f"{alias}_{days}d")
            for alias, name in SUMMED.items()
            for days in DAYS
        ),
        *(
            pl.col("product_id").filter(within("ordered_on", days)).n_unique().alias(f"products_{days}d")
            for days in (90, 365)
        ),
        pl.col("ordered_on").max().alias("last_order"),
    )
    kept = ~((pl.col("quantity") < 0) | (pl.col("revenue") < 0))
    orders = (
        lines.group_by("customer_id", "order_id")
        .agg(pl.col("ordered_on").min(), kept.any().alias("kept"))
        .filter(pl.col("kept"))
        .group_by("customer_id")
        .agg(*(within("ordered_on", days).sum().alias(f"orders_{days}d") for days in DAYS))
    )
    stores = (
        lines.filter(within("ordered_on", 365))
        .group_by("customer_id", "store_id")
        .agg(pl.col("revenue").sum())
        .filter(pl.col("revenue") > 0)
        .sort(["revenue", "store_id"], descending=[True, False])
        .group_by("customer_id", maintain_order=True)
        .agg(pl.col("store_id").first().alias("top_store"))
    )
    together = pl.scan_parquet(files["customers"]).select("customer_id")
    for part in (seen, bought, orders, stores):
        together = together.join(part, on="customer_id", how="left")

    def age(column: str) -> Any:
        return (pl.lit(AS_OF) - pl.col(column)).dt.total_days()

    return (
        together.with_columns(
            *(age(f"last_{alias}").alias(f"days_since_{alias}") for alias in ALIASES),
            *(age(f"first_{alias}").alias(f"days_since_first_{alias}") for alias in FIRST),
            age("last_order").alias("days_since_order"),
            *(
                pl.when(pl.col(whole) > 0).then(pl.col(part) / pl.col(whole)).alias(name)
                for name, (part, whole) in RATIOS.items()
            ),
            *(pl.col(f"{alias}_{days}d").cast(pl.Float64) for alias in SUMMED for days in DAYS),
        )
        .sort("customer_id")
        .collect()
        .to_arrow()
    )
