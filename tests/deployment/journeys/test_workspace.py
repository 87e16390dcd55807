"""Journeys of a whole workspace: rules over tags and attributes, loaded files, joined records, simulation, numbers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from aimwell.core.tables import TABLES
from aimwell.data.erasure import erase_person
from aimwell.deployment.journeys.advance import advance, find_due
from aimwell.deployment.journeys.facts import WarehouseFacts
from aimwell.deployment.journeys.figures import count_journey
from aimwell.deployment.journeys.graph import (
    Action,
    Branch,
    Case,
    EventEntry,
    EventIs,
    ScheduleEntry,
    Span,
    Wait,
    WaitEvent,
)
from aimwell.deployment.journeys.knowledge import Need, name_rule
from aimwell.deployment.journeys.simulate import make_events, simulate, simulate_history
from aimwell.deployment.journeys.versions import forget_ended, save_journey, start_journey
from aimwell.engine.journey_tables import JOURNEY_ENROLMENTS, JOURNEY_VISITS
from aimwell.engine.ledger_tables import CONSENT_STATES, DELIVERIES, SUPPRESSIONS
from aimwell.engine.live_contacts import LiveContacts
from aimwell.engine.live_tables import LIVE_TURNS
from aimwell.engine.permissions import suppress_customers, take_turn
from aimwell.engine.rule import Compare
from aimwell.engine.seen_ids import digest_ids, pack_digests
from aimwell.engine.workspace import Workspace
from tests.deployment.journeys.world import DAY, HOUR, START, build_event, post_events, welcome

RICH = Compare("revenue", ">", 100)
CITY = Compare("customers.city", "=", "Berlin")
NODES = (
    ("which", Branch((Case("mail", RICH), Case("rest", CITY)), None)),
    ("mail", Action("email", next="rest", fallback=("sms",))),
    ("rest", Wait(Span(days=1))),
)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Workspace]:
    """Four customers with tags, attributes and consents."""
    workspace = Workspace.create(tmp_path / "shop", name="Shop", zone="Europe/Berlin", currency="EUR")
    people = {
        "ann": {
            "email": "ann@x.example",
            "city": "Berlin",
            "timezone": "Asia/Tokyo",
            "birthday": "1990-03-09",
        },
        "bob": {"email": "bob@x.example", "city": "Bonn", "birthday": "2000-02-29"},
        "cid": {"phone": "+49 170 1234567", "city": "Berlin"},
        "dan": {"city": "Bonn", "birthday": "unknown"},
    }
    with workspace.run("data", as_of=date(2026, 3, 1)) as run:
        rows = [{"customer_id": name, "source": "s", **values} for name, values in people.items()]
        run.replace("customers", build_open("customers", rows))
        consents = [
            {"customer_id": name, "channel": channel, "purpose": "marketing", "allowed": name != "dan",
             "since": datetime(2026, 1, 1, tzinfo=UTC), "source": "s"}
            for name in people
            for channel in ("email", "sms")
        ]  # fmt: skip
        run.replace("consents", TABLES["consents"].build(consents))
        revenue = {"ann": 500.0, "bob": 120.0, "cid": 90.0, "dan": 0.0}
        tags = [
            {"customer_id": name, "as_of": date(2026, 3, 1), "revenue": amount, "run_id": run.id}
            for name, amount in revenue.items()
        ]
        run.replace("tags", build_open("tags", tags))
    yield workspace
    workspace.close()


def build_open(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    """Rows with columns of their own beside the declared ones."""
    declared = {column.name for column in TABLES[name].columns}
    table = TABLES[name].build([{k: v for k, v in row.items() if k in declared} for row in rows])
    for extra in sorted({key for row in rows for key in row} - declared):
        table = table.append_column(extra, pa.array([row.get(extra) for row in rows]))
    return table


def read(workspace: Workspace, table: sa.Table) -> list[dict[str, Any]]:
    with workspace.store.snapshot() as connection:
        return [dict(row._mapping) for row in connection.execute(sa.select(table))]


def places(workspace: Workspace) -> dict[str, tuple[str, str]]:
    rows = read(workspace, JOURNEY_ENROLMENTS)
    return {row["customer_id"]: (row["outcome"] or row["state"], row["node"]) for row in rows}


def start(workspace: Workspace, **changes: Any) -> None:
    journey = welcome(**{"entries": (EventEntry("which", EventIs("Signed Up")),), "nodes": NODES, **changes})
    save_journey(workspace.store, journey)
    start_journey(workspace.store, journey.name, now_ms=START)


def sign_up(workspace: Workspace, *customers: str, at_ms: int = START) -> None:
    rows = [build_event(f"{name}:{at_ms}", name, "Signed Up", at_ms, {}) for name in customers]
    post_events(workspace.hot, rows)


def test_rules_addresses_zones_and_consents_come_from_the_warehouse(shop: Workspace) -> None:
    start(shop)
    sign_up(shop, "ann", "bob", "cid", "dan", "nobody")
    assert find_due(shop) == datetime.fromtimestamp(0, UTC)
    advance(shop, START)
    assert places(shop) == {
        "ann": ("waiting", "rest"), "bob": ("waiting", "rest"), "cid": ("waiting", "rest"),
        "dan": ("end", "which"), "nobody": ("end", "which"),
    }  # fmt: skip
    sent = {row["customer_id"]: row for row in read(shop, DELIVERIES)}
    assert set(sent) == {"ann", "bob"}
    assert (sent["ann"]["zone"], sent["ann"]["reachable"], sent["ann"]["unit_cost_cents"]) == (
        "Asia/Tokyo",
        True,
        1,
    )
    assert sent["ann"]["fallback"] in (None, []) and set(sent["ann"]["detail"]) == {"node", "enrolment"}
    known = {(row["customer_id"], row["channel"]): row["allowed"] for row in read(shop, CONSENT_STATES)}
    assert known["ann", "email"] is True and known["dan", "sms"] is False
    # The wait is a day of each customer's own calendar.
    due = {row["customer_id"]: row["due_ms"] for row in read(shop, JOURNEY_ENROLMENTS)}
    assert due["ann"] == due["bob"] == START + DAY


def test_dates_and_schedules_of_the_warehouse(shop: Workspace) -> None:
    facts = WarehouseFacts(shop)
    found = facts.list_dated("customers.birthday", date(2026, 2, 20), date(2026, 3, 15), yearly=True)
    assert found == [("ann", date(1990, 3, 9), "Asia/Tokyo"), ("bob", date(2000, 2, 29), "Europe/Berlin")]
    assert facts.list_dated("customers.gone", date(2026, 1, 1), date(2026, 2, 1), yearly=False) == []
    assert facts.list_holders(RICH, START) == ["ann", "bob"]
    # A rule that can no longer be decided holds for nobody.
    gone = Compare("no_such_tag", ">", 1)
    learnt = facts.learn(Need({"gone": gone, "rich": RICH}), frozenset({"ann", "cid"}), START)
    assert learnt.rules == {"gone": frozenset(), "rich": frozenset({"ann"})}
    assert not learnt.covers("bob")
    entry = ScheduleEntry("rest", "09:30", "day", RICH)
    start(shop, entries=(entry,), nodes=(("rest", Wait(Span(days=1))),))
    advance(shop, START + HOUR)
    assert set(places(shop)) == {"ann", "bob"}


def test_events_of_loaded_files_and_of_joined_records_count(shop: Workspace) -> None:
    start(shop)
    rows = [
        build_event("f1", "cid", "Signed Up", START, {}),
        build_event("f2", "dan", "Signed Up", START - 9 * DAY, {}),
    ]
    with shop.run("data", as_of=date(2026, 3, 2)) as run:
        run.append("events", TABLES["events"].build(rows))
        joined = [{"record_id": "anon:7", "customer_id": "bob", "run_id": run.id}]
        run.replace("identities", TABLES["identities"].build(joined))
    suppress_customers(shop.store, ["anon:7"], channel="sms")
    day = date(2026, 3, 1)
    got = {"contacts": pack_digests(digest_ids(["anon:7"])), "requests": b"", "released": b""}
    with shop.store.begin() as connection:
        turn = take_turn(connection)
        connection.execute(sa.insert(LIVE_TURNS).values(batch=turn, plan_id="live", day=day, at_ms=1, **got))
    sign_up(shop, "anon:7")
    advance(shop, START + HOUR)
    # What a visitor refused before, the person has refused.
    assert {(row["customer_id"], row["channel"]) for row in read(shop, SUPPRESSIONS)} == {
        ("anon:7", "sms"), ("bob", "sms"),
    }  # fmt: skip
    # What a live decision gave the visitor, the person has got.
    known = LiveContacts(day)
    with shop.store.begin() as connection:
        known.catch_up(connection)
    assert [(who, number) for _, who, _, number in known.count(["anon:7", "bob"])] == [("bob", 1)]
    # What happened long ago starts nothing, though it was loaded just now.
    assert places(shop) == {"cid": ("waiting", "rest"), "bob": ("waiting", "rest")}
    assert advance(shop, START + HOUR) == 0


def test_who_is_joined_on_the_way_goes_on_as_the_person(shop: Workspace) -> None:
    start(shop)
    rows = [build_event("f1", "till:9", "Signed Up", START, {"city": "Bonn"})]
    nodes = (
        ("which", WaitEvent(EventIs("Answered"), Span(days=1), "mail", "mail")),
        ("mail", Action("email")),
    )
    start(shop, nodes=nodes)
    post_events(shop.hot, rows)
    advance(shop, START)
    assert places(shop) == {"till:9": ("waiting", "which")}
    with shop.run("data", as_of=date(2026, 3, 2)) as run:
        joined = [{"record_id": name, "customer_id": "ann", "run_id": run.id} for name in ("till:9", "ann")]
        run.replace("identities", TABLES["identities"].build(joined))
    advance(shop, START + DAY)
    assert places(shop) == {"ann": ("end", "mail")}
    (sent,) = read(shop, DELIVERIES)
    assert (sent["customer_id"], sent["reachable"]) == ("ann", True)
    # Apart again: nobody is moved back, and what comes in later is the record's own.
    with shop.run("data", as_of=date(2026, 3, 2)) as run:
        run.replace("identities", TABLES["identities"].build([]))
    sign_up(shop, "till:9", at_ms=START + DAY)
    advance(shop, START + DAY)
    assert set(places(shop)) == {"ann", "till:9"}


def test_whoever_is_erased_is_in_no_journey(shop: Workspace) -> None:
    start(shop)
    sign_up(shop, "ann", "bob")
    advance(shop, START)
    erase_person(shop, "ann", dry_run=False)
    assert set(places(shop)) == {"bob"}
    advance(shop, START + DAY)
    assert places(shop) == {"bob": ("end", "rest")}
    assert forget_ended(shop.store, START + 2 * DAY) == 1
    assert {row["enrolment_id"] for row in read(shop, JOURNEY_VISITS)} == {1}


def test_numbers_by_node_with_the_holdout_beside(shop: Workspace) -> None:
    start(shop, goal=EventIs("Order Completed"), holdout=0.5)
    names = [f"c{number}" for number in range(100)]
    sign_up(shop, "ann", "bob", "cid", *names)
    advance(shop, START)
    post_events(shop.hot, [build_event("o1", "cid", "Order Completed", START + 1, {})])
    advance(shop, START + 1)
    with shop.store.snapshot() as connection:
        figures = count_journey(connection, welcome(nodes=NODES, name="welcome"))
    arms = figures["arms"]
    assert arms["treatment"]["entered"] + arms["holdout"]["entered"] == 103
    assert arms["treatment"]["goal"] + arms["holdout"]["goal"] == 1
    which = figures["nodes"][0]
    assert which["treatment"]["entered"] == arms["treatment"]["entered"] and which["kind"] == "branch"
    mail = figures["nodes"][1]
    assert mail["treatment"].get("queued", 0) + mail["holdout"].get("withheld", 0) == 2
    assert sum(figures["deliveries"].values()) == mail["treatment"].get("queued", 0)


def test_a_simulation_says_how_many_come_where_and_when(shop: Workspace) -> None:
    nodes = (
        ("ask", WaitEvent(EventIs("Answered"), Span(days=2), then="thank", timeout="mail")),
        ("thank", Action("email")),
        ("mail", Action("email")),
    )
    journey = welcome(entries=(EventEntry("ask", EventIs("Signed Up")),), nodes=nodes)
    events = make_events(journey, customers=200, start_ms=START, days=10, seed=1)
    done = simulate(
        journey, events, WarehouseFacts(shop), start_ms=START, days=10, zone="Europe/Berlin", tick_ms=3 * HOUR
    ).to_dict()
    assert done["simulated"] is True and done["arms"]["treatment"]["entered"] == 200
    by_node = {row["node"]: row["treatment"] for row in done["nodes"]}
    assert by_node["ask"]["entered"] == 200
    assert by_node["thank"]["entered"] + by_node["mail"]["entered"] == 200
    # 30 in 100 answer, not all of them within two days.
    assert 5 < by_node["thank"]["entered"] < 80
    assert done["times"]["mail"]["first"] > done["times"]["ask"]["first"]
    again = simulate(
        journey, events, WarehouseFacts(shop), start_ms=START, days=10, zone="Europe/Berlin", tick_ms=3 * HOUR
    ).to_dict()
    assert {row["node"]: row["treatment"] for row in again["nodes"]} == by_node
    # Nothing of it is in the workspace.
    assert read(shop, JOURNEY_ENROLMENTS) == [] == read(shop, DELIVERIES)


def test_a_simulation_of_what_customers_really_did(shop: Workspace) -> None:
    sign_up(shop, "ann", "bob", at_ms=START)
    sign_up(shop, "cid", at_ms=START + 5 * DAY)
    sign_up(shop, "dan", at_ms=START - 30 * DAY)
    journey = welcome(entries=(EventEntry("which", EventIs("Signed Up")),), nodes=NODES)
    done = simulate_history(shop, journey, start=date(2026, 3, 1), days=10)
    assert done.events == 3 and done.figures["arms"]["treatment"]["entered"] == 3
    first, _, last = done.times["rest"]
    assert timedelta(milliseconds=last - first) == timedelta(days=5)
    assert name_rule(RICH) != name_rule(CITY)
