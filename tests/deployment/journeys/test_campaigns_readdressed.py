"""Campaigns' messages of records that were joined since: a campaign reaches a person once, as the person allows it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import date

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from aimwell.deployment.channels.channel import Outcome, Promise, Receipt
from aimwell.deployment.journeys import readdressing
from aimwell.deployment.journeys.knowledge import Joined
from aimwell.deployment.ledger import Ledger
from aimwell.deployment.ledger_rows import Intended
from aimwell.deployment.policy import ContactRules
from aimwell.engine.ledger_tables import CONSENT_STATES, CONTACT_STATES, DELIVERIES
from aimwell.engine.permissions import suppress_customers
from tests.deployment.journeys.world import HOUR, START, World

DAY = date(2026, 3, 2)
FAILED = Receipt(Outcome.TEMPORARY, "connection_failed")


def open_ledger(world: World, *, cap: int = 9) -> Ledger:
    """A worker's view of the world's ledger."""
    return Ledger(world.store, rules=ContactRules(cap=cap, cap_days=7), clock=lambda: START / 1000)


def queue(world: World, *customers: str, plan: str = "p1", priority: int = 0) -> None:
    """A campaign's messages wait, with the consents that were known."""
    ledger = open_ledger(world)
    ledger.remember_consents([(name, "email", True, 1) for name in customers])
    ledger.enqueue(
        [Intended(plan, name, "offer", "email", DAY, 1, True, priority=priority) for name in customers]
    )


def join(world: World, **customers: str) -> None:
    """These records are these customers' from now on; a worker comes to it."""
    world.joined = Joined(world.joined.version + 1, {**world.joined.customers, **customers})
    world.step(START + HOUR)


def send(ledger: Ledger) -> list[str]:
    """Hand over what policy allows; to whom."""
    taken = ledger.reserve(None, "email", limit=99)
    ids = [row.delivery_id for row in taken.rows]
    assert ledger.advance(taken.fence, intended=ids) == set(ids)
    ledger.advance(taken.fence, settled=[(one, Receipt(Outcome.SENT, "ok")) for one in ids])
    return sorted(row.customer_id for row in taken.rows)


def list_states(world: World) -> list[tuple[str, str, str | None]]:
    """Whose, how it stands, and why."""
    return sorted((row["customer_id"], row["state"], row["reason"] or "") for row in world.deliveries())


def test_of_two_records_in_a_campaign_one_gets_it(world: World) -> None:
    queue(world, "v1", "v2", "ann", "bob")
    join(world, v1="ann", v2="ann")
    assert send(open_ledger(world)) == ["ann", "bob"]
    assert [row[:2] for row in list_states(world)].count(("ann", "sent")) == 1
    assert Counter((state, reason) for _, state, reason in list_states(world)) == {
        ("sent", ""): 2,
        ("skipped", "merged"): 2,
    }


@pytest.mark.parametrize("first", ["v1", "ann"])
def test_and_none_where_any_record_had_it_already(world: World, first: str) -> None:
    queue(world, first)
    assert send(open_ledger(world)) == [first]
    queue(world, "v1", "ann")
    join(world, v1="ann")
    assert send(open_ledger(world)) == []
    assert list_states(world) == [("ann", "sent", ""), ("ann", "skipped", "merged")]


def test_what_one_record_refused_the_person_refused(world: World) -> None:
    queue(world, "v1")
    queue(world, "ann", plan="p2")
    ledger = open_ledger(world)
    ledger.remember_consents([("v2", "email", False, 5)])
    join(world, v1="ann", v2="ann")
    assert send(ledger) == []
    assert list_states(world) == [("ann", "skipped", "consent_withdrawn")] * 2


def test_who_was_suppressed_as_one_record_is_suppressed(world: World) -> None:
    queue(world, "v1")
    suppress_customers(world.store, ["v2"])
    join(world, v1="ann", v2="ann")
    assert send(open_ledger(world)) == []
    assert list_states(world) == [("ann", "skipped", "suppressed")]


def test_what_any_record_got_counts_towards_the_persons_cap(world: World) -> None:
    queue(world, "v1", plan="p1")
    assert send(open_ledger(world, cap=1)) == ["v1"]
    queue(world, "v2", plan="p2")
    queue(world, "ann", plan="p3")
    join(world, v1="ann", v2="ann")
    assert send(open_ledger(world, cap=1)) == []
    assert [row[2] for row in list_states(world)] == ["", "contact_cap", "contact_cap"]


def test_and_so_it_does_for_what_is_queued_later(world: World) -> None:
    queue(world, "v1", plan="p1")
    assert send(open_ledger(world, cap=1)) == ["v1"]
    join(world, v1="ann", v2="bob")
    queue(world, "ann", "bob", plan="p2")
    assert send(open_ledger(world, cap=1)) == ["bob"]


def test_a_worker_that_holds_it_loses_it_and_what_is_being_said_is_followed(world: World) -> None:
    queue(world, "v1", "v2", "ann")
    ledger = open_ledger(world)
    taken = ledger.reserve(None, "email", limit=9)
    whose = {row.customer_id: row.delivery_id for row in taken.rows}
    assert ledger.advance(taken.fence, intended=[whose["v2"]]) == {whose["v2"]}
    join(world, v1="ann", v2="ann")
    # It is being said to one of the records: nobody says it to the others.
    assert ledger.advance(taken.fence, intended=[whose["v1"], whose["ann"]]) == set()
    ledger.advance(taken.fence, settled=[(whose["v2"], FAILED)], promise=Promise.BLIND)
    world.step(START)
    assert send(ledger) in ([], ["ann"])
    assert Counter(row[2] for row in list_states(world))["merged"] == 2


