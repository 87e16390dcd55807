"""Campaigns and live decisions share the contact cap: each counts the other's, however many processes there are."""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from aimwell.core.columns import CHANNELS
from aimwell.deployment.channels.channel import Outcome as Sent
from aimwell.deployment.channels.channel import Receipt
from aimwell.deployment.ledger import Ledger, Terms
from aimwell.deployment.ledger_rows import Intended
from aimwell.deployment.policy import Cap, ContactRules
from aimwell.engine.ledger_tables import CONTACT_STATES, DELIVERIES
from aimwell.engine.live_contacts import LiveContacts, bring_contacts, has_contacts, note_contacts
from aimwell.engine.live_tables import LIVE_DECISIONS
from aimwell.engine.permissions import ConsentState, remember_consents
from aimwell.engine.seen_ids import digest_ids
from aimwell.engine.store import Store
from aimwell.strategy.live.decide import LiveDecider
from aimwell.strategy.live.ledger import NONE
from aimwell.strategy.live.requests import Decision, Request
from aimwell.strategy.live.settle import Outcome, Settlement
from tests.postgres import Server, postgres  # noqa: F401 (a fixture)
from tests.strategy.live.world import DAY, DAY_MS, ask, keep, make_plan

SPAWN = multiprocessing.get_context("spawn")
RULES = ContactRules(2, 7)
CUSTOMERS = [f"c{n}" for n in range(120)]


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "sqlite":
        opened = Store.open_file(tmp_path / "store.sqlite")
    else:
        server: Server = request.getfixturevalue("postgres")
        name = f"caps_{abs(hash(request.node.name)) % 10**9}"
        server.run(f"CREATE DATABASE {name}")
        opened = Store(server.address(name))
        opened.migrate()
    yield opened
    opened.close()


def open_ledger(store: Store, rules: ContactRules = RULES) -> Ledger:
    return Ledger(store, rules=rules, terms=Terms(lease=60), clock=lambda: DAY_MS / 2000)


def queue(
    store: Store,
    plan: str,
    customers: list[str],
    days: int = 0,
    *,
    channel: str = "sms",
    rules: ContactRules = RULES,
) -> Ledger:
    ledger = open_ledger(store, rules)
    ledger.remember_consents([(customer, channel, True, 1) for customer in customers])
    ledger.enqueue(
        [
            Intended(plan, customer, "sms:x", channel, DAY + timedelta(days=days), 5, True)
            for customer in customers
        ]
    )
    return ledger


def decide_all(url: str, requests: list[Request], shown: bool) -> int:
    """One process that decides live, and says what was shown."""
    store = Store(url)
    decider = LiveDecider(store, "monday")
    told = 0
    for start in range(0, len(requests), 7):
        answers = decider.decide_together(requests[start : start + 7])
        acted = [a.request_id for a in answers if isinstance(a, Decision) and a.action_id is not None]
        settled = decider.settle(
            [Outcome(name, shown or number % 2 == 0) for number, name in enumerate(acted)]
        )
        told += sum(isinstance(answer, Settlement) for answer in settled)
    store.close()
    return told


def send_all(url: str, plan: str) -> int:
    """One process that sends a campaign, as soon as others decide live: they take longer to start."""
    store, sent = Store(url), 0
    until = time.monotonic() + 300
    while not is_deciding(store):
        assert time.monotonic() < until, "nobody decided"
        time.sleep(0.001)
    ledger = open_ledger(store)
    while (taken := ledger.reserve(plan, "sms", limit=9)).examined:
        ids = [row.delivery_id for row in taken.rows]
        ledger.advance(taken.fence, intended=ids)
        ledger.advance(taken.fence, settled=[(delivery, Receipt(Sent.SENT)) for delivery in ids])
        sent += len(ids)
    store.close()
    return sent


def is_deciding(store: Store) -> bool:
    with store.snapshot() as connection:
        return connection.execute(sa.select(LIVE_DECISIONS.c.batch).limit(1)).first() is not None


