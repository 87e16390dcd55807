"""How revenue concentrates."""

from __future__ import annotations

from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimwell.analysis.value import measure_curve


def build(*revenue: float | None) -> pa.Table:
    return pa.table({"revenue_365d": pa.array(revenue, pa.float64())})


def test_the_best_fifth_is_rounded_up_and_those_without_revenue_do_not_count() -> None:
    found = measure_curve(build(50.0, 30.0, 10.0, 5.0, 3.0, 2.0, 0.0, None, -4.0))
    assert found["top20_revenue_share"] == 0.8
    assert found["curve"][0] == [0.0, 0.0]
    assert found["curve"][-1] == [1.0, 1.0]


def test_without_revenue_there_is_no_curve() -> None:
    assert measure_curve(build(None, 0.0)) == {"top20_revenue_share": None, "curve": []}


@given(st.lists(st.floats(0.01, 1e6), min_size=1, max_size=30))
def test_the_curve_rises_ever_more_slowly(revenue: list[float]) -> None:
    shares = [share for _, share in measure_curve(build(*revenue))["curve"]]
    steps = [after - before for before, after in pairwise(shares)]
    assert shares[-1] == pytest.approx(1.0)
    assert all(step >= -1e-9 for step in steps)
    assert all(after <= before + 2e-4 for before, after in pairwise(steps))
