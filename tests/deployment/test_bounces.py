from __future__ import annotations

import itertools
import mailbox
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from aimwell.core.errors import BadInput
from aimwell.deployment.channels.bounce_records import record_bounce, take_reports
from aimwell.deployment.channels.bounces import Bounce, classify_status, read_bounce
from aimwell.deployment.channels.event_outbox import forward_events
from aimwell.deployment.channels.mailbox import read_mails
from aimwell.deployment.channels.return_path import ReturnPath
from aimwell.engine.ledger_tables import DELIVERIES
from aimwell.engine.permissions import list_suppressions
from aimwell.engine.store import Store
from tests.deployment.reports import ID, OURS, complaint, dsn, words
from tests.deployment.scene import DAY, count, fill, intend, open_ledger, open_store
from tests.postgres import Server, postgres  # noqa: F401 (a fixture)

PATH = ReturnPath("bounce@shop.example", b"k" * 32)
NUMBERS = itertools.count(1)


@pytest.mark.parametrize(
    ("status", "diagnostic", "kind"),
    [
        ("5.1.1", "smtp; 550 5.1.1 <c1@customers.example>: User unknown", "hard"),
        ("5.1.2", "smtp; host not found", "hard"),
        ("5.1.10", "smtp; 556 null MX", "hard"),
        ("5.2.1", "smtp; 550 5.2.1 The email account is disabled", "hard"),
        ("5.0.0", "smtp; 550 no such user", "hard"),
        ("5.0.0", "smtp; 552 over quota", "soft"),
        ("5.2.2", "smtp; 552 5.2.2 Mailbox full", "soft"),
        ("5.7.1", "smtp; 550 5.7.1 Message blocked by policy", "soft"),
        ("5.7.26", "smtp; 550 5.7.26 unauthenticated", "soft"),
        ("5.3.4", "smtp; 552 message too big", "soft"),
        ("4.4.7", "smtp; delivery time expired", "soft"),
        ("4.2.2", "smtp; 452 full", "soft"),
        ("5.1.1", "smtp; 450 4.1.1 try again", "soft"),
        ("rubbish", "smtp; 550 unknown", "hard"),
    ],
)
def test_what_a_status_says(status: str, diagnostic: str, kind: str) -> None:
    bounce = read_bounce(dsn(status, diagnostic))
    assert bounce is not None and bounce.kind == kind
    assert (bounce.delivery_id, bounce.id_start, bounce.verified) == (ID, ID[:32], False)


@pytest.mark.parametrize("returned", ["message/rfc822", "text/rfc822-headers", "message/rfc822-headers"])
def test_our_mail_is_found_back_however_it_is_returned(returned: str) -> None:
    bounce = read_bounce(dsn(returned=returned))
    assert bounce is not None and bounce.delivery_id == ID


def test_the_return_path_alone_names_the_delivery() -> None:
    raw = dsn(to=PATH.address(ID).upper(), message_id="<removed@else.example>")
    assert read_bounce(raw) is None
    assert read_bounce(raw, PATH) == Bounce("hard", ID[:32], None, "5.1.1", verified=True)


def test_a_return_path_that_we_did_not_sign_names_nothing() -> None:
    forged = ReturnPath("bounce@shop.example", b"x" * 32).address(ID)
    assert read_bounce(dsn(to=forged, message_id=""), PATH) is None
    bounce = read_bounce(dsn(to=forged), PATH)
    assert bounce is not None and not bounce.verified


def test_the_signed_path_counts_more_than_a_message_id_beside_it() -> None:
    bounce = read_bounce(dsn(to=PATH.address(ID), message_id=f"<{'cd' * 32}@shop.example>"), PATH)
    assert bounce is not None and bounce.id_start == ID[:32] and bounce.delivery_id is None


def test_late_is_not_lost() -> None:
    bounce = read_bounce(dsn("4.4.1", action="delayed"))
    assert bounce is not None and bounce.kind == "late"
    assert read_bounce(dsn("2.0.0", action="delivered")) is None


def test_complaints() -> None:
    assert read_bounce(complaint()) == Bounce("complaint", ID[:32], ID)
    assert read_bounce(complaint("not-spam")) is None
    found = read_bounce(complaint("fraud", original_mail_from=PATH.address(ID), message_id=""), PATH)
    assert found == Bounce("complaint", ID[:32], None, verified=True)


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (words(f"很抱歉，您的邮件被退回：550 User not found\r\n\r\nMessage-ID: {OURS}"), "hard"),
        (
            words(f"Hi. This is the program.\r\nRemote host said: 552 5.2.2 full\r\nMessage-ID: {OURS}"),
            "soft",
        ),
        (words("550 no such user", extra=f"In-Reply-To: {OURS}\r\n"), "hard"),
    ],
)
def test_bounces_in_a_servers_own_words(raw: bytes, kind: str) -> None:
    bounce = read_bounce(raw)
    assert bounce is not None and (bounce.kind, bounce.delivery_id) == (kind, ID)


