"""A journey's best action is a decision of the open live plan: budget, stock, cap; settled when its message ends."""

from __future__ import annotations

import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa

from aimwell.core.errors import Conflict
from aimwell.core.tables import TABLES
from aimwell.deployment.channels.channel import Outcome, Receipt
from aimwell.deployment.journeys.advance import Advancer, open_advancer
from aimwell.deployment.journeys.graph import (
    Action,
    BestAction,
    EventEntry,
    EventIs,
    Exit,
    Journey,
    Node,
    Reentry,
    Span,
    Wait,
)
from aimwell.deployment.journeys.versions import save_journey, start_journey
from aimwell.deployment.reconciliation import list_dead, requeue
from aimwell.engine.journey_tables import JOURNEY_DECISIONS, JOURNEY_ENROLMENTS, JOURNEY_VISITS
from aimwell.engine.ledger_tables import CONSENT_STATES, DELIVERIES
from aimwell.engine.live_tables import LIVE_DECISIONS, LIVE_LIMITS
from aimwell.engine.permissions import halt, suppress_customers
from aimwell.engine.workspace import Workspace
from aimwell.loop.journey_decisions import JourneyDecisions
from aimwell.strategy.live.closing import close_day
from aimwell.strategy.live.plan import LiveLimit, LivePlan, open_plan
from tests.deployment.journeys.test_properties import Deaths, Died
from tests.deployment.journeys.world import build_event, post_events
from tests.deployment.scene import open_ledger
from tests.postgres import Server, postgres  # noqa: F401 (a fixture)

DAY_MS = 86_400_000
PEOPLE = [f"c{number}" for number in range(12)]
BEST: tuple[tuple[str, Node], ...] = (
    ("best", BestAction((("sms_10", "text"), ("mail_5", "mail")), "plain")),
    ("text", Action("sms", next="rest")),
    ("mail", Action("email", next="rest")),
    ("plain", Action("web", next="rest")),
    ("rest", Wait(Span(days=1))),
)


def open_today(workspace: Workspace, *, budget: int = 1_000, stock: int = 100, **more: Any) -> LivePlan:
    """A live day with two actions: the SMS is worth more, and there are only so many."""
    now_ms = int(time.time() * 1000)
    starts = now_ms - now_ms % DAY_MS
    limits = (
        LiveLimit("budget", np.array([[1, 1]]), budget, 0.0, 0.0, of_cost=True, unit="cents"),
        LiveLimit("sms", np.array([[1, 0]]), stock, 0.0, 0.0),
    )
    plan = LivePlan(
        "today", datetime.fromtimestamp(starts / 1000, UTC).date(), starts - DAY_MS, starts + 2 * DAY_MS,
        ("sms_10", "mail_5"), limits, "pinch",
        **{"channels": ("sms", "email"), "hold_ms": 900_000, "cap": 2, "cap_days": 7, **more},
    )  # fmt: skip
    pairs = {"sms_10": [3.0, 0.5, 10, 0.0], "mail_5": [2.0, 0.5, 5, 0.0]}
    rows = [
        {"plan_id": "today", "customer_id": name, "segment": 0, "prior_contacts": 0, "pairs": pairs}
        for name in PEOPLE
    ]
    open_plan(workspace.store, plan, [rows])
    return plan


