"""Quality checks of whole orders: numbers that several customers or days share, the same order in two sources, order
times at quarters of an hour, the same basket twice a day under two numbers.

Lines are grouped by order once, for all checks, and only those of orders with several lines where these are few: at a
hundred million lines that grouping is what a report costs. Orders are told apart by 64 bits of their number, and states
are numbers only, so that the grouping spills to disk. Baskets of three lines or more are compared, which chance does
not repeat within a day. Reads ``order_lines``; writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from aimwell.core.text import Text, say
from aimwell.data.findings import EVERYWHERE, Finding, ask, delivered
from aimwell.data.repeats import Hashes, find_repeated, read_hashes
from aimwell.engine.session import Queryable
from aimwell.engine.spill import SpillFolder
from aimwell.engine.workspace import Run
from aimwell.stats.heaping import find_heap

ALPHA = 0.01
_STEPS = (-2, -1, 0, 1, 2)
_MINUTE = "epoch_us(ordered_at) // 60000000"
_FEW = 0.02
_UNIQUE = say("Make order numbers unique over shops and years.")


def find_order_traits(run: Run) -> Iterator[Finding]:
    """The findings of every check of this module."""
    with SpillFolder(run.warehouse_folder, "orders") as own:
        mostly_single = _collect_several(run, own.path / "hashes")
    counted = ask(run, _count_traits(mostly_single))
    for row in counted:
        yield from _report_shared(run, row)
    if counted:
        yield _find_repeated_orders(run, counted, mostly_single)
    timed = [row for row in counted if row["timed"]]
    for row in timed:
        yield _report_round_times(row, ALPHA / len(timed))
    for row in (row for row in counted if row["baskets"]):
        yield _report_copied_baskets(run, row)


def _collect_several(run: Run, folder: Path) -> bool:
    """Make ``several`` the orders of more than one line. Whether they are few: then only they need be grouped."""
    run.execute("CREATE OR REPLACE TEMP TABLE several (hashed UBIGINT)")
    rows = found = 0

    def watch(batches: Iterator[Hashes]) -> Iterator[Hashes]:
        nonlocal rows
        for batch in batches:
            rows += len(batch)
            yield batch

    hashes = read_hashes(
        run.query_batches("SELECT hash(order_id) AS hashed FROM order_lines WHERE NOT simulated")
    )
    for repeated in find_repeated(watch(hashes), folder):
        found += len(repeated)
        if found > _FEW * rows:
            return False
        if len(repeated):
            run.register("repeated_orders", pa.table({"hashed": pa.array(repeated)}))
            run.execute("INSERT INTO several SELECT hashed FROM repeated_orders")
    return True


def _count_traits(mostly_single: bool) -> str:
    """A row for each source: its orders, and how many of them have each trait."""
    sums = ", ".join(f"CAST(sum(at_{at}) AS BIGINT) AS at_{at}" for at in range(len(_STEPS)))
    near = ", ".join(f"at_{at}" for at in range(len(_STEPS)))
    columns = f"source, basket, orders, timed, {near}, shared, spread, shared_number, spread_number, number"
    return f"""
        WITH {_group_orders(mostly_single)},
        {_count_singles(mostly_single)},
        united AS (SELECT {columns} FROM baskets UNION ALL SELECT {columns} FROM singles)
        SELECT source, CAST(sum(orders) AS BIGINT) AS orders, CAST(sum(timed) AS BIGINT) AS timed, {sums},
            CAST(sum(shared) AS BIGINT) AS shared, CAST(sum(spread) AS BIGINT) AS spread,
            min(shared_number) AS shared_number, min(spread_number) AS spread_number,
            CAST(coalesce(sum(CASE WHEN basket IS NOT NULL THEN orders END), 0) AS BIGINT) AS baskets,
            CAST(coalesce(sum(CASE WHEN basket IS NOT NULL THEN orders - 1 END), 0) AS BIGINT) AS copies,
            min(CASE WHEN basket IS NOT NULL AND orders > 1 THEN number END) AS copied_number
        FROM united GROUP BY source ORDER BY source
    """


def _group_orders(mostly_single: bool) -> str:
    """``baskets``: orders by what is in them; those of fewer than three lines together."""
    near = _tell_near("1")
    sums = ", ".join(f"sum(at_{at}) AS at_{at}" for at in range(len(_STEPS)))
    whole = "product_id IS NOT NULL"
    grouped = "WHERE hash(order_id) IN (SELECT hashed FROM several)" if mostly_single else ""
    return f"""orders AS (
            SELECT source, hash(order_id) AS number, min(hash(customer_id)) AS customer,
                max(hash(customer_id)) AS other_customer, min(ordered_on) AS day, max(ordered_on) AS other_day,
                min(CASE WHEN ordered_hour IS NOT NULL THEN {_MINUTE} END) AS minute,
                sum(CASE WHEN {whole} THEN 1 ELSE 0 END) AS lines,
                sum(CASE WHEN {whole} THEN CAST(hash(product_id, quantity, revenue) >> 2 AS BIGINT) END) AS content
            FROM {delivered("order_lines")} {grouped} GROUP BY source, hash(order_id)
        ),
        traits AS (
            SELECT source, number, customer <> other_customer AS shared, day <> other_day AS spread,
                minute % 15 AS quarter, CASE WHEN lines >= 3 THEN hash(customer, day, content, lines) END AS basket
            FROM orders
        ),
        near AS (SELECT *, {near} FROM traits),
        baskets AS (
            SELECT source, basket, count(*) AS orders, count(quarter) AS timed, {sums},
                sum(CASE WHEN shared THEN 1 ELSE 0 END) AS shared, sum(CASE WHEN spread THEN 1 ELSE 0 END) AS spread,
                min(CASE WHEN shared THEN number END) AS shared_number,
                min(CASE WHEN spread THEN number END) AS spread_number, min(number) AS number
            FROM near GROUP BY source, basket
        )"""


def _count_singles(mostly_single: bool) -> str:
    """``singles``: an order of one line is shared by nobody and no basket: it is counted by its minute only."""
    single = "hash(order_id) NOT IN (SELECT hashed FROM several)" if mostly_single else "false"
    return f"""minutes AS (
            SELECT source, CASE WHEN ordered_hour IS NOT NULL THEN {_MINUTE} % 15 END AS quarter, count(*) AS orders
            FROM {delivered("order_lines")} WHERE {single} GROUP BY 1, 2
        ),
        singles AS (
            SELECT source, NULL AS basket, orders, CASE WHEN quarter IS NULL THEN 0 ELSE orders END AS timed,
                {_tell_near("orders")}, 0 AS shared, 0 AS spread, NULL AS shared_number, NULL AS spread_number,
                NULL AS number
            FROM minutes
        )"""


def _tell_near(value: str) -> str:
    """``value`` for orders at a minute's distance from a quarter of an hour, as the columns ``at_0`` to ``at_4``."""
    return ", ".join(
        f"CASE WHEN quarter = {step % 15} THEN {value} ELSE 0 END AS at_{at}"
        for at, step in enumerate(_STEPS)
    )


