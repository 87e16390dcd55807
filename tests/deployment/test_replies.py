from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimwell.core.errors import BadInput, NotAllowed
from aimwell.deployment.channels.channel import Outcome, Receipt
from aimwell.deployment.channels.event_outbox import forward_events
from aimwell.deployment.channels.hooks import sign_body
from aimwell.deployment.channels.replies import Reply, ReplyKind, ReplyRules, apply_reply, classify_reply
from aimwell.deployment.channels.smpp_receipts import SmsReply
from aimwell.deployment.channels.sms_hooks import apply_hooks, read_hook
from aimwell.deployment.channels.sms_reports import ReportBook
from aimwell.deployment.desk.tasks import list_tasks
from aimwell.engine.permissions import Suppression, add_suppression, list_suppressions
from aimwell.engine.store import Store
from tests.deployment.scene import count, count_reasons, fill, open_ledger, open_store
from tests.postgres import Server, postgres  # noqa: F401 (a fixture)

STOPS = [
    "STOP", "stop.", " Stop! ", "ＳＴＯＰ", "S T O P", "STOPALL", "stop all", "UNSUBSCRIBE", "unsubscribe",
    "T", "t", "TD", "ｔｄ", "N", "R", "Please stop", "stop, thanks", "stop texting me",
    "don't text me again", "Do not contact me", "opt-out", "opt out", "cancel", "end", "QUIT", "remove me",
    "退订", "退訂", "退", "拒收", "取消", "取消订阅", "停止", "退 订", "退订！", "“退订”", "退订谢谢",
    "请退订", "我要退订", "TD退订", "退订T", "回复TD", "不要再发", "不要再发了", "请不要再发短信了，谢谢",
    "别再发了", "不要再给我发短信", "不要再發簡訊了", "别发了", "全部退订", "退订\u200b", "👎退订👎",
    "退\u3000订。。。",
]  # fmt: skip
UNCLEAR = [
    "When does the stop at the shop end?", "I can't stop loving it", "don't stop", "Stop by on Friday",
    "不退订", "怎么退订", "退订怎么弄？", "我想退货", "退款", "请问取消订单怎么操作", "取消订单",
    "不要退订", "N95口罩有吗", "好的", "收到", "你们的牛奶不要再涨价了", "T恤还有吗", "td-lte", "the end",
    "no", "", " ", "。", "😀", "stop" * 30,
]  # fmt: skip


@pytest.mark.parametrize("text", STOPS)
def test_whoever_says_stop_is_understood(text: str) -> None:
    assert classify_reply(text) in (ReplyKind.STOP, ReplyKind.STOP_ALL)


@pytest.mark.parametrize("text", UNCLEAR)
def test_a_sentence_that_contains_the_word_is_read_by_people(text: str) -> None:
    assert classify_reply(text) is ReplyKind.UNCLEAR


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        *((text, ReplyKind.START) for text in ("START", "恢复", "我要恢复订阅", "Unstop!")),
        *((text, ReplyKind.HELP) for text in ("HELP", "帮助", "?", "？？", "你是谁")),
        *((text, ReplyKind.STOP_ALL) for text in ("stop everything", "全部退订")),
    ],
)
def test_other_families(text: str, kind: ReplyKind) -> None:
    assert classify_reply(text) is kind


PADDING = st.text(alphabet=" \t\n。，,.!！…~\u200b\u3000\"'“”()（）*-_👍", max_size=6)


@given(
    st.sampled_from([text for text in STOPS if text.strip()]), PADDING, PADDING, st.booleans(), st.booleans()
)
def test_blanks_marks_case_and_width_change_nothing(
    text: str, before: str, after: str, upper: bool, wide: bool
) -> None:
    kind = classify_reply(text)
    changed = text.upper() if upper else text.lower()
    if wide:
        changed = "".join(chr(ord(char) + 0xFEE0) if "!" <= char <= "~" else char for char in changed)
    assert classify_reply(before + changed + after) is kind


@given(st.text(max_size=400))
def test_any_text_is_one_kind_and_none_is_lost(text: str) -> None:
    assert classify_reply(text) in ReplyKind


@given(st.text(alphabet="请求你麻烦我要想谢了不再发短信给停退订 stopme", max_size=60))
def test_words_in_any_order_keep_nobody_waiting(text: str) -> None:
    assert classify_reply(text) in ReplyKind


def reply(text: str, *customers: str, at: int = 5_000) -> Reply:
    return Reply(f"k:{text}:{at}", text, customers, at)


