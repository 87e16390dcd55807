"""Batches of Segment's vocabulary: every message is accepted once, known already, or set aside with a reason."""

from __future__ import annotations

import json
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from aimwell.core.errors import BadInput
from aimwell.core.time import zone
from aimwell.data.event_intake import take_events, take_file
from aimwell.data.event_profiles import merge_profiles
from aimwell.data.segment_events import JsonObject, Terms, name_column, read_message
from aimwell.data.segment_orders import split_cents
from aimwell.engine.compaction import compact
from aimwell.engine.hot_events import merge_digests
from aimwell.engine.hot_tables import HOT_DIGESTS
from aimwell.engine.workspace import Workspace

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
FIELDS = (
    *("type", "event", "userId", "anonymousId", "messageId", "timestamp", "sentAt", "receivedAt"),
    *("properties", "traits", "context", "products", "price", "quantity", "order_id", "revenue"),
)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace.create(tmp_path / "w")


def track(name: str = "Product Viewed", **more: Any) -> dict[str, Any]:
    return {
        "type": "track",
        "event": name,
        "messageId": "m1",
        "userId": "u1",
        "timestamp": "2026-03-30T20:00:00Z",
        **more,
    }


def ask(workspace: Workspace, sql: str) -> list[dict[str, Any]]:
    with workspace.read() as reader:
        rows: list[dict[str, Any]] = reader.query(sql).to_pylist()
        return rows


def take(workspace: Workspace, *messages: object, **more: Any) -> list[str]:
    return [one.status for one in take_events(workspace, list(messages), received_at=NOW, **more)]


def test_a_track_becomes_an_event(workspace: Workspace) -> None:
    message = track(
        properties={"product_id": "p1", "price": 3.5, "channel": "email"},
        context={"campaign": {"name": "spring"}},
    )
    assert take(workspace, message) == ["accepted"]
    (row,) = ask(workspace, "SELECT * FROM events")
    assert json.loads(row.pop("properties")) == {
        "product_id": "p1",
        "price": 3.5,
        "channel": "email",
        "context": {"campaign": {"name": "spring"}},
    }
    assert row == {
        "event_id": "m1",
        "customer_id": "u1",
        "name": "Product Viewed",
        "occurred_at": datetime(2026, 3, 30, 20, tzinfo=UTC),
        "occurred_on": date(2026, 3, 31),  # Shanghai's day
        "product_id": "p1",
        "campaign_id": "spring",
        "channel": "email",
        "received_at": NOW,
        "source": "events",
        "simulated": False,
    }


def test_a_clock_that_is_wrong_is_corrected_by_sent_at(workspace: Workspace) -> None:
    message = track(timestamp="2031-01-01T00:00:00Z", sentAt="2031-01-01T00:10:00Z")
    assert take(workspace, message) == ["accepted"]
    assert ask(workspace, "SELECT occurred_at FROM events")[0]["occurred_at"] == NOW - timedelta(minutes=10)


@pytest.mark.parametrize("timestamp", ["2026-01-31T08:00:00Z", None])
def test_a_file_tells_when_events_happened_not_when_it_is_read(
    workspace: Workspace, tmp_path: Path, timestamp: str | None
) -> None:
    sent = "2026-01-31T08:00:05Z"
    messages = [
        track(timestamp=timestamp, sentAt=sent),
        track(messageId="m2", timestamp=timestamp, sentAt=sent, receivedAt="2026-01-31T08:10:05Z"),
    ]
    path = tmp_path / "events.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in messages), encoding="utf-8")
    assert take_file(workspace, path)["accepted"] == 2
    found = ask(workspace, "SELECT occurred_at FROM events ORDER BY event_id")
    on_our_clock = "2026-01-31T08:10:00Z" if timestamp else "2026-01-31T08:10:05Z"
    expected = [datetime.fromisoformat(timestamp or sent), datetime.fromisoformat(on_our_clock)]
    assert [row["occurred_at"] for row in found] == expected


