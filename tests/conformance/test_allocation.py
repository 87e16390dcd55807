"""Customers on a real Spark are allocated as customers in this process are: bit by bit, however they are spread."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aimwell.core.errors import BadInput, Conflict, NotReady
from aimwell.engine.settings import EngineSettings
from aimwell.engine.spark_session import open_spark
from aimwell.strategy.large import passes
from aimwell.strategy.large.audience import LocalAudience
from aimwell.strategy.large.blocks import write_blocks
from aimwell.strategy.large.instance import Instance, TableRow
from aimwell.strategy.large.passes import make_box, make_tariff
from aimwell.strategy.large.solve import Allocation, allocate
from aimwell.strategy.large.spark import SparkAudience, allocate_on_spark, open_blocks
from bench import allocate as shapes
from tests.conformance.conftest import QUICK_SPARK, find_missing
from tests.strategy.large.world import make_instance

BLOCK = 4_096
"""Customers in a block here, so that there are several."""


@pytest.fixture(scope="module")
def spark() -> Iterator[Any]:
    if reason := find_missing("spark"):
        pytest.skip(reason)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.setenv("PYSPARK_SUBMIT_ARGS", QUICK_SPARK)
        warnings.filterwarnings(
            "ignore", message="PySpark does not yet fully support pandas", category=FutureWarning
        )
        yield open_spark(EngineSettings(name="spark"), None)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(passes, "BLOCK", BLOCK)


def allocate_there(spark: Any, folder: Path, instance: Instance, partitions: int | None = None) -> Allocation:
    with open_blocks(
        spark,
        folder,
        instance.rows,
        offers=instance.offers,
        per_customer=instance.per_customer,
        partitions=partitions,
    ) as audience:
        return allocate_on_spark(audience)


def assert_same(found: Allocation, expected: Allocation) -> None:
    assert np.array_equal(found.chosen, expected.chosen)
    assert (found.objective, found.upper_bound, found.gap) == (
        expected.objective,
        expected.upper_bound,
        expected.gap,
    )
    assert np.array_equal(found.used, expected.used) and np.array_equal(found.prices, expected.prices)


@pytest.mark.parametrize(("constraints", "slots"), [(5, 1), (12, 2), (69, 1)])
def test_the_shapes_of_the_bench_have_the_same_bits(
    spark: Any, tmp_path: Path, constraints: int, slots: int
) -> None:
    instance = shapes.make_instance(10_000, actions=20, constraints=constraints, slots=slots, seed=1)
    assert len(write_blocks(instance, tmp_path)) == 3
    expected = allocate(instance)
    assert expected.gap <= 1e-4
    assert_same(allocate_there(spark, tmp_path, instance), expected)


def test_the_number_of_partitions_changes_no_bit(spark: Any, tmp_path: Path) -> None:
    instance = make_instance(9_000, slots=2)
    write_blocks(instance, tmp_path)
    expected = allocate(instance)
    for partitions in (1, 3):
        assert_same(allocate_there(spark, tmp_path, instance, partitions), expected)


def test_few_customers_without_costs_are_allocated_there_too(spark: Any, tmp_path: Path) -> None:
    instance = make_instance(500)
    free = Instance(instance.value, instance.rows[1:4], instance.segment, None, instance.offers)
    write_blocks(free, tmp_path, size=200)
    assert_same(allocate_there(spark, tmp_path, free), allocate(free))


def test_a_pass_and_a_part_are_what_they_are_here(spark: Any, tmp_path: Path) -> None:
    instance = make_instance(3_000, slots=2)
    write_blocks(instance, tmp_path, size=1_000)
    there: SparkAudience
    with open_blocks(spark, tmp_path, instance.rows, offers=instance.offers, per_customer=2) as there:
        here, random = LocalAudience.of(instance), np.random.default_rng(1)
        some = random.permutation(3_000)[:700]
        mine, theirs = here.take(some), there.take(some)
        assert mine.cost is not None and theirs.cost is not None and len(theirs) == 700
        for name in ("value", "cost", "segment"):
            assert np.array_equal(getattr(mine, name), getattr(theirs, name))
        assert np.array_equal(here.read_segments(some), there.read_segments(some))
        assert len(there.take(some[:0])) == 0
        prices = random.random(len(instance.rows))
        tariff, box = make_tariff(instance, prices), make_box(instance, 0.1 * prices)
        (own, margins), (other, far) = here.choose_in_box(tariff, box), there.choose_in_box(tariff, box)
        assert np.array_equal(own.chosen, other.chosen) and np.array_equal(margins, far)
        assert np.array_equal(own.counts, other.counts) and own.earned == pytest.approx(other.earned)
        assert own.spent == pytest.approx(other.spent)


def test_limits_that_conflict_are_named(spark: Any, tmp_path: Path) -> None:
    instance = make_instance(6_000)
    most = TableRow("most", np.ones((4, 8)), 10.0)
    least = TableRow("least", np.ones((4, 8)), 4_000.0, "at_least")
    write_blocks(instance, tmp_path)
    with open_blocks(spark, tmp_path, (most, least)) as audience, pytest.raises(Conflict) as conflict:
        allocate_on_spark(audience)
    assert "most, least" in conflict.value.render("en")


def test_blocks_that_cannot_be_used_are_refused_in_our_own_words(spark: Any, tmp_path: Path) -> None:
    def refuse(folder: Path, rows: tuple[TableRow, ...] = ()) -> str:
        with pytest.raises((BadInput, NotReady)) as refused, open_blocks(spark, folder, rows):
            pass
        return refused.value.code

    instance = make_instance(30)
    assert refuse(tmp_path) == "strategy.no_blocks"
    write_blocks(instance, tmp_path / "negative")
    bad = (TableRow("bad", np.full((4, 8), -1.0), 1.0),)
    assert refuse(tmp_path / "negative", bad) == "strategy.bad_instance"
    write_blocks(instance, tmp_path / "other", size=20)
    pq.write_table(pa.table({"x": [1]}), tmp_path / "other" / "x.parquet")
    assert refuse(tmp_path / "other") == "strategy.bad_block"
    fewer = Instance(instance.value[:, :3], (), instance.segment)
    write_blocks(instance, tmp_path / "mixed")
    write_blocks(fewer, tmp_path / "mixed", first=1)
    assert refuse(tmp_path / "mixed") == "strategy.blocks_differ"
    lacking = pa.table(
        {
            "segment": pa.array([None], pa.int32()),
            "value": pq.read_table(tmp_path / "mixed" / "block-00000001.parquet")["value"][:1],
        }
    )
    (tmp_path / "lacking").mkdir()
    pq.write_table(lacking, tmp_path / "lacking" / "block-00000000.parquet")
    assert refuse(tmp_path / "lacking") == "strategy.bad_block"
