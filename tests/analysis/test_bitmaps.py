"""Segments as bitmaps: the same sets as plain Python's, as they were found and as they are kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyroaring import BitMap

from aimwell.analysis.bitmaps import SegmentBitmaps, build_bitmaps, number_members, read_bitmaps
from aimwell.analysis.rule_text import parse_rule
from aimwell.analysis.segments import BUILT_IN, find_members
from aimwell.analysis.step import describe
from aimwell.core.errors import BadInput
from aimwell.engine.rule import All, Any, InSegment, Not, Rule
from aimwell.engine.rule_types import read_rule_types
from tests.analysis.shop import AS_OF, load_shop, make_workspace

SIZE = 12
SETS = st.lists(st.sets(st.integers(0, SIZE - 1)), min_size=3, max_size=3)
RULES: st.SearchStrategy[Rule] = st.recursive(
    st.sampled_from(["s0", "s1", "s2"]).map(InSegment),
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(All, st.lists(inner, max_size=3).map(tuple)),
        st.builds(Any, st.lists(inner, max_size=3).map(tuple)),
    ),
    max_leaves=6,
)


def build(sets: list[set[int]]) -> SegmentBitmaps:
    ids = pa.array([f"c{number:02d}" for number in range(SIZE)])
    return SegmentBitmaps(ids, {f"s{number}": BitMap(members) for number, members in enumerate(sets)})


def work_out(rule: Rule, sets: list[set[int]]) -> set[int]:
    match rule:
        case InSegment(segment=name):
            return sets[int(name[1:])]
        case All(rules=parts):
            return set.intersection(set(range(SIZE)), *(work_out(part, sets) for part in parts))
        case Any(rules=parts):
            return set().union(*(work_out(part, sets) for part in parts))
        case Not(rule=inner):
            return set(range(SIZE)) - work_out(inner, sets)
    raise AssertionError(rule)


@given(RULES, SETS)
def test_set_algebra_equals_plain_sets(rule: Rule, sets: list[set[int]]) -> None:
    bitmaps = build(sets)
    assert set(bitmaps.select(rule)) == work_out(rule, sets)
    assert bitmaps.count(rule) == len(work_out(rule, sets))
    assert [set(members) for members in bitmaps.members.values()] == sets, "nothing is changed by asking"


@given(SETS)
def test_overlaps_equal_plain_sets(sets: list[set[int]]) -> None:
    bitmaps = build(sets)
    assert bitmaps.count_overlaps() == [[len(one & other) for other in sets] for one in sets]
    asked = bitmaps.select(InSegment("s0"))
    assert bitmaps.count_shared(asked) == {f"s{n}": len(sets[0] & other) for n, other in enumerate(sets)}


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from([0, 1, 9, 65_535, 65_536, 65_537, 140_000]),
    st.sampled_from([0.0, 0.001, 0.06, 0.07, 0.5, 1.0]),
    st.integers(0, 9),
)
def test_the_true_rows_are_the_members(rows: int, share: float, seed: int) -> None:
    """With few of many, with many, with all; and of a column of a table that stands by rows."""
    flags = np.random.default_rng(seed).random((rows, 2)) < share
    for column in (flags[:, 0], np.ascontiguousarray(flags[:, 1])):
        members = number_members(column)
        assert members == BitMap(np.flatnonzero(column).astype(np.uint32))
        assert len(members) == np.count_nonzero(column)


def test_only_segments_can_be_combined() -> None:
    bitmaps = build([{1}, {2}, {3}])
    for text, code in (
        ("in segment gone", "analysis.unknown_segment"),
        ("age > 3", "analysis.not_a_combination"),
    ):
        with pytest.raises(BadInput) as caught:
            bitmaps.select(parse_rule(text))
        assert caught.value.code == code
    assert list(number_members(np.array([True, False, True]))) == [0, 2]


def test_members_as_they_are_kept_are_those_that_were_found(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    load_shop(workspace)
    describe(workspace, as_of=AS_OF)
    with workspace.read() as reader:
        expected = build_bitmaps(find_members(reader, BUILT_IN, read_rule_types(reader), as_of=AS_OF))
        found = read_bitmaps(reader)
    assert found.customers.to_pylist() == ["ann", "ben", "cid"]
    assert found.members == expected.members
