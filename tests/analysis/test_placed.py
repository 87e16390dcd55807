"""Where rows stand among all customers: cut, marked and spread as plain Python does it."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from aimwell.analysis.placed import place_rows

NAMES = st.text("aZé客0", min_size=1, max_size=3)
EVERYBODY = st.lists(NAMES, unique=True, max_size=8).map(lambda names: sorted(names, key=str.encode))
VALUES = st.dictionaries(NAMES, st.integers(1, 9), max_size=8)


def build(values: dict[str, int]) -> pa.Table:
    names = sorted(values, key=str.encode)
    numbers = pa.array([values[name] for name in names], pa.int64())
    return pa.table({"customer_id": pa.array(names, pa.string()), "n": numbers})


@given(EVERYBODY, st.lists(VALUES, min_size=1, max_size=3), st.data())
def test_each_row_stands_where_its_customer_does(
    everybody: list[str], several: list[dict[str, int]], data: st.DataObject
) -> None:
    names = pa.chunked_array([pa.array(everybody, pa.string())])
    start = data.draw(st.integers(0, len(everybody)))
    end = data.draw(st.integers(start, len(everybody)))
    wanted = everybody[start:end]
    for values, placed in zip(several, place_rows([build(one) for one in several], names), strict=True):
        assert placed.rows["customer_id"].to_pylist() == [name for name in everybody if name in values]
        part = placed.cut(start, end)
        assert part.rows["customer_id"].to_pylist() == [name for name in wanted if name in values]
        assert part.mark(len(wanted)).to_pylist() == [name in values for name in wanted]
        assert part.spread("n", len(wanted)).to_pylist() == [values.get(name, 0) for name in wanted]