@pytest.mark.parametrize(
    "raw",
    [
        words(
            f"I am away until 5.5.2030, call 550-1234. Message-ID: {OURS}", sender="Li <li@customers.example>"
        ),
        words(f"Away. 550\r\nMessage-ID: {OURS}", extra="Auto-Submitted: auto-replied\r\n"),
        words(f"All is well.\r\nMessage-ID: {OURS}"),
        b"",
        b"\xff\xfe\x00" * 50,
        b"Content-Type: multipart/report; boundary=x\r\n\r\n--x\r\nContent-Type: message/delivery-status\r\n\r\n--x--",
        dsn()[:-400].replace(OURS.encode(), b""),
    ],
)
def test_what_is_no_bounce_of_ours(raw: bytes) -> None:
    assert read_bounce(raw, PATH) is None


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), st.integers(0, 1200), st.integers(0, 300))
def test_whatever_comes_in_is_read_without_failing(noise: bytes, at: int, cut: int) -> None:
    raw = dsn()
    damaged = raw[:at] + noise + raw[at + cut :]
    found = read_bounce(damaged, PATH)
    assert found is None or found.id_start == ID[:32] or found.delivery_id != ID


@given(st.text("0123456789.", max_size=9), st.none() | st.sampled_from(["450", "550", "552"]))
def test_every_status_has_a_class(status: str, reply: str | None) -> None:
    assert classify_status(status, reply) in ("hard", "soft")


@given(st.binary(min_size=32, max_size=32), st.integers(7, 48))
def test_return_paths_read_back_and_break_when_touched(raw: bytes, place: int) -> None:
    address = PATH.address(raw.hex())
    assert len(address.partition("@")[0]) <= 64
    assert PATH.read(address) == PATH.read(f"<{address.upper()}>") == raw.hex()[:32]
    # The last letter carries two bits that mean nothing; all others count.
    changed = "b" if address[place] == "a" else "a"
    touched = address[:place] + changed + address[place + 1 :]
    assert place == 48 or PATH.read(touched) is None


def test_a_mailbox_of_its_own_kind_is_needed() -> None:
    with pytest.raises(BadInput):
        ReturnPath("a name that is long@shop.example", b"k")
    assert PATH.address("not an id") == "bounce@shop.example"


def send_to(store: Store, customers: list[str], plan: str = "p1", **values: Any) -> list[str]:
    """Deliveries that were sent."""
    ledger = open_ledger(store, cap=99)
    fill(ledger, customers, plan, **values)
    ids = [intend(name, plan).delivery_id for name in customers]
    with store.begin() as connection:
        connection.execute(
            sa.update(DELIVERIES)
            .where(DELIVERIES.c.delivery_id.in_(ids))
            .values(state="sent", finished_at_ms=1)
        )
    return ids


def find_suppressed(store: Store) -> list[tuple[str, str, str]]:
    with store.begin() as connection:
        return sorted((one.customer_id, one.channel, one.source) for one in list_suppressions(connection))


def find_events(store: Store) -> list[dict[str, Any]]:
    """What waits for the intake."""
    taken: list[dict[str, Any]] = []
    forward_events(store, taken.extend)
    return taken