def test_the_original_timestamp_counts_where_segment_has_added_its_own(workspace: Workspace) -> None:
    message = track(
        originalTimestamp="2026-03-31T08:00:00Z",
        sentAt="2026-03-31T08:00:02Z",
        receivedAt="2026-03-31T07:00:00Z",
        timestamp="2026-03-31T06:59:58Z",
    )
    assert take(workspace, message) == ["accepted"]
    assert ask(workspace, "SELECT occurred_at FROM events")[0]["occurred_at"] == datetime(
        2026, 3, 31, 6, 59, 58, tzinfo=UTC
    )


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("text", "data.event_no_object"),
        (None, "data.event_no_object"),
        ([1], "data.event_no_object"),
        (track(userId=None), "data.event_without_person"),
        (track(userId="  "), "data.event_without_person"),
        (track(userId={"a": 1}), "data.event_bad_id"),
        (track(userId=1.5), "data.event_bad_id"),
        (track(messageId="x" * 300), "data.event_bad_id"),
        (track(""), "data.event_without_name"),
        (track(type="buy"), "data.event_of_unknown_type"),
        (track(type=None), "data.event_of_unknown_type"),
        (track(timestamp="yesterday"), "data.event_bad_instant"),
        (track(timestamp="2026-02-30T00:00:00Z"), "data.event_bad_instant"),
        (track(timestamp=1e300), "data.event_bad_instant"),
        (track(timestamp=10**30), "data.event_bad_instant"),
        (track(timestamp="0001-01-01T00:00:00+14:00"), "data.event_bad_instant"),
        (track(timestamp="2026-04-02T00:00:00Z"), "data.event_from_future"),
        (track(timestamp="1970-01-01T00:00:00Z"), "data.event_from_long_ago"),
        (track(properties=[1]), "data.event_bad_object"),
        (track(properties={"x": "é" * 70_000}), "data.event_too_large"),
        (track(properties={"x": "\ud800"}), "data.event_not_text"),
        (track(properties={"x": float("nan")}), "data.event_not_text"),
        ("\ud800", "data.event_no_object"),
    ],
)
def test_what_cannot_be_taken_is_set_aside_with_the_reason(
    workspace: Workspace, message: object, reason: str
) -> None:
    receipts = take_events(workspace, [message, track(messageId="m2")], received_at=NOW)
    assert [one.status for one in receipts] == ["rejected", "accepted"]
    assert receipts[0].problem is not None and receipts[0].problem.code == reason
    (row,) = ask(workspace, "SELECT reason, record FROM rejects")
    assert row["reason"] == reason
    json.loads(row["record"])
    # Sent again, it is set aside once.
    take_events(workspace, [message], received_at=NOW)
    assert len(ask(workspace, "SELECT * FROM rejects")) == 1


def test_a_repaired_message_is_accepted(workspace: Workspace) -> None:
    assert take(workspace, track(timestamp="never")) == ["rejected"]
    assert take(workspace, track()) == ["accepted"]


def test_a_message_without_id_is_known_by_what_it_says(workspace: Workspace) -> None:
    message = track(messageId=None)
    assert take(workspace, message, {**message, "sentAt": "2026-03-30T20:00:00Z"}) == [
        "accepted",
        "duplicate",
    ]
    assert take(workspace, {**message, "userId": "u2"}) == ["accepted"]


def test_identifiers_stay_text(workspace: Workspace) -> None:
    take(workspace, track(userId="001"), track(userId=7, messageId=8))
    found = ask(workspace, "SELECT event_id, customer_id FROM events ORDER BY event_id")
    assert [(row["event_id"], row["customer_id"]) for row in found] == [("8", "7"), ("m1", "001")]


def test_late_repeats_are_told_when_their_ids_are_long_forgotten(workspace: Workspace) -> None:
    order = {"order_id": "o1", "revenue": 5, "products": [{"product_id": "p", "price": 5}]}
    old = track("Order Completed", timestamp="2026-01-05T00:00:00Z", properties=order)
    first = datetime(2026, 1, 6, tzinfo=UTC)
    assert [one.status for one in take_events(workspace, [old], received_at=first)] == ["accepted"]
    compact(workspace)
    assert take(workspace, old, {**old, "messageId": "m2"}) == ["duplicate", "accepted"]
    assert len(ask(workspace, "SELECT * FROM order_lines")) == 1
    assert len(ask(workspace, "SELECT * FROM events")) == 2


