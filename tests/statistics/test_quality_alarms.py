"""Quality's statistics over many data sets: clean ones hardly ever alarm, planted faults nearly always do."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from aimwell.data.quality_drift import ALPHA as DRIFT_ALPHA
from aimwell.data.quality_numbers import ALPHA, BASES
from aimwell.data.quality_time import ALPHA as TIME_ALPHA
from aimwell.data.quality_time import find_gaps
from aimwell.stats.heaping import find_digit_p_value, find_heap
from aimwell.stats.stability import MODERATE, find_shift

COLUMNS = 4
LEVEL = ALPHA / (COLUMNS * (len(BASES) + 2))
SETS = 400
START = date(2025, 1, 1)


def draw_columns(draw: np.random.Generator, rows: int) -> list[NDArray[np.int64]]:
    """Ages, balances, minutes and points as honest people give them."""
    shapes = (
        draw.normal(45, 14, rows).clip(18, 95),
        draw.lognormal(7.2, 1.1, rows),
        draw.gamma(2.0, 180.0, rows),
        draw.exponential(3000.0, rows),
    )
    return [np.rint(shape).astype(np.int64) for shape in shapes]


def alarms(values: NDArray[np.int64]) -> bool:
    """As ``quality_numbers`` judges a column, without its limits on shares: those only make alarms rarer."""
    x = values[values != 0]
    for base in BASES:
        counts = [int(np.sum(((x - step) % base == 0) & (x != step))) for step in (-2, -1, 0, 1, 2)]
        heap = find_heap(counts[2], [counts[0], counts[1], counts[3], counts[4]])
        if heap.p_value < LEVEL and heap.excess >= 0.02 * len(x):
            return True
    digits = [int(np.sum(x[x >= 1000] % 10 == digit)) for digit in range(10)]
    same = [sum(int(np.sum(x - step == value)) for value in SAME) for step in (-2, -1, 0, 1, 2)]
    repeated = find_heap(same[2], [same[0], same[1], same[3], same[4]])
    return find_digit_p_value(digits) < LEVEL or repeated.p_value < LEVEL


SAME = [int(str(digit) * length) for length in range(3, 7) for digit in range(1, 10)]


def test_clean_data_alarm_in_at_most_five_of_a_hundred_reports() -> None:
    false = 0
    for seed in range(SETS):
        draw = np.random.default_rng(seed)
        rows = (300, 1000, 4000, 20000)[seed % 4]
        report = any(alarms(column) for column in draw_columns(draw, rows))
        report |= bool(find_gaps(draw_days(draw), TIME_ALPHA))
        report |= drifts(draw, 0.0)
        false += report
    assert false <= 0.05 * SETS, false


def draw_days(draw: np.random.Generator, *, silent: int = 0) -> dict[date, int]:
    """A year of a shop that closes on Sundays, has a bad day now and then, and ``silent`` missing days."""
    days = {}
    first = int(draw.integers(60, 280))
    for number in range(365):
        day = START + timedelta(days=number)
        closed = day.weekday() == 6 or draw.random() < 0.02
        if not closed and not first <= number < first + silent:
            days[day] = int(draw.poisson(20)) + 1
    return days


def drifts(draw: np.random.Generator, change: float) -> bool:
    """Eight columns of ten equal bins; ``change`` is what the first bin gains of a new load."""
    found = False
    for column in range(8):
        before = draw.multinomial(5000, [0.1] * 10).tolist()
        extra = change if column == 0 else 0.0
        after = draw.multinomial(900, [0.1 + 0.9 * extra, *[0.1 - 0.1 * extra] * 9]).tolist()
        shift = find_shift(before, after)
        found |= shift.p_value < DRIFT_ALPHA / 9 and shift.index >= MODERATE
    return bool(found)


def test_planted_faults_are_found() -> None:
    heaped = invented = gaps = drifted = 0
    for seed in range(100):
        draw = np.random.default_rng(10_000 + seed)
        ages, balances, *_ = draw_columns(draw, 2000)
        rounded = draw.random(2000) < 0.25
        heaped += alarms(np.where(rounded, 5 * np.rint(ages / 5).astype(np.int64), ages))
        made_up = draw.random(2000) < 0.04
        invented += alarms(np.where(made_up, draw.choice([777, 888, 5555], 2000), balances))
        gaps += bool(find_gaps(draw_days(draw, silent=7), TIME_ALPHA))
        drifted += drifts(draw, 0.2)
    assert min(heaped, invented, gaps, drifted) >= 95, (heaped, invented, gaps, drifted)