@pytest.fixture(params=["sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "sqlite":
        return open_store(tmp_path)
    server: Server = request.getfixturevalue("postgres")
    name = f"bounces_{next(NUMBERS)}"
    server.run(f"CREATE DATABASE {name}")
    opened = Store(server.address(name))
    opened.migrate()
    return opened


def test_a_hard_bounce_ends_the_delivery_and_mailing(store: Store) -> None:
    gone, fine = send_to(store, ["gone", "fine"])
    mails = [dsn(message_id=f"<{gone}@shop.example>")] * 2 + [words("hello")]
    first, again = take_reports(store, mails, 5)
    assert (first.effect, first.customer_id, again.effect) == ("suppressed", "gone", "repeated")
    assert find_suppressed(store) == [("gone", "email", "bounce")]
    ledger = open_ledger(store)
    assert count(ledger) == {"failed": 1, "sent": 1}
    assert {row["delivery_id"]: row["reason"] for row in ledger.read_rows()} == {gone: "bounced", fine: None}
    (event,) = find_events(store)
    assert (event["event"], event["userId"], event["properties"]["status"]) == (
        "Email Bounced",
        "gone",
        "5.1.1",
    )


def test_a_complaint_ends_mailing_and_leaves_the_delivery(store: Store) -> None:
    (one,) = send_to(store, ["angry"])
    raw = complaint(original_mail_from=PATH.address(one), message_id="")
    recorded = take_reports(store, [raw, raw], 5, path=PATH)
    assert [item.effect for item in recorded] == ["suppressed", "repeated"]
    assert find_suppressed(store) == [("angry", "email", "complaint")]
    assert count(open_ledger(store)) == {"sent": 1}
    assert [event["event"] for event in find_events(store)] == ["Email Marked as Spam"]


def test_soft_bounces_are_counted_until_a_mail_arrives(store: Store) -> None:
    def bounce(plan: str, day: int) -> str:
        (one,) = send_to(store, ["full"], plan, contact_on=DAY.replace(day=day))
        raw = dsn("4.2.2", "smtp; 452 full", message_id=f"<{one}@shop.example>")
        return take_reports(store, [raw, raw], 5)[0].effect

    assert [bounce("p1", 4), bounce("p2", 5)] == ["noted", "noted"]
    send_to(store, ["full"], "p3", contact_on=DAY.replace(day=6))
    assert [bounce("p4", 7), bounce("p5", 8)] == ["noted", "noted"]
    assert find_suppressed(store) == []
    assert bounce("p6", 9) == "suppressed"
    assert find_suppressed(store) == [("full", "email", "soft_bounces")]


def test_a_soft_bounce_may_become_a_hard_one(store: Store) -> None:
    (one,) = send_to(store, ["c"])
    soft, hard = (dsn(status, "", message_id=f"<{one}@shop.example>") for status in ("4.2.2", "5.1.1"))
    assert [item.effect for item in take_reports(store, [soft, hard, soft], 5)] == [
        "noted",
        "suppressed",
        "repeated",
    ]
    assert open_ledger(store).read_rows()[0]["reason"] == "bounced"


def test_a_forged_bounce_changes_nothing_where_return_paths_are_signed(store: Store) -> None:
    (one,) = send_to(store, ["c"])
    (recorded,) = take_reports(store, [dsn(message_id=f"<{one}@shop.example>")], 5, path=PATH)
    assert recorded.effect == "unverified" and find_suppressed(store) == []
    (true,) = take_reports(store, [dsn(to=PATH.address(one), message_id="")], 5, path=PATH)
    assert true.effect == "suppressed" and true.delivery_id == one


def test_a_report_on_something_else_changes_nothing(store: Store) -> None:
    send_to(store, ["c"])
    with store.begin() as connection:
        assert record_bounce(connection, Bounce("hard", ID[:32], ID), 5).effect == "unknown"
        late = record_bounce(connection, Bounce("late", intend("c").delivery_id[:32]), 5)
    assert late.effect == "noted" and find_events(store) == []
    assert count(open_ledger(store)) == {"sent": 1}


def test_mails_are_read_from_a_maildir_once(tmp_path: Path) -> None:
    box = mailbox.Maildir(tmp_path / "box", create=True)
    box.add(dsn())
    assert len(list(read_mails(tmp_path / "box"))) == 1
    assert list(read_mails(tmp_path / "box")) == []
    assert len(list((tmp_path / "box" / "cur").iterdir())) == 1


def test_a_mail_that_was_not_finished_is_read_again(tmp_path: Path) -> None:
    (tmp_path / "a.eml").write_bytes(dsn())
    (tmp_path / "b.eml").write_bytes(complaint())
    reading = read_mails(tmp_path)
    next(reading)
    reading.close()  # type: ignore[attr-defined]
    assert len(list(read_mails(tmp_path))) == 2
    assert list(read_mails(tmp_path)) == []


def test_an_mbox_is_read_whole(tmp_path: Path) -> None:
    box = mailbox.mbox(str(tmp_path / "mbox"))
    for raw in (dsn(), complaint()):
        box.add(raw)
    box.flush()
    box.close()
    kinds = [found.kind for raw in read_mails(tmp_path / "mbox") if (found := read_bounce(raw))]
    assert kinds == ["hard", "complaint"]
    with pytest.raises(BadInput):
        read_mails(tmp_path / "nothing")