def test_a_late_repeat_is_told_though_it_was_under_way_for_longer(workspace: Workspace) -> None:
    def send(to: Workspace, seconds: float, days: int) -> list[str]:
        """The message (again), which arrives so many days later, after so many seconds under way."""
        at = NOW + timedelta(days=days)
        sent = at - timedelta(seconds=seconds)
        # A second before midnight in Shanghai.
        message = track(timestamp="2026-03-30T15:59:59Z", sentAt=sent.isoformat())
        return [one.status for one in take_events(to, [message], received_at=at)]

    assert send(workspace, 0.5, 0) == ["accepted"]
    compact(workspace)
    merge_digests(workspace.store)
    assert send(Workspace.open(workspace.path), 2.0, 20) == ["duplicate"]


def test_a_file_whose_events_tell_no_time_is_known_again_when_their_ids_are_forgotten(
    workspace: Workspace, tmp_path: Path
) -> None:
    order = {"order_id": "o1", "revenue": 5, "products": [{"product_id": "p", "price": 5}]}
    messages = [
        {"type": "track", "event": "Order Completed", "userId": "1", "messageId": "m1", "properties": order},
        {"type": "page", "userId": "1"},
    ]
    path = tmp_path / "untimed.jsonl"
    path.write_text("".join(json.dumps(message) + "\n" for message in messages), encoding="utf-8")
    assert take_file(workspace, path)["accepted"] == 2
    compact(workspace)
    with workspace.store.begin() as connection:
        connection.execute(sa.delete(HOT_DIGESTS))
    assert take_file(Workspace.open(workspace.path), path)["duplicate"] == 2
    assert len(ask(workspace, "SELECT * FROM events")) == 2
    assert len(ask(workspace, "SELECT * FROM order_lines")) == 1


def test_an_order_has_its_lines_to_the_cent(workspace: Workspace) -> None:
    order = {
        "order_id": 12,
        "currency": "CNY",
        "revenue": "100.00",
        "discount": 0.01,
        "products": [
            {"product_id": "a", "price": 33.34, "quantity": 1},
            {"sku": "b", "price": 33.335, "quantity": 2},
            {"price": 0},
        ],
    }
    assert take(workspace, track("Order Completed", properties=order)) == ["accepted"]
    rows = ask(workspace, "SELECT * FROM order_lines ORDER BY line_id")
    assert sum(row["revenue"] for row in rows) == Decimal("100.00")
    assert [row["product_id"] for row in rows] == ["a", "b", None]
    assert [row["quantity"] for row in rows] == [1, 2, 1]
    assert {row["order_id"] for row in rows} == {"12"}
    assert rows[0]["ordered_on"] == date(2026, 3, 31)
    assert rows[0]["ordered_hour"] == 4


def test_an_order_told_twice_has_its_lines_once(workspace: Workspace) -> None:
    order = {"order_id": "o1", "total": 12, "shipping": 2}
    one = track("Order Completed", properties=order)
    assert take(workspace, one, {**one, "messageId": "m2"}) == ["accepted", "accepted"]
    assert [row["revenue"] for row in ask(workspace, "SELECT revenue FROM order_lines")] == [Decimal("10.00")]


def test_refunds_are_negative_lines(workspace: Workspace) -> None:
    order = {"order_id": "o1", "products": [{"product_id": "a", "price": 10, "quantity": 2}]}
    take(workspace, track("Order Completed", properties=order))
    take(workspace, track("Order Refunded", messageId="m2", properties={**order, "revenue": 10}))
    take(workspace, track("Order Refunded", messageId="m3", properties={**order, "revenue": 10}))
    rows = ask(workspace, "SELECT quantity, revenue FROM order_lines ORDER BY revenue")
    assert [row["revenue"] for row in rows] == [Decimal(-10), Decimal(-10), Decimal(20)]
    assert rows[0]["quantity"] == -2


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        ({}, "data.order_without_id"),
        ({"order_id": "o"}, "data.order_without_amount"),
        ({"order_id": "o", "revenue": "much"}, "data.order_bad_amount"),
        ({"order_id": "o", "revenue": 1e40}, "data.order_bad_amount"),
        ({"order_id": "o", "revenue": 1, "currency": "USD"}, "data.order_in_other_currency"),
        ({"order_id": "o", "products": "all"}, "data.order_bad_products"),
        ({"order_id": "o", "products": [{"price": True}]}, "data.order_bad_amount"),
    ],
)
def test_an_order_that_cannot_be_read_is_still_an_event(
    workspace: Workspace, order: dict[str, Any], reason: str
) -> None:
    (receipt,) = take_events(workspace, [track("Order Completed", properties=order)], received_at=NOW)
    assert receipt.status == "accepted"
    assert receipt.problem is not None and receipt.problem.code == reason
    assert len(ask(workspace, "SELECT * FROM events")) == 1
    assert ask(workspace, "SELECT * FROM order_lines") == []
    assert [row["reason"] for row in ask(workspace, "SELECT reason FROM rejects")] == [reason]


