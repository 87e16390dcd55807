"""Quality check for copied events: the same act twice at one instant.

Events are compared on a share of the customers, so that tens of millions cost what two million do. Reads ``events``;
writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from aimwell.core.text import say
from aimwell.data.findings import Finding, ask
from aimwell.engine.session import Queryable

_MOST_EVENTS = 2_000_000


def find_copies(reader: Queryable) -> Iterator[Finding]:
    """The finding of this module."""
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
