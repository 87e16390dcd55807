"""Repeated hashes are found exactly, in memory or through files, however they are spread over batches."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimwell.data import repeats
from aimwell.data.repeats import collect_repeated, find_repeated
from aimwell.data.scratch import Scratch

NUMBERS = st.lists(st.one_of(st.integers(0, 5), st.integers(0, 2**64 - 1), st.just(2**63)), max_size=60)


@given(NUMBERS, st.integers(1, 20), st.sampled_from([4, 1 << 22]))
def test_what_repeats_is_found_whatever_is_held(numbers: list[int], size: int, held: int) -> None:
    wanted = sorted(number for number, times in Counter(numbers).items() if times > 1)
    batches = [np.array(numbers[at : at + size], np.uint64) for at in range(0, len(numbers), size)]
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(repeats, "_HELD", held)
        found = [int(number) for run in find_repeated(batches, Path(folder) / "runs") for number in run]
        assert not list(Path(folder).glob("runs/*.u64"))
    assert found == wanted


def test_the_hashes_of_a_statement_become_a_table() -> None:
    with Scratch() as scratch:
        sql = "SELECT CAST(range % 7 AS UBIGINT) FROM range(CAST($rows AS BIGINT))"
        assert collect_repeated(scratch, "again", sql, {"rows": 10}) == 3
        assert [row["hashed"] for row in scratch.rows("SELECT hashed FROM again ORDER BY 1")] == [0, 1, 2]
        assert collect_repeated(scratch, "again", sql, {"rows": 7}) == 0
        assert scratch.rows("SELECT count(*) AS rows FROM again") == [{"rows": 0}]
