"""Quality checks for copied rows: the same basket twice a day under two numbers, the same act twice at one instant.

Order lines are compared as whole baskets of three lines or more, which chance does not repeat within a day. Events are
compared on a share of the customers, so that tens of millions cost what two million do. Reads ``order_lines`` and
``events``; writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from aimwell.core.text import say
from aimwell.data.findings import Finding, ask
from aimwell.engine.session import Queryable

_MOST_EVENTS = 2_000_000


def find_copies(reader: Queryable) -> Iterator[Finding]:
    """The findings of every check of this module."""
    yield from _find_copied_baskets(reader)
    yield from _find_repeated_events(reader)


def _find_copied_baskets(reader: Queryable) -> Iterator[Finding]:
    counted = ask(
        reader,
        """
        WITH baskets AS (
            SELECT source, customer_id, ordered_on, order_id, count(*) AS lines,
                sum(CAST(hash(product_id, quantity, revenue) AS HUGEINT)) AS content
            FROM order_lines WHERE product_id IS NOT NULL AND NOT simulated
            GROUP BY source, customer_id, ordered_on, order_id
        ),
        copies AS (
            SELECT source, min(order_id) AS example, count(*) - 1 AS more FROM baskets WHERE lines >= 3
            GROUP BY source, customer_id, ordered_on, content, lines HAVING count(*) > 1
        ),
        totals AS (SELECT source, count(*) AS total FROM baskets WHERE lines >= 3 GROUP BY source)
        SELECT totals.source, totals.total,
            (SELECT CAST(coalesce(sum(more), 0) AS BIGINT) FROM copies WHERE copies.source = totals.source) AS affected,
            (SELECT min(example) FROM copies WHERE copies.source = totals.source) AS example
        FROM totals ORDER BY totals.source
        """,
    )
    for row in counted:
        yield Finding(
            row["source"],
            "order_lines",
            "order_id",
            "inaccurate",
            "copied_baskets",
            int(row["affected"]),
            int(row["total"]),
            (str(row["example"]),) if row["affected"] else (),
            lambda affected, total, column: say(
                "{affected} of {total} baskets of three lines or more stand twice on one day under another number.",
                affected=affected,
                total=total,
            ),
            say("Check whether orders were entered or exported twice."),
            0.01,
            0.2,
        )


def _find_repeated_events(reader: Queryable) -> Iterator[Finding]:
    rows = ask(reader, "SELECT count(*) AS rows FROM events")[0]["rows"]
    if not rows:
        return
    parts = max(1, -(-int(rows) // _MOST_EVENTS))
    counted = ask(
        reader,
        f"""
        WITH acts AS (
            SELECT source, count(*) AS times FROM events
            WHERE NOT simulated AND hash(customer_id) % {parts} = 0
            GROUP BY source, customer_id, name, occurred_at, product_id, channel, properties
        )
        SELECT source, CAST(sum(times) AS BIGINT) AS total, CAST(sum(times - 1) AS BIGINT) AS affected
        FROM acts GROUP BY source ORDER BY source
        """,
    )
    for row in counted:
        yield Finding(
            row["source"],
            "events",
            "event_id",
            "inaccurate",
            "repeated_events",
            int(row["affected"]),
            int(row["total"]),
            (),
            lambda affected, total, column: say(
                "{affected} of {total} events equal another in customer, act, instant and product.",
                affected=affected,
                total=total,
            ),
            say("Deliver a message id with each event, so that repeats are told from second acts."),
            0.01,
            0.2,
        )