def answer(store: Store, told: Reply, rules: ReplyRules | None = None) -> ReplyKind:
    with store.begin() as connection:
        return apply_reply(connection, told, rules or ReplyRules(), told.at_ms)


def read_events(store: Store) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    forward_events(store, events.extend)
    return events


def read_lines(store: Store) -> list[tuple[str, str, str]]:
    with store.begin() as connection:
        return sorted((line.customer_id, line.channel, line.source) for line in list_suppressions(connection))


def _open(url: str) -> Store:
    store = Store(url)
    store.migrate()
    return store


def check_stop(store: Store) -> None:
    ledger = open_ledger(store)
    fill(ledger, ["a", "b", "c"], channel="sms")
    fill(ledger, ["a"], plan="p2", channel="email")
    for _ in range(2):
        assert answer(store, reply("退订", "a")) is ReplyKind.STOP
        assert answer(store, reply("stop all", "b")) is ReplyKind.STOP_ALL
    assert read_lines(store) == [("a", "sms", "reply"), ("b", "all", "reply")]
    for channel, plan in (("sms", "p1"), ("email", "p2")):
        taken = ledger.reserve(plan, channel, limit=10)
        ledger.advance(taken.fence, intended=[row.delivery_id for row in taken.rows])
        ledger.advance(taken.fence, settled=[(row.delivery_id, Receipt(Outcome.SENT)) for row in taken.rows])
    assert count_reasons(ledger)["suppressed"] == 2
    assert count(ledger) == {"sent": 1, "skipped": 2} and count(ledger, "p2") == {"sent": 1}
    events = [
        (event["event"], event["userId"], event["properties"]["channel"]) for event in read_events(store)
    ]
    assert sorted(events) == [
        ("Consent Withdrawn", "a", "sms"),
        ("Consent Withdrawn", "b", "all"),
        ("Message Replied", "a", "sms"),
        ("Message Replied", "b", "sms"),
    ]


def test_stop_holds_at_once(tmp_path: Path) -> None:
    check_stop(open_store(tmp_path))


def test_stop_holds_at_once_on_postgresql(postgres: Server) -> None:  # noqa: F811
    postgres.run("CREATE DATABASE replies")
    check_stop(_open(postgres.address("replies")))


