"""Rows about some customers, and where each of these stands among all of them, who are sorted.

Where the rows of many tables belong is looked up once, for all customers; ranges of them are then cut and laid over
columns by number rather than by name. It reads no table and writes none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_KEY = "customer_id"


@dataclass(frozen=True)
class Placed:
    """``rows`` sorted by customer, each customer once; the i-th customer is the ``places[i]``-th of all."""

    rows: pa.Table
    places: NDArray[np.int64]

    def cut(self, start: int, end: int) -> Placed:
        """The rows of the customers from ``start`` up to ``end``, who are all now; without copying rows."""
        first, last = np.searchsorted(self.places, (start, end))
        return Placed(self.rows.slice(first, last - first), self.places[first:last] - start)

    def mark(self, count: int) -> pa.ChunkedArray:
        """For each of ``count`` customers whether there is a row."""
        there = np.zeros(count, dtype=bool)
        there[self.places] = True
        return pa.chunked_array([pa.array(there)])

    def spread(self, name: str, count: int) -> pa.ChunkedArray:
        """The whole numbers of a column, for each of ``count`` customers; 0 for who has no row."""
        found = np.zeros(count, dtype=np.int64)
        found[self.places] = self.rows[name].to_numpy()
        return pa.chunked_array([pa.array(found)])


def place_rows(tables: Sequence[pa.Table], names: pa.ChunkedArray) -> list[Placed]:
    """The rows of sorted ``tables`` whose customers are among the sorted ``names``, with their places there."""
    parts = [chunk.cast(names.type) for table in tables for chunk in table[_KEY].chunks]
    found = pc.index_in(pa.chunked_array(parts, names.type), value_set=names.combine_chunks())
    everywhere = pc.fill_null(found, -1).to_numpy()
    placed, begin = [], 0
    for table in tables:
        places = everywhere[begin : begin + table.num_rows].astype(np.int64)
        begin += table.num_rows
        known = places >= 0
        if not known.all():
            table, places = table.filter(pa.array(known)), places[known]
        placed.append(Placed(table, places))
    return placed
