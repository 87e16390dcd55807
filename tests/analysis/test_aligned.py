"""Tables in step: cut, aligned and laid over each other as plain Python does it."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from aimwell.analysis.aligned import align_rows, cut_range, cut_to, lay_over, mark_changes, sort_rows
from aimwell.engine.tag_plan import Among

NAMES = st.text("aZé客0", min_size=1, max_size=3)
VALUES = st.dictionaries(NAMES, st.one_of(st.none(), st.integers(0, 9)), max_size=8)


def build(values: dict[str, int | None]) -> pa.Table:
    names = sorted(values, key=str.encode)
    return pa.table(
        {
            "customer_id": pa.array(names, pa.string()),
            "n": pa.array([values[name] for name in names], pa.int64()),
        }
    )


def read(table: pa.Table) -> dict[str, int | None]:
    return dict(zip(table["customer_id"].to_pylist(), table["n"].to_pylist(), strict=True))


@given(VALUES, st.lists(NAMES, unique=True, max_size=8))
def test_rows_are_sorted_as_bytes_and_aligned_with_names(
    values: dict[str, int | None], names: list[str]
) -> None:
    table = build(values)
    assert sort_rows(table.take(pa.array(range(len(values))[::-1], pa.int64()))).equals(table)
    wanted = pa.chunked_array([pa.array(sorted(names, key=str.encode), pa.string())])
    found = align_rows(table, wanted)
    assert found["customer_id"].equals(wanted)
    assert read(found) == {name: values.get(name) for name in names}


@given(VALUES, VALUES)
def test_what_lies_over_counts_for_those_whom_it_knows(
    lower: dict[str, int | None], upper: dict[str, int | None]
) -> None:
    table = build(lower)
    found = lay_over(table["customer_id"], {"n": table["n"]}, build(upper))
    expected = {name: upper.get(name, value) if name in upper else value for name, value in lower.items()}
    assert read(pa.table({"customer_id": table["customer_id"], **found})) == expected


@given(VALUES, st.one_of(st.none(), NAMES), st.one_of(st.none(), NAMES))
def test_a_range_holds_the_names_from_low_up_to_high(
    values: dict[str, int | None], low: str | None, high: str | None
) -> None:
    found = cut_range(build(values), Among(low, high)) if low is None or high is None or low <= high else None
    if found is not None:
        after = {name for name in values if low is None or name.encode() >= low.encode()}
        assert set(read(found)) == {name for name in after if high is None or name.encode() < high.encode()}
    ends = pa.chunked_array([pa.array(sorted({low or "a", high or "客"}, key=str.encode))])
    first, last = ends[0].as_py().encode(), ends[-1].as_py().encode()
    assert set(read(cut_to(build(values), ends))) == {
        name for name in values if first <= name.encode() <= last
    }


def test_empty_is_like_empty_and_unlike_anything_else() -> None:
    one, other = pa.chunked_array([[1, None, None, 4]]), pa.chunked_array([[1, None, 3, None]])
    assert mark_changes(one, other).to_pylist() == [False, False, True, True]
