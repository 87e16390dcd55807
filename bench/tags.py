"""Claim: all tags of 1 M customers and 50 M events in at most 50 CPU s and 1.5 GB; a refresh is far cheaper.

Computes the whole catalogue as ``aimwell analysis run`` does, then again after 1 % of the customers did something, then
a day later. Beside it, in processes of their own, 24 tags of the same rows by our compiler, by SQL written by hand for
DuckDB, and by Polars. Run it with ``python -m bench.tags --scale small|full``.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from aimwell.analysis.tag import count_events, count_lines, count_orders, count_values, sum_lines
from aimwell.analysis.tags import compute_tags
from aimwell.core.tables import EVENTS
from aimwell.engine.compile_tags import compile_tags
from aimwell.engine.specification import Condition, DaysSince, Measure, Ratio, TagSpec, TopValue, Window
from aimwell.engine.workspace import Workspace
from bench.generated import AS_OF, make_workspace
from bench.result import Scale, emit, measure, peak_memory, read_scale

VIEWED, ADDED, SENT, OPENED = "Product Viewed", "Product Added", "Message Sent", "Email Opened"
DAYS = (7, 30, 90, 365)
SPECS: dict[str, TagSpec] = {
    **{f"views_{days}d": Measure(count_events(VIEWED, days)) for days in DAYS},
    **{f"adds_{days}d": Measure(count_events(ADDED, days)) for days in DAYS},
    **{f"sent_{days}d": Measure(count_events(SENT, days)) for days in DAYS},
    "opened_90d": Measure(count_events(OPENED, 90)),
    "days_since_view": DaysSince("events", "last", (Condition("name", "=", VIEWED),)),
    "days_since_add": DaysSince("events", "last", (Condition("name", "=", ADDED),)),
    "view_to_cart_90d": Ratio(count_events(ADDED, 90), count_events(VIEWED, 90)),
    "lines_365d": Measure(count_lines(365)),
    **{f"revenue_{days}d": Measure(sum_lines("revenue", days)) for days in DAYS},
    "orders_365d": Measure(count_orders(365)),
    "products_365d": Measure(count_values("order_lines", "product_id", 365)),
    "top_store": TopValue("order_lines", "store_id", "revenue", Window(365)),
}


def main() -> None:
    """Print each figure, and at the end one line for programs."""
    scale = read_scale(str(__doc__).split("\n", 1)[0])
    make_workspace(scale).close()
    whole = _apart(_compute_whole, scale)
    figures = {name: _apart(work, scale) for name, work in PEERS.items()}
    print(f"whole catalogue: {whole['full']:.1f} CPU s, peak {whole['memory']:.0f} MB")
    print(f"1 % changed:     {whole['changed']:.1f} CPU s, {whole['full'] / whole['changed']:.1f} × cheaper")
    print(f"a day later:     {whole['day']:.1f} CPU s, {whole['full'] / whole['day']:.1f} × cheaper")
    for name, one in figures.items():
        print(f"{len(SPECS)} tags by {name}: {one['cpu']:.2f} CPU s, peak {one['memory']:.0f} MB")
    same = all(one["checksum"] == figures["ours"]["checksum"] for one in figures.values())
    print(f"the same answers: {same}")
    by_hand = figures["ours"]["cpu"] / figures["by_hand"]["cpu"]
    by_polars = figures["ours"]["cpu"] / figures["polars"]["cpu"]
    refresh, daily = whole["full"] / whole["changed"], whole["full"] / whole["day"]
    at_scale = scale == "small" or (whole["full"] <= 50 and whole["memory"] <= 1536)
    holds = same and by_hand <= 1.15 and by_polars <= 0.6 and refresh >= 15 and daily >= 5 and at_scale
    emit(
        claim="tags: full <= 50 CPU s in <= 1.5 GB; <= 0.6 x Polars; <= 1.15 x SQL by hand; 1 % >= 15 x, a day >= 5 x",
        ours=figures["ours"]["cpu"],
        peer=figures["polars"]["cpu"],
        unit="CPU s",
        holds=holds,
        full_cpu=round(whole["full"], 2),
        full_memory_mb=round(whole["memory"]),
        refresh_times=round(refresh, 2),
        daily_times=round(daily, 2),
        by_hand=round(by_hand, 3),
        same_answers=same,
    )


def _apart(work: Callable[[Scale], dict[str, Any]], scale: Scale) -> dict[str, Any]:
    """The answer of ``work`` in a process of its own, so that its memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, (scale,))


# ---------------------------------------------------------------- the whole catalogue


def _compute_whole(scale: Scale) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=os.environ.get("AIMWELL_BENCH")) as folder:
        workspace = _copy(scale, Path(folder) / "shop")
        _, full = measure(lambda: _compute(workspace, 0))
        memory = peak_memory()
        _change(workspace)
        _, changed = measure(lambda: _compute(workspace, 0))
        _, day = measure(lambda: _compute(workspace, 1))
        workspace.close()
    return {"full": full.cpu, "memory": memory, "changed": changed.cpu, "day": day.cpu}


