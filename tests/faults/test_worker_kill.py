"""Two whole workers are killed again and again, with all of their tasks, on both databases: each event is in the
warehouse once, everybody is at one place of the journey, no mail comes twice, and all sums add up."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from aimwell.core.tables import TABLES
from aimwell.data.event_intake import take_events
from aimwell.deployment.channels.mime import identify_mail
from aimwell.deployment.journeys.graph_json import journey_from_json
from aimwell.deployment.journeys.versions import save_journey, start_journey
from aimwell.deployment.reconciliation import check_sums
from aimwell.deployment.sink import Sink
from aimwell.engine.hot_tables import HOT_BATCHES
from aimwell.engine.journey_tables import JOURNEY_ENROLMENTS
from aimwell.engine.ledger_tables import DELIVERIES
from aimwell.engine.workspace import Workspace
from tests.deployment.stores import BOTH
from tests.faults.test_service_kill import make
from tests.faults.victims import count_kills, kill, sleep_at_random, start, wait_until, work_on
from tests.postgres import postgres  # noqa: F401 (a fixture)

KILLS = {"sqlite": 14, "postgres": 12}
PEOPLE = 8
"""So many sign up between two kills."""
JOURNEY = {
    "name": "welcome",
    "title": "Welcome",
    "entries": [{"on": "event", "event": "Signed Up", "to": "hello"}],
    "nodes": {
        "hello": {"kind": "action", "channel": "email", "next": "listen"},
        "listen": {"kind": "wait_event", "event": "Product Viewed", "days": 7, "then": "more"},
        "more": {"kind": "action", "channel": "email"},
    },
}


@pytest.fixture(params=BOTH)
def shop(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Workspace]:
    """A journey that runs, and people who may be written to."""
    made = make(request, tmp_path / "w", monkeypatch)
    names = [f"c{number}" for number in range(PEOPLE * count_kills(KILLS[request.param]))]
    people = [{"customer_id": name, "email": f"{name}@customers.example", "source": "s"} for name in names]
    consents = [
        {"customer_id": name, "channel": "email", "purpose": "marketing", "allowed": True,
         "since": datetime(2025, 1, 1, tzinfo=UTC), "source": "s"}
        for name in names
    ]  # fmt: skip
    with made.run("data", as_of=datetime.now(UTC).date()) as run:
        run.replace("customers", TABLES["customers"].build(people))
        run.replace("consents", TABLES["consents"].build(consents))
    save_journey(made.store, journey_from_json(JOURNEY))
    start_journey(made.store, "welcome", now_ms=int(datetime.now(UTC).timestamp() * 1000))
    yield made
    made.close()


def post(shop: Workspace, name: str, people: range) -> None:
    messages = [
        {"type": "track", "userId": f"c{n}", "event": name, "messageId": f"{name}-{n}"} for n in people
    ]
    assert {one.status for one in take_events(shop, messages)} == {"accepted"}


def count_at(shop: Workspace, node: str) -> int:
    """How many wait there, or have ended."""
    columns = JOURNEY_ENROLMENTS.c
    there = (columns.node == node) & columns.state.in_(("waiting", "ended"))
    with shop.store.snapshot() as connection:
        return int(connection.execute(sa.select(sa.func.count()).where(there)).scalar_one())


def has_moved(shop: Workspace, people: int) -> Callable[[], bool]:
    return lambda: count_at(shop, "listen") + count_at(shop, "more") == people


def read_rows(shop: Workspace, table: sa.Table) -> list[dict[str, Any]]:
    with shop.store.snapshot() as connection:
        return [dict(row._mapping) for row in connection.execute(sa.select(table))]


def query(shop: Workspace, sql: str) -> list[dict[str, Any]]:
    with shop.read() as reader:
        found: list[dict[str, Any]] = reader.query(sql).to_pylist()
    return found


def is_done(shop: Workspace, people: int) -> bool:
    """Everything has come to its end, and the warehouse knows of it."""
    states = Counter(row["state"] for row in read_rows(shop, DELIVERIES))
    final = states["sent"] + states["in_doubt"]
    if read_rows(shop, HOT_BATCHES) or final != 2 * people:
        return False
    told = query(shop, "SELECT count(*) AS n FROM deliveries WHERE state IN ('sent', 'in_doubt')")
    return bool(told[0]["n"] == final)


def test_workers_that_are_killed_lose_and_double_nothing(
    shop: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kills = count_kills(KILLS["sqlite" if shop.store.is_sqlite else "postgres"])
    chance = random.Random(7)
    with Sink(tmp_path / "mail") as sink:
        monkeypatch.setenv("AIMWELL_SMTP__PORT", str(sink.port))
        monkeypatch.setenv("AIMWELL_PUBLIC_URL", "http://127.0.0.1:1")
        workers = [start(work_on, shop.path), start(work_on, shop.path)]
        try:
            for number in range(kills):
                some = range(number * PEOPLE, (number + 1) * PEOPLE)
                post(shop, "Signed Up", some)
                place = number % 2
                sleep_at_random(chance, 0.6)
                assert kill(workers[place]), "a worker ended by itself"
                workers[place] = start(work_on, shop.path)
                wait_until(has_moved(shop, some.stop), "nobody moved")
                post(shop, "Product Viewed", some)
            wait_until(lambda: is_done(shop, kills * PEOPLE), "not everything came to its end")
        finally:
            for worker in workers:
                kill(worker)
        arrived = Counter(sink.message_ids)
    check_mails(shop, arrived, kills)
    check_warehouse(shop, kills * PEOPLE)
    print(f"{kills} kills, {sum(arrived.values())} mails")


def check_mails(shop: Workspace, arrived: Counter[str], kills: int) -> None:
    rows = read_rows(shop, DELIVERIES)
    sender = shop.settings.smtp.sender
    by_state = {
        state: {identify_mail(row["delivery_id"], sender) for row in rows if row["state"] == state}
        for state in ("sent", "in_doubt")
    }
    sent, doubt = by_state["sent"], by_state["in_doubt"]
    assert len(sent) + len(doubt) == len(rows) == 2 * kills * PEOPLE
    assert max(arrived.values()) == 1, "silent duplicates"
    assert sent <= set(arrived) <= sent | doubt, "silent loss, or arrived without a record"
    # At most a window of connections was in flight at a kill.
    assert len(doubt) <= 8 * kills
    assert all(one.holds for one in check_sums(shop.store))


def check_warehouse(shop: Workspace, people: int) -> None:
    names = Counter(row["name"] for row in query(shop, "SELECT name FROM events"))
    ids = query(shop, "SELECT count(*) AS n, count(DISTINCT event_id) AS d FROM events")[0]
    ledger = {row["delivery_id"]: row["state"] for row in read_rows(shop, DELIVERIES)}
    assert ids["n"] == ids["d"], "an event is there twice"
    assert names["Signed Up"] == names["Product Viewed"] == people
    assert names["Message Sent"] == sum(state == "sent" for state in ledger.values())
    told = query(shop, "SELECT delivery_id, state FROM deliveries")
    assert {row["delivery_id"]: row["state"] for row in told} == ledger
    assert len(told) == len(ledger)
    enrolled = Counter(row["customer_id"] for row in read_rows(shop, JOURNEY_ENROLMENTS))
    assert len(enrolled) == people and set(enrolled.values()) == {1}
