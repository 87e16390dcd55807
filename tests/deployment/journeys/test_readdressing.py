"""Messages that were queued for a record which was joined with others since: they go to the person, once."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from aimwell.core.tables import TABLES
from aimwell.deployment.channels.channel import Outcome, Promise, Receipt
from aimwell.deployment.channels.smtp import Server, SmtpChannel
from aimwell.deployment.dispatch import dispatch
from aimwell.deployment.journeys import readdressing
from aimwell.deployment.journeys.advance import advance, find_due
from aimwell.deployment.journeys.composing import JourneyComposers
from aimwell.deployment.journeys.graph import Action, EventEntry, EventIs
from aimwell.deployment.journeys.knowledge import Joined
from aimwell.deployment.ledger import Ledger
from aimwell.deployment.policy import ContactRules
from aimwell.deployment.sink import Sink
from aimwell.engine.permissions import suppress_customers
from aimwell.engine.workspace import Workspace
from tests.deployment.journeys.test_workspace import shop, sign_up, start
from tests.deployment.journeys.world import HOUR, START, World, welcome

__all__ = ["shop"]
HELLO = {"entries": (EventEntry("hello", EventIs("Signed Up")),), "nodes": (("hello", Action("email")),)}


def open_ledger(world: World, *, cap: int = 9) -> Ledger:
    """A worker's view of the world's ledger."""
    return Ledger(world.store, rules=ContactRules(cap=cap, cap_days=7), clock=lambda: START / 1000)


def queue(world: World, *customers: str) -> None:
    """Their first message waits."""
    world.start(welcome(**HELLO))
    for number, customer in enumerate(customers):
        world.post((customer, "Signed Up"), at_ms=START + number)
        world.step(START + number)


def join(world: World, **customers: str) -> None:
    """These records are these customers' from now on; a worker comes to it."""
    world.joined = Joined(world.joined.version + 1, customers)
    world.step(START + HOUR)


def list_states(world: World) -> list[tuple[str, str, str | None]]:
    """Whose, how it stands, and why, in the order of entering."""
    rows = sorted(world.deliveries(), key=lambda row: int(row["detail"]["enrolment"]))
    return [(row["customer_id"], row["state"], row["reason"]) for row in rows]


def send(ledger: Ledger) -> list[str]:
    """Hand over what policy allows; to whom."""
    taken = ledger.reserve(None, "email", limit=9)
    ids = [row.delivery_id for row in taken.rows]
    assert ledger.advance(taken.fence, intended=ids) == set(ids)
    ledger.advance(taken.fence, settled=[(one, Receipt(Outcome.SENT, "ok")) for one in ids])
    return [row.customer_id for row in taken.rows]


def test_it_goes_to_the_person_under_the_persons_consent_and_once(world: World) -> None:
    world.people.zones = {"ann": "Asia/Tokyo"}
    queue(world, "visitor", "bob")
    before = {row["delivery_id"] for row in world.deliveries()}
    join(world, visitor="ann")
    assert list_states(world) == [("ann", "queued", None), ("bob", "queued", None)]
    # The provider knows it by the same id, whenever it is tried; the hour is the person's own.
    assert {row["delivery_id"] for row in world.deliveries()} == before
    assert [row["zone"] for row in world.deliveries()] == ["Asia/Tokyo", None]
    assert sorted(send(open_ledger(world))) == ["ann", "bob"]
    join(world, visitor="ann", bob="ann")
    assert send(open_ledger(world)) == [] and [state for _, state, _ in list_states(world)] == ["sent"] * 2


def test_who_refused_as_the_person_gets_nothing(world: World) -> None:
    queue(world, "visitor")
    suppress_customers(world.store, ["ann"], channel="email")
    join(world, visitor="ann")
    assert send(open_ledger(world)) == []
    assert list_states(world) == [("ann", "skipped", "suppressed")]


def test_what_any_record_got_counts_towards_the_persons_cap(world: World) -> None:
    queue(world, "visitor")
    assert send(open_ledger(world, cap=1)) == ["visitor"]
    world.start(welcome(**HELLO, name="second"))
    world.post(("v2", "Signed Up"))
    world.step(START)
    join(world, visitor="ann", v2="ann")
    assert send(open_ledger(world, cap=1)) == []
    assert list_states(world)[1] == ("ann", "skipped", "contact_cap")


def test_several_people_are_followed_at_once(world: World) -> None:
    queue(world, "v1", "v2")
    assert sorted(send(open_ledger(world, cap=1))) == ["v1", "v2"]
    world.start(welcome(**HELLO, name="second"))
    for number, record in enumerate(("v3", "v4")):
        world.post((record, "Signed Up"), at_ms=START + number)
    world.step(START + 1)
    join(world, v1="ann", v2="bob", v3="ann", v4="bob")
    assert send(open_ledger(world, cap=1)) == []
    capped = [
        who for who, state, reason in list_states(world) if (state, reason) == ("skipped", "contact_cap")
    ]
    assert sorted(capped) == ["ann", "bob"]


