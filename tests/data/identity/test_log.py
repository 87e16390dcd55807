"""The log: a replay depends on nothing but its entries, and an un-merge restores what was before."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from aimwell.data.identity.log import Entry, find_path, order, replay, settle

START = datetime(2026, 1, 1, tzinfo=UTC)
RECORDS = [f"r{number}" for number in range(8)]
METHODS = ("deterministic", "probabilistic", "person")


def entry(number: int, one: str, other: str, verdict: str = "same", method: str = "person") -> Entry:
    left, right = order(one, other)
    likely = 0.97 if method == "probabilistic" else 1.0
    return Entry(
        f"l{number:04}", left, right, verdict, method, likely, "{}", START + timedelta(seconds=number)
    )


@st.composite
def logs(draw: st.DrawFn) -> list[Entry]:
    steps = draw(
        st.lists(
            st.tuples(
                st.sampled_from(RECORDS), st.sampled_from(RECORDS), st.booleans(), st.sampled_from(METHODS)
            ),
            max_size=25,
        )
    )
    return [
        entry(number, one, other, "same" if same else "apart", method if same else "person")
        for number, (one, other, same, method) in enumerate(steps)
        if one != other
    ]


def group(log: list[Entry]) -> dict[str, str]:
    joined, _ = replay(settle(log))
    return {record: joined.get(record, record) for record in RECORDS}


@given(logs(), st.integers(0, 1000))
def test_a_replay_does_not_depend_on_the_order_of_rows(log: list[Entry], seed: int) -> None:
    shuffled = list(log)
    random.Random(seed).shuffle(shuffled)
    assert group(log) == group(shuffled)


@given(logs())
def test_split_pairs_are_really_apart_and_customers_are_their_smallest_record(log: list[Entry]) -> None:
    state, groups = settle(log), group(log)
    for one, other in state.forbidden:
        assert groups[one] != groups[other]
    for record, customer in groups.items():
        assert groups[customer] == customer <= record


@given(logs(), st.sampled_from(RECORDS), st.sampled_from(RECORDS), st.sampled_from(METHODS))
def test_joining_and_splitting_restores_the_partition(
    log: list[Entry], one: str, other: str, method: str
) -> None:
    before = group(log)
    if before[one] == before[other]:
        return
    after = [*log, entry(500, one, other, "same", method), entry(501, one, other, "apart")]
    assert group(after) == before


@given(logs(), st.sampled_from(RECORDS), st.sampled_from(RECORDS))
def test_no_automatic_run_joins_a_split_pair_again(log: list[Entry], one: str, other: str) -> None:
    if one == other:
        return
    split = [*log, entry(500, one, other, "apart")]
    again = [
        *split,
        entry(501, one, other, "same", "deterministic"),
        entry(502, other, one, "same", "probabilistic"),
    ]
    assert group(again)[one] != group(again)[other]
    assert group(again) == group(split)


@given(logs())
def test_joined_records_have_a_path_of_links(log: list[Entry]) -> None:
    joined, used = replay(settle(log))
    for record, customer in joined.items():
        path = find_path(used, record, customer)
        assert path is not None
        assert (path == []) == (record == customer)


def test_a_person_may_take_back_a_split() -> None:
    log = [entry(1, "r0", "r1"), entry(2, "r0", "r1", "apart"), entry(3, "r0", "r1")]
    assert group(log)["r1"] == "r0"


def test_a_chain_is_cut_at_its_weakest_link() -> None:
    log = [
        entry(1, "r0", "r1", method="deterministic"),
        entry(2, "r1", "r2", method="probabilistic"),
        entry(3, "r0", "r2", "apart"),
    ]
    assert group(log)["r1"] == "r0"
    assert group(log)["r2"] == "r2"
