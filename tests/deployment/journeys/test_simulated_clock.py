"""Simulations whose clock runs over changes of clocks and over holidays: nine in the morning comes once a day."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from aimwell.deployment.calendar import Calendar
from aimwell.deployment.journeys.graph import Action, EventEntry, EventIs, Span, Wait, WaitUntil
from aimwell.deployment.journeys.simulate import Simulated, find_start, simulate
from aimwell.deployment.journeys.stream import Event
from tests.deployment.journeys.world import MINUTE, People, welcome

NEW_YORK, BERLIN, SHANGHAI = "America/New_York", "Europe/Berlin", "Asia/Shanghai"


def play(zone: str, first: date, clock: str) -> Simulated:
    """A mail each day at that time of the customer's zone, for three days; the business is elsewhere."""
    journey = welcome(
        entries=(EventEntry("sleep", EventIs("Signed Up")),),
        nodes=(
            ("sleep", WaitUntil(clock, next="mail")),
            ("mail", Action("email", next="sleep")),
        ),
    )
    start_ms = find_start(first, zone)
    event = Event("e1", "ann", "Signed Up", start_ms + MINUTE, {}, 1)
    people = People(zone="UTC", zones={"ann": zone})
    return simulate(journey, [event], people, start_ms=start_ms, days=3, zone="UTC")


def show(at_ms: int, zone: str) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(ZoneInfo(zone)).strftime("%m-%d %H:%M%z")


@pytest.mark.parametrize(
    ("zone", "first", "clock", "expected"),
    [
        (NEW_YORK, date(2026, 3, 7), "09:00", ("03-07 09:00-0500", "03-08 09:00-0400", "03-09 09:00-0400")),
        (NEW_YORK, date(2026, 10, 31), "09:00", ("10-31 09:00-0400", "11-01 09:00-0500", "11-02 09:00-0500")),
        (NEW_YORK, date(2026, 10, 31), "01:30", ("10-31 01:30-0400", "11-01 01:30-0400", "11-02 01:30-0500")),
        (BERLIN, date(2026, 3, 28), "09:00", ("03-28 09:00+0100", "03-29 09:00+0200", "03-30 09:00+0200")),
        (BERLIN, date(2026, 3, 28), "02:30", ("03-28 02:30+0100", "03-29 03:00+0200", "03-30 02:30+0200")),
        (BERLIN, date(2026, 10, 24), "09:00", ("10-24 09:00+0200", "10-25 09:00+0100", "10-26 09:00+0100")),
        (BERLIN, date(2026, 10, 24), "02:30", ("10-24 02:30+0200", "10-25 02:30+0200", "10-26 02:30+0100")),
        # New Year's Eve and the holidays after it.
        (SHANGHAI, date(2026, 2, 16), "09:00", ("02-16 09:00+0800", "02-17 09:00+0800", "02-18 09:00+0800")),
    ],
)  # fmt: skip
def test_a_time_of_day_comes_once_a_day(
    zone: str, first: date, clock: str, expected: tuple[str, ...]
) -> None:
    done = play(zone, first, clock)
    mail = next(row for row in done.figures["nodes"] if row["node"] == "mail")
    assert mail["treatment"]["entered"] == mail["treatment"]["queued"] == 3
    # Of three the first, the median and the last are all.
    assert tuple(show(at_ms, zone) for at_ms in done.times["mail"]) == expected


def test_holidays_keep_the_message_not_the_customer() -> None:
    """A journey goes on; policy lets its message wait for the first working day."""
    done = play(SHANGHAI, date(2026, 2, 16), "09:00")
    calendar = Calendar(zone=SHANGHAI, countries=("CN",), send_on="working_days", spread=timedelta())
    eve, new_year, _ = done.times["mail"]
    for at_ms in (eve, new_year):
        released = calendar.find_release("email", SHANGHAI, at_ms, key="ann")
        assert released is not None and show(released, SHANGHAI)[:5] == "02-24"


@pytest.mark.parametrize(("first", "hours"), [(date(2026, 3, 7), 23), (date(2026, 10, 31), 25)])
def test_a_day_of_waiting_is_one_of_the_calendar(first: date, hours: int) -> None:
    journey = welcome(
        entries=(EventEntry("pause", EventIs("Signed Up")),),
        nodes=(("pause", Wait(Span(days=1), "mail")), ("mail", Action("email"))),
    )
    start_ms = find_start(first, NEW_YORK) + 12 * 60 * MINUTE
    events = [Event("e1", "ann", "Signed Up", start_ms, {}, 1)]
    people = People(zone=NEW_YORK)
    done = simulate(journey, events, people, start_ms=start_ms, days=3, zone=NEW_YORK)
    assert done.times["mail"][0] - done.times["pause"][0] == hours * 60 * MINUTE
