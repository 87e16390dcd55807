"""Suppressions follow records that were joined: whoever was suppressed under one record is suppressed as the person.

Reads ``identities``; reads and writes the store's ``suppressions``.
"""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa

from aimwell.engine.permissions import add_suppression, list_suppressions
from aimwell.engine.workspace import Workspace

JOINED_SQL = """
SELECT identities.record_id AS record_id, identities.customer_id AS customer_id
FROM identities
JOIN suppressed_records ON suppressed_records.record_id = identities.record_id
"""


def carry_suppressions(workspace: Workspace) -> None:
    """A record that was suppressed before it was joined with others suppresses the person."""
    with workspace.store.begin() as connection:
        entries = list_suppressions(connection)
    if not entries:
        return
    with workspace.read() as reader:
        records = sorted({entry.customer_id for entry in entries})
        reader.register("suppressed_records", pa.table({"record_id": records}))
        rows = reader.query(JOINED_SQL).to_pylist()
    customers = {row["record_id"]: row["customer_id"] for row in rows}
    with workspace.store.begin() as connection:
        for entry in entries:
            if entry.customer_id in customers:
                add_suppression(connection, replace(entry, customer_id=customers[entry.customer_id]))
