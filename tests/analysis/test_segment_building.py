"""Three ways that propose segments: by values, by a response tree, by clusters; each leaves nobody in two."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from aimwell.analysis.clusters import (
    assign,
    build_clusters,
    fit_centres,
    measure_agreement,
    measure_silhouette,
)
from aimwell.analysis.drafts import Draft, name_draft, save_drafts
from aimwell.analysis.response_tree import (
    Sample,
    build_response_tree,
    grow_tree,
    measure_interval,
    reach_leaf,
)
from aimwell.analysis.rule_text import parse_rule
from aimwell.analysis.rule_writing import write_rule
from aimwell.analysis.segments import load_segments
from aimwell.analysis.step import describe
from aimwell.analysis.traditional import build_traditional
from aimwell.core.errors import BadInput, NotReady
from aimwell.core.tables import TABLES, Type
from aimwell.engine.compile_rules import compile_rules
from aimwell.engine.rule_types import read_rule_types
from aimwell.engine.workspace import Reader, Workspace
from tests.analysis.shop import AS_OF, buy, days_ago, load, make_workspace
from tests.engine.scratch import build_lines

CITIES = ("上海", "北京", "Bonn")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """600 customers: a third buys every ten days, a third every sixty, a third once long ago."""
    shop = make_workspace(tmp_path_factory.mktemp("building"))
    rng = np.random.default_rng(7)
    lines = []
    for number in range(600):
        name, kind = f"c{number:03d}", number % 3
        days = {0: range(3, 300, 10), 1: range(5 + number * 7 % 60, 330, 60), 2: [250]}[kind]
        for ago in days:
            moved = int(ago + rng.integers(0, 5))
            price = f"{(40, 15, 5)[kind] + int(rng.integers(0, 5))}.00"
            lines.append(buy(name, f"{name}-{ago}", moved, "milk", price, quantity=1.0))
    customers = TABLES["customers"].build(
        [{"customer_id": f"c{number:03d}", "source": "t"} for number in range(600)]
    )
    customers = customers.append_column(
        "city", pa.array([CITIES[n % 7 % 3] if n % 11 else None for n in range(600)])
    )
    customers = customers.append_column("age", pa.array([str(18 + n % 60) for n in range(600)]))
    # Some did not say how many people live with them, and some said it in words.
    people = [None if n % 9 == 0 else "two or three" if n % 40 == 1 else str(n % 17) for n in range(600)]
    customers = customers.append_column("people", pa.array(people))
    load(shop, order_lines=build_lines(*lines), customers=customers)
    describe(shop, as_of=AS_OF)
    return shop


def count_members(reader: Reader, drafts: tuple[Draft, ...], types: Mapping[str, Type]) -> np.ndarray:
    rules = {draft.name: draft.rule for draft in drafts}
    query = compile_rules(rules, types, as_of=AS_OF)
    table = reader.query(query.sql, query.parameters)
    return np.column_stack([table.column(draft.name).to_numpy(zero_copy_only=False) for draft in drafts])


@pytest.mark.parametrize(
    "by", ["city", "customers.age", "people", "recency_days", "lifecycle_stage", "is_best_20"]
)
def test_values_and_ranges_share_everybody_out(workspace: Workspace, by: str) -> None:
    with workspace.read() as reader:
        types = read_rule_types(reader)
        drafts = build_traditional(reader, by, types)
        inside = count_members(reader, drafts, types)
    assert len(drafts) >= 2
    assert (inside.sum(axis=1) == 1).all()
    assert inside.sum(axis=0).tolist() == [draft.size for draft in drafts]
    assert all(draft.title.render("zh") for draft in drafts)


def test_what_has_no_value_is_refused(workspace: Workspace) -> None:
    with workspace.read() as reader:
        types = read_rule_types(reader)
        for by, code in (("region", "analysis.nothing_to_part"), ("citty", "engine.unknown_tag")):
            with pytest.raises(BadInput) as caught:
                build_traditional(reader, by, types)
            assert caught.value.code == code


def test_clusters_find_those_who_behave_alike_and_are_rules(workspace: Workspace) -> None:
    with workspace.read() as reader:
        types = read_rule_types(reader)
        found = build_clusters(reader, types, seed=1)
        again = build_clusters(reader, types, seed=1)
        inside = count_members(reader, found.drafts, types)
    assert found.drafts == again.drafts
    assert len(found.drafts) >= 3
    assert 200 in [draft.size for draft in found.drafts], "those who bought once stand alone"
    assert (inside.sum(axis=1) == 1).all()
    assert inside.sum(axis=0).tolist() == [draft.size for draft in found.drafts]
    titles = " ".join(draft.title.render("en") for draft in found.drafts)
    assert "high" in titles
    assert "low" in titles
    assert all(parse_rule(write_rule(draft.rule)) == draft.rule for draft in found.drafts)


def test_too_few_customers_cannot_be_clustered(tmp_path: Path) -> None:
    shop = make_workspace(tmp_path)
    load(shop, order_lines=build_lines(buy("a", "o", 3, "milk", "5.00")))
    describe(shop, as_of=AS_OF)
    with shop.read() as reader, pytest.raises(NotReady):
        build_clusters(reader, read_rule_types(reader), seed=1)


def test_measures_of_clusters_have_their_known_values() -> None:
    one = np.array([0, 0, 1, 1])
    assert measure_agreement(one, np.array([1, 1, 0, 0])) == 1.0
    assert measure_agreement(one, np.array([0, 1, 0, 1])) == pytest.approx(-0.5)
    places = np.array([[0.0], [1.0], [10.0], [11.0]])
    assert measure_silhouette(places, one) == pytest.approx((9.5 / 10.5 + 8.5 / 9.5) / 2)
    rng = np.random.default_rng(1)
    centres = fit_centres(places, 2, rng)
    assert sorted(centres.ravel().tolist()) == [0.5, 10.5]
    assert (assign(places, centres) == assign(places, centres)[[0, 0, 2, 2]]).all()


def test_a_response_tree_tells_regular_buyers_on_a_later_window(workspace: Workspace) -> None:
    with workspace.read() as reader:
        types = read_rule_types(reader)
        tree = build_response_tree(reader, types, parse_rule("bought in 28 days"), as_of=AS_OF)
        inside = count_members(reader, tree.drafts, types)
    # A leaf that hardly anybody reaches later says so by its interval.
    checked = [draft.figures for draft in tree.drafts if draft.figures["n"] >= 30]
    best, worst = checked[0], checked[-1]
    assert best["lower"] > worst["upper"]
    assert best["rate"] > 0.95
    assert worst["rate"] < 0.05
    assert tree.area > 0.8
    assert (inside.sum(axis=1) == 1).all()
    assert sum(draft.size for draft in tree.drafts) == tree.checked_on


def test_noise_grows_no_tree() -> None:
    rng = np.random.default_rng(3)
    grown = 0
    for _ in range(40):
        sample = Sample(rng.normal(size=(1000, 8)), rng.random(1000) < 0.2)
        grown += len(grow_tree(sample)) > 1
    assert grown <= 3, "Bonferroni keeps the root whole in 99 of 100 cases"


def test_leaves_share_customers_out_whatever_is_unknown() -> None:
    rng = np.random.default_rng(5)
    values = rng.normal(size=(2000, 2))
    values[rng.random((2000, 2)) < 0.2] = np.nan
    responded = np.where(np.isnan(values[:, 0]), 0, values[:, 0]) + rng.normal(size=2000) > 0.5
    leaves = grow_tree(Sample(values, responded))
    assert len(leaves) > 2
    reached = np.column_stack([reach_leaf(leaf, values) for leaf in leaves])
    assert (reached.sum(axis=1) == 1).all()
    assert [np.flatnonzero(column).tolist() for column in reached.T] == [sorted(leaf.rows) for leaf in leaves]
    assert measure_interval(0, 0) == (0.0, 1.0)
    assert measure_interval(5, 10) == pytest.approx((0.2366, 0.7634), abs=1e-4)


def test_drafts_are_kept_as_segments_of_ones_own(workspace: Workspace) -> None:
    with workspace.read() as reader:
        types = read_rule_types(reader)
        drafts = build_traditional(reader, "city", types)
    save_drafts(workspace.store, drafts)
    segments, lacks = load_segments(workspace.store, types)
    kept = {segment.name: segment for segment in segments}
    assert not lacks
    for draft in drafts:
        assert kept[draft.name].rule == draft.rule
        assert kept[draft.name].title == draft.title
    assert name_draft("city", "上海", taken := set()) == "city"
    assert name_draft("city", "北京", taken) == "city_2"
    assert days_ago(1) == AS_OF - timedelta(days=1)
