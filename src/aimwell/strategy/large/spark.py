"""Allocate customers who lie on Spark's machines, with the answer that one machine gives. Reads files of blocks.

The passes over everybody are a map over blocks: each block's customers are decided where they lie, by the kernels that
decide them here, and what they add up to comes back. The sums are added here in the order of the blocks, so that
neither the number of machines nor who is ready first changes a bit. Prices, the few who are decided exactly and the
certificate are this process's work, and the same code (``solve.allocate_audience``). Beside the sums, this process
holds six bytes for each customer and the matrices of those who are undecided.

Aimwell must be installed on all of Spark's machines, and the folder of the blocks one that all of them see. Needs the
extra ``spark``.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from aimwell.core.errors import BadInput, NotReady
from aimwell.core.text import Text, say
from aimwell.strategy.large.blocks import read_block
from aimwell.strategy.large.instance import Instance, Segments, Singles, TableRow
from aimwell.strategy.large.passes import (
    Choice,
    Chosen,
    People,
    Sums,
    Tariff,
    decide_block,
    decide_block_in_box,
)
from aimwell.strategy.large.solve import Allocation, allocate_audience
from aimwell.strategy.problem import Integers, Reals

Block: TypeAlias = tuple[int, Instance]
"""A block's number and its customers."""


@dataclass(frozen=True)
class SparkTerms:
    """What is asked of customers who lie elsewhere (``instance.Terms``)."""

    rows: tuple[TableRow, ...]
    offers: Integers | None
    per_customer: int
    customers: int
    actions: int
    segments: int
    peaks: tuple[float, float]
    whole_costs: bool

    @property
    def groups(self) -> Integers:
        """The offer of each action."""
        return np.arange(self.actions, dtype=np.int64) if self.offers is None else self.offers


@dataclass(frozen=True)
class Seen:
    """What is known of a block once it has been read; ``refused``: it cannot be used, and why."""

    customers: int = 0
    actions: int = 0
    segments: int = 0
    peaks: tuple[float, float] = (0.0, 0.0)
    costs: bool = False
    whole_costs: bool = True
    refused: tuple[str, Text, Text | None, dict[str, str | int | None]] | None = None


class SparkAudience:
    """Customers in blocks on Spark (``audience.Audience``); ``blocks``: an RDD of ``Block``, kept in its memory."""

    def __init__(self, spark: Any, blocks: Any, terms: SparkTerms, sizes: Integers, *, costs: bool) -> None:
        self.terms, self._spark, self._blocks, self._costs = terms, spark, blocks, costs
        self._starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    def __len__(self) -> int:
        return self.terms.customers

    @cached_property
    def slots(self) -> int:
        """How many actions a customer can have at most."""
        return max(1, min(self.terms.per_customer, len(np.unique(self.terms.groups))))

    def take(self, customers: Integers) -> People:
        """Some of them, in this order, in this process."""
        found = [part for part in self._pick(customers, _pick_people) if part is not None]
        shape = (0, self.terms.actions)
        value = np.concatenate([part[0] for part in found] or [np.empty(shape, dtype=np.float32)])
        cost = np.concatenate([part[1] for part in found] or [value]) if self._costs else None
        segment = np.concatenate([part[2] for part in found] or [np.empty(0, dtype=np.int32)])
        back = _invert(customers)
        return People(
            value[back], None if cost is None else cost[back], segment[back], self.terms.groups, self.slots
        )

    def read_segments(self, customers: Integers) -> Segments:
        """The segments of some of them, in this order."""
        found = [part for part in self._pick(customers, _pick_segments) if part is not None]
        segment = np.concatenate([*found, np.empty(0, dtype=np.int32)])
        return np.asarray(segment[_invert(customers)], dtype=np.int32)

    def choose(self, tariff: Tariff) -> Choice:
        """What everybody's choice at a tariff adds up to."""

        def decide(block: Block) -> tuple[int, Sums]:
            people = People.all(block[1])
            return block[0], decide_block(people, tariff, _make_slots(people))

        found = self._collect(decide)
        nobody = np.empty((0, self.slots), dtype=np.int16)
        return Choice.add_up(found, tariff.flat.shape, nobody)

    def choose_in_box(self, tariff: Tariff, box: Tariff) -> tuple[Choice, Singles]:
        """What everybody gets, and how far each choice is from another."""

        def decide(block: Block) -> tuple[int, tuple[Sums, Chosen, Singles]]:
            people = People.all(block[1])
            chosen, margins = _make_slots(people), np.empty(len(people), dtype=np.float32)
            return block[0], (decide_block_in_box(people, tariff, box, chosen, margins), chosen, margins)

        found = self._collect(decide)
        chosen, margins = (np.concatenate([part[place] for part in found]) for place in (1, 2))
        return Choice.add_up([part[0] for part in found], tariff.flat.shape, chosen), margins

    def _pick(self, customers: Integers, pick: Callable[[Instance, Integers], Any]) -> list[Any]:
        """What ``pick`` finds of these customers, by ascending number; None for a block without any."""
        wanted = np.sort(customers)
        ends = np.searchsorted(wanted, self._starts[1:-1])
        places = [own - start for own, start in zip(np.split(wanted, ends), self._starts[:-1], strict=True)]
        with self._share(places) as shared:

            def find(block: Block) -> tuple[int, Any]:
                own = shared.value[block[0]]
                return block[0], pick(block[1], own) if len(own) else None

            return self._collect(find)

    def _collect(self, work: Callable[[Block], tuple[int, Any]]) -> list[Any]:
        """What ``work`` finds in each block, in the order of the blocks."""
        return _collect(self._blocks, work)

    @contextmanager
    def _share(self, value: object) -> Iterator[Any]:
        """Something that every machine gets once."""
        shared = self._spark.sparkContext.broadcast(value)
        try:
            yield shared
        finally:
            shared.destroy()


