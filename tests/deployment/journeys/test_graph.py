"""Journeys as JSON, and what the check says about wrong ones: the node, and the remedy."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aimwell.core.errors import BadInput
from aimwell.core.tables import Type
from aimwell.deployment.journeys.graph import (
    Action,
    BestAction,
    Branch,
    Case,
    DateEntry,
    EventEntry,
    EventIs,
    Exit,
    ExitRule,
    Goal,
    MessageCap,
    PropertyIs,
    Reentry,
    ScheduleEntry,
    SegmentEntry,
    Span,
    Split,
    Wait,
    WaitDate,
    WaitEvent,
    WaitUntil,
    Way,
)
from aimwell.deployment.journeys.graph_check import Known, check_journey, find_errors
from aimwell.deployment.journeys.graph_json import journey_from_json, journey_to_json
from aimwell.engine.rule import All, Compare
from tests.deployment.journeys.world import welcome

RULE = All((Compare("orders", ">", 3), Compare("customers.city", "=", "北京")))
EVERYTHING = welcome(
    entries=(
        EventEntry("fork", EventIs("Signed Up", (PropertyIs("plan", "!=", "free"),)), 48),
        SegmentEntry("fork", "champions", "leaves"),
        ScheduleEntry("fork", "09:00", "month", RULE, day=31),
        ScheduleEntry("fork", "09:00", "once", RULE, date="2026-05-01"),
        DateEntry("fork", "customers.birthday", -7, "10:00", "year", 2),
    ),
    nodes=(
        ("fork", Branch((Case("toss", RULE), Case("best", where=(PropertyIs("score", ">=", 8.5),))), "hour")),
        ("toss", Split((Way("mail", 0.25), Way(None, 0.75)))),
        ("best", BestAction((("mail_10", "mail"), ("none", None)), "hour")),
        ("mail", Action("email", "hello", ("push", "sms"), "service", 120, Span(days=2), "hour")),
        ("hour", Wait(Span(hours=1), "nine")),
        ("nine", WaitUntil("09:00", (1, 5), "day")),
        ("day", WaitDate("customers.ends_on", -3, "09:00", "asks", "bye")),
        ("asks", WaitEvent(EventIs("Answered", (PropertyIs("ok", "=", True),)), Span(days=3), "win", "bye")),
        ("win", Goal()),
        ("bye", Exit()),
    ),
    goal=EventIs("Order Completed"),
    exits=(ExitRule(EventIs("Closed")), ExitRule(left_segment="champions"), ExitRule(rule=RULE)),
    reentry=Reentry("after", 30, 2),
    holdout=0.1,
    cap=MessageCap(3, 7),
    moves=(("old", "hour"),),
)


def test_everything_is_written_readably_and_read_back() -> None:
    body = json.loads(json.dumps(journey_to_json(EVERYTHING)))
    assert journey_from_json(body) == EVERYTHING
    assert body["nodes"]["asks"] == {
        "kind": "wait_event", "event": "Answered", "where": [{"property": "ok", "is": "=", "value": True}],
        "days": 3, "then": "win", "timeout": "bye",
    }  # fmt: skip
    check_journey(EVERYTHING)


@pytest.mark.parametrize(
    ("changes", "code", "place"),
    [
        ({"entries": ()}, "no_entry", ""),
        ({"name": "a/b"}, "name", ""),
        ({"holdout": 1.0}, "value", "holdout"),
        ({"nodes": (("hello", Action("email", next="gone")),)}, "no_target", "hello"),
        ({"nodes": (("hello", Action("email")), ("lost", Exit()))}, "unreachable", "lost"),
        ({"nodes": (("hello", Action("fax")),)}, "no_channel", "hello"),
        ({"nodes": (("hello", Action("email", "gone")),)}, "no_content", "hello"),
        ({"nodes": (("hello", Action("email", next="b")), ("b", Action("sms", next="hello")))}, "endless", "hello"),
        ({"nodes": (("hello", WaitDate("event.day", 0, "09:00", "hello")),)}, "endless", "hello"),
        ({"nodes": (("hello", Wait(Span())),)}, "value", "hello"),
        ({"nodes": (("hello", WaitUntil("25:00")),)}, "value", "hello"),
        ({"nodes": (("hello", BestAction((("a", "b"),))), ("b", Split((Way(None, 0.5), Way("c", 0.5)))),
          ("c", Wait(Span(1))))}, "decided_early", "hello"),
        ({"nodes": (("hello", Split((Way(None, 0.5),))),)}, "shares", "hello"),
        ({"nodes": (("hello", Branch((Case(None, Compare("unknown", "=", 1)),))),)}, "rule", "hello"),
        ({"nodes": (("hello", WaitDate("customers.gone", 0, "09:00")),)}, "no_date", "hello"),
        ({"entries": (SegmentEntry("hello", "gone"),)}, "no_segment", "entries[1]"),
        ({"entries": (ScheduleEntry("hello", "09:00", "week", RULE),)}, "value", "entries[1]"),
        ({"entries": (DateEntry("hello", "customers.city", 0, "9"),)}, "value", "entries[1]"),
    ],
)  # fmt: skip
def test_the_check_names_the_node_and_the_remedy(changes: dict[str, Any], code: str, place: str) -> None:
    nodes = (("hello", Action("email")),)
    journey = welcome(**{"nodes": nodes, **changes})
    types = {"orders": Type.INTEGER, "customers.city": Type.TEXT}
    known = Known(("email", "sms"), {"default"}, types, {})
    found = list(find_errors(journey, known))
    assert (code, place) in [(one.code, one.place) for one in found]
    with pytest.raises(BadInput) as error:
        check_journey(journey, known)
    assert error.value.remedy is not None and error.value.code.startswith("deployment.journey_")
    assert error.value.render("zh") != error.value.render("en")


@pytest.mark.parametrize(
    "body",
    [
        [], {}, {"name": "a"} | {"nodes": []}, {"name": "a", "entries": [{"on": "moon"}]},
        {"name": "a", "nodes": {"x": {"kind": "wait", "days": "three"}}},
        {"name": "a", "nodes": {"x": {"kind": "action"}}},
        {"name": "a", "nodes": {"x": {"kind": "goal", "next": "y"}}},
        {"name": "a", "nodes": {"x": {"kind": "branch", "cases": [{"to": None, "rule": {"sql": "1; DROP"}}]}}},
        {"name": "a", "goal": {"event": 3}}, {"name": "a", "holdout": "half"}, {"name": "a", "surprise": 1},
        {"name": "a", "nodes": {"x": {"kind": "split", "ways": [{"to": None, "share": True}]}}},
    ],
)  # fmt: skip
def test_what_is_no_journey_is_refused(body: Any) -> None:
    with pytest.raises(BadInput) as error:
        check_journey(journey_from_json(body))
    assert error.value.remedy is not None
