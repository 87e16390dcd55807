"""Who is one person is found on Spark as on DuckDB: the same pairs are compared, and nearly all come out alike."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from aimwell.data.identity.features import build_features
from aimwell.data.identity.likeness import Likeness, find_alike
from aimwell.data.identity.step import find_identities
from aimwell.data.step import add_source
from aimwell.engine.settings import EngineSettings
from bench.identity_sets import SHARED, list_true_pairs, load_set
from tests.conformance.conftest import QUICK_SPARK, find_missing
from tests.data.identity.test_step import people
from tests.data.shop import make_workspace, query, write

TOLERANCE = 0.01
"""Share of the joined pairs that only one engine joins: splink's jar counts transpositions in halves."""


@pytest.fixture(autouse=True)
def on_spark(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if reason := find_missing("spark"):
        pytest.skip(reason)
    monkeypatch.setenv("PYSPARK_SUBMIT_ARGS", QUICK_SPARK)
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="PySpark does not yet fully support pandas", category=FutureWarning
        )
        yield


def list_pairs(found: Likeness) -> set[tuple[int, int]]:
    same = found.persons[:, None] == found.persons[None, :]
    return set(zip(*(ends.tolist() for ends in np.nonzero(np.triu(same, 1))), strict=True))


def test_four_hundred_of_splinks_thousand_come_out_alike() -> None:
    if not SHARED.is_dir():
        pytest.skip(f"the shared data are not at hand in {SHARED}")
    records = load_set("fake_1000")
    # Of a thousand Spark would compare six times as many random pairs: decision 11 has the figures of all.
    features = build_features(records.tables[0].slice(0, 400), record="unique_id")
    ours, theirs = (find_alike(features, engine=EngineSettings(name=name)) for name in ("duckdb", "spark"))
    assert (ours.left.tolist(), ours.right.tolist()) == (theirs.left.tolist(), theirs.right.tolist())
    assert (ours.levels != theirs.levels).mean() < TOLERANCE
    mine, other = list_pairs(ours), list_pairs(theirs)
    assert len(mine - other) <= TOLERANCE * len(mine)
    assert len(other - mine) <= TOLERANCE * len(other)
    names = features["record_id"].to_pylist()
    known = set(names)
    truth = {pair for pair in list_true_pairs(records) if known.issuperset(pair)}
    named = {(min(names[a], names[b]), max(names[a], names[b])) for a, b in other}
    assert 2 * len(named & truth) / (len(named) + len(truth)) >= 0.93


def test_chinese_records_are_joined_through_the_product(tmp_path: Path) -> None:
    joined = {}
    for name in ("duckdb", "spark"):
        shop = make_workspace(tmp_path / name)
        shop.settings = shop.settings.model_copy(update={"engine": EngineSettings(name=name)})
        add_source(shop, write(tmp_path, people(), name="people.csv"), table="customers", accept=True)
        find_identities(shop, probabilistic=True)
        joined[name] = query(shop, "SELECT record_id, customer_id FROM identities ORDER BY record_id")
        assert list((shop.warehouse_folder / "temporary").glob("identity-*")) == []
        shop.close()
    assert len(joined["spark"]) >= 76
    assert joined["spark"] == joined["duckdb"]
