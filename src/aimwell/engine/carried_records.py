"""What happened to records that were joined with others happened to the person: suppressions, and live contacts.

Reads ``identities``; reads and writes the store's ``suppressions`` and ``live_turns``.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pyarrow as pa

from aimwell.core.columns import CHANNELS
from aimwell.core.time import now
from aimwell.engine.live_contacts import bring_contacts, has_contacts
from aimwell.engine.permissions import add_suppression, list_suppressions
from aimwell.engine.workspace import Workspace

SUPPRESSED_SQL = """
SELECT identities.record_id AS record_id, identities.customer_id AS customer_id
FROM identities
JOIN suppressed_records ON suppressed_records.record_id = identities.record_id
"""
JOINED_SQL = "SELECT record_id, customer_id FROM identities WHERE record_id <> customer_id ORDER BY record_id"


def carry_over(workspace: Workspace, day: date) -> None:
    """Bring to persons what stands under records that were joined since, for contacts on ``day`` and later.

    Safe to repeat.
    """
    carry_suppressions(workspace)
    carry_contacts(workspace, day)


def carry_suppressions(workspace: Workspace) -> None:
    """The suppressions alone."""
    with workspace.store.begin() as connection:
        entries = list_suppressions(connection)
    if not entries:
        return
    with workspace.read() as reader:
        records = sorted({entry.customer_id for entry in entries})
        reader.register("suppressed_records", pa.table({"record_id": records}))
        rows = reader.query(SUPPRESSED_SQL).to_pylist()
    customers = {row["record_id"]: row["customer_id"] for row in rows}
    with workspace.store.begin() as connection:
        for entry in entries:
            if entry.customer_id in customers:
                add_suppression(connection, replace(entry, customer_id=customers[entry.customer_id]))


def carry_contacts(workspace: Workspace, day: date) -> None:
    """The contacts by live decisions alone, which count to caps on ``day`` and later; reads those of the caps' days."""
    contact = workspace.settings.contact
    own = (one.days for one in contact.channels.values() if one.days)
    # Older ones count to no cap.
    since = day - timedelta(days=max(contact.cap_days, *own, 1))
    with workspace.store.snapshot() as connection:
        if not has_contacts(connection, since):
            return
    with workspace.read() as reader:
        rows = reader.query(JOINED_SQL)
    customers = dict(zip(rows["record_id"].to_pylist(), rows["customer_id"].to_pylist(), strict=True))
    if customers:
        at_ms = int(now().timestamp() * 1000)
        bring_contacts(workspace.store, customers, CHANNELS, since=since, at_ms=at_ms)