def test_what_a_worker_holds_for_one_person_it_loses_together(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As many steps as messages: what a later step would look at is the person's since the first.
    monkeypatch.setattr(readdressing, "_CHUNK", 1)
    for plan, record in {"p1": "v1", "p2": "v2", "p3": "ann", "p4": "bob"}.items():
        queue(world, record, plan=plan)
    suppress_customers(world.store, ["v3"])
    ledger = open_ledger(world)
    taken = ledger.reserve(None, "email", limit=9)
    join(world, v1="ann", v2="ann", v3="ann")
    held = ledger.advance(taken.fence, intended=[row.delivery_id for row in taken.rows])
    assert [row.customer_id for row in taken.rows if row.delivery_id in held] == ["bob"]
    assert send(ledger) == []
    assert list_states(world)[:3] == [("ann", "skipped", "suppressed")] * 3


def test_what_is_being_said_to_a_record_waits_as_the_persons_where_it_did_not_arrive(world: World) -> None:
    world.people.zones = {"ann": "Asia/Tokyo"}
    queue(world, "v1", plan="p1")
    queue(world, "v2", plan="p2")
    ledger = open_ledger(world)
    taken = ledger.reserve(None, "email", limit=9)
    [said] = [row.delivery_id for row in taken.rows if row.customer_id == "v1"]
    assert ledger.advance(taken.fence, intended=[said]) == {said}
    join(world, v1="ann", v2="ann")
    assert sorted(row[:2] for row in list_states(world)) == [("ann", "intent"), ("ann", "queued")]
    ledger.advance(taken.fence, settled=[(said, FAILED)], promise=Promise.BLIND)
    assert [row["zone"] for row in world.deliveries()] == ["Asia/Tokyo"] * 2
    assert send(ledger) == ["ann"] * 2


NAMES = ("a", "b", "c")
QUEUED = st.lists(
    st.tuples(st.just("queue"), st.sampled_from(NAMES), st.sampled_from(("p1", "p2"))), min_size=3, max_size=6
)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("queue"), st.sampled_from(NAMES), st.sampled_from(("p1", "p2"))),
        st.tuples(st.just("join"), st.sampled_from(NAMES), st.sampled_from(NAMES)),
        st.tuples(st.just("refuse"), st.sampled_from(NAMES), st.just("")),
        st.tuples(st.just("send"), st.just(""), st.sampled_from(("sent", "failed"))),
    ),
    max_size=10,
)


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@example(
    first=[("queue", "a", "p1"), ("queue", "b", "p1"), ("queue", "c", "p2")],
    steps=[("join", "a", "b"), ("join", "b", "c"), ("send", "", "failed"), ("refuse", "b", "")],
    cap=3,
)
@example(first=[("queue", "a", "p1"), ("queue", "b", "p1")], steps=[("join", "a", "b")], cap=3)
@given(first=QUEUED, steps=STEPS, cap=st.integers(1, 3))
def test_whatever_is_joined_nobody_gets_a_campaign_twice_and_all_sums_hold(
    world: World, first: list[tuple[str, str, str]], steps: list[tuple[str, str, str]], cap: int
) -> None:
    with world.store.begin() as connection:
        connection.execute(sa.delete(DELIVERIES))
        connection.execute(sa.delete(CONSENT_STATES))
    world.joined = Joined(world.joined.version + 1)
    ledger = open_ledger(world, cap=cap)
    people: dict[str, str] = {}
    wanted: set[tuple[str, str]] = set()
    refused: set[str] = set()
    said: list[tuple[str, str, str]] = []
    late: list[str] = []
    for kind, name, other in [*first, *steps, ("send", "", "sent")]:
        if kind == "queue":
            ledger.remember_consents([(name, "email", True, 1)])
            ledger.enqueue([Intended(other, name, "offer", "email", DAY, 1, True)])
            wanted.add((other, name))
            follow(world, people)
        elif kind == "join":
            into, gone = find(people, other), find(people, name)
            if into != gone:
                people[gone] = into
            follow(world, people)
        elif kind == "refuse":
            ledger.remember_consents([(name, "email", False, 9), (find(people, name), "email", False, 9)])
            refused.add(name)
        else:
            taken = ledger.reserve(None, "email", limit=99)
            ids = [row.delivery_id for row in taken.rows]
            assert ledger.advance(taken.fence, intended=ids) == set(ids)
            ill = {find(people, record) for record in refused}
            late += [row.customer_id for row in taken.rows if find(people, row.customer_id) in ill]
            receipt = Receipt(Outcome.SENT, "ok") if other == "sent" else FAILED
            ledger.advance(taken.fence, settled=[(one, receipt) for one in ids], promise=Promise.BLIND)
            if other == "sent":
                # As they were known then: what went out before a join cannot be taken back.
                said += [(row.plan_id, find(people, row.customer_id), row.customer_id) for row in taken.rows]
    assert not late
    rows = world.deliveries()
    assert len(rows) == len(wanted)
    counted = Counter(plan for plan, _ in wanted)
    assert all(sum(row["plan_id"] == plan for row in rows) == number for plan, number in counted.items())
    assert max(Counter((plan, person) for plan, person, _ in said).values(), default=0) <= 1
    assert max(Counter(person for _, person, _ in said).values(), default=0) <= cap
    assert sum(row["state"] in CONTACT_STATES for row in rows) == len(said)


def find(people: Mapping[str, str], name: str) -> str:
    """Whose record it is, at the end of the chain."""
    while name in people:
        name = people[name]
    return name


def follow(world: World, people: Mapping[str, str]) -> None:
    """A worker learns who is who."""
    joined = {name: find(people, name) for name in people}
    world.joined = Joined(world.joined.version + 1, joined)
    world.step(START)
