from __future__ import annotations

from bisect import bisect_left
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aimwell.core.errors import BadInput
from aimwell.deployment.ramp import Meter, Pace

START = 1_772_000_000_000


@settings(max_examples=60, deadline=None)
@given(
    rate=st.integers(1, 5_000),
    gaps=st.lists(st.sampled_from([0, 1, 7, 50, 900, 5_000, 61_000]), min_size=5, max_size=120),
    share=st.floats(0.1, 1.0),
)
def test_no_minute_holds_more_than_the_rate(rate: int, gaps: list[int], share: float) -> None:
    meter, now, sent = Meter(Pace(per_minute=rate), START), START, []
    for gap in gaps:
        now += gap
        places = meter.count_places(now)
        assert places is not None and places >= 0
        taken = int(places * share)
        sent += [now] * taken
        meter = meter.take(taken, now)
    for first, at in enumerate(sent):
        assert bisect_left(sent, at + 60_000) - first <= rate


def test_the_rate_is_used() -> None:
    meter, now, sent = Meter(Pace(per_minute=600), START), START, 0
    while now < START + 600_000:
        places = meter.count_places(now) or 0
        sent, meter = sent + places, meter.take(places, now)
        now = max(now + 1, meter.find_next(now))
    assert 5_800 <= sent <= 6_000


def test_both_rates_hold_and_the_warm_up_doubles() -> None:
    pace = Pace(per_minute=100, per_hour=1_000, warmup_per_hour=10, warmup_hours=24)
    days = [pace.find_hourly(day * 86_400_000) for day in range(9)]
    assert days == [10, 20, 40, 80, 160, 320, 640, 1_000, 1_000]
    meter = Meter(pace, START)
    assert meter.count_places(START) == 1
    later = meter.take(1, START)
    assert later.count_places(START + 60_000) == 0
    assert later.find_next(START) == START + 360_000
    assert later.count_places(START + 360_000) == 1


def test_a_clock_that_was_put_back_stops_nobody() -> None:
    meter = Meter(Pace(per_minute=60), START).take(1, START)
    assert meter.count_places(START - 3_600_000) == 1
    again = meter.take(1, START - 3_600_000)
    assert again.count_places(START - 3_600_000) == 0
    assert again.count_places(START - 3_599_000) == 1


def test_waves_are_fixed_by_the_delivery() -> None:
    pace = Pace(waves=(0.1, 0.3, 0.6), wave_hours=2)
    places = Counter(pace.place_wave(f"d{number}") for number in range(20_000))
    assert set(places) == {0, 7_200_000, 14_400_000}
    assert [round(places[at] / 20_000, 1) for at in sorted(places)] == [0.1, 0.3, 0.6]
    assert pace.place_wave("d1") == pace.place_wave("d1")
    assert Pace().place_wave("d1") == 0
    assert Pace.from_json(pace.to_json()) == pace
    assert not Pace(waves=(1.0,)).limits and Pace(per_hour=5).limits


@pytest.mark.parametrize(
    "values", [{"per_minute": 0}, {"waves": (0.5, 0.4)}, {"warmup_hours": 0.0}, {"waves": (1.2, -0.2)}]
)
def test_a_pace_that_cannot_be_kept_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(BadInput) as caught:
        Pace(**values)  # type: ignore[arg-type]
    assert caught.value.code == "deployment.bad_pace"
