"""Quality check for customer numbers that lost their leading zeros: 001 in one source is 1 in another.

A spreadsheet that takes a number for a quantity drops them, and one customer becomes two. Only asked where several
sources name customers. Reads ``customers``, ``order_lines``, ``events`` and ``consents``; writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from aimwell.core.text import say
from aimwell.data.findings import Finding, ask
from aimwell.engine.session import Queryable

_TABLES = ("customers", "order_lines", "events", "consents")


def find_lost_zeros(reader: Queryable) -> Iterator[Finding]:
    """One finding for each source whose numbers stand elsewhere with zeros before them."""
    named = " UNION ".join(f"SELECT source FROM {table} GROUP BY source" for table in _TABLES)
    if ask(reader, f"SELECT count(*) AS sources FROM ({named}) AS named")[0]["sources"] < 2:
        return
    # Grouped table by table: the numbers are few beside the rows, and most files have none with a zero.
    numbers = " UNION ".join(
        f"SELECT source, customer_id FROM {table} GROUP BY source, customer_id" for table in _TABLES
    )
    counted = ask(
        reader,
        f"""
        WITH numbers AS ({numbers}),
        padded AS (
            SELECT source, customer_id, ltrim(customer_id, '0') AS bare FROM numbers
            WHERE starts_with(customer_id, '0') AND regexp_full_match(customer_id, '0+[1-9][0-9]*')
        ),
        lost AS (
            SELECT numbers.source, numbers.customer_id, min(padded.customer_id) AS whole
            FROM numbers JOIN padded ON padded.bare = numbers.customer_id AND padded.source <> numbers.source
            GROUP BY numbers.source, numbers.customer_id
        ),
        totals AS (SELECT source, count(*) AS total FROM numbers GROUP BY source)
        SELECT lost.source, any_value(totals.total) AS total, count(*) AS affected,
            min(lost.customer_id || ' / ' || lost.whole) AS example
        FROM lost JOIN totals ON totals.source = lost.source GROUP BY lost.source ORDER BY lost.source
        """,
    )
    for row in counted:
        yield Finding(
            row["source"],
            "customers",
            "customer_id",
            "inaccurate",
            "lost_zeros",
            int(row["affected"]),
            int(row["total"]),
            (str(row["example"]),),
            lambda affected, total, column: say(
                "{affected} of {total} customer numbers stand in another source with zeros before them: one customer "
                "counts as two.",
                affected=affected,
                total=total,
            ),
            say(
                "Format the column as text where the zeros were lost (Excel drops them), export it again, and add it "
                "under the same --source name."
            ),
            0.0,
            0.5,
        )
