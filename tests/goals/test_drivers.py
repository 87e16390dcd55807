"""Parts add up exactly, whatever the values; targets are reached, alone and together."""

from __future__ import annotations

import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aimwell.core.errors import BadInput
from aimwell.goals.company import Measure, make_tree
from aimwell.goals.drivers import (
    Node,
    find_parts,
    find_slopes,
    find_value,
    reach_alone,
    reach_together,
    round_parts,
)

MEASURES: tuple[Measure, ...] = ("revenue", "contribution", "orders")
LEAVES = {
    measure: [leaf.name for leaf in make_tree(measure, by_history=True).leaves()] for measure in MEASURES
}
NOW = {
    "retained": 800.0,
    "won_back": 60.0,
    "new": 140.0,
    "frequency": 3.5,
    "order_value": 42.0,
    "margin_rate": 0.3,
    "contact_cost": 900.0,
}
numbers = st.one_of(
    st.just(0.0), st.floats(-1e6, 1e6).filter(lambda number: abs(number) > 1e-6 or number == 0)
)


@st.composite
def changes(draw: st.DrawFn) -> tuple[Node, dict[str, float], dict[str, float]]:
    root = make_tree(draw(st.sampled_from(MEASURES)), by_history=draw(st.booleans()))
    before, after = ({leaf.name: draw(numbers) for leaf in root.leaves()} for _ in range(2))
    return root, before, after


@given(changes())
def test_the_parts_of_every_node_add_up_to_its_own(
    change: tuple[Node, dict[str, float], dict[str, float]],
) -> None:
    root, before, after = change
    parts = find_parts(root, before, after)
    moved = find_value(root, after) - find_value(root, before)
    # Rounding is a share of the largest products that were added and taken away.
    size = max(1.0, *(abs(math.prod(side.values())) for side in (before, after)))
    size = max(size, *(abs(part) for part in parts.values()))
    assert parts[root.name] == pytest.approx(moved, abs=1e-9 * size)
    for node in root.walk():
        if node.children:
            below = math.fsum(parts[child.name] for child in node.children)
            assert below == pytest.approx(parts[node.name], abs=1e-9 * size)
    leaves = math.fsum(parts[leaf.name] for leaf in root.leaves())
    assert leaves == pytest.approx(moved, abs=1e-9 * size)


def test_who_did_not_change_has_no_part() -> None:
    root = make_tree("revenue", by_history=True)
    parts = find_parts(root, NOW, {**NOW, "new": 180.0})
    assert parts["frequency"] == parts["order_value"] == parts["retained"] == 0.0
    assert parts["new"] == pytest.approx(40 * 3.5 * 42.0)


def test_two_factors_share_what_they_make_together() -> None:
    root = Node("total", kind="product", children=(Node("a"), Node("b")))
    # (10 + 2) · (5 + 1) − 10 · 5 = 2·5 + 10·1 + 2·1, and the last belongs to both in halves.
    parts = find_parts(root, {"a": 10.0, "b": 5.0}, {"a": 12.0, "b": 6.0})
    assert (parts["a"], parts["b"]) == (11.0, 11.0)


@given(st.sampled_from(MEASURES), st.floats(-0.9, 5.0))
def test_each_driver_alone_reaches_the_target_or_says_that_it_cannot(measure: Measure, change: float) -> None:
    root = make_tree(measure, by_history=True)
    target = find_value(root, NOW) * (1 + change)
    for name, value in reach_alone(root, NOW, target).items():
        if value is not None:
            assert find_value(root, {**NOW, name: value}) == pytest.approx(target)
            assert value >= 0
        elif name not in ("margin_rate", "contact_cost"):
            assert change < 0


@given(
    st.sampled_from(MEASURES),
    st.floats(-0.5, 3.0).filter(lambda change: abs(change) > 1e-4),
    st.lists(st.floats(0.01, 1.0), min_size=5, max_size=5),
)
def test_a_split_gives_every_driver_exactly_its_share(
    measure: Measure, change: float, weights: list[float]
) -> None:
    root = make_tree(measure, by_history=True)
    levers = [name for name in LEAVES[measure] if name not in ("margin_rate", "contact_cost")]
    total = sum(weights[: len(levers)])
    shares = {name: weight / total for name, weight in zip(levers, weights, strict=False)}
    now = find_value(root, NOW)
    wanted = now * change
    try:
        later = reach_together(root, NOW, now + wanted, shares)
    except BadInput as refused:
        # A part that is larger than all that a driver brings cannot be taken off it.
        assert change < 0
        assert refused.code == "goals.driver_cannot"
        return
    assert find_value(root, later) == pytest.approx(now + wanted)
    parts = find_parts(root, NOW, later)
    for name, share in shares.items():
        assert parts[name] == pytest.approx(share * wanted, abs=1e-6 * abs(wanted))
    assert later.get("margin_rate", 0.3) == pytest.approx(0.3)


def test_a_driver_that_is_zero_can_grow_in_a_sum() -> None:
    root = make_tree("revenue", by_history=True)
    before = {**NOW, "won_back": 0.0}
    target = find_value(root, before) * 1.1
    later = reach_together(root, before, target, {"won_back": 1.0})
    assert later["won_back"] == pytest.approx(94.0)
    assert find_value(root, later) == pytest.approx(target)


@pytest.mark.parametrize(
    ("shares", "code"),
    [
        ({"weather": 1.0}, "goals.unknown_driver"),
        ({"new": 0.5, "retained": 0.4}, "goals.bad_shares"),
        ({"new": 1.5, "retained": -0.5}, "goals.bad_shares"),
        ({"new": math.nan}, "goals.bad_shares"),
        ({"contact_cost": 1.0}, "goals.driver_cannot"),
        ({"margin_rate": 1.0}, "goals.driver_cannot"),
    ],
)
def test_wrong_shares_are_refused(shares: dict[str, float], code: str) -> None:
    root = make_tree("contribution", by_history=True)
    with pytest.raises(BadInput) as refused:
        reach_together(root, NOW, find_value(root, NOW) * 5, shares)
    assert refused.value.code == code
    assert refused.value.remedy is not None


def test_nothing_can_be_split_from_nothing() -> None:
    root = make_tree("revenue", by_history=True)
    with pytest.raises(BadInput):
        reach_together(root, dict.fromkeys(NOW, 0.0), 100.0, {"frequency": 1.0})


def test_slopes_are_what_one_more_unit_brings() -> None:
    root = make_tree("contribution", by_history=True)
    slopes = find_slopes(root, NOW)
    for name, value in NOW.items():
        more = find_value(root, {**NOW, name: value + 1}) - find_value(root, NOW)
        assert slopes[name] == pytest.approx(more)


@given(
    st.dictionaries(st.text(min_size=1, max_size=3), st.floats(-1e6, 1e6), min_size=1, max_size=8),
    st.integers(-5, 5),
)
def test_cents_add_up_exactly(parts: dict[str, float], off: int) -> None:
    total = (sum(Decimal(repr(part)) for part in parts.values()) + Decimal(off) / 100).quantize(
        Decimal("0.01")
    )
    rounded = round_parts(parts, total)
    assert sum(rounded.values()) == total
    for name, part in parts.items():
        assert abs(float(rounded[name]) - part) <= 0.01 * (1 + abs(off)) + 1e-9