@contextmanager
def open_blocks(
    spark: Any,
    folder: Path,
    rows: tuple[TableRow, ...],
    *,
    offers: Integers | None = None,
    per_customer: int = 1,
    partitions: int | None = None,
) -> Iterator[SparkAudience]:
    """The customers whose blocks lie in ``folder`` (``blocks.write_blocks``), kept by Spark until the end.

    ``spark``: a session (``engine.spark_session.open_spark``); ``partitions``: how many tasks a pass has, usually one
    for each of Spark's cores. Raises BadInput when a number cannot be used, NotReady when Spark fails.
    """
    context = spark.sparkContext
    if spark.conf.get("spark.master", "").startswith("local"):
        # Its Python is to be this one, with what is installed beside it, not the first that the system finds.
        context.pythonExec = os.environ.get("PYSPARK_PYTHON", sys.executable)
    names = [str(path) for path in sorted(folder.glob("*.parquet"))]
    if not names:
        raise NotReady(
            "strategy.no_blocks",
            say("There are no customers' blocks in '{name}'.", name=folder.name),
            remedy=say("Write the customers' blocks first."),
        )
    files = context.parallelize(list(enumerate(names)), partitions or max(1, context.defaultParallelism))
    blocks = files.map(lambda file: (file[0], _open_block(file[1], rows, offers, per_customer)))
    # Kept beside the Java process once read; what does not fit is read again.
    blocks = blocks.persist(_keep_in_memory())
    try:
        seen = _collect(blocks, _look_at)
        for part in seen:
            _check_seen(part, seen[0])
        sizes = np.array([part.customers for part in seen], dtype=np.int64)
        terms = SparkTerms(
            rows,
            offers,
            per_customer,
            int(sizes.sum()),
            seen[0].actions,
            max(part.segments for part in seen),
            (max(part.peaks[0] for part in seen), max(part.peaks[1] for part in seen)),
            all(part.whole_costs for part in seen),
        )
        yield SparkAudience(spark, blocks, terms, sizes, costs=seen[0].costs)
    finally:
        blocks.unpersist()


def allocate_on_spark(audience: SparkAudience, *, start: Reals | None = None) -> Allocation:
    """``solve.allocate`` for customers on Spark, who are numbered in the order of their blocks.

    The same bits as there, when the blocks have ``passes.BLOCK`` customers. Raises Conflict when the limits contradict
    each other, NotReady when Spark fails.
    """
    return allocate_audience(audience, start=start)


def _open_block(
    path: str, rows: tuple[TableRow, ...], offers: Integers | None, per_customer: int
) -> Instance | Seen:
    try:
        return read_block(Path(path), rows, offers, per_customer)
    except BadInput as error:
        # Thrown here, it would come back as one of Spark's own errors, whose words quote customers' values.
        return Seen(refused=(error.code, error.message, error.remedy, error.where))


def _look_at(block: tuple[int, Instance | Seen]) -> tuple[int, Seen]:
    number, part = block
    if isinstance(part, Seen):
        return number, part
    costs = (part.cost is not None, part.whole_costs)
    return number, Seen(part.customers, part.actions, part.segments, part.peaks, *costs)


def _check_seen(part: Seen, first: Seen) -> None:
    if part.refused is not None:
        code, message, remedy, where = part.refused
        raise BadInput(code, message, remedy=remedy, where=where)
    if (part.actions, part.costs) != (first.actions, first.costs):
        raise BadInput(
            "strategy.blocks_differ",
            say("The customers' blocks do not have the same actions and costs."),
            remedy=say("Write the customers' blocks again, and keep nothing else in their folder."),
        )


def _pick_people(instance: Instance, places: Integers) -> tuple[Singles, Singles | None, Segments]:
    cost = None if instance.cost is None else instance.cost[places]
    return instance.value[places], cost, instance.segment[places]


def _pick_segments(instance: Instance, places: Integers) -> Segments:
    return instance.segment[places]


def _make_slots(people: People) -> Chosen:
    return np.empty((len(people), people.slots), dtype=np.int16)


def _invert(customers: Integers) -> Integers:
    """Where each of ``customers`` stands when they are sorted."""
    back = np.empty(len(customers), dtype=np.int64)
    back[np.argsort(customers, kind="stable")] = np.arange(len(customers))
    return back


def _keep_in_memory() -> Any:
    from pyspark import StorageLevel

    return StorageLevel.MEMORY_AND_DISK


def _collect(blocks: Any, work: Callable[[Any], tuple[int, Any]]) -> list[Any]:
    try:
        found = blocks.map(work).collect()
    except Exception as error:  # of Spark's own kinds, whose words may quote customers' values
        raise NotReady(
            "strategy.spark_stopped",
            say("Spark stopped in the middle of the allocation ({kind}).", kind=type(error).__name__),
            remedy=say("Check Spark's own log, and that Aimwell is installed on all of its machines."),
        ) from error
    return [part for _, part in sorted(found, key=lambda pair: int(pair[0]))]
