"""An erased person is gone from hot rows, from what waits for the tables of people, and from live rules."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from aimwell.analysis.live_rules import LiveRules
from aimwell.core.errors import Conflict
from aimwell.core.tables import TABLES
from aimwell.core.time import now
from aimwell.data.erasure import erase_person
from aimwell.data.erasure_folder import delete_unlisted
from aimwell.data.event_intake import take_events
from aimwell.data.event_profiles import merge_profiles
from aimwell.data.step import load_tables
from aimwell.engine import compaction, published
from aimwell.engine.compaction import compact
from aimwell.engine.hot_tables import HOT_BATCHES, LIVE_CHANGES, LIVE_STATES
from aimwell.engine.manifest import decode_batches
from aimwell.engine.rule import did
from aimwell.engine.workspace import Workspace

PERSON, EMAIL, COOKIE = "PLANTED-77", "planted77@example.org", "cookie-PLANTED-77"
WIDE = "ＰＬＡＮＴＥＤ－７７"
"""The person's number as a Chinese input method may write it."""


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


def list_refusals(workspace: Workspace) -> list[dict[str, Any]]:
    with workspace.read() as reader:
        rows: list[dict[str, Any]] = reader.query("SELECT record FROM rejects").to_pylist()
    return rows


def test_events_of_an_erased_person_are_refused_and_not_kept(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path / "w", zone="UTC")
    other = Workspace.open(workspace.path)
    mine = build_messages(PERSON, EMAIL, COOKIE)
    theirs = build_messages("other", "other@example.org", COOKIE)
    assert {one.status for one in take_events(other, mine)} == {"accepted"}
    erase_person(workspace, PERSON, keep_amounts=False, dry_run=False)
    again = [
        {**mine[1], "messageId": "m1"},
        {"type": "track", "event": "View", "messageId": "m2", "anonymousId": COOKIE},
        {"type": "nothing", "messageId": "m3", "userId": PERSON},
        {"type": "nothing", "messageId": "m6", "userId": WIDE},
        {**mine[1], "messageId": "m7", "userId": f"　{WIDE}"},
        {**theirs[1], "messageId": "m4"},
        {"type": "nothing", "messageId": "m5", "userId": "other"},
    ]
    # The other process had read who was erased before anybody was.
    for _ in range(2):
        receipts = take_events(other, again)
        codes = [None if one.problem is None else one.problem.code for one in receipts]
        gone = "data.event_of_erased_person"
        assert codes == [*[gone] * 5, None, "data.event_of_unknown_type"]
        assert [one.status for one in receipts][:5] == ["rejected"] * 5
    packed = read_blobs(workspace)
    assert PERSON not in packed
    assert WIDE not in packed
    assert "m2" not in packed
    assert [json.loads(row["record"])["messageId"] for row in list_refusals(workspace)] == ["m5"]
    merge_profiles(workspace)
    with workspace.read() as reader:
        events = reader.query("SELECT DISTINCT customer_id FROM events").to_pylist()
        ties = reader.query(
            "SELECT record_id FROM identifiers WHERE concat(record_id, value) LIKE '%77%'"
        ).to_pylist()
    assert events == [{"customer_id": "other"}]
    assert ties == []
    workspace.close()
    other.close()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_an_erasure_while_rows_are_moved_loses_no_file_and_keeps_no_person(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    workspace = Workspace.create(tmp_path / "w", zone="UTC")
    take_events(
        workspace, [*build_messages(PERSON, EMAIL, COOKIE), *build_messages("other", "o@example.org", "c2")]
    )
    write = compaction._write_rows

    def write_while_erasing(*arguments: Any) -> Any:
        monkeypatch.setattr(compaction, "_write_rows", write)
        written = write(*arguments) if moment == "before" else []
        erase_person(workspace, PERSON, keep_amounts=False, dry_run=False)
        return written or write(*arguments)

    monkeypatch.setattr(compaction, "_write_rows", write_while_erasing)
    assert compact(workspace).rows == 0
    assert PERSON not in read_blobs(workspace)
    assert compact(workspace).rows == 2
    with workspace.read() as reader:
        events = reader.query("SELECT customer_id, name FROM events ORDER BY name").to_pylist()
    assert [row["name"] for row in events] == ["User Identified", "View"]
    assert {row["customer_id"] for row in events} == {"other"}
    workspace.close()


def test_an_erasure_leaves_the_files_of_a_move_under_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may delete what nobody lists only where nobody is about to list it."""
    workspace = Workspace.create(tmp_path / "w", zone="UTC")
    take_events(workspace, build_messages("other", "o@example.org", "c2"))
    write = compaction._write_rows

    def write_and_clear(*arguments: Any) -> Any:
        written = write(*arguments)
        delete_unlisted(workspace)
        return written

    monkeypatch.setattr(compaction, "_write_rows", write_and_clear)
    assert compact(workspace).rows == 2
    with workspace.read() as reader:
        assert reader.query("SELECT name FROM events").num_rows == 2
    workspace.close()


def test_an_erasure_while_events_are_published_is_not_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace.create(tmp_path / "w", zone="UTC")
    monkeypatch.setattr("aimwell.data.erasure_folder._PATIENCE", 0.0)
    for number, stage in enumerate(("_write_edition", "_describe_edition")):
        person, work = f"{PERSON}-{number}", getattr(published, stage)
        take_events(workspace, build_messages(person, f"{number}{EMAIL}", f"{COOKIE}-{number}"))
        compact(workspace)

        def work_and_erase(*given: Any, _who: str = person, _stage: str = stage, _work: Any = work) -> None:
            monkeypatch.setattr(published, _stage, _work)
            erase_person(workspace, _who, keep_amounts=False, dry_run=False)
            _work(*given)

        monkeypatch.setattr(published, stage, work_and_erase)
        with pytest.raises(Conflict):
            published.publish(workspace)
        assert not list(workspace.warehouse_folder.glob("published*"))
    workspace.close()


def test_who_was_erased_under_a_number_in_full_width_signs_does_not_come_back_under_the_plain_one(
    tmp_path: Path,
) -> None:
    workspace = Workspace.create(tmp_path / "w", zone="UTC")
    # As data that came before numbers were folded.
    people = TABLES["customers"].build([{"customer_id": WIDE, "source": "old"}])
    load_tables(workspace, "old", {"customers": people})
    erase_person(workspace, WIDE, keep_amounts=False, dry_run=False)
    receipts = take_events(workspace, build_messages(WIDE, EMAIL, COOKIE))
    assert [one.status for one in receipts] == ["rejected"] * 2
    workspace.close()


def test_a_short_number_in_full_width_signs_is_not_kept_with_a_refusal(tmp_path: Path) -> None:
    # Too short to be looked for within texts: it is known as a whole value only.
    workspace = Workspace.create(tmp_path / "w", zone="UTC")
    take_events(workspace, [{"type": "page", "userId": "c7", "messageId": "m1"}])
    erase_person(workspace, "ｃ７", keep_amounts=False, dry_run=False)
    refused = [
        {"type": "nothing", "messageId": "m2", "userId": "ｃ７"},
        {"type": "nothing", "userId": "ｃ８"},
    ]
    codes = [one.problem.code for one in take_events(workspace, refused) if one.problem is not None]
    assert codes == ["data.event_of_erased_person", "data.event_of_unknown_type"]
    workspace.close()