def test_of_two_records_in_one_journey_one_gets_it(world: World) -> None:
    queue(world, "v1", "v2")
    join(world, v1="ann", v2="ann")
    assert list_states(world) == [("ann", "queued", None), ("v2", "skipped", "merged")]
    assert send(open_ledger(world)) == ["ann"]


def test_and_none_where_the_other_had_it_already(world: World) -> None:
    world.start(welcome())
    world.post(("v1", "Signed Up"))
    world.step(START)
    postpone = "UPDATE deliveries SET not_before_ms = {} WHERE customer_id = 'v1'"
    with world.store.begin() as connection:
        connection.execute(sa.text(postpone.format(START + HOUR)))
    world.post(("v2", "Signed Up"), at_ms=START + 1)
    world.step(START + 1)
    assert send(open_ledger(world)) == ["v2"]
    join(world, v1="ann", v2="ann")
    assert [state[1:] for state in list_states(world)] == [("skipped", "merged"), ("sent", None)]


def test_a_worker_that_holds_it_loses_it_and_what_is_being_said_is_followed(world: World) -> None:
    queue(world, "v1", "v2")
    ledger = open_ledger(world)
    taken = ledger.reserve(None, "email", limit=9)
    whose = {row.customer_id: row.delivery_id for row in taken.rows}
    assert ledger.advance(taken.fence, intended=[whose["v2"]]) == {whose["v2"]}
    world.joined = Joined(1, {"v1": "ann", "v2": "bob"})
    world.step(START)
    assert list_states(world) == [("ann", "queued", None), ("v2", "intent", None)]
    assert ledger.advance(taken.fence, intended=[whose["v1"]]) == set()
    # The provider could not be reached: it is the person's, too, before anybody takes it again.
    failed = Receipt(Outcome.TEMPORARY, "connection_failed")
    ledger.advance(taken.fence, settled=[(whose["v2"], failed)], promise=Promise.BLIND)
    assert world.step(START) > 0
    assert [customer for customer, _, _ in list_states(world)] == ["ann", "bob"]
    assert sorted(send(ledger)) == ["ann", "bob"] and world.step(START) == 0


def join_records(workspace: Workspace, records: Sequence[str], customer: str) -> None:
    """The records are one person's from now on."""
    with workspace.run("data", as_of=date(2026, 3, 2)) as run:
        rows: list[dict[str, Any]] = [
            {"record_id": record, "customer_id": customer, "run_id": run.id}
            for record in (*records, customer)
        ]
        run.replace("identities", TABLES["identities"].build(rows))


@pytest.mark.parametrize("followed", [True, False], ids=["worker looked", "while it is sent"])
def test_the_mail_arrives_at_the_persons_address(shop: Workspace, tmp_path: Path, followed: bool) -> None:
    start(shop, **HELLO)
    sign_up(shop, "bob", "cid")
    advance(shop, START)
    # The till knew no address, and its record goes.
    join_records(shop, ["bob", "cid"], "ann")
    due = find_due(shop)
    assert due is not None and due.timestamp() == 0
    if followed:
        advance(shop, START + HOUR)
        assert find_due(shop) != due
    with Sink(tmp_path / "mails") as sink:
        channel = SmtpChannel(Server("127.0.0.1", sink.port, "Shop <shop@example.com>"))
        composers = {"journey:": JourneyComposers(shop)}
        for _ in range(2):
            dispatch(shop, {"email": channel}, composers, clock=lambda: START / 1000 + 3600)
        mails = [path.read_text() for path in sorted((tmp_path / "mails").glob("*.eml"))]
    assert [("To: ann@x.example" in mail or "<ann@x.example>" in mail) for mail in mails] == [True]


def test_none_of_a_persons_messages_fails_while_they_follow_one_by_one(
    shop: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readdressing, "_CHUNK", 1)
    for name in ("first", "second"):
        start(shop, **HELLO, name=name)
    sign_up(shop, "bob")
    advance(shop, START)
    join_records(shop, ["bob"], "ann")
    with Sink(tmp_path / "mails") as sink:
        channel = SmtpChannel(Server("127.0.0.1", sink.port, "Shop <shop@example.com>"))
        # A worker holds them all already when it learns whose they are.
        dispatch(
            shop, {"email": channel}, {"journey:": JourneyComposers(shop)}, clock=lambda: START / 1000 + 3600
        )
        mails = [path.read_text() for path in sorted((tmp_path / "mails").glob("*.eml"))]
    assert [("To: ann@x.example" in mail or "<ann@x.example>" in mail) for mail in mails] == [True] * 2
