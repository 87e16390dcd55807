from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimwell.core.errors import BadInput
from aimwell.deployment.calendar import Calendar, Quiet, check_country, place_evenly

NIGHT = Quiet(time(21), time(9))
CLOCKS = ("Asia/Shanghai", "America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "UTC")


def at(zone: str, *parts: int, fold: int = 0) -> int:
    return int(datetime(*parts, tzinfo=ZoneInfo(zone), fold=fold).timestamp() * 1000)  # type: ignore[arg-type, misc]


def show(ms: int, zone: str) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC).astimezone(ZoneInfo(zone))


def test_the_night_is_the_customers_own() -> None:
    calendar = Calendar(zone="Asia/Shanghai", quiet={"sms": NIGHT}, spread=timedelta())
    evening = at("Asia/Shanghai", 2026, 3, 2, 22)
    assert calendar.find_release("sms", None, evening, key="a") == at("Asia/Shanghai", 2026, 3, 3, 9)
    assert calendar.find_release("sms", "Europe/Berlin", evening, key="a") is None, "afternoon there"
    assert calendar.find_release("email", None, evening, key="a") is None, "a mail does not ring"
    assert calendar.find_release("sms", "no/zone", evening, key="a") == at("Asia/Shanghai", 2026, 3, 3, 9)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [((2026, 3, 2, 21, 0), (2026, 3, 3, 9)), ((2026, 3, 2, 20, 59), None), ((2026, 3, 2, 8, 59), (2026, 3, 2, 9)),
     ((2026, 3, 2, 9, 0), None)],
)  # fmt: skip
def test_the_borders_of_a_night(parts: tuple[int, ...], expected: tuple[int, ...] | None) -> None:
    calendar = Calendar(zone="Asia/Shanghai", quiet={"sms": NIGHT}, spread=timedelta())
    found = calendar.find_release("sms", None, at("Asia/Shanghai", *parts), key="a")
    assert found == (None if expected is None else at("Asia/Shanghai", *expected))


@settings(max_examples=300, deadline=None)
@given(
    zone=st.sampled_from(CLOCKS),
    moment=st.datetimes(datetime(2025, 1, 1), datetime(2027, 12, 31)),
    start=st.times(),
    end=st.times(),
    spread=st.integers(0, 600),
    slot=st.sampled_from([None, "morning", "afternoon", "evening"]),
    key=st.text(max_size=8),
)
def test_what_is_released_is_never_in_quiet_hours(
    zone: str, moment: datetime, start: time, end: time, spread: int, slot: str | None, key: str
) -> None:
    quiet = Quiet(start.replace(second=0, microsecond=0), end.replace(second=0, microsecond=0))
    calendar = Calendar(zone=zone, quiet={"sms": quiet}, spread=timedelta(minutes=spread))
    now = int(moment.replace(tzinfo=UTC).timestamp() * 1000)
    found = calendar.find_release("sms", None, now, key=key)
    if found is not None:
        assert found > now
        assert not quiet.holds(show(found, zone).time())
        assert found - now <= timedelta(days=2).total_seconds() * 1000
    else:
        assert not quiet.holds(show(now, zone).time())
    hours = {"morning": (9, 12), "afternoon": (12, 18), "evening": (18, 21)}
    if slot is not None:
        in_slot = Calendar(zone=zone, spread=timedelta(minutes=spread)).find_release(
            "email", None, now, key=key, slot=slot
        )
        first, last = hours[slot]
        assert first <= show(now if in_slot is None else in_slot, zone).hour < last


def test_nights_in_which_clocks_change() -> None:
    calendar = Calendar(
        zone="America/New_York", quiet={"sms": Quiet(time(21), time(2, 30))}, spread=timedelta()
    )
    spring = calendar.find_release("sms", None, at("America/New_York", 2026, 3, 8, 1), key="a")
    assert spring is not None and show(spring, "America/New_York").hour == 3, "half past two is skipped"
    autumn = Calendar(
        zone="America/New_York", quiet={"sms": Quiet(time(21), time(1, 30))}, spread=timedelta()
    )
    second = at("America/New_York", 2026, 11, 1, 1, 10, fold=1)
    assert autumn.find_release("sms", None, second, key="a") == at(
        "America/New_York", 2026, 11, 1, 1, 30, fold=1
    )


def test_what_waited_is_released_evenly() -> None:
    calendar = Calendar(zone="Asia/Shanghai", quiet={"sms": NIGHT}, spread=timedelta(hours=1))
    night = at("Asia/Shanghai", 2026, 3, 2, 23)
    nine = at("Asia/Shanghai", 2026, 3, 3, 9)
    minutes = [0] * 60
    for number in range(6_000):
        found = calendar.find_release("sms", None, night, key=f"d{number}")
        assert found is not None
        minutes[(found - nine) // 60_000] += 1
        assert found == calendar.find_release("sms", None, night + 60_000, key=f"d{number}"), "the same place"
    assert min(minutes) > 60 and max(minutes) < 150
    assert 0 <= place_evenly("x") < 1


def test_chinese_holidays_and_working_weekends() -> None:
    holidays = Calendar(
        zone="Asia/Shanghai", countries=("CN",), send_on="not_on_holidays", spread=timedelta()
    )
    eve = at("Asia/Shanghai", 2026, 10, 1, 10)
    assert holidays.find_release("email", None, eve, key="a") == at("Asia/Shanghai", 2026, 10, 8, 9)
    assert holidays.find_release("email", None, eve, key="a", every_day=True) is None, (
        "a service message goes"
    )
    working = Calendar(zone="Asia/Shanghai", countries=("CN",), send_on="working_days", spread=timedelta())
    assert not working.rests(date(2026, 2, 14)), "a Saturday on which China works"
    assert holidays.rests(date(2026, 10, 4)), "a Sunday in the golden week"
    assert not holidays.rests(date(2026, 10, 10)), "a Saturday on which China works"
    assert working.rests(date(2026, 3, 7)), "a Saturday like any other"
    assert not holidays.rests(date(2026, 3, 7))
    assert check_country("CN") == "CN"
    with pytest.raises(BadInput):
        check_country("XX")


def test_a_service_message_keeps_quiet_hours_too() -> None:
    calendar = Calendar(zone="Asia/Shanghai", quiet={"sms": NIGHT}, spread=timedelta())
    night = at("Asia/Shanghai", 2026, 10, 1, 23)
    assert calendar.find_release("sms", None, night, key="a", every_day=True) == at(
        "Asia/Shanghai", 2026, 10, 2, 9
    )