def _copy(scale: Scale, folder: Path) -> Workspace:
    """A copy that may be written to; files of the warehouse never change, and are linked."""
    made = make_workspace(scale)
    made.close()

    def copy(source: str, target: str) -> str:
        if source.endswith(".parquet"):
            os.link(source, target)
        else:
            shutil.copy2(source, target)
        return target

    shutil.copytree(made.path, folder, copy_function=copy)
    workspace = Workspace.open(folder)
    with workspace.read():  # looks at every file's checksum, which is no part of computing tags
        pass
    return workspace


def _compute(workspace: Workspace, days: int) -> None:
    with workspace.run("analysis", as_of=AS_OF + timedelta(days=days)) as run:
        computed = compute_tags(workspace, run)
    print(f"  {computed.customers} customers: {computed.changes.explain().render('en')}", flush=True)


def _change(workspace: Workspace) -> None:
    """One event of every hundredth customer, on the last known day."""
    with workspace.run("data", as_of=AS_OF) as run:
        people = run.query("SELECT customer_id FROM customers ORDER BY customer_id").column("customer_id")
        day = AS_OF - timedelta(days=1)
        rows = [
            {
                "event_id": f"new{number}",
                "customer_id": customer,
                "name": VIEWED,
                "occurred_at": datetime(day.year, day.month, day.day, tzinfo=UTC),
                "occurred_on": day,
                "product_id": "p00000001",
                "source": "generated",
                "simulated": True,
            }
            for number, customer in enumerate(people.to_pylist()[::100])
        ]
        run.append("events", EVENTS.build(rows))


# ---------------------------------------------------------------- 24 tags, three ways


def _list_files(scale: Scale) -> dict[str, list[str]]:
    workspace = make_workspace(scale)
    with workspace.run("bench", as_of=AS_OF) as run:
        found = {
            table: [str(workspace.warehouse_folder / path) for path in run.list_files(table)]
            for table in ("customers", "products", "order_lines", "events")
        }
    workspace.close()
    return found


def _connect(files: Mapping[str, list[str]]) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(config={"threads": 2, "memory_limit": "2GB"})
    for table, paths in files.items():
        connection.execute(f"CREATE VIEW {table} AS SELECT * FROM read_parquet({paths!r})")
    return connection


def _answer(work: Callable[[], pa.Table]) -> dict[str, Any]:
    table, cost = measure(work)
    return {"cpu": cost.cpu, "memory": peak_memory(), "checksum": _check(table)}


def _check(table: pa.Table) -> list[float]:
    """One number per tag: the sum, or the sum of the digits of names; rounded to what every engine agrees on."""
    sums = []
    for name in SPECS:
        column = table.column(name)
        if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
            column = pc.cast(pc.utf8_slice_codeunits(pc.cast(column, pa.string()), 1), pa.int64())
        sums.append(round(float(pc.sum(pc.cast(column, pa.float64())).as_py() or 0.0), 2))
    return sums


def _compute_ours(scale: Scale) -> dict[str, Any]:
    connection = _connect(_list_files(scale))
    query = compile_tags(SPECS, as_of=AS_OF)
    return _answer(lambda: connection.sql(query.sql, params=dict(query.parameters)).to_arrow_table())


def _compute_by_hand(scale: Scale) -> dict[str, Any]:
    connection = _connect(_list_files(scale))
    return _answer(lambda: connection.sql(_write_by_hand()).to_arrow_table())