def count_contacts(store: Store) -> Counter[str]:
    """Contacts of each customer, by campaigns and live."""
    with store.begin() as connection:
        sent = sa.select(DELIVERIES.c.customer_id).where(DELIVERIES.c.state.in_(CONTACT_STATES))
        shown = sa.select(LIVE_DECISIONS.c.customer_id).where(
            LIVE_DECISIONS.c.state.in_(("reserved", "confirmed"))
        )
        return Counter([*connection.execute(sent).scalars(), *connection.execute(shown).scalars()])


def test_campaigns_and_live_decisions_never_pass_the_cap_together(store: Store) -> None:
    for plan in ("first", "second"):
        queue(store, plan, CUSTOMERS)
    keep(store, make_plan(cap=RULES.cap, cap_days=RULES.cap_days, channels=("sms", "sms", None)))
    requests = [
        [ask(f"{who}:{process}:{n}", who) for n in range(2) for who in CUSTOMERS] for process in range(2)
    ]
    with ProcessPoolExecutor(4, mp_context=SPAWN) as pool:
        jobs = [
            pool.submit(decide_all, store.url, requests[0], True),
            pool.submit(send_all, store.url, "first"),
            pool.submit(decide_all, store.url, requests[1], False),
            pool.submit(send_all, store.url, "second"),
        ]
        done = [job.result() for job in jobs]
    contacts = count_contacts(store)
    assert max(contacts.values()) == RULES.cap
    # What was cancelled late in the day may lie idle; all else is used.
    assert sum(contacts.values()) > 1.5 * len(CUSTOMERS)
    assert done[0] + done[2] > 0


def test_each_counts_the_others_contacts_within_the_window_only(store: Store) -> None:
    plan = keep(store, make_plan(cap=RULES.cap, cap_days=RULES.cap_days, hold_ms=1_000))
    decider = LiveDecider(store, plan.plan_id, clock=lambda: DAY_MS / 2000)
    decider.decide_together([ask(f"{who}:{n}", who) for who in ("kept", "cancelled") for n in range(2)])
    decider.decide_together([ask("late:0", "late"), ask("late:1", "late")])
    decider.settle([Outcome(f"kept:{n}", True) for n in range(2)])
    decider.settle([Outcome(f"cancelled:{n}", False) for n in range(2)])
    people = ["kept", "cancelled", "late"]
    ledger = queue(store, "near", people, days=6)
    assert {row.customer_id for row in ledger.reserve("near", "sms", limit=9).rows} == {"cancelled"}
    # The same worker learns what was decided and ended since.
    decider._clock = lambda: DAY_MS / 2000 + 2
    assert decider.release_expired() == 2
    queue(store, "after", people, days=6)
    assert {row.customer_id for row in ledger.reserve("after", "sms", limit=9).rows} == {"cancelled", "late"}
    queue(store, "far", people, days=7)
    assert {row.customer_id for row in ledger.reserve("far", "sms", limit=9).rows} >= {"kept"}
    # And the other way round: two deliveries and no live contact fill the cap of the live day.
    sent = decider.decide_together([ask("again", "cancelled"), ask("once", "late")])
    assert [answer.reason for answer in sent if isinstance(answer, Decision)] == ["cap", "chosen"]


def test_live_contacts_count_to_the_cap_of_their_channel(store: Store) -> None:
    rules = ContactRules(9, 7, {"sms": Cap(1, 7)})
    with store.begin() as connection:
        people = ("by sms", "inbound", "cancelled", "late")
        remember_consents(connection, [ConsentState(who, "sms", True, 1) for who in people])
    plan = keep(store, make_plan(channels=("sms", "email", None), hold_ms=1_000))
    decider = LiveDecider(store, plan.plan_id, clock=lambda: DAY_MS / 2000)
    asked = {"by sms": [3.0, 2.0, 1.0], "inbound": [1.0, 2.0, 3.0], "cancelled": [3.0, 2.0, 1.0],
             "late": [3.0, 2.0, 1.0]}  # fmt: skip
    answers = decider.decide_together([ask(who, who, values) for who, values in asked.items()])
    chosen = [answer.action_id for answer in answers if isinstance(answer, Decision)]
    assert chosen == ["sms", "banner", "sms", "sms"]
    decider.settle([Outcome("by sms", True), Outcome("inbound", True), Outcome("cancelled", False)])
    by_mail = queue(store, "letters", list(asked), channel="email", rules=rules)
    assert {row.customer_id for row in by_mail.reserve("letters", "email", limit=9).rows} == set(asked)
    ledger = queue(store, "texts", list(asked), rules=rules)
    taken = ledger.reserve("texts", "sms", limit=9)
    assert {row.customer_id for row in taken.rows} == {"inbound", "cancelled"}
    # Nobody confirmed it in time: the same worker counts it no longer.
    decider._clock = lambda: DAY_MS / 2000 + 2
    assert decider.release_expired() == 1
    queue(store, "later", ["late", "by sms"], rules=rules)
    assert [row.customer_id for row in ledger.reserve("later", "sms", limit=9).rows] == ["late"]


