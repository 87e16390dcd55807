"""People walk through journeys: entries, waits, branches, splits, goals; on SQLite and PostgreSQL."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from aimwell.core.errors import Conflict
from aimwell.deployment.journeys.graph import (
    Action,
    BestAction,
    Branch,
    Case,
    EventEntry,
    EventIs,
    Exit,
    ExitRule,
    Goal,
    MessageCap,
    PropertyIs,
    Reentry,
    Span,
    Split,
    Wait,
    WaitEvent,
    Way,
)
from aimwell.deployment.journeys.knowledge import Answer, name_rule
from aimwell.deployment.journeys.versions import (
    control_journey,
    find_running,
    forget_ended,
    save_journey,
    start_journey,
    stop_journey,
)
from aimwell.engine.rule import Compare
from tests.deployment.journeys.world import DAY, HOUR, MINUTE, START, Advice, World, welcome


def test_an_event_starts_a_journey_and_time_moves_it_on(world: World) -> None:
    world.start(welcome())
    world.post(("ann", "Signed Up"), ("bob", "Something Else"))
    assert world.step(START) > 0
    assert world.places() == {"ann": ("waiting", "pause")}
    assert [row["action_id"] for row in world.deliveries()] == ["hello@1.1"]
    assert world.deliveries()[0]["plan_id"] == "journey:welcome"
    assert world.step(START + DAY - 1) == 0
    world.step(START + DAY)
    assert world.places() == {"ann": ("end", "again")}
    assert [row["action_id"] for row in world.deliveries()] == ["again@1.3", "hello@1.1"]
    assert [(one["node"], one["edge"], one["result"]) for one in world.visits()] == [
        ("hello", "entry", "queued"),
        ("pause", "next", None),
        ("again", "next", "queued"),
    ]
    # A clock that was put back an hour repeats nothing.
    assert world.step(START + DAY - HOUR) == 0 and len(world.deliveries()) == 2


def test_only_what_comes_after_the_start_and_is_fresh_lets_anybody_in(world: World) -> None:
    world.post(("early", "Signed Up"))
    world.start(welcome())
    world.post(("old", "Signed Up"), at_ms=START - 25 * HOUR)
    world.post(("new", "Signed Up"), at_ms=START - 23 * HOUR)
    world.step(START)
    assert set(world.places()) == {"new"}


def test_an_event_ends_a_wait_and_brings_its_properties(world: World) -> None:
    ask = EventIs("Answered", (PropertyIs("score", ">=", 8),))
    nodes = (
        ("ask", WaitEvent(ask, Span(hours=2), then="thank", timeout="remind")),
        ("thank", Branch((Case("gold", where=(PropertyIs("tier", "=", "gold"),)),), "silver")),
        ("gold", Goal()),
        ("silver", Exit()),
        ("remind", Action("sms")),
    )
    entry = EventEntry("ask", EventIs("Asked", (PropertyIs("kind", "=", "nps"),)))
    world.start(welcome(entries=(entry,), nodes=nodes))
    kinds = {"ann": "nps", "bob": "nps", "cid": "nps", "dan": "csat"}
    world.post(*[(name, "Asked", {"kind": kind}) for name, kind in kinds.items()])
    world.step(START)
    assert set(world.places().values()) == {("waiting", "ask")} and len(world.places()) == 3
    world.post(
        ("ann", "Answered", {"score": 9, "tier": "gold"}),
        ("bob", "Answered", {"score": 10}),
        ("cid", "Answered", {"score": 3}),
        at_ms=START + HOUR,
    )
    world.step(START + HOUR)
    assert world.places() == {"ann": ("goal", "gold"), "bob": ("exit", "silver"), "cid": ("waiting", "ask")}
    world.step(START + 2 * HOUR)
    assert world.places()["cid"] == ("end", "remind")
    assert [one["edge"] for one in world.visits(1)] == ["entry", "then", "case 1"]
    assert [row["channel"] for row in world.deliveries()] == ["sms"]


def test_goal_and_exit_count_at_any_node_but_not_from_before_the_entry(world: World) -> None:
    world.start(welcome(goal=EventIs("Order Completed"), exits=(ExitRule(EventIs("Account Closed")),)))
    world.post(("ann", "Signed Up"), ("bob", "Signed Up"), ("cid", "Signed Up"))
    # Both in one batch, in their order.
    world.post(
        ("dan", "Order Completed"), ("dan", "Signed Up"), ("eve", "Signed Up"), ("eve", "Order Completed")
    )
    world.post(("cid", "Order Completed"), at_ms=START - MINUTE)
    world.step(START)
    assert world.places()["dan"] == ("waiting", "pause") and world.places()["eve"] == ("goal", "hello")
    world.post(("ann", "Order Completed"), ("bob", "Account Closed"), at_ms=START + 1)
    world.step(START + 1)
    outcomes = {name: place[0] for name, place in world.places().items()}
    assert outcomes == {"ann": "goal", "bob": "exit", "cid": "waiting", "dan": "waiting", "eve": "goal"}


@pytest.mark.parametrize(
    ("again", "entered"),
    [
        (Reentry("never"), 1),
        (Reentry("after", days=2), 2),
        (Reentry("always"), 3),
        (Reentry("always", at_once=5), 4),
    ],
)
def test_reentry(world: World, again: Reentry, entered: int) -> None:
    nodes = (("pause", Wait(Span(hours=12))),)
    world.start(welcome(entries=(EventEntry("pause", EventIs("Signed Up")),), nodes=nodes, reentry=again))
    for at in (START, START + HOUR, START + DAY, START + 3 * DAY):
        world.step(at)
        world.post(("ann", "Signed Up"), at_ms=at)
        world.step(at)
    assert len(world.rows()) == entered


def test_rules_branch_and_let_out(world: World) -> None:
    rich, gone = Compare("revenue", ">", 100), Compare("is_lost", "=", True)
    world.people.holders = {name_rule(rich): {"ann", "cid"}, name_rule(gone): {"bob"}}
    nodes = (
        ("which", Branch((Case("vip", rich),), "other")),
        ("vip", Wait(Span(hours=1))),
        ("other", Wait(Span(hours=2))),
    )
    entries = (EventEntry("which", EventIs("Signed Up")),)
    world.start(welcome(entries=entries, nodes=nodes, exits=(ExitRule(rule=gone),)))
    world.post(("ann", "Signed Up"), ("bob", "Signed Up"), ("dan", "Signed Up"), ("cid", "Signed Up"))
    world.step(START)
    assert world.places() == {
        "ann": ("waiting", "vip"), "bob": ("exit", "which"), "dan": ("waiting", "other"), "cid": ("waiting", "vip"),
    }  # fmt: skip
    world.people.holders[name_rule(gone)].add("cid")
    world.step(START + HOUR)
    assert world.places()["ann"] == ("end", "vip") and world.places()["cid"] == ("exit", "vip")


def test_a_split_is_drawn_by_its_shares_and_logged_with_its_probability(world: World) -> None:
    nodes = (
        ("toss", Split((Way("left", 0.25), Way("right", 0.75)))),
        ("left", Wait(Span(days=1))),
        ("right", Wait(Span(days=1))),
    )
    world.start(welcome(entries=(EventEntry("toss", EventIs("Signed Up")),), nodes=nodes))
    world.post(*[(f"c{number}", "Signed Up") for number in range(2_000)])
    world.step(START)
    drawn = Counter(node for _, node in world.places().values())
    assert 430 < drawn["left"] < 570  # 500 ± 3.6 standard deviations
    logged = {(one["node"], one["probability"]) for one in world.visits() if one["node"] != "toss"}
    assert logged == {("left", 0.25), ("right", 0.75)}


def test_the_holdout_walks_along_and_gets_nothing(world: World) -> None:
    world.start(welcome(holdout=0.3))
    world.post(*[(f"c{number}", "Signed Up") for number in range(1_000)])
    world.step(START)
    world.step(START + DAY)
    rows = world.rows()
    arms = Counter(row["arm"] for row in rows)
    assert 240 < arms["holdout"] < 360
    held = {row["customer_id"] for row in rows if row["arm"] == "holdout"}
    assert {row["outcome"] for row in rows} == {"end"}
    assert {row["customer_id"] for row in world.deliveries()} == {f"c{n}" for n in range(1_000)} - held
    results = Counter(one["result"] for one in world.visits())
    assert results["withheld"] == 2 * arms["holdout"] and results["queued"] == 2 * arms["treatment"]
    first = {one["enrolment_id"]: one["probability"] for one in world.visits() if one["step"] == 1}
    assert all(first[row["enrolment_id"]] == (0.3 if row["arm"] == "holdout" else 0.7) for row in rows)


def test_the_cap_of_a_journey_counts_across_enrolments(world: World) -> None:
    world.start(welcome(cap=MessageCap(3, 7), reentry=Reentry("always", at_once=9)))
    for hour in range(3):
        world.post(("ann", "Signed Up"), at_ms=START + hour * HOUR)
        world.step(START + hour * HOUR)
    world.step(START + 2 * DAY)
    assert Counter(one["result"] for one in world.visits() if one["result"]) == {"queued": 3, "capped": 3}
    assert len(world.deliveries()) == 3


def test_the_best_action_is_asked_for_once_and_logged(world: World) -> None:
    best = {"ann": Answer("mail_10", 0.9), "bob": Answer(None, 1.0), "cid": Answer("unknown", 0.5)}
    world.decisions = advice = Advice(lambda question: best[question.customer_id])
    world.advancer = world.open()
    nodes = (
        ("best", BestAction((("mail_10", "mail"), ("sms_5", "text")), "none")),
        ("mail", Action("email")),
        ("text", Action("sms")),
        ("none", Exit()),
    )
    world.start(welcome(entries=(EventEntry("best", EventIs("Signed Up")),), nodes=nodes))
    world.post(("ann", "Signed Up"), ("bob", "Signed Up"), ("cid", "Signed Up"))
    world.step(START)
    world.step(START)
    assert world.places() == {"ann": ("end", "mail"), "bob": ("exit", "none"), "cid": ("exit", "none")}
    assert [one.request_id for one in advice.asked] == [f"journey:{n}:best:0" for n in (1, 2, 3)]
    assert advice.asked[0].actions == ("mail_10", "sms_5")
    assert [(v["edge"], v["probability"]) for v in world.visits(1)][1] == ("mail_10", 0.9)


def test_people_finish_their_version_or_go_over_as_the_new_one_says(world: World) -> None:
    nodes: tuple[tuple[str, Any], ...] = (("pause", Wait(Span(days=1), next="bye")), ("bye", Exit()))
    entries = (EventEntry("pause", EventIs("Signed Up")),)
    world.start(welcome(entries=entries, nodes=nodes))
    world.post(("ann", "Signed Up"))
    world.step(START)
    world.start(welcome(entries=entries, nodes=(("pause", Wait(Span(days=1), next="win")), ("win", Goal()))))
    world.post(("bob", "Signed Up"), at_ms=START + 1)
    world.step(START + 1)
    world.step(START + DAY + 1)
    assert world.places() == {"ann": ("exit", "bye"), "bob": ("goal", "win")}
    world.post(("cid", "Signed Up"), at_ms=START + DAY)
    world.step(START + DAY)
    third = welcome(
        entries=(EventEntry("rest", EventIs("Signed Up")),),
        nodes=(("rest", Wait(Span(days=5), next="mail")), ("mail", Action("email"))),
        moves=(("pause", "rest"),),
    )
    world.start(third, START + DAY + 2)
    assert world.places()["cid"] == ("waiting", "rest")
    world.step(START + 2 * DAY + 1)
    # The wait lasts as long as it had to; then it goes on by the new version.
    assert world.places()["cid"] == ("end", "mail")


def test_paused_nobody_moves_and_goals_still_count(world: World) -> None:
    world.start(welcome(goal=EventIs("Order Completed")))
    world.post(("ann", "Signed Up"), ("bob", "Signed Up"))
    world.step(START)
    control_journey(world.store, "welcome", "paused", now_ms=START)
    world.post(("cid", "Signed Up"), ("ann", "Order Completed"), at_ms=START + 1)
    world.step(START + 2 * DAY)
    assert world.places() == {"ann": ("goal", "pause"), "bob": ("waiting", "pause")}
    control_journey(world.store, "welcome", "running", now_ms=START + 2 * DAY)
    world.step(START + 2 * DAY)
    assert world.places()["bob"] == ("end", "again")


def test_stopped_everybody_leaves_and_nothing_waits_to_be_sent(world: World) -> None:
    world.start(welcome())
    world.post(("ann", "Signed Up"), ("bob", "Signed Up"))
    world.step(START)
    assert stop_journey(world.store, "welcome", now_ms=START + 1) == {"ended": 2, "skipped": 2}
    assert {place[0] for place in world.places().values()} == {"stopped"}
    assert {(row["state"], row["reason"]) for row in world.deliveries()} == {("skipped", "stopped")}
    world.post(("cid", "Signed Up"), at_ms=START + 2)
    assert world.step(START + DAY) == 0
    with pytest.raises(Conflict):
        control_journey(world.store, "welcome", "running", now_ms=START + DAY)
    start_journey(world.store, "welcome", now_ms=START + DAY)
    found = find_running(world.store, "welcome")
    assert found is not None and found.started_ms == START + DAY
    # What came while it was stopped starts nothing.
    world.step(START + DAY)
    assert "cid" not in world.places()
    assert forget_ended(world.store, START + DAY) == 2 and world.rows() == [] and world.visits() == []


def test_saving_the_same_again_makes_no_new_version(world: World) -> None:
    assert [save_journey(world.store, welcome()), save_journey(world.store, welcome())] == [1, 1]
    assert save_journey(world.store, welcome(title="Hello")) == 2


def test_the_worker_knows_when_there_is_something_to_do(world: World) -> None:
    assert world.advancer.find_due() is None
    world.start(welcome())
    assert world.advancer.find_due() is None
    world.post(("ann", "Signed Up"))
    due = world.advancer.find_due()
    assert due is not None and due.timestamp() == 0
    world.step(START)
    due = world.advancer.find_due()
    assert due is not None and due.timestamp() * 1000 == START + DAY


def test_names_with_signs_of_any_kind_are_kept(world: World) -> None:
    odd = 'a "b" \\ {c},\nNULL'
    world.decisions = Advice(lambda _: Answer(odd, 0.5))
    world.advancer = world.open()
    nodes = (("best", BestAction(((odd, "mail"), ("NULL", "mail")))), ("mail", Action("email")))
    world.start(welcome(entries=(EventEntry("best", EventIs("Signed Up")),), nodes=nodes))
    world.post(("ann", "Signed Up"))
    world.step(START)
    assert [one["edge"] for one in world.visits()] == ["entry", odd]