def _write_by_hand() -> str:
    """What an analyst would write: a FILTER per tag, one scan per table, DuckDB's own functions."""

    def since(days: int) -> str:
        return f"DATE '{(AS_OF - timedelta(days=days)).isoformat()}'"

    day = f"DATE '{AS_OF.isoformat()}'"
    short = {"views": VIEWED, "adds": ADDED, "sent": SENT}
    counts = ",\n".join(
        f"COUNT(*) FILTER (name = '{name}' AND occurred_on >= {since(days)}) AS {alias}_{days}d"
        for alias, name in short.items()
        for days in DAYS
    )
    revenue = ", ".join(
        f"SUM(revenue) FILTER (ordered_on >= {since(days)})::DOUBLE AS revenue_{days}d" for days in DAYS
    )
    return f"""
WITH e AS (
    SELECT customer_id, {counts},
        COUNT(*) FILTER (name = '{OPENED}' AND occurred_on >= {since(90)}) AS opened_90d,
        MAX(occurred_on) FILTER (name = '{VIEWED}') AS last_view,
        MAX(occurred_on) FILTER (name = '{ADDED}') AS last_add
    FROM events WHERE occurred_on < {day} GROUP BY customer_id
), l AS (
    SELECT customer_id, {revenue},
        COUNT(*) FILTER (ordered_on >= {since(365)}) AS lines_365d,
        COUNT(DISTINCT product_id) FILTER (ordered_on >= {since(365)}) AS products_365d
    FROM order_lines WHERE ordered_on < {day} GROUP BY customer_id
), o AS (
    SELECT customer_id, COUNT(*) FILTER (day >= {since(365)}) AS orders_365d
    FROM (
        SELECT customer_id, order_id, MIN(ordered_on) AS day FROM order_lines WHERE ordered_on < {day}
        GROUP BY ALL HAVING BOOL_OR(NOT COALESCE(quantity < 0 OR revenue < 0, FALSE))
    ) GROUP BY customer_id
), s AS (
    SELECT customer_id, ARG_MIN(store_id, (-paid, store_id)) AS top_store
    FROM (
        SELECT customer_id, store_id, SUM(revenue) AS paid FROM order_lines
        WHERE ordered_on < {day} AND ordered_on >= {since(365)} AND store_id IS NOT NULL GROUP BY ALL
        HAVING SUM(revenue) > 0
    ) GROUP BY customer_id
), c AS (SELECT customer_id FROM customers UNION SELECT customer_id FROM order_lines WHERE ordered_on < {day})
SELECT c.customer_id, e.* EXCLUDE (customer_id), l.* EXCLUDE (customer_id), o.orders_365d, s.top_store,
    DATE_DIFF('day', last_view, {day}) AS days_since_view, DATE_DIFF('day', last_add, {day}) AS days_since_add,
    adds_90d / NULLIF(views_90d, 0) AS view_to_cart_90d
FROM c LEFT JOIN e USING (customer_id) LEFT JOIN l USING (customer_id) LEFT JOIN o USING (customer_id)
LEFT JOIN s USING (customer_id) ORDER BY c.customer_id"""


def _compute_polars(scale: Scale) -> dict[str, Any]:
    os.environ["POLARS_MAX_THREADS"] = "2"
    files = _list_files(scale)
    return _answer(lambda: _ask_polars(files))


def _ask_polars(files: Mapping[str, list[str]]) -> pa.Table:
    import polars as pl

    def within(column: str, days: int) -> Any:
        return pl.col(column) >= AS_OF - timedelta(days=days)

    def named(name: str) -> Any:
        return pl.col("name") == name

    events = pl.scan_parquet(files["events"]).filter(pl.col("occurred_on") < AS_OF)
    lines = pl.scan_parquet(files["order_lines"]).filter(pl.col("ordered_on") < AS_OF)
    short = {"views": VIEWED, "adds": ADDED, "sent": SENT}
    seen = events.group_by("customer_id").agg(
        *(
            (named(name) & within("occurred_on", days)).sum().alias(f"{alias}_{days}d")
            for alias, name in short.items()
            for days in DAYS
        ),
        (named(OPENED) & within("occurred_on", 90)).sum().alias("opened_90d"),
        pl.col("occurred_on").filter(named(VIEWED)).max().alias("last_view"),
        pl.col("occurred_on").filter(named(ADDED)).max().alias("last_add"),
    )
    year = within("ordered_on", 365)
    bought = lines.group_by("customer_id").agg(
        *(
            pl.col("revenue").filter(within("ordered_on", days)).sum().alias(f"revenue_{days}d")
            for days in DAYS
        ),
        year.sum().alias("lines_365d"),
        pl.col("product_id").filter(year).n_unique().alias("products_365d"),
    )
    kept = ~((pl.col("quantity") < 0) | (pl.col("revenue") < 0))
    orders = (
        lines.group_by("customer_id", "order_id")
        .agg(pl.col("ordered_on").min(), kept.any().alias("kept"))
        .filter(pl.col("kept"))
        .group_by("customer_id")
        .agg(year.sum().alias("orders_365d"))
    )
    stores = (
        lines.filter(year)
        .group_by("customer_id", "store_id")
        .agg(pl.col("revenue").sum())
        .filter(pl.col("revenue") > 0)
        .sort(["revenue", "store_id"], descending=[True, False])
        .group_by("customer_id", maintain_order=True)
        .agg(pl.col("store_id").first().alias("top_store"))
    )
    everybody = pl.concat(
        [pl.scan_parquet(files["customers"]).select("customer_id"), lines.select("customer_id")]
    ).unique()
    together = everybody
    for part in (seen, bought, orders, stores):
        together = together.join(part, on="customer_id", how="left")
    today = pl.lit(AS_OF)
    return (
        together.with_columns(
            (today - pl.col("last_view")).dt.total_days().alias("days_since_view"),
            (today - pl.col("last_add")).dt.total_days().alias("days_since_add"),
            pl.when(pl.col("views_90d") > 0)
            .then(pl.col("adds_90d") / pl.col("views_90d"))
            .alias("view_to_cart_90d"),
            *(pl.col(f"revenue_{days}d").cast(pl.Float64) for days in DAYS),
        )
        .sort("customer_id")
        .collect()
        .to_arrow()
    )


PEERS: dict[str, Callable[[Scale], dict[str, Any]]] = {
    "ours": _compute_ours,
    "by_hand": _compute_by_hand,
    "polars": _compute_polars,
}


if __name__ == "__main__":
    main()