@dataclass
class Shop:
    """A workspace whose customers may be written to by SMS and mail, and a journey that asks for the best action."""

    workspace: Workspace
    now_ms: int

    def __post_init__(self) -> None:
        self.decisions = JourneyDecisions(self.workspace)

    def start(self, nodes: tuple[tuple[str, Node], ...] = BEST, **changes: Any) -> None:
        """The journey, and everybody signs up."""
        values = {"reentry": Reentry("always", at_once=9), **changes}
        entries = (EventEntry("best", EventIs("Signed Up")),)
        save_journey(self.workspace.store, Journey("offers", "Offers", entries, nodes, **values))
        start_journey(self.workspace.store, "offers", now_ms=self.now_ms - 1)
        self.sign_up(*PEOPLE)

    def sign_up(self, *customers: str, number: int = 1) -> None:
        """Their sign-ups come in."""
        rows = [build_event(f"{one}:{number}", one, "Signed Up", self.now_ms, {}) for one in customers]
        post_events(self.workspace.hot, rows)

    def advance(self) -> int:
        """As the worker does."""
        advancer: Advancer = open_advancer(self.workspace)
        advancer.decisions = self.decisions
        return advancer.step(self.now_ms)

    def read(self, table: sa.Table) -> list[dict[str, Any]]:
        """All rows."""
        with self.workspace.store.snapshot() as connection:
            return [dict(row) for row in connection.execute(sa.select(table)).mappings()]

    def count(self, table: sa.Table, column: str) -> Counter[Any]:
        """Rows by what stands in a column."""
        return Counter(row[column] for row in self.read(table))

    def read_used(self) -> dict[str, int]:
        """Of each limit what is used."""
        return {row["name"]: row["used"] for row in self.read(LIVE_LIMITS)}

    def send(self, channel: str, receipt: Receipt) -> int:
        """Hand over what is due on the channel; the provider answers so."""
        ledger = open_ledger(self.workspace.store, cap=2, days=7)
        taken = ledger.reserve(None, channel, limit=100)
        ids = [row.delivery_id for row in taken.rows]
        held = ledger.advance(taken.fence, intended=ids)
        ledger.advance(taken.fence, settled=[(one, receipt) for one in held])
        return len(held)

    def check_books(self) -> None:
        """What is used of the limits is what is reserved, on its way or sent: each step of everybody once."""
        kept = [
            row for row in self.read(LIVE_DECISIONS) if row["state"] in ("reserved", "handed", "delivered")
        ]
        assert self.read_used() == {
            "budget": sum(row["cost_cents"] for row in kept),
            "sms": sum(row["action_id"] == "sms_10" for row in kept),
        }
        requests = [row["request_id"] for row in self.read(LIVE_DECISIONS)]
        assert len(set(requests)) == len(requests)
        carried = {row["request_id"] for row in self.read(JOURNEY_DECISIONS)}
        assert carried == {row["request_id"] for row in kept if row["state"] == "handed"}


