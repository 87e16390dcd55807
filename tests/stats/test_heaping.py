"""Round values against their smooth neighbourhood."""

from __future__ import annotations

import pytest

from aimwell.stats.heaping import find_digit_p_value, find_heap
from aimwell.stats.stability import find_shift, find_vanished


def test_a_cubic_has_no_heap() -> None:
    at, *around = (value**3 - 4 * value + 5000 for value in (20, 18, 19, 21, 22))
    heap = find_heap(at, around)
    assert heap.expected == pytest.approx(at)
    assert heap.p_value > 0.3
    assert heap.excess == 0


def test_twice_as_many_as_around_is_a_heap() -> None:
    heap = find_heap(400, [200, 200, 200, 200])
    assert heap.p_value < 1e-9
    assert heap.excess == 200


def test_where_nobody_is_around_values_are_coarse_not_heaped() -> None:
    assert find_heap(500, [0, 1, 0, 2]).p_value == 1.0


def test_even_digits_pass_and_uneven_ones_do_not() -> None:
    assert find_digit_p_value([100] * 10) == pytest.approx(1.0)
    assert find_digit_p_value([200, *[89] * 9]) < 1e-6
    assert find_digit_p_value([3] * 10) == 1.0


def test_a_shift_is_told_with_its_place() -> None:
    assert find_shift([500, 500], [50, 50]).index == pytest.approx(0.0, abs=1e-6)
    shift = find_shift([500, 500], [90, 10])
    assert shift.index > 0.25
    assert shift.p_value < 1e-6
    assert (shift.place, round(shift.change, 1)) in ((0, 0.4), (1, -0.4))
    assert find_shift([0, 5], [0, 9]).p_value == 1.0
    assert find_vanished(0.1, 100) == pytest.approx(4.54e-5, rel=0.01)
