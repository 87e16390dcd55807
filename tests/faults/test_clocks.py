"""Clocks that are put forward and back by an hour, clocks of two machines that differ, and the days on which summer
time begins and ends: nothing is lost or doubled, caps and rates hold, nobody is written to at night."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock_time
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from aimwell.deployment.calendar import Calendar, Quiet
from aimwell.deployment.channels.channel import Channel, Message, Outcome, Promise, Receipt
from aimwell.deployment.journeys.graph import (
    Reentry,
    ScheduleEntry,
    Span,
    Wait,
    WaitUntil,
)
from aimwell.deployment.journeys.knowledge import name_rule
from aimwell.deployment.ledger import Ledger, Terms
from aimwell.deployment.policy import ContactRules
from aimwell.deployment.sending import work
from aimwell.engine.rule import Compare
from aimwell.engine.store import Store
from aimwell.strategy.live.decide import LiveDecider
from aimwell.strategy.live.opening import open_day
from aimwell.strategy.live.requests import Decision, Visit
from aimwell.strategy.live.status import find_open_plan
from tests.deployment.journeys.world import World, welcome
from tests.deployment.scene import compose, fill, intend, open_ledger, open_store
from tests.deployment.stores import find_address
from tests.postgres import postgres  # noqa: F401 (a fixture)
from tests.strategy.live.shop import make_shop, read

HOUR = 3600.0
TERMS = Terms(lease=1.0, retry=0.0, attempts=50)
MESSAGES = 60


class Provider(Channel):
    """Takes a moment; knows what it took."""

    window = 5

    def __init__(self, promise: Promise) -> None:
        self.promise = promise
        self.arrived: Counter[str] = Counter()

    def deliver(self, message: Message) -> Receipt:
        raise AssertionError

    def deliver_batch(self, messages: Sequence[Message]) -> list[Receipt]:
        time.sleep(0.1)
        for message in messages:
            repeated = self.promise is Promise.REJECTS_REPEATS and message.delivery_id in self.arrived
            self.arrived[message.delivery_id] += not repeated
        return [Receipt(Outcome.SENT) for _ in messages]

    def find(self, delivery_id: str) -> Receipt | None:
        return Receipt(Outcome.SENT) if delivery_id in self.arrived else None


def send_with(store: Store, provider: Provider, clocks: Sequence[Callable[[], float]]) -> Ledger:
    """One worker for each clock, until all have nothing left to do."""
    ledgers = [open_ledger(store, terms=TERMS, clock=clock) for clock in clocks]
    fill(ledgers[0], [f"c{number}" for number in range(MESSAGES)])
    broken: list[BaseException] = []

    def send(ledger: Ledger) -> None:
        try:
            work(ledger, plan_id="p1", channel_name="email", channel=provider, compose=compose)
        except BaseException as error:
            broken.append(error)

    threads = [threading.Thread(target=send, args=(ledger,)) for ledger in ledgers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(180)
    assert not any(thread.is_alive() for thread in threads), "somebody waits for ever"
    assert broken == []
    return ledgers[0]


def check(ledger: Ledger, provider: Provider) -> None:
    rows = ledger.read_rows()
    sent = {row["delivery_id"] for row in rows if row["state"] == "sent"}
    doubt = {row["delivery_id"] for row in rows if row["state"] == "in_doubt"}
    assert len(sent) + len(doubt) == len(rows) == MESSAGES
    assert max(provider.arrived.values()) == 1, "doubled"
    assert sent <= set(provider.arrived) <= sent | doubt
    assert provider.promise is Promise.BLIND or not doubt


@pytest.mark.parametrize("promise", list(Promise))
@pytest.mark.parametrize("by", [HOUR, -HOUR])
def test_two_machines_whose_clocks_differ_by_an_hour_double_nothing(
    tmp_path: Path, promise: Promise, by: float
) -> None:
    provider = Provider(promise)
    check(send_with(open_store(tmp_path), provider, [time.time, lambda: time.time() + by]), provider)


@pytest.mark.parametrize(("kind", "promise", "by"), [
    ("sqlite", Promise.BLIND, HOUR), ("sqlite", Promise.CAN_BE_ASKED, -HOUR), ("sqlite", Promise.REJECTS_REPEATS, HOUR),
    ("postgres", Promise.BLIND, -HOUR), ("postgres", Promise.CAN_BE_ASKED, HOUR),
])  # fmt: skip
def test_a_clock_that_is_moved_under_two_workers_doubles_nothing(
    tmp_path: Path, kind: str, promise: Promise, by: float, request: pytest.FixtureRequest
) -> None:
    provider = Provider(promise)

    def tell() -> float:
        return time.time() + (by if sum(provider.arrived.values()) >= 20 else 0)

    check(send_with(Store(find_address(kind, tmp_path, request)), provider, [tell, tell]), provider)


# The days on which summer time begins and ends.

CHANGES = [
    ("America/New_York", date(2026, 3, 8), 23),
    ("America/New_York", date(2026, 11, 1), 25),
    ("Europe/Berlin", date(2026, 3, 29), 23),
    ("Europe/Berlin", date(2026, 10, 25), 25),
]
NIGHT = Quiet(clock_time(21), clock_time(9))
MINUTE = 60_000
HALF = 30 * MINUTE
PEOPLE = 300


def first_of(day: date, zone: str) -> int:
    return int(datetime.combine(day, clock_time(), ZoneInfo(zone)).timestamp() * 1000)


def show(at_ms: int, zone: str) -> datetime:
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(ZoneInfo(zone))


class Outbox(Channel):
    """Notes when what went out."""

    promise = Promise.BLIND
    window = 50

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.sent: list[tuple[str, int]] = []

    def deliver(self, message: Message) -> Receipt:
        self.sent.append((message.customer_id, int(self.clock() * 1000)))
        return Receipt(Outcome.SENT)


@pytest.mark.parametrize(("zone", "day", "hours"), CHANGES)
def test_a_day_of_another_length_keeps_its_night_its_cap_and_its_even_morning(
    tmp_path: Path, zone: str, day: date, hours: int
) -> None:
    begin = first_of(day, zone)
    assert first_of(day + timedelta(days=1), zone) - begin == hours * 3_600_000
    at = begin - 12 * 60 * MINUTE
    calendar = Calendar(zone=zone, quiet={"sms": NIGHT}, spread=timedelta(hours=1))
    rules = ContactRules(cap=1, cap_days=1, calendar=calendar)
    ledger = open_ledger(open_store(tmp_path), rules=rules, terms=TERMS, clock=lambda: at / 1000)
    out, asked = Outbox(lambda: at / 1000), 0
    ledger.remember_consents([(f"c{number}", "sms", True, 1) for number in range(PEOPLE)])
    while at < begin + (hours + 12) * 60 * MINUTE:
        # Two to everybody within the day, at every hour of it, those of the night too.
        number = (at - begin) * PEOPLE // (hours * 60 * MINUTE)
        if 0 <= number < PEOPLE:
            some = [f"c{one}" for one in range(asked, number + 1)]
            for plan in ("p1", "p2"):
                ledger.enqueue([intend(one, plan, "sms", contact_on=day) for one in some])
            asked = number + 1
        work(ledger, plan_id=None, channel_name="sms", channel=out, compose=compose, wait=False)
        at += 10 * MINUTE
    assert Counter(name for name, _ in out.sent) == {f"c{number}": 1 for number in range(asked)}, (
        "the cap of the day"
    )
    shown = [show(sent, zone) for _, sent in out.sent]
    assert not any(NIGHT.holds(one.time()) for one in shown), "somebody was woken"
    morning = Counter(one.minute // 10 for one in shown if (one.date(), one.hour) == (day, 9))
    waited = sum(morning.values())
    # Whoever was asked for in the night of the day, which has an hour less or more, and those of that hour itself.
    assert waited >= PEOPLE * (hours - 15 - 0.5) / hours
    assert max(morning.values()) <= 2.5 * waited / 6, "the morning begins with a burst"


@pytest.mark.parametrize(("zone", "day", "hours"), CHANGES)
def test_journeys_come_once_on_a_day_of_another_length(
    tmp_path: Path, zone: str, day: date, hours: int
) -> None:
    world = World(Store.open_file(tmp_path / "store.sqlite"))
    rule = Compare("orders", ">", 3)
    world.people.zone, world.people.holders = zone, {name_rule(rule): {"ann", "bob"}}
    world.advancer = world.open()
    names = {"daily": "09:00", "gap": "02:30", "twice": "01:30"}
    begin = first_of(day - timedelta(days=1), zone)
    for name, when in names.items():
        entry = ScheduleEntry("until", when, "day", rule)
        nodes = (("until", WaitUntil("23:30", next="rest")), ("rest", Wait(Span(minutes=1))))
        world.start(
            welcome(name=name, entries=(entry,), nodes=nodes, reentry=Reentry("always")), begin - MINUTE
        )
    end = first_of(day + timedelta(days=2), zone)
    for now_ms in range(begin, end, 15 * MINUTE):
        world.step(now_ms)
    rows = world.rows()
    for name in names:
        days = Counter(
            (row["customer_id"], show(row["entered_ms"], zone).date())
            for row in rows
            if row["journey"] == name
        )
        assert days == {(one, day + timedelta(days=n)): 1 for one in ("ann", "bob") for n in (-1, 0, 1)}
    assert {row["outcome"] for row in rows} == {"end"}, "all came to half past eleven at night of their day"
    assert {show(row["entered_ms"], zone).strftime("%H:%M") for row in rows if row["journey"] == "daily"} == {
        "09:00"
    }
    world.store.close()


@pytest.mark.parametrize(("zone", "day", "hours"), CHANGES[1:3])
def test_live_days_follow_one_another_though_one_has_another_length(
    tmp_path: Path, zone: str, day: date, hours: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIMWELL_BUSINESS__ZONE", zone)
    with make_shop(tmp_path) as shop:
        days = [day + timedelta(days=n) for n in (-1, 0, 1)]
        plans = [open_day(shop, day=one, name=f"{one}").plan for one in days]
        assert [plan.ends_ms - plan.starts_ms for plan in plans] == [n * 3_600_000 for n in (24, hours, 24)]
        assert [plan.ends_ms for plan in plans[:-1]] == [plan.starts_ms for plan in plans[1:]]
        assert plans[1].starts_ms == first_of(day, zone)
        at = plans[1].starts_ms
        decider = LiveDecider(shop.store, plans[1].plan_id, clock=lambda: at / 1000)
        customer = str(read(shop, "SELECT min(customer_id) AS name FROM customers")[0]["name"])
        answers = []
        for at in range(plans[1].starts_ms - HALF, plans[1].ends_ms + 2 * HALF, 2 * HALF):
            answers += decider.meet([(customer, Visit(f"at {at}", {}, at))])
            assert find_open_plan(shop.store, at) == f"{show(at, zone).date()}"
        told = [isinstance(answer, Decision) for answer in answers]
        assert told == [False, *[True] * hours, False], "it decides in every hour of its day, and in no other"
        contacted = [one for one in answers if isinstance(one, Decision) and one.action_id is not None]
        assert len(contacted) <= shop.settings.contact.cap