@pytest.fixture(params=["sqlite", "postgresql"])
def shop(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    if request.param == "postgresql":
        server: Server = request.getfixturevalue("postgres")
        server.run("DROP DATABASE IF EXISTS offers", "CREATE DATABASE offers")
        monkeypatch.setenv("AIMWELL_STORE__URL", server.address("offers"))
    workspace = Workspace.create(tmp_path / "shop", zone="UTC")
    now_ms = int(time.time() * 1000)
    with workspace.run("data", as_of=datetime.fromtimestamp(now_ms / 1000, UTC).date()) as run:
        addresses = [
            {"customer_id": name, "email": f"{name}@x.example", "phone": f"+49170{number:07d}", "source": "s"}
            for number, name in enumerate(PEOPLE)
        ]
        run.replace("customers", TABLES["customers"].build(addresses))
        consents = [
            {"customer_id": name, "channel": channel, "purpose": "marketing", "allowed": True,
             "since": datetime(2026, 1, 1, tzinfo=UTC), "source": "s"}
            for name in PEOPLE
            for channel in ("sms", "email", "web")
        ]  # fmt: skip
        run.replace("consents", TABLES["consents"].build(consents))
    with workspace.store.begin() as connection:
        states = [
            {"customer_id": name, "channel": channel, "allowed": True, "since_ms": 1}
            for name in PEOPLE
            for channel in ("sms", "email")
        ]
        connection.execute(sa.insert(CONSENT_STATES), states)
    yield Shop(workspace, now_ms)
    workspace.close()


def test_the_action_is_reserved_and_settled_when_its_message_ends(shop: Shop) -> None:
    open_today(shop.workspace, budget=55, stock=3)
    suppress_customers(shop.workspace.store, ["c0"])
    shop.start()
    shop.advance()
    # Three SMS at ten cents, five mails at five; then the budget is spent, and the others take the other way.
    assert shop.count(LIVE_DECISIONS, "action_id") == {"sms_10": 3, "mail_5": 5, None: 4}
    assert shop.count(DELIVERIES, "channel") == {"sms": 3, "email": 5, "web": 4}
    assert shop.count(LIVE_DECISIONS, "state") == {"handed": 8, None: 4}
    assert shop.read_used() == {"budget": 55, "sms": 3}
    shop.check_books()
    chosen = {row["customer_id"]: row for row in shop.read(LIVE_DECISIONS)}
    assert chosen["c0"]["reason"] == "forbidden" and chosen["c0"]["action_id"] is None
    logged = {row["enrolment_id"]: row["edge"] for row in shop.read(JOURNEY_VISITS) if row["step"] == 2}
    whose = {row["enrolment_id"]: row["customer_id"] for row in shop.read(JOURNEY_ENROLMENTS)}
    assert all((chosen[whose[n]]["action_id"] or "otherwise") == edge for n, edge in logged.items())
    assert shop.decisions.find_due() is None and shop.decisions.settle() == 0
    assert shop.send("sms", Receipt(Outcome.SENT)) == 3
    assert shop.send("email", Receipt(Outcome.PERMANENT, "rejected")) == 5
    assert shop.decisions.find_due() is not None
    assert shop.decisions.settle() == 8 and shop.decisions.settle() == 0
    assert shop.count(LIVE_DECISIONS, "state") == {"delivered": 3, "cancelled": 5, None: 4}
    assert shop.read_used() == {"budget": 30, "sms": 3}
    shop.check_books()
    # Closing the day tells of the decisions; of the messages the ledger tells.
    close_day(shop.workspace, "today")
    with shop.workspace.read() as reader:
        states = Counter(row["state"] for row in reader.query("SELECT state FROM exposures").to_pylist())
        assert states == {"confirmed": 3, "cancelled": 5, None: 4}
        assert reader.query("SELECT event_id FROM events WHERE name = 'Message Sent'").num_rows == 0


def test_a_dead_letter_that_carried_a_decision_is_not_sent_without_it(shop: Shop) -> None:
    open_today(shop.workspace, budget=55, stock=3)
    shop.start()
    shop.advance()
    for channel in ("sms", "email", "web"):
        shop.send(channel, Receipt(Outcome.PERMANENT, "rejected"))
    dead = {one.delivery_id: one.channel for one in list_dead(shop.workspace.store)}
    assert Counter(dead.values()) == {"sms": 3, "email": 5, "web": 4}
    # Before its end was told to the live plan, and after: somebody else may have the budget by then.
    for _ in range(2):
        with pytest.raises(Conflict) as refusal:
            requeue(shop.workspace.store, list(dead), by="ann")
        assert refusal.value.code == "deployment.decision_ended" and "8" in str(refusal.value)
        shop.decisions.settle()
        shop.check_books()
    assert shop.count(DELIVERIES, "state") == {"failed": 12}
    assert shop.read_used() == {"budget": 0, "sms": 0}
    # Whoever was sent nothing decided may be sent it again.
    plain = [delivery for delivery, channel in dead.items() if channel == "web"]
    assert requeue(shop.workspace.store, plain, by="ann") == 4
    assert shop.send("web", Receipt(Outcome.SENT)) == 4


def test_decisions_and_messages_count_as_one_contact_of_the_cap(shop: Shop) -> None:
    open_today(shop.workspace)
    shop.start()
    for number in (2, 3):
        shop.advance()
        assert shop.send("sms", Receipt(Outcome.SENT)) == 12
        shop.decisions.settle()
        shop.sign_up(*PEOPLE, number=number)
    shop.advance()
    # Two messages each: a third is not decided for anybody.
    assert shop.count(LIVE_DECISIONS, "reason") == {"chosen": 24, "cap": 12}
    assert shop.count(DELIVERIES, "channel") == {"sms": 24, "web": 12}
    shop.check_books()


def test_without_a_plan_or_when_it_refuses_there_is_the_other_way(shop: Shop) -> None:
    shop.start()
    shop.advance()
    assert shop.count(DELIVERIES, "channel") == {"web": 12} and shop.read(LIVE_DECISIONS) == []
    open_today(shop.workspace)
    with shop.workspace.store.begin() as connection:
        halt(connection, "test")
    shop.sign_up("c1", number=2)
    shop.advance()
    assert shop.count(DELIVERIES, "channel") == {"web": 13} and shop.read(LIVE_DECISIONS) == []


def test_a_way_without_a_message_gives_back_what_was_reserved(shop: Shop) -> None:
    open_today(shop.workspace)
    shop.start((("best", BestAction((("sms_10", "gone"),), "gone")), ("gone", Exit())))
    shop.advance()
    assert shop.count(LIVE_DECISIONS, "state") == {"cancelled": 12}
    assert shop.read_used() == {"budget": 0, "sms": 0}
    assert shop.count(JOURNEY_VISITS, "edge") == {"entry": 12, "sms_10": 12}


def test_what_has_expired_before_the_customer_moves_is_no_decision(shop: Shop) -> None:
    open_today(shop.workspace)
    shop.start()
    ask = shop.decisions.ask

    def ask_and_wait(questions: Any) -> Any:
        answers = ask(questions)
        with shop.workspace.store.begin() as connection:
            connection.execute(sa.update(LIVE_DECISIONS).values(state="expired"))
            connection.execute(sa.update(LIVE_LIMITS).values(used=0))
        return answers

    shop.decisions.ask = ask_and_wait  # type: ignore[method-assign]
    shop.advance()
    assert shop.count(DELIVERIES, "channel") == {"web": 12}
    assert shop.count(LIVE_DECISIONS, "state") == {"expired": 12}
    shop.check_books()


def test_whoever_dies_at_whatever_statement_no_budget_is_used_twice(shop: Shop) -> None:
    open_today(shop.workspace, budget=55, stock=3)
    shop.start()
    dying = Deaths(shop.workspace.store, range(45, 0, -1))
    dying.armed, deaths = True, 0
    while dying.numbers:
        try:
            if not shop.advance() and not shop.decisions.settle():
                break
        except Died:
            deaths += 1
            shop.decisions = JourneyDecisions(shop.workspace)
    dying.armed = False
    shop.advance()
    assert deaths > 15
    assert shop.count(LIVE_DECISIONS, "action_id") == {"sms_10": 3, "mail_5": 5, None: 4}
    assert shop.count(DELIVERIES, "channel") == {"sms": 3, "email": 5, "web": 4}
    shop.check_books()


@pytest.mark.parametrize("shop", ["sqlite"], indirect=True)
def test_a_worker_that_is_killed_uses_no_budget_twice(shop: Shop) -> None:
    """Really killed: at random moments, while others are asked for."""
    open_today(shop.workspace, budget=1_000, stock=100, cap=99)
    shop.start()
    path = str(Path(__file__).with_name("journey_decider.py"))
    command = [sys.executable, path, str(shop.workspace.path)]
    for kill in range(2):
        before = len(shop.read(JOURNEY_VISITS))
        worker = subprocess.Popen(command)
        deadline = time.monotonic() + 180
        while len(shop.read(JOURNEY_VISITS)) == before:
            assert time.monotonic() < deadline and worker.poll() is None, "the worker did nothing"
            shop.sign_up(PEOPLE[kill], number=1_000 * (kill + 1) + len(shop.read(JOURNEY_ENROLMENTS)))
            # Not so often that a slow machine does nothing else.
            time.sleep(0.1)
        worker.kill()
        worker.wait()
    # Whom the worker had just let in is due at its own clock's time.
    shop.now_ms = int(time.time() * 1000)
    while shop.advance() or shop.decisions.settle():
        pass
    shop.check_books()
    decided = {row["request_id"]: row["action_id"] for row in shop.read(LIVE_DECISIONS)}
    assert len(decided) == len(shop.read(JOURNEY_ENROLMENTS)) > 12
    messages = shop.count(DELIVERIES, "channel")
    assert messages["sms"] == list(decided.values()).count("sms_10")
    assert sum(messages.values()) == len(decided)
