"""An erasure takes a person's words out of the audit log, and the log's chain still holds."""

from __future__ import annotations

import json
from pathlib import Path

from aimwell.analysis.profile import open_profile
from aimwell.data.erasure import erase_person
from aimwell.data.step import add_source
from aimwell.engine.audit import read_entries, verify
from tests.data.shop import make_workspace, write


def test_an_erasure_empties_entries_and_the_chain_holds(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    people = "customer_id,email\nM-77310452,planted@example.com\nc177,b@example.org\n"
    add_source(shop, write(tmp_path, people, name="people.csv"), table="customers", accept=True)
    for customer in ("M-77310452", "c177", "M-77310452"):
        open_profile(shop, customer, show_personal=True)
    with shop.store.snapshot() as connection:
        before = verify(connection)
    erase_person(shop, "M-77310452", dry_run=False)
    # Another one names entries that the first emptied: their numbers are no customers.
    erase_person(shop, "c177", dry_run=False)
    with shop.store.snapshot() as connection:
        found = verify(connection, [before.anchor])
        rows = [dict(row) for row in read_entries(connection)]
    assert found.breaks == ()
    assert found.emptied == 3
    assert "M-77310452" not in json.dumps(rows, default=str)
    assert "c177" not in json.dumps(rows, default=str)
    assert all(row["salt"] is None for row in rows if row["action"] == "customer.revealed")
