"""A segment as a file: only who may be contacted and can be reached, nothing that a spreadsheet would run."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa

from aimwell.analysis.live_members import LiveMembers
from aimwell.analysis.rule_text import parse_rule
from aimwell.analysis.segment_export import export_segment, usable_address
from aimwell.analysis.segments import save_segment
from aimwell.analysis.step import describe
from aimwell.core.errors import BadInput
from aimwell.core.tables import TABLES
from aimwell.data.event_intake import take_events
from aimwell.engine.permissions import suppress_customers
from aimwell.engine.store_tables import AUDIT_LOG
from aimwell.engine.workspace import Workspace
from tests.analysis.shop import AS_OF, build_consents, load, load_shop, make_workspace

PEOPLE = {
    "c1": "ann@example.com",
    "c2": "ben@example.com",
    "c3": "no address",
    "c4": "dan@example.com",
    "c5": None,
    "=cmd|'/c calc'!A1": "eve@example.com",
    "客户": "=2+5@example.com",
}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    shop = make_workspace(tmp_path)
    since = datetime(2024, 1, 1, tzinfo=UTC)
    customers = [{"customer_id": name, "email": email, "source": "t"} for name, email in PEOPLE.items()]
    allowed = [(name, "email", name != "c2", since) for name in PEOPLE if name != "c1"]
    load(
        shop,
        customers=TABLES["customers"].build(customers),
        consents=build_consents(*allowed, ("c1", "email", True, since), ("c1", "sms", False, since)),
    )
    save_segment(shop.store, "all_of_them", parse_rule("everybody"))
    describe(shop, as_of=AS_OF)
    suppress_customers(shop.store, ["c4"])
    return shop


def test_who_may_not_or_cannot_be_contacted_is_left_out_and_counted(
    workspace: Workspace, tmp_path: Path
) -> None:
    path = tmp_path / "out.csv"
    done = export_segment(workspace, "all_of_them", "email", path)
    assert (done.written, done.suppressed, done.without_consent, done.without_address) == (3, 1, 1, 2)
    raw = path.read_bytes()
    assert raw.startswith(b"\xef\xbb\xbf"), "Excel reads Chinese only with a byte-order mark"
    rows = list(csv.reader(io.StringIO(raw.decode("utf-8-sig"))))
    assert rows == [
        ["customer_id", "email"],
        ["'=cmd|'/c calc'!A1", "eve@example.com"],
        ["c1", "ann@example.com"],
        ["客户", "'=2+5@example.com"],
    ]
    with workspace.store.begin() as connection:
        query = sa.select(AUDIT_LOG.c.subject, AUDIT_LOG.c.detail).where(
            AUDIT_LOG.c.action == "segment.exported"
        )
        entries = connection.execute(query).all()
    assert [entry.subject for entry in entries] == ["segment/all_of_them"]
    assert "example.com" not in str(entries[0].detail)
    assert entries[0].detail["written"] == 3


def test_live_members_are_exported_as_the_events_since_the_analysis_have_it(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    load_shop(shop)
    since = datetime(2024, 1, 1, tzinfo=UTC)
    people = [{"customer_id": name, "email": f"{name}@example.com", "source": "t"} for name in ("ann", "ben")]
    consents = build_consents(*((name, "email", True, since) for name in ("ann", "ben")))
    load(shop, customers=TABLES["customers"].build(people), consents=consents)
    save_segment(shop.store, "clicked", parse_rule("did 'Bench Clicked'"))
    describe(shop, as_of=AS_OF)
    live = LiveMembers(shop)
    live.step()
    take_events(shop, {"type": "track", "event": "Bench Clicked", "userId": "ben", "messageId": "m"})
    live.step()

    def export(*, live: bool) -> list[str]:
        path = tmp_path / "out.csv"
        export_segment(shop, "clicked", "email", path, live=live)
        return [row[0] for row in csv.reader(io.StringIO(path.read_text("utf-8-sig")))][1:]

    assert export(live=False) == []
    assert export(live=True) == ["ben"]


def test_what_cannot_be_exported_is_refused(workspace: Workspace, tmp_path: Path) -> None:
    for name, channel, path, code in (
        ("all_of_them", "push", tmp_path / "x.csv", "analysis.no_export_channel"),
        ("nobody_s", "email", tmp_path / "x.csv", "analysis.unknown_segment"),
        ("all_of_them", "email", tmp_path / "missing" / "x.csv", "analysis.cannot_write"),
    ):
        with pytest.raises(BadInput) as caught:
            export_segment(workspace, name, channel, path)
        assert caught.value.code == code
    assert not list(tmp_path.glob("*.part*"))


def test_telephone_numbers_stay_as_providers_want_them() -> None:
    assert usable_address("sms", "+86 138 0013 8000")
    assert not usable_address("sms", "unknown")
    assert not usable_address("email", "a@b")
    assert usable_address("mail", "上海市")
    assert not usable_address("mail", "  ")
