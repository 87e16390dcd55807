"""Local times, clocks that are changed, dates that return, dates that move: of journeys."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, date, datetime, time
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimwell.deployment.journeys.graph import (
    Action,
    DateEntry,
    EventEntry,
    EventIs,
    Exit,
    Goal,
    Reentry,
    ScheduleEntry,
    Span,
    Wait,
    WaitDate,
    WaitEvent,
    WaitUntil,
)
from aimwell.deployment.journeys.knowledge import name_rule
from aimwell.deployment.journeys.local_time import (
    add_span,
    find_instant,
    find_next,
    find_next_slot,
    find_slot,
    find_zone,
    list_returns,
    read_date,
)
from aimwell.engine.rule import Compare
from tests.deployment.journeys.world import BERLIN, DAY, HOUR, MINUTE, START, World, welcome

REST = (("rest", Wait(Span(days=30))),)


def show(at_ms: int, zone: str = BERLIN) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(ZoneInfo(zone)).strftime("%m-%d %H:%M%z")


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def test_a_time_that_the_day_does_not_have_is_the_first_after_the_gap() -> None:
    assert show(find_instant(date(2026, 3, 29), time(2, 30), BERLIN)) == "03-29 03:00+0200"
    assert show(find_instant(date(2026, 3, 29), time(3, 0), BERLIN)) == "03-29 03:00+0200"
    # Lord Howe puts its clocks forward by half an hour only.
    assert show(
        find_instant(date(2026, 10, 4), time(2, 15), "Australia/Lord_Howe"), "Australia/Lord_Howe"
    ) == ("10-04 02:30+1100")


def test_a_time_that_the_day_has_twice_is_the_first_of_the_two() -> None:
    assert show(find_instant(date(2026, 10, 25), time(2, 30), BERLIN)) == "10-25 02:30+0200"
    first = find_instant(date(2026, 10, 25), time(2, 30), BERLIN)
    # Between the two, the next one is that of the day after.
    later = find_next(first // MINUTE + 30, time(2, 30), (), BERLIN)
    assert show(later) == "10-26 02:30+0100"


def test_days_are_of_the_calendar_and_hours_run_through() -> None:
    before = at("2026-03-28T09:30:00+01:00")
    assert show(add_span(before, Span(days=1), BERLIN)) == "03-29 09:30+0200"
    assert show(add_span(before, Span(hours=24), BERLIN)) == "03-29 10:30+0200"
    assert show(add_span(at("2026-03-28T02:30:00+01:00"), Span(days=1), BERLIN)) == "03-29 03:00+0200"


@given(
    minute=st.integers(28_000_000, 31_000_000),
    clock=st.times().map(lambda found: found.replace(second=0, microsecond=0)),
    zone=st.sampled_from(
        [BERLIN, "Asia/Shanghai", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]
    ),
)
def test_the_next_time_of_day_comes_within_two_days_and_goes_on_only(
    minute: int, clock: time, zone: str
) -> None:
    first = find_next(minute, clock, (), zone)
    assert minute * MINUTE < first <= minute * MINUTE + 49 * HOUR
    second = find_next(first // MINUTE, clock, (), zone)
    assert second > first
    local = datetime.fromtimestamp(first / 1000, UTC).astimezone(ZoneInfo(zone))
    # The clock's time, but in a gap.
    assert (
        local.time() == clock
        or local.utcoffset()
        != datetime.fromtimestamp(first / 1000 - 60, UTC).astimezone(ZoneInfo(zone)).utcoffset()
    )


def test_returns_of_29_february() -> None:
    born = date(2000, 2, 29)
    assert list_returns(born, date(2025, 1, 1), date(2028, 12, 31)) == [
        date(2025, 2, 28), date(2026, 2, 28), date(2027, 2, 28), date(2028, 2, 29),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "day"),
    [("2026-03-01", date(2026, 3, 1)), ("2026/3/1", date(2026, 3, 1)), ("20260301", date(2026, 3, 1)),
     ("2026年3月1日", date(2026, 3, 1)), ("2026-03-01T10:00:00Z", date(2026, 3, 1)), ("2026-02-30", None),
     ("soon", None), ("", None), ("2026", None), (None, None)],
)  # fmt: skip
def test_dates_as_people_write_them(text: str | None, day: date | None) -> None:
    assert read_date(text) == day


def test_zones_of_customers() -> None:
    assert find_zone({"timezone": "Asia/Tokyo"}, BERLIN) == "Asia/Tokyo"
    assert find_zone({"timezone": "Mars/Olympus"}, BERLIN) == BERLIN == find_zone({}, BERLIN)


def test_slots() -> None:
    rule = Compare("x", "=", 1)
    monthly = ScheduleEntry("rest", "09:00", "month", rule, day=31)
    assert show(find_next_slot(monthly, at("2026-02-01T00:00:00+01:00"), BERLIN) or 0) == "02-28 09:00+0100"
    weekly = ScheduleEntry("rest", "09:00", "week", rule, day=1)
    assert show(find_slot(weekly, START - 30 * DAY, START + HOUR, BERLIN) or 0) == "03-02 09:00+0100"
    assert find_slot(weekly, START, START + HOUR, BERLIN) is None
    once = ScheduleEntry("rest", "09:00", "once", rule, date="2026-03-05")
    assert find_next_slot(once, at("2026-03-06T00:00:00+01:00"), BERLIN) is None


def test_waits_in_the_customers_zone(world: World) -> None:
    world.people.zones = {"tokyo": "Asia/Tokyo", "york": "America/New_York"}
    nodes = (("nine", WaitUntil("09:00", next="rest")), *REST)
    world.start(welcome(entries=(EventEntry("nine", EventIs("Signed Up")),), nodes=nodes))
    world.post(("tokyo", "Signed Up"), ("york", "Signed Up"), ("here", "Signed Up"), at_ms=START + MINUTE)
    world.step(START + MINUTE)
    due = {row["customer_id"]: show(row["due_ms"]) for row in world.rows()}
    assert due == {"tokyo": "03-03 01:00+0100", "york": "03-02 15:00+0100", "here": "03-03 09:00+0100"}


NINE = WaitUntil("09:00", next="mail")
MAIL = Action("email", next="again")


def test_an_hour_that_is_reached_at_just_that_minute_has_come(world: World) -> None:
    nodes = (("days", Wait(Span(days=2), next="nine")), ("nine", NINE), ("mail", MAIL), ("again", NINE))
    world.start(welcome(entries=(EventEntry("days", EventIs("Signed Up")),), nodes=nodes))
    # START is nine o'clock; a worker that comes late keeps nobody for a day, and an hour counts once.
    world.post(("ann", "Signed Up"), at_ms=START + 59_000)
    world.step(START + 59_000)
    world.post(("bob", "Signed Up"), at_ms=START + MINUTE)
    world.step(START + MINUTE)
    world.step(START + 2 * DAY + 3 * HOUR)
    due = [(row["customer_id"], row["node"], show(row["due_ms"])) for row in world.rows()]
    assert due == [("ann", "again", "03-05 09:00+0100"), ("bob", "nine", "03-05 09:00+0100")]
    (sent,) = world.deliveries()
    # What comes after such a wait is known of whoever passes it at once.
    assert sent["customer_id"] == "ann" and sent["reachable"]
    # In a circle it is a day from one to the next.
    for day in (3, 4):
        world.step(START + day * DAY)
    assert Counter(row["customer_id"] for row in world.deliveries()) == {"ann": 3, "bob": 2}


def test_an_event_in_the_minute_of_the_hour_does_not_bring_it_back(world: World) -> None:
    asks = WaitEvent(EventIs("Clicked"), Span(days=3), "nine", None)
    nodes = (("nine", NINE), ("mail", MAIL), ("again", asks))
    world.start(welcome(entries=(EventEntry("nine", EventIs("Signed Up")),), nodes=nodes))
    world.post(("ann", "Signed Up"))
    world.step(START)
    for second in (10, 20):
        world.post(("ann", "Clicked"), at_ms=START + second * 1000)
        world.step(START + second * 1000)
    (row,) = world.rows()
    assert (row["node"], show(row["due_ms"]), len(world.deliveries())) == ("nine", "03-03 09:00+0100", 1)


def test_birthdays_come_once_a_year_whatever_the_clock_does(world: World) -> None:
    world.people.dates = {
        "customers.birthday": {"ann": date(1990, 3, 9), "leap": date(2000, 2, 29), "no": date(1990, 6, 1)}
    }
    entry = DateEntry("rest", "customers.birthday", -7, "09:00", "year")
    nodes = (("rest", Wait(Span(days=3))),)
    world.start(welcome(entries=(entry,), nodes=nodes, reentry=Reentry("always")), START - DAY)
    world.step(START - HOUR)
    assert world.rows() == []
    world.step(START)
    assert world.places() == {"ann": ("waiting", "rest")}
    # An hour back, and on again: nothing twice, though the clock passes nine again and again.
    for now_ms in (START - HOUR, START, START + HOUR, START + 3 * DAY, START + 3 * DAY + HOUR):
        world.step(now_ms)
    assert len(world.rows()) == 1
    world.step(at("2027-02-21T10:00:00+01:00"))
    assert [row["occasion"] for row in world.rows()] == [
        "customers.birthday:2026-03-09",
        "customers.birthday:2027-02-28",
    ]


def test_a_worker_that_slept_catches_up_with_dates(world: World) -> None:
    days = {f"c{n}": date(2026, 3, 2 + n) for n in range(6)}
    world.people.dates = {"customers.ends_on": days}
    world.start(welcome(entries=(DateEntry("rest", "customers.ends_on", 0, "09:00"),), nodes=REST))
    world.step(START + MINUTE)
    assert set(world.places()) == {"c0"}
    world.step(START + 4 * DAY)
    assert set(world.places()) == {"c0", "c1", "c2", "c3", "c4"}


def test_a_date_that_moves_while_people_wait_for_it(world: World) -> None:
    column = "customers.policy_ends_on"
    world.people.dates = {column: dict.fromkeys(("ann", "bob", "cid"), date(2026, 4, 1))}
    nodes = (
        ("wait", WaitDate(column, -10, "09:00", next="win", otherwise="none")),
        ("win", Goal()),
        ("none", Exit()),
    )
    world.start(welcome(entries=(EventEntry("wait", EventIs("Signed Up")),), nodes=nodes))
    world.post(*[(name, "Signed Up") for name in ("ann", "bob", "cid", "dan")])
    world.step(START)
    assert world.places()["dan"] == ("exit", "none")
    # Sooner, later, gone.
    world.people.dates[column] = {"ann": date(2026, 3, 20), "bob": date(2026, 5, 1)}
    world.people.version += 1
    world.step(START + DAY)
    assert world.places()["cid"] == ("exit", "none")
    assert (
        show(next(row["due_ms"] for row in world.rows() if row["customer_id"] == "ann")) == "03-10 09:00+0100"
    )
    world.step(at("2026-03-22T10:00:00+01:00"))
    assert world.places()["ann"] == ("goal", "win") and world.places()["bob"] == ("waiting", "wait")
    # Put off at the last moment, unnoticed until then.
    world.people.dates[column]["bob"] = date(2026, 7, 1)
    world.step(at("2026-04-21T10:00:00+02:00"))
    assert world.places()["bob"] == ("waiting", "wait")
    world.step(at("2026-06-21T10:00:00+02:00"))
    assert world.places()["bob"] == ("goal", "win")


def test_a_date_that_an_event_brought(world: World) -> None:
    nodes = (
        ("wait", WaitDate("event.expires_on", -2, "09:00", next="win", otherwise="none")),
        ("win", Goal()),
        ("none", Exit()),
    )
    world.start(welcome(entries=(EventEntry("wait", EventIs("Bought")),), nodes=nodes))
    days = {"ann": "2026-03-06", "late": "2026-03-01", "odd": "tomorrow"}
    world.post(*[(name, "Bought", {"expires_on": day}) for name, day in days.items()])
    world.step(START)
    assert world.places() == {"ann": ("waiting", "wait"), "late": ("goal", "win"), "odd": ("exit", "none")}
    world.step(at("2026-03-04T09:00:00+01:00"))
    assert world.places()["ann"] == ("goal", "win")


def test_a_schedule_takes_everybody_with_the_rule_once_a_slot(world: World) -> None:
    rule = Compare("orders", ">", 3)
    world.people.holders = {name_rule(rule): {"ann", "bob"}}
    entry = ScheduleEntry("rest", "09:00", "week", rule, day=1)
    nodes = (("rest", Wait(Span(days=2))),)
    world.start(welcome(entries=(entry,), nodes=nodes, reentry=Reentry("always")), START - HOUR)
    world.step(START - MINUTE)
    assert world.rows() == []
    for now_ms in (START, START - HOUR, START, START + DAY, START + 3 * DAY):
        world.step(now_ms)
    assert len(world.rows()) == 2
    # Three Mondays passed while nobody worked: the newest counts.
    world.step(START + 22 * DAY)
    assert len(world.rows()) == 4