def test_traits_become_attributes_and_the_newest_counts(workspace: Workspace) -> None:
    def identify(number: int, **traits: Any) -> dict[str, Any]:
        return {"type": "identify", "userId": "u1", "messageId": f"i{number}", "traits": traits}

    take(workspace, identify(1, email="a@x.cn", firstName="Li", address={"city": "上海"}))
    take(workspace, identify(2, email="b@x.cn", vip=True))
    group = {"type": "group", "userId": "u2", "messageId": "g1", "groupId": "acme", "traits": {"size": 3}}
    take(workspace, group)
    assert merge_profiles(workspace) > 0
    found = ask(workspace, "SELECT * FROM customers ORDER BY customer_id")
    assert [row["customer_id"] for row in found] == ["u1", "u2"]
    assert (found[0]["email"], found[0]["first_name"], found[0]["vip"]) == ("b@x.cn", "Li", "true")
    assert found[0]["address_city"] == "上海"
    assert (found[1]["group_id"], found[1]["group_size"], found[1]["email"]) == ("acme", "3", None)
    assert merge_profiles(workspace) == 0
    take(workspace, identify(3, email="c@x.cn"))
    merge_profiles(workspace)
    assert ask(workspace, "SELECT email FROM customers WHERE customer_id = 'u1'") == [{"email": "c@x.cn"}]


def test_identify_is_evidence_that_a_visitor_and_a_user_are_one(workspace: Workspace) -> None:
    take(workspace, track(userId=None, anonymousId="x"))
    assert ask(workspace, "SELECT customer_id FROM events") == [{"customer_id": "anon:x"}]
    both = {"type": "identify", "userId": "u1", "anonymousId": "x", "messageId": "m2"}
    take(workspace, both)
    take(workspace, {**both, "messageId": "m3"})
    merge_profiles(workspace)
    take(workspace, {**both, "messageId": "m4"})
    merge_profiles(workspace)
    found = ask(workspace, "SELECT record_id, kind, value, usable FROM identifiers ORDER BY record_id")
    assert found == [
        {"record_id": record, "kind": "anonymous", "value": "x", "usable": True}
        for record in ("anon:x", "u1")
    ]


def test_alias_is_evidence_too(workspace: Workspace) -> None:
    take(workspace, {"type": "alias", "userId": "u1", "previousId": "x", "messageId": "m1"})
    merge_profiles(workspace)
    found = ask(workspace, "SELECT record_id FROM identifiers WHERE value = 'x' ORDER BY record_id")
    assert [row["record_id"] for row in found] == ["anon:x", "u1", "x"]


def test_a_segment_batch_shares_its_times(workspace: Workspace) -> None:
    batch = {
        "sentAt": "2030-01-01T00:01:00Z",
        "batch": [
            track(timestamp="2030-01-01T00:00:00Z"),
            {"type": "page", "userId": "u1", "messageId": "m2"},
        ],
    }
    assert [one.status for one in take_events(workspace, batch, received_at=NOW)] == ["accepted", "accepted"]
    found = ask(workspace, "SELECT name, occurred_at FROM events ORDER BY event_id")
    assert [row["name"] for row in found] == ["Product Viewed", "Page Viewed"]
    assert found[0]["occurred_at"] == NOW - timedelta(minutes=1)