def test_what_records_got_live_counts_for_the_person(store: Store) -> None:
    with store.begin() as connection:
        remember_consents(connection, [ConsentState(who, "sms", True, 1) for who in ("old", "older", "she")])
    plan = keep(store, make_plan(channels=("sms", "email", None), cap=3, cap_days=7))
    asked = [
        ask("1", "old", [3.0, 2.0, 1.0]),
        ask("2", "old", [1.0, 2.0, 3.0]),
        ask("3", "older", [3.0, 2.0, 1.0]),
    ]
    decider, other = LiveDecider(store, plan.plan_id), LiveDecider(store, plan.plan_id)
    other._clock = decider._clock = lambda: DAY_MS / 2000
    answers = other.decide_together(asked)
    assert [one.action_id for one in answers if isinstance(one, Decision)] == ["sms", "banner", "sms"]
    records = {"old": "she", "older": "she", "nobody": "she", "apart": "apart too"}
    for brought in (3, 0):
        assert bring_contacts(store, records, CHANNELS, since=DAY, at_ms=1) == brought
        with store.begin() as connection:
            known = LiveContacts(DAY)
            known.catch_up(connection)
        found = {(who, way): number for _, who, way, number in known.count([*records, "she"], ("sms",))}
        assert found == {("she", "sms"): 2, ("she", None): 1}
    # Deciders that were at work meanwhile know it, too.
    for number, one in enumerate((decider, other)):
        again = one.decide_together([ask(f"4 {number}", "she"), ask(f"5 {number}", "old")])
        reasons = [answer.reason for answer in again if isinstance(answer, Decision)]
        assert reasons == ["cap", "chosen"]


def test_what_is_older_than_any_cap_is_left_where_it_is(store: Store) -> None:
    plan = keep(store, make_plan(channels=("sms", "email", None)))
    with store.begin() as connection:
        remember_consents(connection, [ConsentState("old", "sms", True, 1)])
    decider = LiveDecider(store, plan.plan_id, clock=lambda: DAY_MS / 2000)
    decider.decide_together([ask("1", "old")])
    with store.begin() as connection:
        assert has_contacts(connection, DAY) and not has_contacts(connection, DAY + timedelta(days=1))
    late = DAY + timedelta(days=1)
    assert bring_contacts(store, {"old": "she"}, CHANNELS, since=late, at_ms=1) == 0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["sms", "email", None]), st.booleans())))
def test_contacts_by_channel_add_up_to_all(steps: list[tuple[str, str | None, bool]]) -> None:
    known, truth = LiveContacts(DAY), Counter[tuple[str, str | None]]()
    for customer, channel, back in steps:
        digests = note_contacts(digest_ids([customer]), [channel])
        if back and not truth[customer, channel]:
            continue
        truth[customer, channel] += -1 if back else 1
        known.take_in(DAY, *((NONE, digests) if back else (digests, NONE)))
    for channels in ((), ("sms",), ("email", "sms")):
        expected: Counter[tuple[str, str | None]] = Counter()
        for (customer, channel), number in truth.items():
            expected[customer, channel if channel in channels else None] += number
        found = {(who, way): number for _, who, way, number in known.count(["a", "b", "c"], channels)}
        assert found == +expected
