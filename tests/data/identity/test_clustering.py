"""Groups: chains do not join strangers, one partner each between two tables, forbidden pairs stay apart."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aimwell.data.identity.clustering import find_components, join_groups

PAIRS = st.dictionaries(
    st.tuples(st.integers(0, 9), st.integers(0, 9)).filter(lambda pair: pair[0] < pair[1]),
    st.floats(-20, 20),
    max_size=30,
)


def group(pairs: dict[tuple[int, int], float], **options: object) -> np.ndarray:
    left = np.array([one for one, _ in pairs], dtype=np.int64)
    right = np.array([other for _, other in pairs], dtype=np.int64)
    weight = np.array(list(pairs.values()), dtype=np.float64)
    held = join_groups(10, left, right, weight, least=0.0, **options)  # type: ignore[arg-type]
    return find_components(10, left[held], right[held])


def test_a_weak_link_between_two_clear_groups_does_not_join_them() -> None:
    pairs = {(0, 1): 9.0, (2, 3): 9.0, (1, 2): 1.0, (0, 2): -9.0, (1, 3): -9.0, (0, 3): -9.0}
    groups = group(pairs)
    assert groups[0] == groups[1] != groups[2] == groups[3]


@given(
    PAIRS, st.sets(st.tuples(st.integers(0, 9), st.integers(0, 9)).filter(lambda pair: pair[0] != pair[1]))
)
def test_forbidden_pairs_stay_apart(
    pairs: dict[tuple[int, int], float], forbidden: set[tuple[int, int]]
) -> None:
    groups = group(pairs, forbidden=forbidden)
    assert all(groups[one] != groups[other] for one, other in forbidden)


@given(PAIRS)
def test_between_two_tables_each_has_one_partner(pairs: dict[tuple[int, int], float]) -> None:
    sides = np.array([0] * 5 + [1] * 5)
    groups = group(pairs, sides=sides)
    for number in set(groups.tolist()):
        assert sorted(sides[groups == number].tolist()) in ([0], [1], [0, 1])
