"""Carries membership across runs: who entered a segment, who stayed, who left, and on which business day.

First everything that was written for this ``as_of`` or later is undone, so that a step that runs again, or for an
earlier day, gives what it would have given the first time. Reads and writes segment_members.
"""

from __future__ import annotations

from datetime import date

import pyarrow as pa

from aimwell.engine.workspace import Reader

# NOT EXISTS, never LEFT JOIN … AND e.left_on IS NULL … WHERE e.customer_id IS NULL: DuckDB 2.0.0 turns the latter
# into an anti-join that forgets the condition on left_on when the right side is a CTE that is read twice.
_CARRY = """\
WITH earlier AS (
    SELECT
        segment,
        customer_id,
        entered_on,
        CASE WHEN left_on < $as_of THEN left_on END AS left_on
    FROM segment_members
    WHERE entered_on < $as_of
),
continued AS (
    SELECT
        e.segment,
        e.customer_id,
        e.entered_on,
        CASE WHEN e.left_on IS NULL AND n.customer_id IS NULL THEN $as_of ELSE e.left_on END AS left_on
    FROM earlier AS e
    LEFT JOIN members_now AS n ON n.segment = e.segment AND n.customer_id = e.customer_id
),
entered AS (
    SELECT n.segment, n.customer_id, $as_of AS entered_on, CAST(NULL AS DATE) AS left_on
    FROM members_now AS n
    WHERE NOT EXISTS (
        SELECT 1
        FROM earlier AS e
        WHERE e.segment = n.segment AND e.customer_id = n.customer_id AND e.left_on IS NULL
    )
),
everyone AS (
    SELECT segment, customer_id, entered_on, left_on FROM continued
    UNION ALL
    SELECT segment, customer_id, entered_on, left_on FROM entered
)
SELECT segment, customer_id, entered_on, left_on, $run_id AS run_id
FROM everyone
ORDER BY segment, customer_id, entered_on"""


def carry_members(reader: Reader, members_now: pa.Table, *, as_of: date, run_id: str) -> pa.Table:
    """All memberships up to ``as_of``, those of ``members_now`` (columns segment, customer_id) being open."""
    reader.register("members_now", members_now)
    return reader.query(_CARRY, {"as_of": as_of, "run_id": run_id})