def _show(reader: Queryable, number: int | None) -> tuple[str, ...]:
    """The order of a number's hash, as an example."""
    if number is None:
        return ()
    found = ask(
        reader,
        f"""
        SELECT min(order_id) AS example FROM {delivered("order_lines")}
        WHERE hash(order_id) = CAST($number AS UBIGINT)
        """,
        {"number": str(number)},
    )
    return (str(found[0]["example"]),)


def _report_shared(reader: Queryable, row: dict[str, Any]) -> Iterator[Finding]:
    yield Finding(
        row["source"],
        "order_lines",
        "order_id",
        "inaccurate",
        "order_of_several_customers",
        int(row["shared"]),
        int(row["orders"]),
        _show(reader, row["shared_number"]),
        lambda affected, total, column: say(
            "{affected} of {total} orders belong to more than one customer.", affected=affected, total=total
        ),
        _UNIQUE,
        0.01,
        2.0,
    )
    yield Finding(
        row["source"],
        "order_lines",
        "order_id",
        "inaccurate",
        "order_on_several_days",
        int(row["spread"]),
        int(row["orders"]),
        _show(reader, row["spread_number"]),
        lambda affected, total, column: say(
            "{affected} of {total} orders stretch over more than one day.", affected=affected, total=total
        ),
        _UNIQUE,
        0.01,
        2.0,
    )


def _find_repeated_orders(run: Run, counted: list[dict[str, Any]], mostly_single: bool) -> Finding:
    """The same file under two names counts every order twice: that is said loudly."""
    total, affected, number = sum(int(row["orders"]) for row in counted), 0, None
    # Of one source alone no order can stand in two, and an order of one line in none but its own.
    if len(counted) > 1:
        among = "WHERE hash(order_id) IN (SELECT hashed FROM several)" if mostly_single else ""
        row = ask(
            run,
            f"""
            WITH orders AS (
                SELECT hash(order_id) AS number, min(hash(source)) <> max(hash(source)) AS repeated
                FROM {delivered("order_lines")} {among} GROUP BY hash(order_id), hash(customer_id)
            )
            SELECT count(*) AS affected, min(number) AS number FROM orders WHERE repeated
            """,
        )[0]
        affected, number = int(row["affected"]), row["number"]
        total -= affected
    return Finding(
        EVERYWHERE,
        "order_lines",
        "order_id",
        "inaccurate",
        "order_in_two_sources",
        affected,
        max(1, total),
        _show(run, number),
        lambda affected, total, column: say(
            "{affected} of {total} orders were delivered by two sources and count twice.",
            affected=affected,
            total=total,
        ),
        say("Add a corrected file under the same --source name as before."),
        0.001,
        0.2,
    )


def _report_round_times(row: dict[str, Any], level: float) -> Finding:
    """Order times at quarters of an hour: entered afterwards from memory."""
    heap = find_heap(int(row["at_2"]), [int(row[f"at_{place}"]) for place in (0, 1, 3, 4)])
    # Times that are known to the hour only have no neighbours: that is coarse, not invented.
    found = heap.p_value < level and heap.excess >= 0.05 * row["timed"]
    return Finding(
        row["source"],
        "order_lines",
        "ordered_at",
        "inaccurate",
        "round_times",
        heap.excess if found else 0,
        int(row["timed"]),
        (":00, :15, :30, :45",) if found else (),
        _tell_times,
        say("Take the time from the till; times entered from memory say little about the hour."),
        0.1,
        2.0,
    )


def _tell_times(affected: int, total: int, column: str) -> Text:
    return say(
        "Of {total} orders about {affected} too many lie on quarters of an hour: their times look entered by hand.",
        affected=affected,
        total=total,
    )


def _report_copied_baskets(reader: Queryable, row: dict[str, Any]) -> Finding:
    return Finding(
        row["source"],
        "order_lines",
        "order_id",
        "inaccurate",
        "copied_baskets",
        int(row["copies"]),
        int(row["baskets"]),
        _show(reader, row["copied_number"]),
        lambda affected, total, column: say(
            "{affected} of {total} baskets of three lines or more stand twice on one day under another number.",
            affected=affected,
            total=total,
        ),
        say("Check whether orders were entered or exported twice."),
        0.01,
        0.2,
    )
