"""Records that are joined while their people are in journeys: whoever merges when, each goes on once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aimwell.deployment.journeys.graph import (
    Action,
    DateEntry,
    EventEntry,
    EventIs,
    ExitRule,
    Goal,
    Journey,
    Reentry,
    ScheduleEntry,
    SegmentEntry,
    Span,
    Wait,
    WaitEvent,
)
from aimwell.deployment.journeys.knowledge import Joined, name_rule
from aimwell.deployment.journeys.versions import control_journey
from aimwell.engine.journey_tables import JOURNEY_ENROLMENTS
from aimwell.engine.rule import Compare
from tests.deployment.journeys.test_properties import Deaths, Died, open_store
from tests.deployment.journeys.test_segments import change
from tests.deployment.journeys.world import DAY, HOUR, START, World, welcome

ASKS = (
    ("asks", WaitEvent(EventIs("Answered"), Span(hours=10), "thanks", "again")),
    ("thanks", Action("email", next="win")),
    ("win", Goal()),
    ("again", Action("sms")),
)
SIGNS_UP = (EventEntry("asks", EventIs("Signed Up")),)


def join(world: World, **customers: str) -> None:
    """From now on these records are known to be of these customers."""
    world.joined = Joined(world.joined.version + 1, customers)


def find_ends(world: World) -> list[tuple[str, str, str]]:
    """Customer, outcome or state, and the last way, by enrolment."""
    return [(row["customer_id"], row["outcome"] or row["state"], row["edge"]) for row in world.rows()]


def test_an_event_of_the_surviving_id_ends_the_wait_of_the_old_one(world: World) -> None:
    world.start(welcome(entries=SIGNS_UP, nodes=ASKS))
    world.post(("visitor", "Signed Up"), ("ann", "Seen"))
    world.step(START)
    join(world, visitor="ann")
    world.post(("ann", "Answered"), at_ms=START + HOUR)
    world.step(START + HOUR)
    assert find_ends(world) == [("ann", "goal", "next")]
    assert [(row["customer_id"], row["channel"]) for row in world.deliveries()] == [("ann", "email")]
    # And one that still comes in under the old id is the person's, too, who was in it once already.
    world.post(("visitor", "Answered"), ("visitor", "Signed Up"), at_ms=START + 2 * HOUR)
    world.step(START + 2 * HOUR)
    world.step(START + DAY)
    assert len(world.rows()) == 1 == len(world.deliveries())


def test_the_old_ids_event_of_before_and_its_timeout_after_the_merge(world: World) -> None:
    world.start(welcome(entries=SIGNS_UP, nodes=ASKS))
    world.post(("v1", "Signed Up"), ("v2", "Signed Up"))
    world.step(START)
    world.post(("v1", "Answered"), at_ms=START + HOUR)
    join(world, v1="ann", v2="bob")
    world.step(START + HOUR)
    assert find_ends(world) == [("ann", "goal", "next"), ("bob", "waiting", "entry")]
    world.step(START + 10 * HOUR)
    assert find_ends(world)[1] == ("bob", "end", "next")
    assert [row["customer_id"] for row in world.deliveries()] == ["ann", "bob"]


def test_of_two_that_are_one_the_first_goes_on(world: World) -> None:
    world.start(welcome(entries=SIGNS_UP, nodes=ASKS))
    world.post(("v1", "Signed Up"))
    world.step(START)
    world.post(("v2", "Signed Up"), ("v3", "Signed Up"), at_ms=START + HOUR)
    world.step(START + HOUR)
    join(world, v1="ann", v2="ann")
    world.step(START + 2 * HOUR)
    assert find_ends(world) == [
        ("ann", "waiting", "entry"), ("ann", "exit", "merged"), ("v3", "waiting", "entry"),
    ]  # fmt: skip
    world.step(START + DAY)
    assert Counter(row["customer_id"] for row in world.deliveries()) == {"ann": 1, "v3": 1}
    # The records of a person who was in it before are one with the person afterwards, too.
    join(world, v1="ann", v2="ann", v3="ann", v4="ann")
    world.post(("v4", "Signed Up"), at_ms=START + 2 * DAY)
    world.step(START + 2 * DAY)
    assert Counter(row["customer_id"] for row in world.rows()) == {"ann": 3}


def test_as_many_go_on_as_may_be_in_it_at_once_and_paused_ones_too(world: World) -> None:
    world.start(welcome(entries=SIGNS_UP, nodes=ASKS, reentry=Reentry("always", at_once=2)))
    world.post(*[(f"v{number}", "Signed Up") for number in range(4)])
    world.step(START)
    control_journey(world.store, "welcome", "paused", now_ms=START)
    join(world, **{f"v{number}": "ann" for number in range(4)})
    world.step(START + HOUR)
    assert [end for _, end, _ in find_ends(world)] == ["waiting", "waiting", "exit", "exit"]


def test_segments_slots_and_dates_name_the_customer_once(world: World) -> None:
    rule = Compare("orders", ">", 3)
    world.people.holders = {name_rule(rule): {"v1", "v2"}}
    rest = (("rest", Wait(Span(days=9))),)
    again = Reentry("always", at_once=9)
    world.start(welcome(name="slot", entries=(ScheduleEntry("rest", "09:00", "day", rule),), nodes=rest, reentry=again),
                START - HOUR)  # fmt: skip
    entry = DateEntry("rest", "customers.ends_on", 0, "09:00")
    world.start(welcome(name="date", entries=(entry,), nodes=rest, reentry=again), START - HOUR)
    world.step(START)
    join(world, v1="ann", v2="ann")
    world.step(START + HOUR)
    # Both were let in for one slot: both go on, and nobody is let in for it any more.
    slots = [row for row in world.rows() if row["journey"] == "slot"]
    assert [(row["customer_id"], row["state"]) for row in slots] == [("ann", "waiting")] * 2
    assert slots[0]["occasion"] + f"#{slots[1]['enrolment_id']}" == slots[1]["occasion"]
    # What was listed by records is the customer's.
    world.step(START + DAY)
    assert [row["customer_id"] for row in world.rows() if row["journey"] == "slot"] == ["ann"] * 3


def test_a_change_of_a_segment_under_the_old_id_is_the_persons(world: World) -> None:
    entries = (SegmentEntry("rest", "champions"),)
    exits = (ExitRule(left_segment="champions"),)
    world.start(welcome(entries=entries, nodes=(("rest", Wait(Span(days=9))),), exits=exits))
    change(world, "v1", inside=True, at_ms=START + 1)
    world.step(START + HOUR)
    join(world, v1="ann")
    change(world, "ann", inside=False, at_ms=START + 2 * HOUR)
    world.step(START + 2 * HOUR)
    assert find_ends(world) == [("ann", "exit", "entry")]


def test_nobody_is_matched_or_moved_by_records_of_another_state(world: World) -> None:
    world.start(welcome(entries=SIGNS_UP, nodes=ASKS))
    world.post(("visitor", "Signed Up"))
    world.step(START)
    join(world, visitor="ann")
    world.step(START + 1)
    # A worker that still reads the state of before leaves everything to those who know better.
    late, world.joined = world.joined, Joined()
    world.post(("ann", "Answered"), at_ms=START + HOUR)
    assert world.step(START + HOUR) == 0 and world.step(START + DAY) == 0
    assert find_ends(world) == [("ann", "waiting", "entry")]
    world.joined = late
    world.step(START + DAY)
    assert find_ends(world) == [("ann", "goal", "next")]


# ------------------------------------------------------------ any order

RECORDS = ("a", "b", "c", "d")
CUSTOMERS = {"a": "ann", "b": "ann", "c": "ann", "d": "dan"}
DEEDS = st.lists(
    st.one_of(
        st.tuples(st.just("post"), st.sampled_from(RECORDS), st.sampled_from(["Signed Up", "Answered"])),
        st.tuples(st.just("join"), st.sets(st.sampled_from(RECORDS), min_size=1), st.none()),
        st.tuples(st.just("pass"), st.sampled_from([1, 5, 11]), st.none()),
    ),
    min_size=3,
    max_size=12,
)


def play(journey: Journey, deeds: Sequence[tuple[str, Any, Any]], deaths: Sequence[int]) -> World:
    """Events come in, records are joined and time passes, in this order; whoever dies is followed by another."""
    world = World(open_store())
    world.start(journey)
    dying, now_ms = Deaths(world.store, deaths), START
    known: dict[str, str] = {}
    for deed, what, name in (*deeds, ("join", set(RECORDS), None), ("pass", 24, None)):
        if deed == "post":
            world.post((what, name), at_ms=now_ms)
        elif deed == "join":
            known |= {record: CUSTOMERS[record] for record in what}
            join(world, **known)
        else:
            now_ms += what * HOUR
        while True:
            dying.armed = True
            try:
                world.step(now_ms)
                break
            except Died:
                world.advancer = world.open()
            finally:
                dying.armed = False
        check_one_at_a_time(world, known, journey.reentry)
    return world


def check_one_at_a_time(world: World, known: dict[str, str], rule: Reentry) -> None:
    """Enrolments stand under the customers' ids, and nobody is in it more often than the rule allows."""
    active: Counter[str] = Counter()
    columns = JOURNEY_ENROLMENTS.c
    with world.store.snapshot() as connection:
        for customer, state in connection.execute(sa.select(columns.customer_id, columns.state)):
            assert customer not in known
            active[customer] += state != "ended"
    assert max(active.values(), default=0) <= rule.at_once


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    deeds=DEEDS,
    deaths=st.lists(st.integers(1, 25), max_size=6),
    rule=st.sampled_from([Reentry(), Reentry("always", at_once=2)]),
)
def test_in_whichever_order_they_come_each_goes_on_once(
    deeds: list[tuple[str, Any, Any]], deaths: list[int], rule: Reentry
) -> None:
    world = play(welcome(entries=SIGNS_UP, nodes=ASKS, reentry=rule), deeds, deaths)
    rows, visits, deliveries = world.rows(), world.visits(), world.deliveries()
    # Everybody has left by exactly one way: answered, waited in vain, or one with somebody who was in it before.
    nodes: dict[int, list[str]] = {row["enrolment_id"]: [] for row in rows}
    for visit in visits:
        nodes[visit["enrolment_id"]].append(visit["node"])
    ways = {"goal": ["asks", "thanks", "win"], "end": ["asks", "again"]}
    for row in rows:
        assert row["customer_id"] in ("ann", "dan")
        if row["outcome"] == "exit":
            assert row["edge"] == "merged" and nodes[row["enrolment_id"]] in ([], ["asks"])
        else:
            assert nodes[row["enrolment_id"]] == ways[row["outcome"]]
    assert len(deliveries) == sum(row["outcome"] != "exit" for row in rows)
    # What was queued for any record waits for the customer; what only one of two could have brought is skipped.
    states = {(row["state"], row["reason"]) for row in deliveries}
    assert states <= {("queued", None), ("skipped", "merged")}
    assert all(row["customer_id"] in ("ann", "dan") for row in deliveries if row["state"] == "queued")
    ended = {row["customer_id"] for row in rows if row["outcome"] != "exit"}
    assert {row["customer_id"] for row in deliveries if row["state"] == "queued"} == ended
    # After a merge nobody enters against the rule: whoever was in it under any record has been in it.
    if rule == Reentry():
        last_alone = find_joined_place(deeds)
        late = [deed for deed in deeds[last_alone:] if deed[0] == "post" and deed[2] == "Signed Up"]
        early = {
            CUSTOMERS[deed[1]] for deed in deeds[:last_alone] if deed[0] == "post" and deed[2] == "Signed Up"
        }
        more = {CUSTOMERS[deed[1]] for deed in late} - early
        records = {deed[1] for deed in deeds[:last_alone] if deed[0] == "post" and deed[2] == "Signed Up"}
        assert len(rows) <= len(records) + len(more)
    world.store.close()


def find_joined_place(deeds: Sequence[tuple[str, Any, Any]]) -> int:
    """From which deed on all records are joined."""
    known: set[str] = set()
    for place, (deed, what, _) in enumerate(deeds):
        known |= what if deed == "join" else set()
        if known == set(RECORDS):
            return place
    return len(deeds)
