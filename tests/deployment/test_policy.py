from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest import TempPathFactory

from aimwell.deployment.channels.channel import Outcome, Receipt
from aimwell.deployment.ledger import Ledger, Terms
from aimwell.deployment.policy import REASONS, title_reason
from aimwell.engine.ledger_tables import CONTACT_STATES
from tests.deployment.scene import DAY, count, count_reasons, fill, intend, open_ledger, open_store


def send_all(ledger: Ledger, plan: str = "p1", channel: str = "email") -> int:
    sent = 0
    while (taken := ledger.reserve(plan, channel, limit=50)).examined:
        ids = [row.delivery_id for row in taken.rows]
        ledger.advance(taken.fence, intended=ids)
        ledger.advance(taken.fence, settled=[(delivery, Receipt(Outcome.SENT)) for delivery in ids])
        sent += len(ids)
    return sent


def test_without_consent_nobody_is_contacted(tmp_path: Path) -> None:
    ledger = open_ledger(open_store(tmp_path))
    ledger.enqueue([intend("a"), intend("b")])
    assert send_all(ledger) == 0
    assert count_reasons(ledger) == {"no_consent": 2}


def test_consent_is_for_one_channel(tmp_path: Path) -> None:
    ledger = open_ledger(open_store(tmp_path))
    ledger.remember_consents([("a", "sms", True, 1)])
    ledger.enqueue([intend("a")])
    assert send_all(ledger) == 0


def test_the_latest_consent_wins_in_whatever_order_it_arrives(tmp_path: Path) -> None:
    ledger = open_ledger(open_store(tmp_path))
    ledger.remember_consents([("a", "email", False, 20), ("b", "email", True, 20)])
    ledger.remember_consents([("a", "email", True, 10), ("b", "email", False, 10)])
    ledger.enqueue([intend("a"), intend("b")])
    assert send_all(ledger) == 1
    assert count_reasons(ledger) == {"consent_withdrawn": 1, None: 1}


def test_a_withdrawal_after_enqueuing_still_counts(tmp_path: Path) -> None:
    ledger = open_ledger(open_store(tmp_path))
    fill(ledger, ["a"])
    ledger.remember_consents([("a", "email", False, 2)])
    assert send_all(ledger) == 0


def test_suppression_beats_consent_on_all_channels_or_one(tmp_path: Path) -> None:
    ledger = open_ledger(open_store(tmp_path))
    fill(ledger, ["a", "b", "c"])
    assert ledger.suppress("a")
    assert ledger.suppress("b", channel="email")
    assert ledger.suppress("c", channel="sms")
    assert not ledger.suppress("a")
    assert send_all(ledger) == 1
    assert count_reasons(ledger) == {"suppressed": 2, None: 1}


def test_no_address_and_prior_contacts(tmp_path: Path) -> None:
    ledger = open_ledger(open_store(tmp_path), cap=2)
    ledger.remember_consents([(name, "email", True, 1) for name in "abc"])
    ledger.enqueue(
        [intend("a", reachable=False), intend("b", prior_contacts=2), intend("c", prior_contacts=1)]
    )
    assert send_all(ledger) == 1
    assert count_reasons(ledger) == {"no_address": 1, "contact_cap": 1, None: 1}


def test_what_can_be_cured_is_looked_at_again(tmp_path: Path) -> None:
    ledger = open_ledger(open_store(tmp_path))
    ledger.enqueue([intend("a"), intend("b", reachable=False)])
    assert send_all(ledger) == 0
    fill(ledger, ["a", "b"])
    assert send_all(ledger) == 2
    fill(ledger, ["a", "b"])
    assert send_all(ledger) == 0, "what was sent stays sent"


def test_the_cap_rolls_over_days(tmp_path: Path) -> None:
    ledger = open_ledger(open_store(tmp_path), cap=1, days=28)
    sent = []
    for number, offset in enumerate([0, 27, 28, 55, 56]):
        fill(ledger, ["a"], plan=f"p{number}", contact_on=DAY + timedelta(days=offset))
        sent.append(send_all(ledger, plan=f"p{number}"))
    assert sent == [1, 0, 1, 0, 1]


def test_two_plans_together_never_pass_the_cap(tmp_path: Path) -> None:
    store = open_store(tmp_path)
    names = [f"c{number}" for number in range(60)]
    plans = [("p1", "email"), ("p2", "email"), ("p3", "sms"), ("p4", "sms")]
    for plan, channel in plans:
        fill(open_ledger(store), names, plan=plan, channel=channel)
    workers = [
        threading.Thread(target=send_all, args=(open_ledger(store, cap=2, terms=Terms()), plan, channel))
        for plan, channel in plans
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    rows = open_ledger(store).read_rows()
    contacts = {
        name: sum(row["customer_id"] == name and row["state"] == "sent" for row in rows) for name in names
    }
    assert set(contacts.values()) == {2}
    assert sum(row["reason"] == "contact_cap" for row in rows) == 2 * len(names)


@settings(max_examples=8, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
@given(
    days=st.lists(st.integers(0, 40), min_size=1, max_size=10), cap=st.integers(1, 3), span=st.integers(1, 14)
)
def test_no_window_holds_more_than_the_cap(
    tmp_path_factory: TempPathFactory, days: list[int], cap: int, span: int
) -> None:
    store = open_store(tmp_path_factory.mktemp("store"))
    ledger = open_ledger(store, cap=cap, days=span)
    for number, offset in enumerate(days):
        fill(ledger, ["a"], plan=f"p{number}", contact_on=DAY + timedelta(days=offset))
        send_all(ledger, plan=f"p{number}")
    contacts = [row["contact_on"] for row in ledger.read_rows() if row["state"] in CONTACT_STATES]
    for start in range(-span, 41):
        first = DAY + timedelta(days=start)
        assert sum(first <= day < first + timedelta(days=span) for day in contacts) <= cap
    assert sum(count(ledger, f"p{number}").get("sent", 0) for number in range(len(days))) == len(contacts)
    store.close()


def test_every_reason_speaks_both_languages() -> None:
    for code, title in REASONS.items():
        both = title.both()
        assert both["zh"] != both["en"], code
    assert "451" in title_reason("451").render("en")