def test_a_shared_number_stops_for_all_who_have_it(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    answer(store, reply("TD", "a", "b"))
    assert [line[0] for line in read_lines(store)] == ["a", "b"]


def test_start_is_a_note_unless_the_operator_decided(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    ledger = open_ledger(store)
    fill(ledger, ["a"], channel="sms")
    answer(store, reply("退订", "a"))
    assert answer(store, reply("恢复", "a", at=6_000)) is ReplyKind.START
    assert read_lines(store) == [("a", "sms", "reply")], "nobody is contacted again by a word alone"
    with store.begin() as connection:
        task = list_tasks(connection)[0]
    assert (task.kind, task.customer_id, task.card["wish"]) == ("reply", "a", "start")
    answer(store, reply("恢复", "a", at=7_000), ReplyRules(start_permits=True))
    assert read_lines(store) == []
    assert len(ledger.reserve("p1", "sms", limit=5).rows) == 1


def test_start_does_not_undo_what_others_decided(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with store.begin() as connection:
        add_suppression(connection, Suppression("a", "sms", "cli", 1))
        add_suppression(connection, Suppression("b", "all", "desk:complaint", 1))
    for customer in "ab":
        answer(store, reply("START", customer), ReplyRules(start_permits=True))
    assert read_lines(store) == [("a", "sms", "cli"), ("b", "all", "desk:complaint")]
    answer(store, reply("START", "c", "d"), ReplyRules(start_permits=True))
    with store.begin() as connection:
        assert {task.customer_id for task in list_tasks(connection)} == {"c", "d"}, (
            "nobody knows who of them wrote"
        )


def test_what_is_unclear_goes_to_people_once(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    for _ in range(2):
        assert answer(store, reply("牛奶多少钱？", "a")) is ReplyKind.UNCLEAR
    with store.begin() as connection:
        tasks = list_tasks(connection)
    assert [(task.customer_id, task.card["text"]) for task in tasks] == [("a", "牛奶多少钱？")]
    assert read_lines(store) == []


def test_a_reply_that_the_centre_repeats_counts_once(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    numbers: list[str] = []

    def find(phone: str) -> list[str]:
        numbers.append(phone)
        return ["a"]

    book = ReportBook(store, "smpp", find_customers=find, clock=lambda: 1_000.0)
    for _ in range(2):
        book.note_reply(SmsReply("8613800138000", "1069", "退订"))
    assert numbers == ["+8613800138000"] * 2 and read_lines(store) == [("a", "sms", "reply")]
    assert len(read_events(store)) == 2


SECRET = b"hook-secret-of-the-provider"
NOW = 1_700_000_000_000


def sign(body: bytes, at: int = NOW) -> dict[str, str]:
    timestamp = str(at // 1000)
    return {"x-timestamp": timestamp, "x-signature": sign_body(SECRET, timestamp, body)}


def read(items: Any, **values: Any) -> Any:
    body = json.dumps(items).encode()
    return read_hook("sms", sign(body), body, SECRET, now_ms=NOW, **values)


def test_only_the_provider_is_believed_and_only_lately() -> None:
    body = b'{"out_id": "x", "status": "delivered"}'
    good = sign(body)
    assert len(read_hook("sms", good, body, SECRET, now_ms=NOW)) == 1
    for headers, told, now in (
        ({}, body, NOW),
        (good, body + b" ", NOW),
        (good, body, NOW + 301_000),
        (good, body, NOW - 301_000),
        (good | {"x-timestamp": "9" * 40}, body, NOW),
        (good | {"x-signature": "ü" * 64}, body, NOW),
        (good | {"x-timestamp": str(NOW // 1000 + 1)}, body, NOW),
    ):
        with pytest.raises(NotAllowed):
            read_hook("sms", headers, told, SECRET, now_ms=now)


@pytest.mark.parametrize("body", [b"", b"x", b"5", b"[1]", b"[" * 100_000, json.dumps([{}] * 1001).encode()])
def test_a_body_that_cannot_be_read_is_refused(body: bytes) -> None:
    with pytest.raises(BadInput):
        read_hook("sms", sign(body), body, SECRET, now_ms=NOW)


FIELDS = st.sampled_from(["out_id", "status", "text", "phone", "at_ms", "code", "id", "nationcode", "time"])
VALUES = st.one_of(st.text(max_size=20), st.integers(), st.none(), st.booleans(), st.floats(), st.just(["x"]))


@given(st.dictionaries(FIELDS, VALUES))
def test_whatever_a_provider_says_is_one_event(item: dict[str, Any]) -> None:
    event = read([item])[0]
    assert len(event.event_id) == 64 and 0 <= event.at_ms <= NOW
    assert event.delivery_id is None or len(event.delivery_id) == 64


def test_reports_and_replies_do_what_they_say_once(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    ledger = open_ledger(store)
    fill(ledger, ["a", "b", "c"], channel="sms")
    taken = ledger.reserve("p1", "sms", limit=9)
    ids = {row.customer_id: row.delivery_id for row in taken.rows}
    ledger.advance(taken.fence, intended=list(ids.values()))
    lost = Receipt(Outcome.UNKNOWN, "connection_lost")
    ledger.advance(
        taken.fence, settled=[(ids["a"], lost), (ids["b"], Receipt(Outcome.SENT)), (ids["c"], lost)]
    )
    items = [
        {"out_id": ids["a"], "status": "delivered", "code": "DELIVRD", "at_ms": NOW - 5},
        {"out_id": ids["b"], "success": False, "err_code": "isv.CUSTOMER_REFUSED", "biz_id": "1"},
        {"out_id": "f" * 64, "status": "delivered"},
        {"phone_number": "13800138000", "content": "退订", "sequence_id": 7},
        {"nationcode": "86", "mobile": "13900139000", "text": "牛奶多少钱"},
    ]
    people = {"+8613800138000": ["b", "d"], "+8613900139000": ["c"]}
    for _ in range(2):
        assert apply_hooks(store, read(items), NOW, lambda phone: people[phone]) == 4
    assert count(ledger) == {"sent": 2, "in_doubt": 1}
    assert read_lines(store) == [("b", "sms", "provider"), ("d", "sms", "reply")]
    names = sorted((event["event"], event["userId"]) for event in read_events(store))
    assert names == [
        ("Consent Withdrawn", "b"), ("Consent Withdrawn", "d"), ("Message Delivered", "a"), ("Message Failed", "b"),
        ("Message Replied", "b"), ("Message Replied", "c"), ("Message Replied", "d"),
    ]  # fmt: skip
