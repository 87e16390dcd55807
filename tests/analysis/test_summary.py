"""How the values of a tag are shown: every customer is in one bin, and whole numbers stay whole."""

from __future__ import annotations

from itertools import pairwise

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from aimwell.analysis.catalogue import CATALOGUE
from aimwell.analysis.summary import describe_values

COUNTED = next(tag for tag in CATALOGUE if tag.unit and tag.name == "recency_days")


@given(st.lists(st.integers(-1000, 10**12) | st.integers(0, 30), min_size=1))
def test_whole_numbers_have_bins_of_whole_width(values: list[int]) -> None:
    bins = describe_values(COUNTED, pa.chunked_array([pa.array(values, pa.int64())]))["bins"]
    assert 1 <= len(bins) <= 20 and sum(one["customers"] for one in bins) == len(values)
    assert len({one["to"] - one["from"] for one in bins}) == 1
    assert all(later["from"] == one["to"] + 1 for one, later in pairwise(bins))
    assert bins[0]["from"] == min(values)
    for one in bins[:-1]:
        assert one["customers"] == sum(one["from"] <= value <= one["to"] for value in values)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1))
def test_other_numbers_are_all_counted(values: list[float]) -> None:
    bins = describe_values(COUNTED, pa.chunked_array([pa.array(values, pa.float64())]))["bins"]
    assert len(bins) == 20 and sum(one["customers"] for one in bins) == len(values)
