"""Days belong to the business's calendar; windows hold their start and not their end."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimwell.core.errors import BadInput
from aimwell.core.time import Window, business_day, now, zone

days = st.dates(date(1990, 1, 1), date(2090, 1, 1))


def test_now_knows_its_zone() -> None:
    assert now().tzinfo is UTC


@pytest.mark.parametrize(
    ("name", "day"),
    [("Asia/Shanghai", date(2017, 9, 2)), ("America/New_York", date(2017, 9, 1)), ("UTC", date(2017, 9, 1))],
)
def test_the_day_is_the_businesss(name: str, day: date) -> None:
    assert business_day(datetime(2017, 9, 1, 20, 30, tzinfo=UTC), name) == day


def test_the_night_of_the_clock_change_has_one_day() -> None:
    before, after = datetime(2017, 11, 5, 5, 30, tzinfo=UTC), datetime(2017, 11, 5, 6, 30, tzinfo=UTC)
    assert (
        business_day(before, "America/New_York")
        == business_day(after, "America/New_York")
        == date(2017, 11, 5)
    )


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../../etc/passwd", "Asia/Shang hai"])
def test_an_unknown_zone_names_the_remedy(name: str) -> None:
    with pytest.raises(BadInput) as caught:
        zone(name)
    assert caught.value.code == "core.unknown_zone"
    assert "Asia/Shanghai" in caught.value.render("en")
    assert caught.value.where == {"value": name}


@given(days, st.integers(1, 1000))
def test_windows_before_and_after_a_day_touch_at_it(day: date, length: int) -> None:
    before, after = Window.before(day, length), Window.after(day, length)
    assert before.end == after.start == day
    assert before.days == after.days == length
    assert before.start + timedelta(days=length) == day


@given(days, st.integers(0, 1000))
def test_an_empty_window_is_refused(day: date, length: int) -> None:
    with pytest.raises(BadInput, match="holds no day"):
        Window(day, day - timedelta(days=length))
