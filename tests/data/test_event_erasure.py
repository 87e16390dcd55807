"""An erased person is gone from hot rows, from what waits for the tables of people, and from live rules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from aimwell.analysis.live_rules import LiveRules
from aimwell.core.time import now
from aimwell.data.erasure import erase_person
from aimwell.data.event_intake import take_events
from aimwell.data.event_profiles import merge_profiles
from aimwell.engine.compaction import compact
from aimwell.engine.hot_tables import HOT_BATCHES, LIVE_CHANGES, LIVE_STATES
from aimwell.engine.manifest import decode_batches
from aimwell.engine.rule import did
from aimwell.engine.workspace import Workspace

PERSON, EMAIL, COOKIE = "PLANTED-77", "planted77@example.org", "cookie-PLANTED-77"


def build_messages(user: str, email: str, cookie: str) -> list[dict[str, Any]]:
    shared = {"userId": user, "anonymousId": cookie, "timestamp": now().isoformat()}
    return [
        {**shared, "type": "identify", "messageId": f"i-{user}", "traits": {"email": email}},
        {**shared, "type": "track", "event": "View", "messageId": f"v-{user}", "properties": {"mail": email}},
    ]


def read_blobs(workspace: Workspace) -> str:
    """Everything that is kept packed, unpacked."""
    with workspace.store.snapshot() as connection:
        blobs = [*connection.execute(sa.select(HOT_BATCHES.c.data)).scalars()]
        blobs += connection.execute(sa.select(LIVE_STATES.c.data)).scalars()
        changes = connection.execute(sa.select(LIVE_CHANGES.c.customer_id)).scalars().all()
    return "\n".join([*(str(decode_batches([blob]).to_pylist()) for blob in blobs), *changes])


@pytest.mark.parametrize("moves", [False, True])
def test_an_erased_person_is_in_no_packed_row(tmp_path: Path, moves: bool) -> None:
    workspace = Workspace.create(tmp_path / "w", zone="UTC")
    live = LiveRules(workspace, {"viewed": did("View")})
    live.start()
    messages = build_messages(PERSON, EMAIL, COOKIE) + build_messages(
        "other", "other@example.org", "cookie-2"
    )
    take_events(workspace, messages)
    live.step()
    if moves:
        compact(workspace)
        take_events(workspace, [{**messages[1], "messageId": "again"}])
    assert all(word in read_blobs(workspace) for word in (PERSON, EMAIL, COOKIE, "other"))
    erase_person(workspace, PERSON, keep_amounts=False, dry_run=False)
    # The process that follows had the person in memory: it must not write what it remembers.
    live.step()
    merge_profiles(workspace)
    assert not any(word in read_blobs(workspace) for word in (PERSON, EMAIL, COOKIE))
    assert live.holds("viewed", "other")
    assert not live.holds("viewed", PERSON)
    with workspace.read() as reader:
        people = reader.query("SELECT customer_id FROM customers").to_pylist()
        events = reader.query("SELECT DISTINCT customer_id FROM events").to_pylist()
    assert people == events == [{"customer_id": "other"}]
    workspace.close()
