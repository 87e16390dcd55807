"""Blocks of customers in files, so that every machine reads its own. Writes and reads Parquet files of one folder.

A file is one block: the unit whose sums are added in a fixed order, so that no number of machines changes a bit.
Columns: ``segment`` (int32), ``value`` and, where rows count costs, ``cost`` (lists of one single per action).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from aimwell.core.errors import BadInput
from aimwell.core.text import say
from aimwell.strategy.large import passes
from aimwell.strategy.large.instance import Instance, Segments, Singles, TableRow
from aimwell.strategy.problem import Integers


def write_blocks(instance: Instance, folder: Path, *, first: int = 0, size: int | None = None) -> list[Path]:
    """Write the customers of ``instance`` as blocks numbered from ``first``, in their order; the files.

    ``size``: customers in a block, at most and usually ``passes.BLOCK``. Whoever makes customers on many machines calls
    it for each part; files are read in the order of their names.
    """
    most = passes.BLOCK if size is None else min(size, passes.BLOCK)
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, begin in enumerate(range(0, instance.customers, most), start=first):
        block = slice(begin, begin + most)
        columns = {
            "segment": pa.array(instance.segment[block]),
            "value": _to_lists(instance.value[block]),
        }
        if instance.cost is not None:
            columns["cost"] = _to_lists(instance.cost[block])
        paths.append(folder / f"block-{number:08d}.parquet")
        pq.write_table(pa.table(columns), paths[-1])
    return paths


def read_block(
    path: Path, rows: tuple[TableRow, ...], offers: Integers | None, per_customer: int
) -> Instance:
    """The customers of one block, checked; BadInput when a number cannot be used or the file is not a block."""
    table = pq.read_table(path, partitioning=None)
    if not {"segment", "value"} <= set(table.column_names) or table.num_rows > passes.BLOCK:
        raise _refuse(path)
    cost = _to_matrix(table["cost"], path) if "cost" in table.column_names else None
    segment = table["segment"].combine_chunks()
    if segment.null_count or not pa.types.is_int32(segment.type):
        raise _refuse(path)
    numbers: Segments = np.asarray(segment.to_numpy(zero_copy_only=False))
    return Instance(_to_matrix(table["value"], path), rows, numbers, cost, offers, per_customer)


def _to_lists(matrix: Singles) -> pa.FixedSizeListArray:
    return pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), matrix.shape[1])


def _to_matrix(column: pa.ChunkedArray, path: Path) -> Singles:
    lists = column.combine_chunks()
    if not pa.types.is_fixed_size_list(lists.type) or not pa.types.is_float32(lists.type.value_type):
        raise _refuse(path)
    numbers = lists.flatten()
    if lists.null_count or numbers.null_count:
        raise _refuse(path)
    matrix = numbers.to_numpy(zero_copy_only=False).reshape(len(lists), lists.type.list_size)
    return np.ascontiguousarray(matrix)


def _refuse(path: Path) -> BadInput:
    return BadInput(
        "strategy.bad_block",
        say("The file '{name}' is not a block of customers.", name=path.name),
        remedy=say("Write the customers' blocks again, and keep nothing else in their folder."),
        where={"file": path.name},
    )
