"""Consent by purpose, caps of channels, quiet hours, priority and expiry, in the transaction that reserves."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from datetime import datetime, time, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aimwell.deployment.calendar import Calendar, Quiet
from aimwell.deployment.channels.channel import Outcome, Receipt
from aimwell.deployment.coupons import add_codes, open_pool
from aimwell.deployment.ledger import Ledger, Terms
from aimwell.deployment.ledger_rows import enqueue_in
from aimwell.deployment.policy import Cap, ContactRules
from aimwell.engine.store import Store
from aimwell.engine.tracking_tables import OWN_PREFERENCES, TOPIC_REFUSALS
from tests.deployment.scene import DAY, count, count_reasons, fill, intend, open_ledger, open_store
from tests.deployment.stores import BOTH, find_address
from tests.postgres import postgres  # noqa: F401 (a fixture)

SENT = Receipt(Outcome.SENT)
SHANGHAI = ZoneInfo("Asia/Shanghai")
NIGHT = Calendar(zone="Asia/Shanghai", quiet={"sms": Quiet(time(21), time(9))}, spread=timedelta(minutes=30))


class Clock:
    def __init__(self, hour: int = 12) -> None:
        self.now = datetime(2026, 3, 2, hour, tzinfo=SHANGHAI).timestamp()

    def __call__(self) -> float:
        return self.now


def send_due(ledger: Ledger, channel: str = "email", source: str | None = None) -> list[str]:
    """Everything of all sources that may go now; customers in the order of sending."""
    sent = []
    while (taken := ledger.reserve(source, channel, limit=50)).examined:
        ids = [row.delivery_id for row in taken.rows]
        ledger.advance(taken.fence, intended=ids)
        ledger.advance(taken.fence, settled=[(delivery, SENT) for delivery in ids])
        sent += [f"{row.plan_id}/{row.customer_id}" for row in taken.rows]
    return sent


def test_service_messages_need_no_marketing_consent_but_obey_suppression(tmp_path: Path) -> None:
    ledger = open_ledger(open_store(tmp_path), cap=1)
    ledger.enqueue(
        [intend("a", purpose="service"), intend("b", purpose="service"), intend("c", purpose="service")]
    )
    ledger.suppress("b")
    ledger.suppress("c", channel="email")
    assert sorted(send_due(ledger)) == ["p1/a", "p1/c"]
    assert count(ledger) == {"sent": 2, "skipped": 1}
    assert count_reasons(ledger)["suppressed"] == 1


def test_service_messages_count_to_no_cap(tmp_path: Path) -> None:
    ledger = open_ledger(open_store(tmp_path), cap=1)
    ledger.enqueue([intend("a", plan=f"s{number}", purpose="service") for number in range(4)])
    assert len(send_due(ledger)) == 4
    fill(ledger, ["a"])
    assert send_due(ledger) == ["p1/a"], "the cap is untouched"


def test_a_channels_own_cap(tmp_path: Path) -> None:
    rules = ContactRules(5, 28, {"sms": Cap(1, 7)})
    ledger = open_ledger(open_store(tmp_path), rules=rules)
    sent = []
    for number, offset in enumerate([0, 6, 7, 8]):
        fill(ledger, ["a"], plan=f"p{number}", channel="sms", contact_on=DAY + timedelta(days=offset))
        sent.append(len(send_due(ledger, "sms")))
    assert sent == [1, 0, 1, 0]
    fill(ledger, ["a"], plan="mail", contact_on=DAY)
    assert send_due(ledger) == ["mail/a"], "mails have no cap of their own"


def test_what_comes_at_night_waits_for_the_morning(tmp_path: Path) -> None:
    clock = Clock(hour=23)
    ledger = open_ledger(open_store(tmp_path), rules=ContactRules(2, 28, calendar=NIGHT), clock=clock)
    names = [f"c{number}" for number in range(40)]
    fill(ledger, names, channel="sms")
    fill(ledger, ["berlin"], channel="sms", zone="Europe/Berlin")
    assert send_due(ledger, "sms") == ["p1/berlin"]
    assert count_reasons(ledger) == {"quiet_hours": 40, None: 1}
    clock.now = datetime(2026, 3, 3, 9, 0, tzinfo=SHANGHAI).timestamp()
    released = []
    for _ in range(30):
        clock.now += 60
        released.append(len(send_due(ledger, "sms")))
    assert sum(released) == 40 and max(released) < 10, "spread, not in a burst"


def test_whatever_would_go_out_in_the_night_is_not_begun(tmp_path: Path) -> None:
    clock = Clock()
    clock.now = datetime(2026, 3, 2, 20, 59, 45, tzinfo=SHANGHAI).timestamp()
    rules = ContactRules(2, 28, calendar=NIGHT, lead_ms=30_000)
    ledger = open_ledger(open_store(tmp_path), rules=rules, clock=clock)
    fill(ledger, ["a"], channel="sms")
    assert send_due(ledger, "sms") == []


def test_too_late_is_too_late(tmp_path: Path) -> None:
    clock = Clock(hour=23)
    now = int(clock.now * 1000)
    ledger = open_ledger(open_store(tmp_path), rules=ContactRules(2, 28, calendar=NIGHT), clock=clock)
    fill(ledger, ["late"], expires_ms=now)
    fill(ledger, ["good"], expires_ms=now + 1)
    fill(ledger, ["night"], channel="sms", expires_ms=now + 3_600_000)
    assert send_due(ledger) == ["p1/good"] and send_due(ledger, "sms") == []
    assert count_reasons(ledger) == {"expired": 2, None: 1}


def test_the_more_valuable_contact_gets_the_last_place(tmp_path: Path) -> None:
    clock = Clock()
    ledger = open_ledger(open_store(tmp_path), cap=1, clock=clock)
    fill(ledger, ["a", "b"], plan="cheap", priority=100)
    fill(ledger, ["a"], plan="dear", priority=900, contact_on=DAY + timedelta(days=3))
    # The cheap campaign asks first, for itself alone.
    assert send_due(ledger, source="cheap") == ["cheap/b"]
    assert count_reasons(ledger, "cheap") == {"outranked": 1, None: 1}
    assert send_due(ledger, source="dear") == ["dear/a"]
    clock.now += 3_601
    assert send_due(ledger, source="cheap") == []
    assert count_reasons(ledger, "cheap") == {"contact_cap": 1, None: 1}


def test_whoever_waited_gets_the_place_when_the_other_is_gone(tmp_path: Path) -> None:
    clock = Clock()
    ledger = open_ledger(open_store(tmp_path), cap=1, clock=clock)
    fill(ledger, ["a"], plan="cheap", priority=100)
    fill(ledger, ["a"], plan="dear", priority=900)
    assert send_due(ledger, source="cheap") == []
    ledger.stop("dear")
    clock.now += 61
    assert send_due(ledger, source="cheap") == ["cheap/a"]


def test_values_decide_only_where_places_are_short(tmp_path: Path) -> None:
    ledger = open_ledger(open_store(tmp_path), cap=2)
    fill(ledger, ["a"], plan="cheap", priority=100)
    fill(ledger, ["a"], plan="dear", priority=900)
    assert send_due(ledger, source="cheap") == ["cheap/a"]
    fill(ledger, ["b"], plan="far", priority=900, contact_on=DAY + timedelta(days=40))
    fill(ledger, ["b"], plan="near", priority=1)
    assert "near/b" in send_due(ledger, source="near")


def test_over_all_sources_the_most_valuable_goes_first(tmp_path: Path) -> None:
    ledger = open_ledger(open_store(tmp_path), cap=1)
    for plan, priority in [("a", 5), ("b", 700), ("c", 60)]:
        fill(ledger, [f"{plan}{number}" for number in range(3)], plan=plan, priority=priority)
        fill(ledger, ["shared"], plan=plan, priority=priority)
    sent = send_due(ledger)
    assert [name.partition("/")[0] for name in sent] == ["b"] * 4 + ["c"] * 3 + ["a"] * 3
    assert "b/shared" in sent


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    wants=st.lists(
        st.tuples(
            st.sampled_from("ab"), st.integers(0, 20), st.integers(0, 500), st.sampled_from(["email", "sms"])
        ),
        min_size=1,
        max_size=14,
    ),
    cap=st.integers(1, 3),
    span=st.integers(1, 10),
    own=st.integers(1, 2),
)
def test_no_rule_is_ever_broken_and_the_sum_holds(
    tmp_path_factory: pytest.TempPathFactory,
    wants: list[tuple[str, int, int, str]],
    cap: int,
    span: int,
    own: int,
) -> None:
    clock = Clock()
    store = open_store(tmp_path_factory.mktemp("store"))
    rules = ContactRules(cap, span, {"sms": Cap(own, span + 3)}, NIGHT)
    ledger = open_ledger(store, rules=rules, clock=clock)
    for number, (customer, offset, priority, channel) in enumerate(wants):
        day = DAY + timedelta(days=offset)
        fill(ledger, [customer], plan=f"p{number}", channel=channel, contact_on=day, priority=priority)
        if number % 3 == 0:
            send_due(ledger, channel)
    for _ in range(4):
        clock.now += 3_700
        send_due(ledger)
        send_due(ledger, "sms")
    rows = ledger.read_rows()
    assert len(rows) == len({(number, want[0]) for number, want in enumerate(wants)})
    sent = [row for row in rows if row["state"] == "sent"]
    for customer in "ab":
        for start in range(-15, 25):
            first = DAY + timedelta(days=start)
            mine = [row for row in sent if row["customer_id"] == customer]
            in_span = [row for row in mine if first <= row["contact_on"] < first + timedelta(days=span)]
            assert len(in_span) <= cap
            texts = [row for row in mine if first <= row["contact_on"] < first + timedelta(days=span + 3)]
            assert sum(row["channel"] == "sms" for row in texts) <= own
    assert {row["state"] for row in rows} <= {"sent", "skipped", "queued"}
    store.close()


def test_the_customers_own_limit_and_topics_count(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    ledger = open_ledger(store, cap=3)
    with store.begin() as connection:
        own = {"customer_id": "a", "cap": 1, "cap_days": 30, "changed_at_ms": 1}
        connection.execute(sa.insert(OWN_PREFERENCES).values(own))
        topic = {"customer_id": "b", "channel": "email", "topic": "wine", "since_ms": 1}
        connection.execute(sa.insert(TOPIC_REFUSALS).values(topic))
    for number in range(3):
        fill(ledger, ["a", "c"], plan=f"p{number}", contact_on=DAY + timedelta(days=number))
    fill(ledger, ["b"], plan="w1", detail={"topic": "wine"})
    fill(ledger, ["b"], plan="w2", detail={"topic": "tea"})
    sent = Counter(name.partition("/")[2] for name in send_due(ledger))
    assert sent == {"a": 1, "b": 1, "c": 3}
    assert count_reasons(ledger, "w1") == {"topic_refused": 1}


def test_without_a_coupon_nobody_is_contacted_and_failures_give_theirs_back(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    ledger = open_ledger(store)
    with store.begin() as connection:
        open_pool(connection, "spring", 1)
        add_codes(connection, "spring", ["AAAA-1111-CCCC", "BBBB-2222-DDDD"])
    wants: dict[str, Any] = {"detail": {"coupon_pool": "spring"}}
    fill(ledger, ["a", "b", "c"], plan="p1", **wants)
    taken = ledger.reserve("p1", "email", limit=10)
    assert len(taken.rows) == 2
    assert count_reasons(ledger, "p1") == {None: 2, "no_coupon": 1}
    ids = [row.delivery_id for row in taken.rows]
    ledger.advance(taken.fence, intended=ids)
    ledger.advance(taken.fence, settled=[(ids[0], SENT), (ids[1], Receipt(Outcome.PERMANENT, "rejected"))])
    fill(ledger, ["d"], plan="p2", **wants)
    assert send_due(ledger, source="p2") == ["p2/d"], "the code of the failure is free again"


def test_enqueuing_belongs_to_the_callers_transaction(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    with pytest.raises(RuntimeError), store.begin() as connection:
        assert enqueue_in(connection, [intend("a"), intend("b")], 1) == 2
        raise RuntimeError
    ledger = open_ledger(store)
    assert count(ledger) == {}
    with store.begin() as connection:
        assert enqueue_in(connection, [intend("a", detail={"node": "n1"}, fallback=("sms",))], 1) == 1
        assert enqueue_in(connection, [intend("a"), intend("b")], 1) == 1
    row = ledger.read_rows()[0]
    assert count(ledger) == {"queued": 2} and row["priority"] == 0


@pytest.mark.parametrize("kind", BOTH)
def test_processes_of_several_sources_together_never_pass_a_cap(
    tmp_path: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    address = find_address(kind, tmp_path, request)
    store = Store(address)
    ledger = open_ledger(store)
    names = [f"c{number}" for number in range(80)]
    for source in ("p1", "p2", "journey:birthday", "live:today"):
        fill(ledger, names, plan=source, channel="email", priority=len(source))
    script = Path(__file__).with_name("reserving.py")
    processes = [subprocess.Popen([sys.executable, str(script), address, str(number)]) for number in range(4)]
    assert [process.wait(300) for process in processes] == [0] * 4
    rows = ledger.read_rows()
    contacts = Counter(row["customer_id"] for row in rows if row["state"] == "sent")
    assert set(contacts.values()) == {2} and len(contacts) == len(names)
    assert Counter(row["state"] for row in rows) == {"sent": 160, "skipped": 160}
    assert all(row["reason"] == "contact_cap" for row in rows if row["state"] == "skipped")
    # By value, not by arrival: the journey and the live decision were worth more than both campaigns.
    sent = Counter(row["plan_id"] for row in rows if row["state"] == "sent")
    assert sent == {"journey:birthday": 80, "live:today": 80}
    store.close()


def test_the_wait_grows_with_a_jitter_that_the_id_decides() -> None:
    terms = Terms(retry=60, jitter=0.2, longest=600)
    waits = [terms.find_wait("d1", attempt) for attempt in range(1, 9)]
    assert waits == [terms.find_wait("d1", attempt) for attempt in range(1, 9)], "the id decides"
    assert all(60 * 2**n <= wait <= 60 * 2**n * 1.2 for n, wait in enumerate(waits[:4]))
    assert max(waits) <= 720
    assert len({terms.find_wait(f"d{number}", 1) for number in range(50)}) == 50