@pytest.mark.parametrize("form", ["lines", "array", "utf-16"])
def test_files_are_taken_once(workspace: Workspace, tmp_path: Path, form: str) -> None:
    messages = [track(messageId=f"m{number}", properties={"名": "值" * 20}) for number in range(3000)]
    lines = [json.dumps(one, ensure_ascii=False) for one in messages]
    path = tmp_path / "events.jsonl"
    if form == "array":
        path.write_text("[\n" + ",\n".join(lines) + "\n]\n", "utf-8")
    else:
        path.write_text("\n".join(lines), "utf-16" if form == "utf-16" else "utf-8")
    assert take_file(workspace, path) == {"accepted": 3000, "duplicate": 0, "rejected": 0}
    assert take_file(workspace, path) == {"accepted": 0, "duplicate": 3000, "rejected": 0}
    assert ask(workspace, "SELECT COUNT(*) AS n FROM events") == [{"n": 3000}]


def test_bad_lines_of_a_file_do_not_stop_the_others(workspace: Workspace, tmp_path: Path) -> None:
    good = json.dumps(track()).encode()
    lines = [
        good,
        b"{",
        b"",
        b"\xff\xfe bad",
        b"[" * 100_000,
        b'{"type": NaN}',
        b"x" * (3 << 20),
        good[:-9],
        b"7",
    ]
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"\n".join([*lines, json.dumps(track(messageId="m2")).encode()]))
    assert take_file(workspace, path) == {"accepted": 2, "duplicate": 0, "rejected": 7}
    found = ask(workspace, "SELECT file, row_number FROM rejects ORDER BY row_number")
    assert [row["row_number"] for row in found] == [2, 4, 5, 6, 7, 8, 9]
    assert {row["file"] for row in found} == {"events.jsonl"}


def test_an_array_that_is_cut_keeps_what_came_before(workspace: Workspace, tmp_path: Path) -> None:
    path = tmp_path / "events.json"
    path.write_text(f"[{json.dumps(track())},\n{json.dumps(track(messageId='m2'))[:-20]}", "utf-8")
    assert take_file(workspace, path) == {"accepted": 1, "duplicate": 0, "rejected": 1}


@given(st.integers(-(10**9), 10**9), st.lists(st.integers(0, 10**7), min_size=1, max_size=30))
def test_cents_are_split_without_remainder(total: int, weights: list[int]) -> None:
    parts = split_cents(total, weights)
    assert sum(parts) == total
    if sum(weights):
        assert all(abs(p - total * w / sum(weights)) <= 1 for p, w in zip(parts, weights, strict=True))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(FIELDS),
                inner,
                max_size=8,
            )
        ),
        max_leaves=20,
    )
)
def test_anything_is_read_or_refused(message: Any) -> None:
    if isinstance(message, dict):
        message = {"type": "track", "event": "Order Completed", "userId": "u", **message}
    try:
        read = read_message(message, Terms("s", zone("Asia/Shanghai"), "CNY", NOW))
    except BadInput:
        return
    assert read.occurred_at <= NOW
    assert len(read.event) == 12


@given(
    st.dictionaries(
        st.sampled_from(FIELDS),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers()
            | st.floats(allow_nan=False, allow_infinity=False)
            | st.text(),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=4)
            ),
            max_leaves=12,
        ),
        max_size=8,
    )
)
def test_what_was_json_before_means_the_same_unchecked(told: dict[str, Any]) -> None:
    message = {"type": "track", "event": "Order Completed", "userId": "u", **told}
    terms = Terms("s", zone("Asia/Shanghai"), "CNY", NOW)
    found = [explain(one, terms) for one in (message, JsonObject(msgspec.json.decode(json.dumps(message))))]
    assert found[0] == found[1]


def explain(message: dict[str, Any], terms: Terms) -> object:
    """What a message means, or why it is refused; its rest as objects, which may be written in several ways."""
    try:
        read = read_message(message, terms)
    except BadInput as error:
        return error.code
    rest = read.event[8]
    event = (*read.event[:8], rest and json.loads(rest), *read.event[9:])
    return {**vars(read), "event": event, "problem": read.problem and read.problem.code}


def test_column_names() -> None:
    names = ["firstName", "First name", "E-mail", "userID", "姓名", "", "a" * 99]
    assert [name_column(name) for name in names][:6] == [
        "first_name",
        "first_name",
        "e_mail",
        "user_id",
        "姓名",
        "trait",
    ]


def test_receipts_are_in_the_order_of_the_messages(workspace: Workspace) -> None:
    messages = [track(messageId=f"m{number % 7}") for number in range(20)]
    receipts = take_events(workspace, messages, received_at=NOW)
    assert [one.message_id for one in receipts] == [one["messageId"] for one in messages]
    assert Counter(one.status for one in receipts) == {"accepted": 7, "duplicate": 13}


def test_single_events_of_many_threads_share_commits(workspace: Workspace) -> None:
    from aimwell.data.event_queue import EventQueue

    messages = [track(messageId=f"m{number % 150}", timestamp=None) for number in range(300)]
    with EventQueue(workspace) as events:
        answers = [events.put(message) for message in messages]
        statuses = Counter(answer.result(60).status for answer in answers)
    assert statuses == {"accepted": 150, "duplicate": 150}
    assert 0 < events.commits < 300
    assert ask(workspace, "SELECT COUNT(*) AS n FROM events") == [{"n": 150}]


def test_who_gives_up_waiting_stops_nobody_else(workspace: Workspace) -> None:
    from aimwell.data.event_queue import EventQueue

    events = EventQueue(workspace)
    # Handed over before the queue begins: the first is cancelled for certain before its commit.
    answers = [events.put(track(messageId=name, timestamp=None)) for name in ("gone", "kept")]
    assert answers[0].cancel()
    with events:
        assert answers[1].result(60).status == "accepted"
    assert ask(workspace, "SELECT event_id FROM events") == [{"event_id": "kept"}]


def test_senders_learn_when_a_commit_fails(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    from aimwell.data.event_queue import EventQueue

    def fail(*_: object, **__: object) -> None:
        raise OSError("the disk is full")

    with EventQueue(workspace) as events:
        monkeypatch.setattr(workspace.hot, "append", fail)
        with pytest.raises(OSError):
            events.put(track()).result(60)
        monkeypatch.undo()
        assert events.put(track()).result(60).status == "accepted"


def test_a_repaired_message_takes_its_reject_along(workspace: Workspace, tmp_path: Path) -> None:
    good = track(messageId="good")
    bad, unnamed = {**good, "messageId": "bad", "event": ""}, {"type": "track", "event": "x"}
    path = tmp_path / "log.jsonl"
    path.write_text("\n".join(json.dumps(one) for one in (good, bad, unnamed)))
    take_file(workspace, path)
    assert len(ask(workspace, "SELECT * FROM rejects")) == 2
    # What was downloaded and repaired comes as another file; the file itself comes again, without its other bad line.
    repaired = tmp_path / "repaired.jsonl"
    repaired.write_text(json.dumps({**bad, "event": "Viewed"}))
    take_file(workspace, repaired)
    assert len(ask(workspace, "SELECT * FROM rejects")) == 1
    path.write_text(json.dumps(good))
    take_file(workspace, path)
    assert ask(workspace, "SELECT * FROM rejects") == []
    sources = ask(workspace, "SELECT file, table_name, rows, accepted, rejected FROM sources ORDER BY file")
    assert [tuple(row.values()) for row in sources] == [
        ("log.jsonl", "events", 1, 1, 0),
        ("repaired.jsonl", "events", 1, 1, 0),
    ]


def test_an_id_in_full_width_signs_is_the_same_person(workspace: Workspace) -> None:
    alias = {"type": "alias", "messageId": "m4", "userId": "10003", "previousId": "Ａ７"}
    identify = {
        "type": "identify",
        "messageId": "m3",
        "userId": "１０００３　",
        "anonymousId": "ａ－１",
        "traits": {},
    }
    batch = [
        track(userId="10003"),
        track(userId="１０００３", messageId="m2"),
        identify,
        alias,
        track(userId="　", messageId="m5"),
        track(userId=None, anonymousId="ａ－１", messageId="ｍ６"),
    ]
    assert take(workspace, *batch) == [*["accepted"] * 4, "rejected", "accepted"]
    found = ask(workspace, "SELECT event_id, customer_id FROM delivered_events ORDER BY event_id")
    assert {row["event_id"]: row["customer_id"] for row in found} == {
        **dict.fromkeys(("m1", "m2", "m3", "m4"), "10003"),
        "ｍ６": "anon:a-1",
    }
    merge_profiles(workspace)
    pairs = {
        (row["record_id"], row["value"]) for row in ask(workspace, "SELECT record_id, value FROM identifiers")
    }
    assert {("10003", "a-1"), ("anon:a-1", "a-1"), ("10003", "A7"), ("A7", "A7")} <= pairs
